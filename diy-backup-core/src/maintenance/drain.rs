use std::time::Duration;

use bitbucket_maintenance_client::{LatchState, MaintenanceStatus, RetryPolicy, Task, TaskState};

use super::pauses::{self, Pauses};
use super::proof::ensure_at_work;
use super::{MaintenanceLock, answered};
use crate::control::{CancelReason, Control};
use crate::error::{Error, ErrorKind, Result};
use crate::moment::Stopwatch;
use crate::window::{LockLimits, LockWindow};

/// The first pauses between two looks at a draining instance: the end of a short drain is noticed this much later at most.
const POLL: Duration = Duration::from_millis(25);
/// Later pauses are this share of the drain so far: a drain of minutes is not asked for 40 times a second, and noticing
/// its end adds no more than this to it.
const SHARE: u32 = 50;
/// The longest pause, also for a server that does not answer as it should: each failure in a row adds a [`POLL`].
const LONGEST_PAUSE: Duration = Duration::from_secs(1);
/// How often a message tells that draining goes on.
const TELL: Duration = Duration::from_secs(5);
/// An answer that there is no maintenance counts only when it comes this often in a row, over the time that
/// [`Patience::absence`](crate::Patience::absence) names, from an instance that is at work: gateways answer 404 too.
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
        let started = Stopwatch::start();
        let deadline = self.drain_time(limits);
        let mut told = Stopwatch::start();
        let mut absence = Absence::default();
        let mut failures: u32 = 0;
        loop {
            let seen = control
                .unless_cancelled(self.look(RetryPolicy::none()))
                .await;
            let mut asked_for = Duration::ZERO;
            match seen {
                Ok(Progress::Drained) => return Ok(()),
                Ok(Progress::Absent) => {
                    if control.unless_cancelled(absence.counts(self)).await? {
                        return Err(vanished());
                    }
                }
                Ok(Progress::Draining(how_far)) => {
                    absence = Absence::default();
                    failures = 0;
                    if told.elapsed() >= TELL {
                        told = Stopwatch::start();
                        self.events.message(format!("still draining: {how_far}"));
                    }
                }
                Err(error) if error.is_transient() => {
                    failures = failures.saturating_add(1);
                    asked_for = pauses::asked_for([&error]);
                    tracing::debug!(%error, "a look at the drain failed");
                }
                Err(error) => return Err(error),
            }
            let elapsed = started.elapsed();
            if elapsed >= deadline {
                return Err(Error::new(
                    ErrorKind::Bitbucket,
                    format!("the instance was not drained within {}", humantime::format_duration(limits.drain.min(limits.locked))),
                )
                .with_hint("Long clones or pushes keep it from draining: choose a quieter hour, or raise `drain-timeout` (Bitbucket itself may need 3 minutes)."));
            }
            let pause = pause_after(elapsed, failures).max(asked_for);
            let pause = pause.min(deadline.saturating_sub(elapsed));
            let slept = async {
                tokio::time::sleep(pause).await;
                Ok(())
            };
            control.unless_cancelled(slept).await?;
        }
    }

    /// How long the instance may take from now on to begin the task and to be drained.
    pub(super) fn drain_time(&self, limits: LockLimits) -> Duration {
        let whole = limits.drain.min(limits.locked);
        whole.saturating_sub(self.held_for())
    }

    /// Makes sure that home and database are still held back, as they were when the drain ended.
    pub(crate) async fn ensure_drained(&self) -> Result<()> {
        let mut absence = Absence::default();
        let mut pauses = Pauses::from(POLL);
        let started = Stopwatch::start();
        loop {
            match self.look(self.patience.short_retry()).await? {
                Progress::Drained => return Ok(()),
                Progress::Draining(how_far) => {
                    return Err(cancelled(&format!("it is no longer drained ({how_far})")));
                }
                Progress::Absent => {}
            }
            if absence.counts(self).await? || started.elapsed() >= self.patience.retry {
                return Err(vanished());
            }
            tokio::time::sleep(pauses.after([])).await;
        }
    }

    async fn look(&self, retry: RetryPolicy) -> Result<Progress> {
        let status = answered(
            &self.patience,
            self.client.with_retry(retry).maintenance(&self.token),
        )
        .await?;
        let ours = self.task.as_ref().and_then(|task| task.id.as_deref());
        status
            .as_ref()
            .map_or(Ok(Progress::Absent), |status| judge(status, ours))
    }
}

/// A row of answers that there is no maintenance.
#[derive(Debug, Default)]
struct Absence {
    answers: u32,
    since: Option<Stopwatch>,
}

impl Absence {
    /// Counts one more; whether they prove by now that the maintenance is over.
    async fn counts(&mut self, lock: &MaintenanceLock) -> Result<bool> {
        self.answers += 1;
        let since = self.since.get_or_insert_with(Stopwatch::start);
        if self.answers < ABSENT_ANSWERS || since.elapsed() < lock.patience.absence {
            return Ok(false);
        }
        let once = lock.client.with_retry(RetryPolicy::none());
        Ok(ensure_at_work(&once, &lock.patience).await.is_ok())
    }
}

/// How long to wait before the next look, so long after the first one and after so many in a row that failed.
fn pause_after(elapsed: Duration, failures: u32) -> Duration {
    (elapsed / SHARE)
        .max(POLL)
        .saturating_add(POLL.saturating_mul(failures))
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

/// Judges a look by the task with the ID `ours`; one that an earlier backup has left on show says nothing.
fn judge(status: &MaintenanceStatus, ours: Option<&str>) -> Result<Progress> {
    let is_ours = |task: &&Task| ours.is_none_or(|id| task.id.is_empty() || task.id == id);
    if let Some(task) = status.task.as_ref().filter(is_ours) {
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
        let first = Duration::ZERO;
        assert_eq!(pause_after(first, 0), POLL);
        // One bad answer is no reason to notice the end of the drain late.
        assert!(pause_after(first, 1) <= 2 * POLL);
        assert!(pause_after(first, 9) > pause_after(first, 8));
        assert_eq!(pause_after(first, u32::MAX), LONGEST_PAUSE);
    }

    #[test]
    fn a_long_drain_is_asked_for_once_a_second_and_a_short_one_without_delay() {
        let mut elapsed = Duration::ZERO;
        let mut looks = 0;
        while elapsed < Duration::from_mins(4) {
            let pause = pause_after(elapsed, 0);
            assert!(elapsed > Duration::from_secs(1) || pause == POLL);
            assert!(
                pause <= POLL.max(elapsed / 50),
                "{pause:?} after {elapsed:?}"
            );
            elapsed += pause;
            looks += 1;
        }
        // At 40 a second they would be 9,600.
        assert!(looks < 500, "{looks}");
    }
}
