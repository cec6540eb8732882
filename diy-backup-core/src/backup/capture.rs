//! The capture: the one phase in which people wait.

use std::convert::Infallible;
use std::time::Instant;

use bitbucket_maintenance_client::{Percentage, RetryPolicy};
use tokio::runtime::Handle;
use tokio_util::sync::CancellationToken;

use super::Parts;
use crate::control::{CancelReason, Control};
use crate::driven::{Aborting, Captured, Driven, Prepared, first_cause};
use crate::error::{Error, ErrorKind, Result};
use crate::event::Events;
use crate::maintenance::answered;
use crate::patience::Patience;
use crate::phase::Phase;
use crate::run::{Ended, Run, Stuck};
use crate::window::LockWindow;

/// A capture that failed, with the window that is still open.
#[derive(Debug)]
pub(super) struct CaptureFailed {
    pub(super) error: Error,
    pub(super) window: LockWindow,
    pub(super) rest: Vec<Aborting>,
    /// Captures that were cut off, and may hang.
    pub(super) stuck: Vec<Stuck>,
}

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
    let cut = CancellationToken::new();
    // Also when this future is dropped: the sessions go with it, as far as they do not hang.
    let _cut_at_the_end = cut.clone().drop_guard();
    let mut home = Capturing::start(parts.home, &window, &control, &cut);
    let mut database = Capturing::start(parts.database, &window, &control, &cut);
    tokio::select! {
        // The work first: a window that is over in milliseconds needs no watching.
        biased;
        // Joined, never try-joined: the survivor of a failure must come back whole, to be aborted.
        _ = async { tokio::join!(home.ends(&control), database.ends(&control)) } => {}
        never = watch(&window, &control, &run.events, &patience) => match never {},
        () = cut_off(&window, &control, &patience) => cut.cancel(),
    }
    match judge([home, database], &control, &run.events) {
        Ok(parts) => {
            let _ = run.ended(Phase::Capture, started.elapsed(), Ok(()));
            Ok((window, parts))
        }
        Err(failed) => Err(CaptureFailed {
            error: failed.error.unwrap_or_else(|| control.error()),
            window,
            rest: failed.rest,
            stuck: failed.stuck,
        }),
    }
}

/// One part's capture, on a thread of its own: a call of the operating system that hangs there, on a file system whose
/// server is gone, keeps neither the watch nor the unlock from going on.
struct Capturing {
    state: State,
}

enum State {
    Running(Stuck),
    Ended(Ended),
    /// It panicked.
    Broken(Error),
}

impl Capturing {
    fn start(
        part: Driven<Prepared>,
        window: &LockWindow,
        control: &Control,
        cut: &CancellationToken,
    ) -> Self {
        let (shown, control, cut) = (window.shown(), control.clone(), cut.clone());
        let runtime = Handle::current();
        let task = tokio::task::spawn_blocking(move || {
            runtime.block_on(async {
                tokio::select! {
                    biased;
                    ended = drive(part, &shown, &control) => Some(ended),
                    // The session is dropped where it stands, as soon as its thread comes by here.
                    () = cut.cancelled() => None,
                }
            })
        });
        Self {
            state: State::Running(task),
        }
    }

    async fn ends(&mut self, control: &Control) {
        let State::Running(task) = &mut self.state else {
            return;
        };
        let broken = |source| {
            let error = Error::new(ErrorKind::Internal, "the capture broke off");
            State::Broken(source_of(error, source).in_phase(Phase::Capture))
        };
        self.state = match task.await {
            Ok(Some(ended)) => State::Ended(ended),
            Ok(None) => broken(None),
            Err(error) => broken(Some(error)),
        };
        if let State::Broken(_) = self.state {
            control.cancel(CancelReason::PartFailed);
        }
    }
}

fn source_of(error: Error, source: Option<tokio::task::JoinError>) -> Error {
    match source {
        Some(source) => error.with_source(source),
        None => error,
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
    parts: [Capturing; 2],
    control: &Control,
    events: &Events,
) -> Result<Parts<Captured>, Failed> {
    let [home, database] = parts;
    let (home, database) = match (home.state, database.state) {
        (State::Ended(Ok(home)), State::Ended(Ok(database))) => {
            return Ok(Parts { home, database });
        }
        others => others,
    };
    let mut error: Option<Error> = None;
    let mut failed = Failed::default();
    for state in [home, database] {
        let why = match state {
            State::Ended(Ok(captured)) => {
                failed.rest.push(captured.give_up());
                continue;
            }
            State::Ended(Err((why, aborting))) => {
                failed.rest.push(aborting);
                why
            }
            State::Running(task) => {
                failed.stuck.push(task);
                continue;
            }
            State::Broken(why) => why,
        };
        error = Some(match error {
            Some(earlier) => first_cause(earlier, why, events),
            None => why,
        });
    }
    failed.error = error.or_else(|| Some(control.error().in_phase(Phase::Capture)));
    Err(failed)
}

/// What is left of a capture that failed.
#[derive(Debug, Default)]
struct Failed {
    error: Option<Error>,
    rest: Vec<Aborting>,
    stuck: Vec<Stuck>,
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
