use std::time::{Duration, Instant};

use bitbucket_maintenance_client::{
    BackupTask, Client, ErrorKind as ClientErrorKind, Lock, LockState, MaintenanceStatus,
    RetryPolicy, TaskKind, TaskState,
};

use super::{MaintenanceLock, RunningTask, answered};
use crate::control::Control;
use crate::error::{Error, ErrorKind, Result};
use crate::event::Events;
use crate::journal::{Journal, Step};
use crate::patience::Patience;

const ATTEMPTS: u32 = 4;

impl MaintenanceLock {
    /// Locks the instance. The unlock token is in the journal before this returns.
    ///
    /// A lock request is never repeated blindly: when its answer was lost, the instance is asked whether it is
    /// locked, and only one that is proven to be free is asked again.
    ///
    /// # Errors
    /// [`ErrorKind::Bitbucket`] when it refuses, [`ErrorKind::StillLocked`] when the answer was lost and the instance
    /// is locked.
    pub(crate) async fn acquire(
        client: &Client,
        patience: Patience,
        journal: &Journal,
        events: &Events,
        control: &Control,
    ) -> Result<Self> {
        control.ensure_running()?;
        journal.step(Step::Locking)?;
        let locked = request_lock(client, &patience, events, control).await;
        let lock = match locked {
            Ok(lock) => lock,
            Err(error) => {
                if error.kind() != ErrorKind::StillLocked
                    && let Err(unwritten) = journal.step(Step::Started)
                {
                    // Recovering from the journal as it stands finds the instance free, which is as good.
                    events.warning(crate::error::chain(&unwritten));
                }
                return Err(error);
            }
        };
        let held = Self {
            client: client.clone(),
            journal: journal.clone(),
            events: events.clone(),
            patience,
            token: lock.unlock_token,
            task: None,
            locked_at: Instant::now(),
        };
        let token = held.token.expose().to_owned();
        let recorded = journal.update(|record| {
            record.step = Step::Locked;
            record.unlock_token = Some(token);
        });
        match recorded {
            Ok(()) => Ok(held),
            // Without a durable token a crash would leave it locked for good.
            Err(error) => match held.abandon(control).await {
                Ok(_) => Err(error),
                Err(stuck) => Err(stuck.with_hint(WHERE_TOKENS_ARE)),
            },
        }
    }

    /// Starts the backup task: Bitbucket lets running work end and holds new work back.
    ///
    /// # Errors
    /// [`ErrorKind::Bitbucket`] when it refuses, or when a start whose answer was lost cannot be made sure of.
    pub(crate) async fn start_task(&mut self, control: &Control) -> Result<()> {
        control.ensure_running()?;
        // Until the answer is here, a task may be running.
        self.task = Some(RunningTask {
            cancel: None,
            told_done: false,
        });
        let mut attempt = 1;
        loop {
            let once = self.client.with_retry(RetryPolicy::none());
            let started = answered(&self.patience, once.start_backup(&self.token)).await;
            let error = match started {
                Ok(task) => return self.keep_task(task),
                Err(error) => error,
            };
            if !error.is_transient() || attempt == ATTEMPTS {
                return Err(error);
            }
            let patient = self.client.with_retry(self.patience.short_retry());
            let status = answered(&self.patience, patient.maintenance(&self.token)).await?;
            if status.as_ref().is_some_and(backup_is_running) {
                self.events.warning(
                    "the answer to the start of the backup task was lost: it goes on without the token that cancels it",
                );
                return Ok(());
            }
            tracing::warn!(%error, attempt, "the backup task did not start; trying again");
            attempt += 1;
            control
                .unless_cancelled(pause(self.patience.pause * attempt))
                .await?;
        }
    }

    fn keep_task(&mut self, task: BackupTask) -> Result<()> {
        let token = task.cancel_token.expose().to_owned();
        self.task = Some(RunningTask {
            cancel: Some(task.cancel_token),
            told_done: false,
        });
        self.journal.update(|record| {
            record.step = Step::Draining;
            record.cancel_token = Some(token);
        })
    }
}

/// An ended task may stay visible as the latest one: it is not the one that was asked for.
fn backup_is_running(status: &MaintenanceStatus) -> bool {
    status.task.as_ref().is_some_and(|task| {
        matches!(task.state, TaskState::Running | TaskState::Unknown(_))
            && task.kind != TaskKind::Migration
    })
}

async fn request_lock(
    client: &Client,
    patience: &Patience,
    events: &Events,
    control: &Control,
) -> Result<Lock> {
    let mut attempt = 1;
    // Whether an earlier request of ours may still be at work: a cluster takes its time to lock.
    let mut may_come_late = false;
    loop {
        // Not cancelled half way: an answer that nobody reads is a token that nobody knows.
        let error = match client.with_retry(RetryPolicy::none()).lock().await {
            Ok(lock) => return Ok(lock),
            Err(error) => error,
        };
        if may_come_late && error.kind() == ClientErrorKind::Conflict {
            return Err(lost_answer(error));
        }
        if !error.is_transient() && !error.may_have_reached_server() {
            return Err(Error::from(error));
        }
        if error.may_have_reached_server() {
            may_come_late = true;
            if !is_proven_free(client, patience).await {
                return Err(lost_answer(error));
            }
        }
        if attempt == ATTEMPTS {
            return Err(Error::from(error));
        }
        events.warning(format!("the lock was not taken ({error}); trying again"));
        attempt += 1;
        control
            .unless_cancelled(pause(patience.pause * attempt))
            .await?;
    }
}

async fn is_proven_free(client: &Client, patience: &Patience) -> bool {
    let patient = client.with_retry(RetryPolicy::patient(patience.proof));
    matches!(patient.lock_state().await, Ok(LockState::Free))
}

async fn pause(duration: Duration) -> Result<()> {
    tokio::time::sleep(duration).await;
    Ok(())
}

const WHERE_TOKENS_ARE: &str = "Look for the unlock token in Bitbucket's application log (atlassian-bitbucket.log), then run `diy-backup unlock --token TOKEN`. \
    If an administrator has locked it, wait until that maintenance is over. `diy-backup recover` clears this up once the instance is free.";

fn lost_answer(error: bitbucket_maintenance_client::Error) -> Error {
    Error::new(
        ErrorKind::StillLocked,
        "the answer to the lock request was lost, and the instance is locked: most likely by this request, with a token that is not known here",
    )
    .with_source(error)
    .with_hint(WHERE_TOKENS_ARE)
}
