//! What a restore promises when nothing interrupts it.

use diy_backup_core::{Control, ErrorKind, RestoreSession};

use super::broken::{Breaks, BrokenPromise, Promise, ensure};
use super::harness::{Harness, Target};
use super::stage::{Stage, Taken, Unpacked};

pub(super) async fn round_trip<H: Harness>(
    stage: Stage<H>,
    target: Target,
    how: Unpacked,
) -> Result<(), BrokenPromise> {
    let taken = stage.back_up().await?;
    let Some(way_back) = stage.way_back() else {
        return Ok(());
    };
    let what = match target {
        Target::Absent => "restored into an absent target",
        Target::Empty => "restored into an empty target",
    };
    stage.harness.lose(target).await;
    let cx = stage.restore_cx(&taken.artifact, &Control::new())?;
    let prepared = way_back.prepare(&cx).await;
    let mut session = prepared.breaks(Promise::Restore, what)?;
    let unchanged = async |step: &str| {
        let is_so = stage.harness.target_is(target).await;
        ensure(is_so, Promise::Apply, || {
            format!("after {step} it is not {target:?} any more")
        })
    };
    unchanged("`prepare_restore`").await?;
    let source = stage.unpack(&cx, &mut session, how).await?;
    unchanged("`intake`").await?;
    let applied = session.apply(&source).await;
    applied.breaks(Promise::Restore, what)?;
    if stage.strategy.pins() {
        unchanged("`apply`").await?;
    }
    finish(&mut session, what).await?;
    drop(session);
    stage
        .ensure_state(&taken.captured, Promise::Capture, what)
        .await?;
    stage.ensure_clean(Promise::Restore, what).await
}

/// A whole restore into a target that is absent.
pub(super) async fn restore<H: Harness>(
    stage: &Stage<H>,
    taken: &Taken<H::State>,
    how: Unpacked,
) -> Result<(), BrokenPromise> {
    let Some(way_back) = stage.way_back() else {
        return Ok(());
    };
    let cx = stage.restore_cx(&taken.artifact, &Control::new())?;
    let prepared = way_back.prepare(&cx).await;
    let mut session = prepared.breaks(Promise::Restore, "`prepare_restore`")?;
    let source = stage.unpack(&cx, &mut session, how).await?;
    let applied = session.apply(&source).await;
    applied.breaks(Promise::Restore, "`apply`")?;
    finish(&mut session, "a restore").await
}

async fn finish(session: &mut Box<dyn RestoreSession>, what: &str) -> Result<(), BrokenPromise> {
    let committed = session.commit().await;
    committed.breaks(Promise::Restore, &format!("{what}, `commit`"))?;
    let verified = session.verify().await;
    verified.breaks(Promise::Restore, &format!("{what}, `verify`"))
}

pub(super) async fn refuses_what_is_not_empty<H: Harness>(
    stage: Stage<H>,
) -> Result<(), BrokenPromise> {
    let taken = stage.back_up().await?;
    let Some(way_back) = stage.way_back() else {
        return Ok(());
    };
    let before = stage.harness.state().await;
    let cx = stage.restore_cx(&taken.artifact, &Control::new())?;
    match way_back.prepare(&cx).await {
        Ok(_) => return Err(BrokenPromise::new(Promise::NotEmpty, "it was accepted")),
        Err(error) => ensure(
            error.kind() == ErrorKind::TargetNotEmpty,
            Promise::NotEmpty,
            || format!("it was refused as {:?}: {error}", error.kind()),
        )?,
    }
    stage
        .ensure_state(&before, Promise::NotEmpty, "the target has changed")
        .await?;
    stage
        .ensure_clean(Promise::NotEmpty, "after the refusal")
        .await
}

/// A run that died before its commit, and one that died after it: the same leftovers, told apart and finished.
pub(super) async fn resumes_a_commit<H: Harness>(stage: Stage<H>) -> Result<(), BrokenPromise> {
    let taken = stage.back_up().await?;
    let Some(way_back) = stage.way_back() else {
        return Ok(());
    };
    stage.harness.lose(Target::Absent).await;
    let cx = stage.restore_cx(&taken.artifact, &Control::new())?;
    let prepared = way_back.prepare(&cx).await;
    let mut session = prepared.breaks(Promise::Restore, "`prepare_restore`")?;
    let source = stage.unpack(&cx, &mut session, Unpacked::InIntake).await?;
    let applied = session.apply(&source).await;
    applied.breaks(Promise::Restore, "`apply`")?;
    let leftovers = cx.leftovers();
    drop(session);
    if leftovers.is_empty() {
        return stage
            .ensure_clean(Promise::Resume, "nothing was recorded before the commit")
            .await;
    }
    let told = way_back.is_committed(&leftovers).await;
    let told = told.breaks(Promise::Resume, "`was_committed`")?;
    ensure(!told, Promise::Resume, || {
        "before the commit it says that it was committed".to_owned()
    })?;
    for time in ["resumed", "resumed once more"] {
        let resumed = way_back.resume(&leftovers).await;
        resumed.breaks(Promise::Resume, time)?;
        let told = way_back.is_committed(&leftovers).await;
        let told = told.breaks(Promise::Resume, "`was_committed`")?;
        ensure(told, Promise::Resume, || {
            format!("{time}, it says that it was not committed")
        })?;
        stage
            .ensure_state(&taken.captured, Promise::Resume, time)
            .await?;
    }
    stage.discard(&leftovers).await?;
    stage
        .ensure_state(&taken.captured, Promise::Discard, "after the commit")
        .await?;
    stage
        .ensure_clean(Promise::Resume, "after the resumed commit")
        .await
}
