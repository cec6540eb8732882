//! Backups and restores that are aborted, cancelled, or dropped in the middle of a step.

use std::time::Duration;

use diy_backup_core::{CancelReason, Control, ErrorKind, Leftover, Result as CoreResult};
use tokio::time::timeout;

use super::broken::{Breaks, BrokenPromise, Promise, ensure};
use super::harness::{Harness, Target};
use super::restore;
use super::stage::{Stage, Taken, Unpacked};

/// A step of a session that can be interrupted.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Step {
    Prepare,
    Capture,
    Complete,
    Intake,
    Apply,
}

pub(super) const BACKUP_STEPS: [Step; 3] = [Step::Prepare, Step::Capture, Step::Complete];
pub(super) const RESTORE_STEPS: [Step; 3] = [Step::Prepare, Step::Intake, Step::Apply];

/// After how long a future is dropped: at its first wait, and at some later ones.
const DROPS: [Duration; 4] = [
    Duration::ZERO,
    Duration::from_millis(2),
    Duration::from_millis(15),
    Duration::from_millis(80),
];

/// Aborts a session that has done `step`; after `complete` there is nothing to abort.
pub(super) async fn abort_backup<H: Harness>(
    stage: Stage<H>,
    step: Step,
) -> Result<(), BrokenPromise> {
    let cx = stage.backup_cx(&Control::new())?;
    stage.harness.change(1).await;
    let mut session = stage.prepare(&cx).await?;
    if step != Step::Prepare {
        let window = stage.lock(&cx).await?;
        let captured = session.capture(&window).await;
        captured.breaks(Promise::Capture, "it failed")?;
        if step == Step::Capture {
            stage.abandon(window).await?;
        } else {
            // Between the release and `complete`.
            stage.release(window).await?;
            stage.harness.change(2).await;
        }
    }
    let before = stage.harness.state().await;
    let aborted = session.abort().await;
    let what = match step {
        Step::Prepare => "after `prepare`",
        Step::Capture => "after `capture`, with the window open",
        _ => "after `capture` and the release",
    };
    aborted.breaks(Promise::Abort, what)?;
    stage.ensure_state(&before, Promise::Abort, what).await?;
    stage.discard(&cx.leftovers()).await?;
    stage.ensure_clean(Promise::Abort, what).await?;
    stage.back_up().await.map(|_| ())
}

/// Cancels the run before `step`, and again in the middle of it.
pub(super) async fn cancel_backup<H: Harness>(
    stage: Stage<H>,
    step: Step,
) -> Result<(), BrokenPromise> {
    for pause in DROPS {
        let control = Control::new();
        let cx = stage.backup_cx(&control)?;
        stage.harness.change(1).await;
        let cancel = async {
            tokio::time::sleep(pause).await;
            control.cancel(CancelReason::Requested);
        };
        let session = if step == Step::Prepare {
            let prepared = stoppable(&stage, step, cancel, stage.strategy.prepare(&cx)).await?;
            prepared.ok()
        } else {
            let mut session = stage.prepare(&cx).await?;
            let window = stage.lock(&cx).await?;
            if step == Step::Capture {
                let _ = stoppable(&stage, step, cancel, session.capture(&window)).await?;
                stage.abandon(window).await?;
                Some(session)
            } else {
                let captured = session.capture(&window).await;
                captured.breaks(Promise::Capture, "it failed")?;
                let released = stage.release(window).await?;
                let completed =
                    stoppable(&stage, step, cancel, session.complete(&released)).await?;
                completed.is_err().then_some(session)
            }
        };
        let what = format!("cancelled in `{step:?}`");
        if let Some(session) = session {
            session.abort().await.breaks(Promise::Abort, &what)?;
        }
        stage.discard(&cx.leftovers()).await?;
        stage.ensure_clean(Promise::Abort, &what).await?;
    }
    Ok(())
}

/// Runs a step while the run is cancelled: it has to end soon, and to say why it failed.
async fn stoppable<H: Harness, T>(
    stage: &Stage<H>,
    step: Step,
    cancel: impl Future<Output = ()>,
    work: impl Future<Output = CoreResult<T>>,
) -> Result<CoreResult<T>, BrokenPromise> {
    let both = async { tokio::join!(work, cancel).0 };
    let patience = stage.harness.patience();
    let Ok(ended) = timeout(patience, both).await else {
        let how = format!("`{step:?}` still runs {patience:?} after it");
        return Err(BrokenPromise::new(Promise::Cancel, how));
    };
    if let Err(error) = &ended {
        ensure(
            error.kind() == ErrorKind::Cancelled,
            Promise::Cancel,
            || format!("`{step:?}` failed as {:?}: {error}", error.kind()),
        )?;
    }
    Ok(ended)
}

/// Drops the future of `step`, and the session with it.
pub(super) async fn drop_backup<H: Harness>(
    stage: Stage<H>,
    step: Step,
) -> Result<(), BrokenPromise> {
    for pause in DROPS {
        let cx = stage.backup_cx(&Control::new())?;
        stage.harness.change(1).await;
        if step == Step::Prepare {
            let _ = timeout(pause, stage.strategy.prepare(&cx)).await;
        } else {
            let mut session = stage.prepare(&cx).await?;
            let window = stage.lock(&cx).await?;
            if step == Step::Capture {
                let _ = timeout(pause, session.capture(&window)).await;
                drop(session);
                stage.abandon(window).await?;
            } else {
                let captured = session.capture(&window).await;
                captured.breaks(Promise::Capture, "it failed")?;
                let released = stage.release(window).await?;
                let _ = timeout(pause, session.complete(&released)).await;
            }
        }
        clean_after_drop(&stage, &cx.leftovers(), step, pause).await?;
    }
    stage.back_up().await.map(|_| ())
}

async fn clean_after_drop<H: Harness>(
    stage: &Stage<H>,
    leftovers: &[Leftover],
    step: Step,
    pause: Duration,
) -> Result<(), BrokenPromise> {
    stage.discard(leftovers).await?;
    let what = format!(
        "`{step:?}`, dropped after {pause:?}, and {} leftovers discarded",
        leftovers.len()
    );
    stage.ensure_clean(Promise::Drop, &what).await
}

/// Aborts a restore after `step`.
pub(super) async fn abort_restore<H: Harness>(
    stage: Stage<H>,
    step: Step,
) -> Result<(), BrokenPromise> {
    let taken = stage.back_up().await?;
    let Some(way_back) = stage.way_back() else {
        return Ok(());
    };
    for target in [Target::Absent, Target::Empty] {
        stage.harness.lose(target).await;
        let cx = stage.restore_cx(&taken.artifact, &Control::new())?;
        let prepared = way_back.prepare(&cx).await;
        let mut session = prepared.breaks(Promise::Restore, "`prepare_restore`")?;
        if step != Step::Prepare {
            let source = stage.unpack(&cx, &mut session, Unpacked::InIntake).await?;
            if step == Step::Apply {
                let applied = session.apply(&source).await;
                applied.breaks(Promise::Restore, "`apply`")?;
            }
        }
        let what = format!("a restore into {target:?}, after `{step:?}`");
        session.abort().await.breaks(Promise::Abort, &what)?;
        stage.discard(&cx.leftovers()).await?;
        ensure_target(&stage, target, Promise::Abort, &what).await?;
        stage.ensure_clean(Promise::Abort, &what).await?;
    }
    restores_after_all(&stage, &taken, "an aborted one").await
}

/// Cancels `apply`.
pub(super) async fn cancel_restore<H: Harness>(stage: Stage<H>) -> Result<(), BrokenPromise> {
    let taken = stage.back_up().await?;
    let Some(way_back) = stage.way_back() else {
        return Ok(());
    };
    for pause in DROPS {
        stage.harness.lose(Target::Absent).await;
        let control = Control::new();
        let cx = stage.restore_cx(&taken.artifact, &control)?;
        let prepared = way_back.prepare(&cx).await;
        let mut session = prepared.breaks(Promise::Restore, "`prepare_restore`")?;
        let source = stage.unpack(&cx, &mut session, Unpacked::InIntake).await?;
        let cancel = async {
            tokio::time::sleep(pause).await;
            control.cancel(CancelReason::Requested);
        };
        let _ = stoppable(&stage, Step::Apply, cancel, session.apply(&source)).await?;
        let what = "a restore that was cancelled in `Apply`";
        session.abort().await.breaks(Promise::Abort, what)?;
        stage.discard(&cx.leftovers()).await?;
        ensure_target(&stage, Target::Absent, Promise::Abort, what).await?;
        stage.ensure_clean(Promise::Abort, what).await?;
    }
    restores_after_all(&stage, &taken, "a cancelled one").await
}

/// Drops the future of `step` of a restore, and the session with it.
pub(super) async fn drop_restore<H: Harness>(
    stage: Stage<H>,
    step: Step,
) -> Result<(), BrokenPromise> {
    let taken = stage.back_up().await?;
    let Some(way_back) = stage.way_back() else {
        return Ok(());
    };
    for pause in DROPS {
        stage.harness.lose(Target::Absent).await;
        let cx = stage.restore_cx(&taken.artifact, &Control::new())?;
        if step == Step::Prepare {
            let _ = timeout(pause, way_back.prepare(&cx)).await;
        } else {
            let prepared = way_back.prepare(&cx).await;
            let mut session = prepared.breaks(Promise::Restore, "`prepare_restore`")?;
            let source = stage.unpack(&cx, &mut session, Unpacked::InIntake).await?;
            if step == Step::Apply {
                let _ = timeout(pause, session.apply(&source)).await;
            }
        }
        clean_after_drop(&stage, &cx.leftovers(), step, pause).await?;
        let what = format!("a restore, dropped in `{step:?}`");
        ensure_target(&stage, Target::Absent, Promise::Drop, &what).await?;
    }
    restores_after_all(&stage, &taken, "a dropped one").await
}

async fn ensure_target<H: Harness>(
    stage: &Stage<H>,
    target: Target,
    promise: Promise,
    what: &str,
) -> Result<(), BrokenPromise> {
    let is_so = stage.harness.target_is(target).await;
    ensure(is_so, promise, || {
        format!("{what}: the target is not {target:?} any more")
    })
}

/// What was interrupted does not stand in the way of a restore that is not.
async fn restores_after_all<H: Harness>(
    stage: &Stage<H>,
    taken: &Taken<H::State>,
    after: &str,
) -> Result<(), BrokenPromise> {
    stage.harness.lose(Target::Absent).await;
    restore::restore(stage, taken, Unpacked::InStaging).await?;
    let what = format!("a restore after {after}");
    stage
        .ensure_state(&taken.captured, Promise::Restore, &what)
        .await
}
