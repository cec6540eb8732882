//! The capture: the one phase in which people wait.

use std::convert::Infallible;
use std::time::Instant;

use bitbucket_maintenance_client::{Percentage, RetryPolicy};

use super::Parts;
use crate::control::{CancelReason, Control};
use crate::driven::{Aborting, Captured, Driven, Prepared, first_cause};
use crate::error::{Error, Result};
use crate::event::Events;
use crate::maintenance::answered;
use crate::patience::Patience;
use crate::phase::Phase;
use crate::run::Run;
use crate::window::LockWindow;

/// A capture that failed, with the window that is still open.
#[derive(Debug)]
pub(super) struct CaptureFailed {
    pub(super) error: Error,
    pub(super) window: LockWindow,
    pub(super) rest: Vec<Aborting>,
}

/// How one part's capture ended. A part that failed leaves a session that can be aborted.
type Ended = Result<Driven<Captured>, (Error, Aborting)>;

/// Captures home and database at once.
pub(super) async fn capture(
    run: &mut Run<'_>,
    window: LockWindow,
    parts: Parts<Prepared>,
) -> Result<(LockWindow, Parts<Captured>), CaptureFailed> {
    run.starts(Phase::Capture);
    let started = Instant::now();
    let control = run.control.clone();
    let patience = run.site.patience;
    let (mut home, mut database) = (None, None);
    tokio::select! {
        // The work first: a window that is over in milliseconds needs no watching.
        biased;
        // Joined, never try-joined: the survivor of a failure must come back whole, to be aborted.
        _ = async { tokio::join!(
            async { home = Some(drive(parts.home, &window, &control).await) },
            async { database = Some(drive(parts.database, &window, &control).await) },
        ) } => {}
        never = watch(&window, &control, &run.events, &patience) => match never {},
        () = cut_off(&window, &control, &patience) => {}
    }
    match judge(home, database, &control, &run.events) {
        Ok(parts) => {
            let _ = run.ended(Phase::Capture, started.elapsed(), Ok(()));
            Ok((window, parts))
        }
        Err((error, rest)) => Err(CaptureFailed {
            error,
            window,
            rest,
        }),
    }
}

async fn drive(part: Driven<Prepared>, window: &LockWindow, control: &Control) -> Ended {
    let ended = part.capture(window).await;
    ended.map_err(|failed| {
        // The run is over: the other part need not go on.
        control.cancel(CancelReason::PartFailed);
        (failed.error, failed.rest)
    })
}

/// What the two parts amount to. A part that was dropped where it stood has not ended at all.
fn judge(
    home: Option<Ended>,
    database: Option<Ended>,
    control: &Control,
    events: &Events,
) -> Result<Parts<Captured>, (Error, Vec<Aborting>)> {
    let (home, database) = match (home, database) {
        (Some(Ok(home)), Some(Ok(database))) => return Ok(Parts { home, database }),
        others => others,
    };
    let mut error: Option<Error> = None;
    let mut rest = Vec::new();
    for ended in [home, database].into_iter().flatten() {
        match ended {
            Ok(captured) => rest.push(captured.give_up()),
            Err((why, aborting)) => {
                error = Some(match error {
                    Some(earlier) => first_cause(earlier, why, events),
                    None => why,
                });
                rest.push(aborting);
            }
        }
    }
    let error = error.unwrap_or_else(|| control.error().in_phase(Phase::Capture));
    Err((error, rest))
}

/// Cancels the run when the window has been open for too long, and ends when the sessions do not stop by themselves.
async fn cut_off(window: &LockWindow, control: &Control, patience: &Patience) {
    tokio::select! {
        reason = window.overdue() => control.cancel(reason),
        () = control.cancelled() => {}
    }
    tokio::time::sleep(patience.stop).await;
}

/// Looks now and then whether the instance is still drained, and tells Bitbucket how far the capture is.
async fn watch(
    window: &LockWindow,
    control: &Control,
    events: &Events,
    patience: &Patience,
) -> Infallible {
    let Some(lock) = window.held() else {
        return std::future::pending().await;
    };
    let mut reported = 0;
    loop {
        tokio::time::sleep(patience.watch).await;
        if let Err(error) = lock.ensure_drained().await
            && !error.is_transient()
        {
            control.cancel(CancelReason::CancelledInBitbucket);
        }
        let percent = whole_percent(events.fraction(Phase::Capture));
        if percent <= reported {
            continue;
        }
        reported = percent;
        if let Some(done) = Percentage::new(percent) {
            let client = lock.client().with_retry(RetryPolicy::none());
            let told = answered(patience, client.report_progress(lock.token(), done)).await;
            if let Err(error) = told {
                let why = crate::error::chain(&error);
                events.warning(format!("bitbucket was not told the progress: {why}"));
            }
        }
    }
}

/// 100 would end the backup task: only the release says that.
fn whole_percent(fraction: f64) -> u8 {
    #[expect(
        clippy::cast_possible_truncation,
        clippy::cast_sign_loss,
        reason = "clamped to 0..=99 before"
    )]
    let percent = (fraction * 100.0).clamp(0.0, 99.0) as u8;
    percent
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_capture_that_is_nearly_done_does_not_end_the_task() {
        assert_eq!(
            [0.0, 0.5, 0.999, 1.0, f64::NAN].map(whole_percent),
            [0, 50, 99, 99, 0]
        );
    }
}
