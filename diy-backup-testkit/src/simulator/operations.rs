//! What can be done to the instance: by calls, and by people at its own pages.

use std::sync::Arc;

use tokio::time::sleep;

use super::builder::{EndedTask, UnlockWhileRunning};
use super::core::Core;
use super::drain;
use super::maintenance::{Lock, Task, TaskKind, TaskState};

/// Why something was not done.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Refusal {
    AlreadyLocked,
    NotLocked,
    WrongToken,
    OtherMaintenance,
    NoBackup,
    NotDrained,
    BadPercentage,
    TaskRunning,
    NotReady,
}

impl Core {
    /// Takes the lock, which may take a while.
    pub(super) async fn lock(&self, owner: &str) -> Result<Lock, Refusal> {
        self.change(|maintenance| {
            if maintenance.lock.is_some() || maintenance.locking {
                return Err(Refusal::AlreadyLocked);
            }
            if maintenance.running_task().is_some() {
                return Err(Refusal::OtherMaintenance);
            }
            maintenance.locking = true;
            Ok(())
        })?;
        sleep(self.settings.lock_delay).await;
        Ok(self.change(|maintenance| maintenance.take_lock(owner)))
    }

    /// Takes the lock at once, as an administrator at another desk.
    pub(super) fn lock_at_once(&self, owner: &str) -> Result<Lock, Refusal> {
        self.change(|maintenance| {
            if maintenance.lock.is_some() || maintenance.locking {
                return Err(Refusal::AlreadyLocked);
            }
            Ok(maintenance.take_lock(owner))
        })
    }

    /// Gives the lock back, which may take a while.
    pub(super) async fn unlock(&self, token: &str) -> Result<(), Refusal> {
        self.change(|maintenance| {
            if maintenance.lock.is_none() {
                return Err(Refusal::NotLocked);
            }
            if !maintenance.holds(Some(token)) {
                return Err(Refusal::WrongToken);
            }
            if maintenance.running_task().is_some() {
                match self.settings.unlock_while_running {
                    UnlockWhileRunning::Refused => return Err(Refusal::TaskRunning),
                    UnlockWhileRunning::Cancels => {
                        self.end_task(maintenance, TaskState::Canceled);
                    }
                }
            }
            Ok(())
        })?;
        sleep(self.settings.unlock_delay).await;
        self.change(|maintenance| {
            if !maintenance.holds(Some(token)) {
                return Err(Refusal::NotLocked);
            }
            maintenance.give_lock_back();
            if self.settings.ended_task == EndedTask::UntilUnlock {
                maintenance.task = None;
            }
            Ok(())
        })
    }

    /// Begins a backup task and, in the background, its drain.
    pub(super) fn start_backup(self: &Arc<Self>, token: Option<&str>) -> Result<Task, Refusal> {
        let task = self.change(|maintenance| {
            if maintenance.lock.is_none() {
                return Err(Refusal::NotLocked);
            }
            if !maintenance.holds(token) {
                return Err(Refusal::WrongToken);
            }
            if maintenance.running_task().is_some() {
                return Err(Refusal::OtherMaintenance);
            }
            let delay = self.settings.start_delay;
            if maintenance
                .lock
                .as_ref()
                .is_some_and(|lock| lock.since.elapsed() < delay)
            {
                return Err(Refusal::NotReady);
            }
            let task = Task::new(TaskKind::Backup);
            maintenance.task = Some(task.clone());
            Ok(task)
        })?;
        tokio::spawn(drain::run(Arc::clone(self), task.id.clone()));
        Ok(task)
    }

    /// Notes what the client reports; 100 ends the task, at once or in the background.
    pub(super) fn report_progress(
        self: &Arc<Self>,
        token: &str,
        percentage: &str,
    ) -> Result<(), Refusal> {
        let ending = self.change(|maintenance| {
            let holds = maintenance.holds(Some(token));
            let drained = maintenance.latches.are_drained();
            let task = maintenance
                .running_task()
                .filter(|task| task.kind == TaskKind::Backup)
                .ok_or(Refusal::NoBackup)?;
            if !holds {
                return Err(Refusal::WrongToken);
            }
            let reported: u8 = percentage.parse().map_err(|_| Refusal::BadPercentage)?;
            if reported > 100 || reported < task.client_percentage {
                return Err(Refusal::BadPercentage);
            }
            if reported == 100 && !drained {
                return Err(Refusal::NotDrained);
            }
            task.client_percentage = reported;
            if reported == 100 && self.settings.end_delay.is_zero() {
                self.end_task(maintenance, TaskState::Successful);
            } else if reported == 100 && !task.ending {
                task.ending = true;
                return Ok(Some(task.id.clone()));
            }
            Ok(None)
        })?;
        if let Some(id) = ending {
            tokio::spawn(Arc::clone(self).end_later(id));
        }
        Ok(())
    }

    async fn end_later(self: Arc<Self>, id: String) {
        sleep(self.settings.end_delay).await;
        self.change(|maintenance| {
            if maintenance.running_task().is_some_and(|task| task.id == id) {
                self.end_task(maintenance, TaskState::Successful);
            }
        });
    }

    /// Cancels the running task with its own token.
    pub(super) fn cancel(&self, token: &str) -> Result<(), Refusal> {
        self.change(|maintenance| {
            let task = maintenance.running_task().ok_or(Refusal::NoBackup)?;
            if task.cancel_token != token {
                return Err(Refusal::WrongToken);
            }
            // It is on its way to its end already.
            if task.ending {
                return Ok(());
            }
            self.end_task(maintenance, TaskState::Canceled);
            Ok(())
        })
    }

    /// Begins a maintenance task that is not a backup.
    pub(super) fn start_migration(&self) -> Result<(), Refusal> {
        self.change(|maintenance| {
            if maintenance.running_task().is_some() {
                return Err(Refusal::OtherMaintenance);
            }
            maintenance.task = Some(Task::new(TaskKind::Migration));
            Ok(())
        })
    }
}
