//! What a backup promises when nothing goes wrong.

use super::broken::{Breaks, BrokenPromise, Promise, ensure};
use super::harness::{Harness, Target};
use super::restore;
use super::stage::{Stage, Unpacked};

pub(super) async fn check_is_good<H: Harness>(stage: Stage<H>) -> Result<(), BrokenPromise> {
    stage.harness.change(1).await;
    let before = stage.harness.state().await;
    let checked = stage.strategy.check(&stage.check_cx()).await;
    let findings = checked.breaks(Promise::Check, "it failed")?;
    ensure(!findings.has_errors(), Promise::Check, || {
        format!("{:?}", findings.findings)
    })?;
    stage
        .ensure_state(&before, Promise::Check, "the data has changed")
        .await?;
    ensure(!stage.staging().root().exists(), Promise::Check, || {
        "it made the staging folder".to_owned()
    })?;
    stage.ensure_clean(Promise::Check, "after `check`").await
}

/// The second backup is built upon what the first has left in staging, and must not hold anything of it.
pub(super) async fn second_backup<H: Harness>(stage: Stage<H>) -> Result<(), BrokenPromise> {
    stage.back_up().await?;
    let taken = stage.back_up().await?;
    if stage.way_back().is_none() {
        return Ok(());
    }
    stage.harness.lose(Target::Absent).await;
    restore::restore(&stage, &taken, Unpacked::InStaging).await?;
    stage
        .ensure_state(
            &taken.captured,
            Promise::UsedStaging,
            "the second backup, restored",
        )
        .await
}
