//! The capture: the one phase in which people wait.

use std::convert::Infallible;
use std::time::{Duration, Instant};

use bitbucket_maintenance_client::{Percentage, RetryPolicy};

use super::{Parts, cancelling_the_other, first_cause};
use crate::control::{CancelReason, Control};
use crate::driven::{Aborting, Captured, Driven, Prepared};
use crate::error::{Error, Result};
use crate::event::Events;
use crate::phase::Phase;
use crate::run::Run;
use crate::window::LockWindow;

/// How often a capture that takes longer looks whether it has been cancelled in Bitbucket, and reports its progress.
const WATCH: Duration = Duration::from_millis(500);
/// How long sessions may take to stop when the window must close. Then they are dropped where they stand.
const STOP: Duration = Duration::from_secs(10);

/// A capture that failed, with the window that is still open.
#[derive(Debug)]
pub(super) struct CaptureFailed {
    pub(super) error: Error,
    pub(super) window: LockWindow,
    pub(super) rest: Vec<Aborting>,
}

/// Captures home and database at once.
pub(super) async fn capture(
    run: &mut Run<'_>,
    window: LockWindow,
    parts: Parts<Prepared>,
) -> Result<(LockWindow, Parts<Captured>), CaptureFailed> {
    let started = Instant::now();
    let control = run.control.clone();
    let captured = tokio::select! {
        // The work first: a window that is over in milliseconds needs no watching.
        biased;
        captured = capture_parts(&window, parts, &control) => captured,
        never = watch(&window, &control, &run.events) => match never {},
        () = cut_off(&window, &control) => Err((control.error(), Vec::new())),
    };
    match captured {
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

async fn capture_parts(
    window: &LockWindow,
    parts: Parts<Prepared>,
    control: &Control,
) -> Result<Parts<Captured>, (Error, Vec<Aborting>)> {
    let drive = async |part: Driven<Prepared>| {
        let mut rest = None;
        let result = cancelling_the_other(control, async {
            part.capture(window).await.map_err(|failed| {
                rest = Some(failed.rest);
                failed.error
            })
        })
        .await;
        (result, rest)
    };
    // Joined, never try-joined: the survivor of a failure must come back whole, to be aborted.
    let ((home, home_rest), (database, database_rest)) =
        tokio::join!(drive(parts.home), drive(parts.database));
    let mut rest: Vec<Aborting> = home_rest.into_iter().chain(database_rest).collect();
    match (home, database) {
        (Ok(home), Ok(database)) => Ok(Parts { home, database }),
        (Err(error), Ok(other)) | (Ok(other), Err(error)) => {
            rest.push(other.give_up());
            Err((error, rest))
        }
        (Err(home), Err(database)) => Err((first_cause(home, database), rest)),
    }
}

/// Cancels the run when the window has been open for too long, and ends when the sessions do not stop by themselves.
async fn cut_off(window: &LockWindow, control: &Control) {
    tokio::select! {
        reason = window.overdue() => control.cancel(reason),
        () = control.cancelled() => {}
    }
    tokio::time::sleep(STOP).await;
}

/// Looks now and then whether the instance is still drained, and tells Bitbucket how far the capture is.
async fn watch(window: &LockWindow, control: &Control, events: &Events) -> Infallible {
    let Some(lock) = window.held() else {
        return std::future::pending().await;
    };
    let mut reported = 0;
    loop {
        tokio::time::sleep(WATCH).await;
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
            if let Err(error) = client.report_progress(lock.token(), done).await {
                events.warning(format!("bitbucket was not told the progress: {error}"));
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
