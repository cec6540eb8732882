//! Into the locked state, and out of it.

use std::time::Instant;

use bitbucket_maintenance_client::Client;

use crate::error::{Error, ErrorKind, Result};
use crate::maintenance::MaintenanceLock;
use crate::manifest::PartName;
use crate::phase::Phase;
use crate::run::{Run, SearchTask, Undo};
use crate::strategy::BackupContext;
use crate::window::{LockLimits, LockWindow, ReleaseFailed, Released};

/// Locks and drains the instance, while the search snapshot begins.
///
/// An error means that the instance was given back, or that it is [`StillLocked`](ErrorKind::StillLocked).
pub(super) async fn enter(
    run: &mut Run<'_>,
    client: Option<&Client>,
    cx: &BackupContext,
) -> Result<(LockWindow, Option<SearchTask>)> {
    if !run.site.locks() {
        run.events
            .message("Nothing is locked: people go on working");
        return Ok((LockWindow::zero_downtime(), begin_search(run, cx)));
    }
    let client =
        client.ok_or_else(|| Error::new(ErrorKind::Internal, "there is no client to lock with"))?;
    let control = cx.control().clone();
    let (events, journal) = (run.events.clone(), cx.journal().clone());
    let mut lock = run
        .phase(
            Phase::Lock,
            MaintenanceLock::acquire(client, run.site.patience, &journal, &events, &control),
        )
        .await?;
    let state = run.site.backup.state.as_path().display().to_string();
    events.message(format!(
        "Bitbucket has been locked with a token that stands in {state}/journal.json; to unlock by hand: `diy-backup unlock`"
    ));

    run.starts(Phase::Drain);
    let started = Instant::now();
    let limits = LockLimits {
        drain: run.site.backup.drain_timeout.get(),
        locked: run.site.backup.max_locked.get(),
    };
    if let Err(error) = lock.start_task(limits, &control).await {
        let cleanup = control.for_cleanup();
        return Err(lock
            .abandon(&cleanup)
            .await
            .err()
            .unwrap_or(error.in_phase(Phase::Drain)));
    }
    events.message("Bitbucket backup started with a token that stands there too; to cancel by hand: `diy-backup cancel`");
    let search = begin_search(run, cx);
    events.message("Waiting for DRAINED state");
    let drained = lock.drained(limits, &control).await;
    match drained {
        Ok(window) => {
            run.ended(Phase::Drain, started.elapsed(), Ok(()))?;
            Ok((window, search))
        }
        Err(failed) => {
            let cleanup = control.for_cleanup();
            let unlocked = failed.lock.abandon(&cleanup).await;
            let error = run
                .unwind(
                    failed.error.in_phase(Phase::Drain),
                    None,
                    Undo::default().and_search(search),
                )
                .await;
            Err(unlocked.err().unwrap_or(error))
        }
    }
}

fn begin_search(run: &Run<'_>, cx: &BackupContext) -> Option<SearchTask> {
    let search = run.site.search.clone()?;
    let cx = cx.clone().for_part(PartName::Elasticsearch);
    Some(tokio::spawn(async move { search.begin(&cx).await }))
}

/// Gives the lock back and proves it.
pub(super) async fn leave(
    run: &mut Run<'_>,
    window: LockWindow,
) -> Result<Released, ReleaseFailed> {
    run.starts(Phase::Release);
    let started = Instant::now();
    let was_locked = window.is_locked();
    let control = run.control.clone();
    let released = window
        .release(&control)
        .await
        .map_err(|ReleaseFailed { window, error }| ReleaseFailed {
            window,
            error: error.in_phase(Phase::Release),
        })?;
    let elapsed = started.elapsed();
    // The clock has stopped: what is told from here on keeps nobody waiting.
    let _ = run.ended(Phase::Release, elapsed, Ok(()));
    if was_locked {
        run.events.message(format!(
            "Bitbucket has been unlocked; it was locked for {:.2} s",
            released.locked_for().as_secs_f64()
        ));
    }
    Ok(released)
}
