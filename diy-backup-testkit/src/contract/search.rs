//! What search strategies promise beside the other parts.

use diy_backup_core::Control;

use super::broken::{Breaks, BrokenPromise, Promise, ensure};
use super::harness::{SearchHarness, Target};
use super::restore;
use super::stage::{Stage, Unpacked};

/// Of two backups, the first goes with its snapshot, and the second stays whole.
pub(super) async fn deletes_what_belongs_to_a_backup<H: SearchHarness>(
    stage: Stage<H>,
) -> Result<(), BrokenPromise> {
    let old = stage.back_up().await?;
    let new = stage.back_up().await?;
    let strategy = stage.harness.strategy();
    for time in ["the first time", "the second time"] {
        let deleted = strategy.delete(&old.artifact).await;
        deleted.breaks(Promise::Delete, time)?;
    }
    stage
        .ensure_clean(Promise::Delete, "after `delete`")
        .await?;
    let Some(way_back) = stage.way_back() else {
        return Ok(());
    };
    stage.harness.lose(Target::Absent).await;
    let cx = stage.restore_cx(&old.artifact, &Control::new())?;
    let refused = way_back.prepare(&cx).await.is_err();
    ensure(refused, Promise::Delete, || {
        "a restore of what was deleted is not refused".to_owned()
    })?;
    restore::restore(&stage, &new, Unpacked::InStaging).await?;
    stage
        .ensure_state(&new.captured, Promise::Delete, "the other backup, restored")
        .await
}
