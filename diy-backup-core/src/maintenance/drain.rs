use std::time::{Duration, Instant};

use bitbucket_maintenance_client::{LatchState, MaintenanceStatus, RetryPolicy, TaskState};

use super::{MaintenanceLock, answered};
use crate::control::{CancelReason, Control};
use crate::error::{Error, ErrorKind, Result};
use crate::window::{LockLimits, LockWindow};

/// The pause between two looks at a draining instance: DRAINED is noticed this much later at most.
const POLL: Duration = Duration::from_millis(25);
/// The longest pause, for a server that does not answer as it should: each failure in a row makes it longer by a [`POLL`].
const LONGEST_PAUSE: Duration = Duration::from_secs(1);
/// How often a message tells that draining goes on.
const TELL: Duration = Duration::from_secs(5);
/// An answer that there is no maintenance counts only when it comes this often in a row: proxies answer 404 too.
const ABSENT_ANSWERS: u32 = 5;

/// A drain that failed, with the lock that is still held.
#[derive(Debug)]
pub(crate) struct DrainFailed {
    pub(crate) lock: MaintenanceLock,
    pub(crate) error: Error,
}

impl MaintenanceLock {
    /// Waits until the instance is drained.
    pub(crate) async fn drained(
        self,
        limits: LockLimits,
        control: &Control,
    ) -> Result<LockWindow, DrainFailed> {
        match self.wait_drained(limits, control).await {
            Ok(()) => Ok(LockWindow::over(self, limits.locked)),
            Err(error) => Err(DrainFailed { lock: self, error }),
        }
    }

    async fn wait_drained(&self, limits: LockLimits, control: &Control) -> Result<()> {
        let started = Instant::now();
        let deadline = limits
            .drain
            .min(limits.locked.saturating_sub(self.held_for()));
        let mut told = started;
        let mut absent = 0;
        let mut failures: u32 = 0;
        loop {
            let seen = control
                .unless_cancelled(self.look(RetryPolicy::none()))
                .await;
            failures = if seen.is_err() {
                failures.saturating_add(1)
            } else {
                0
            };
            match seen {
                Ok(Progress::Drained) => return Ok(()),
                Ok(Progress::Absent) if absent + 1 == ABSENT_ANSWERS => return Err(vanished()),
                Ok(Progress::Absent) => absent += 1,
                Ok(Progress::Draining(how_far)) => {
                    absent = 0;
                    if told.elapsed() >= TELL {
                        told = Instant::now();
                        self.events.message(format!("still draining: {how_far}"));
                    }
                }
                Err(error) if error.is_transient() => {
                    tracing::debug!(%error, "a look at the drain failed");
                }
                Err(error) => return Err(error),
            }
            if started.elapsed() >= deadline {
                return Err(Error::new(
                    ErrorKind::Bitbucket,
                    format!("the instance was not drained within {}", humantime::format_duration(deadline)),
                )
                .with_hint("Long clones or pushes keep it from draining: choose a quieter hour, or raise `drain-timeout` (Bitbucket itself may need 3 minutes)."));
            }
            let pause = pause_after(failures);
            tokio::time::sleep(pause.min(deadline.saturating_sub(started.elapsed()))).await;
        }
    }

    /// Makes sure that home and database are still held back, as they were when the drain ended.
    pub(crate) async fn ensure_drained(&self) -> Result<()> {
        for _ in 1..ABSENT_ANSWERS {
            match self.look(self.patience.short_retry()).await? {
                Progress::Drained => return Ok(()),
                Progress::Draining(how_far) => {
                    return Err(cancelled(&format!("it is no longer drained ({how_far})")));
                }
                Progress::Absent => {}
            }
        }
        Err(vanished())
    }

    async fn look(&self, retry: RetryPolicy) -> Result<Progress> {
        let status = answered(
            &self.patience,
            self.client.with_retry(retry).maintenance(&self.token),
        )
        .await?;
        status.as_ref().map_or(Ok(Progress::Absent), judge)
    }
}

/// How long to wait before the next look, after so many in a row that failed.
fn pause_after(failures: u32) -> Duration {
    POLL.saturating_mul(failures.saturating_add(1))
        .min(LONGEST_PAUSE)
}

/// What one look at a locked instance shows.
enum Progress {
    Drained,
    /// How far, in words.
    Draining(String),
    /// It says that there is no maintenance.
    Absent,
}

fn judge(status: &MaintenanceStatus) -> Result<Progress> {
    if let Some(task) = &status.task {
        match task.state {
            TaskState::Canceled => return Err(cancelled("its backup task was cancelled")),
            TaskState::Failed => {
                let message = format!(
                    "the backup task in Bitbucket failed: {}",
                    task.progress.message
                );
                return Err(Error::new(ErrorKind::Bitbucket, message)
                    .with_hint("Bitbucket's application log says why."));
            }
            TaskState::Successful => return Err(cancelled("its backup task has ended")),
            // A state that is not known decides nothing: the latches do.
            _ => {}
        }
    }
    if status.database == LatchState::Drained && status.scm == LatchState::Drained {
        return Ok(Progress::Drained);
    }
    Ok(Progress::Draining(format!(
        "database {}, repositories {}",
        status.database, status.scm
    )))
}

fn cancelled(how: &str) -> Error {
    Error::new(
        ErrorKind::Bitbucket,
        format!("{}: {how}", CancelReason::CancelledInBitbucket),
    )
}

fn vanished() -> Error {
    cancelled("it says that no maintenance is going on")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_server_that_does_not_answer_is_asked_less_and_less() {
        assert_eq!(pause_after(0), POLL);
        // One bad answer is no reason to notice the end of the drain late.
        assert!(pause_after(1) <= 2 * POLL);
        assert!(pause_after(9) > pause_after(8));
        assert_eq!(pause_after(u32::MAX), LONGEST_PAUSE);
    }
}
