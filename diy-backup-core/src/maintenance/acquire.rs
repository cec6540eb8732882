use std::time::{Duration, Instant};

use bitbucket_maintenance_client::{Client, Lock, LockState, RetryPolicy};

use super::{MaintenanceLock, RunningTask, SHORT_RETRY, answered};
use crate::control::Control;
use crate::error::{Error, ErrorKind, Result};
use crate::event::Events;
use crate::journal::{Journal, Step};

const ATTEMPTS: u32 = 4;
const PAUSE: Duration = Duration::from_millis(500);

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
        journal: &Journal,
        events: &Events,
        control: &Control,
    ) -> Result<Self> {
        journal.step(Step::Locking)?;
        let locked = request_lock(client, events, control).await;
        let lock = match locked {
            Ok(lock) => lock,
            Err(error) => {
                if error.kind() != ErrorKind::StillLocked {
                    journal.step(Step::Started)?;
                }
                return Err(error);
            }
        };
        let held = Self {
            client: client.clone(),
            journal: journal.clone(),
            events: events.clone(),
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
                Err(stuck) => Err(stuck),
            },
        }
    }

    /// Starts the backup task: Bitbucket lets running work end and holds new work back.
    ///
    /// # Errors
    /// [`ErrorKind::Bitbucket`] when it refuses, or when a start whose answer was lost cannot be made sure of.
    pub(crate) async fn start_task(&mut self, control: &Control) -> Result<()> {
        // Until the answer is here, a task may be running.
        self.task = Some(RunningTask { cancel: None });
        let mut attempt = 1;
        loop {
            let started = self.client.start_backup(&self.token).await;
            let error = match started {
                Ok(task) => {
                    let token = task.cancel_token.expose().to_owned();
                    self.task = Some(RunningTask {
                        cancel: Some(task.cancel_token),
                    });
                    return self
                        .journal
                        .update(|record| record.cancel_token = Some(token));
                }
                Err(error) => error,
            };
            if !error.is_transient() || attempt == ATTEMPTS {
                return Err(error.into());
            }
            let patient = self.client.with_retry(SHORT_RETRY);
            let status = answered(patient.maintenance(&self.token)).await?;
            let running = status.is_some_and(|status| status.task.is_some());
            if running {
                self.events.warning(
                    "the answer to the start of the backup task was lost: it goes on without the token that cancels it",
                );
                return Ok(());
            }
            tracing::warn!(%error, attempt, "the backup task did not start; trying again");
            attempt += 1;
            control.unless_cancelled(pause(attempt)).await?;
        }
    }
}

async fn request_lock(client: &Client, events: &Events, control: &Control) -> Result<Lock> {
    let mut attempt = 1;
    loop {
        // Not cancelled half way: an answer that nobody reads is a token that nobody knows.
        let error = match client.with_retry(RetryPolicy::none()).lock().await {
            Ok(lock) => return Ok(lock),
            Err(error) => error,
        };
        if !error.is_transient() && !error.may_have_reached_server() {
            return Err(Error::from(error));
        }
        if error.may_have_reached_server() && !is_proven_free(client).await {
            return Err(lost_answer(error));
        }
        if attempt == ATTEMPTS {
            return Err(Error::from(error));
        }
        events.warning(format!("the lock was not taken ({error}); trying again"));
        attempt += 1;
        control.unless_cancelled(pause(attempt)).await?;
    }
}

async fn is_proven_free(client: &Client) -> bool {
    let patient = client.with_retry(RetryPolicy::patient(Duration::from_secs(30)));
    matches!(patient.lock_state().await, Ok(LockState::Free))
}

async fn pause(attempt: u32) -> Result<()> {
    tokio::time::sleep(PAUSE * attempt).await;
    Ok(())
}

fn lost_answer(error: bitbucket_maintenance_client::Error) -> Error {
    Error::new(
        ErrorKind::StillLocked,
        "the answer to the lock request was lost, and the instance is locked: most likely by this request, with a token that is not known here",
    )
    .with_source(error)
    .with_hint(
        "Look for the unlock token in Bitbucket's application log (atlassian-bitbucket.log), then run `diy-backup unlock --token TOKEN`. \
         If an administrator has locked it, wait until that maintenance is over. `diy-backup recover` clears this up once the instance is free.",
    )
}
