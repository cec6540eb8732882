use std::time::{Duration, Instant};

use bitbucket_maintenance_client::{
    CancelToken, Client, ErrorKind as ClientErrorKind, LockState, Percentage, RetryPolicy,
    UnlockToken,
};

use super::{MaintenanceLock, RunningTask, answered};
use crate::control::Control;
use crate::error::{Error, ErrorKind, Result};
use crate::event::Events;
use crate::journal::{Journal, Step};
use crate::patience::Patience;

/// A refusal (as opposed to a failure that passes) is tried this often.
const REFUSALS: u32 = 3;

impl MaintenanceLock {
    /// Tells Bitbucket that the backup is done, unlocks, and proves it. The lock comes back when that fails.
    pub(crate) async fn release(mut self, control: &Control) -> Result<Duration, (Self, Error)> {
        if let Some(task) = &mut self.task {
            let client = self.client.with_retry(self.patience.short_retry());
            let done = client.report_progress(&self.token, Percentage::COMPLETE);
            match answered(&self.patience, done).await {
                Ok(()) => task.told_done = true,
                Err(error) => {
                    let why = crate::error::chain(&error);
                    self.events.warning(format!(
                        "bitbucket was not told that the backup is done: {why}"
                    ));
                }
            }
        }
        self.give_back(control).await
    }

    /// Ends the task without a backup, unlocks, and proves it.
    ///
    /// # Errors
    /// [`ErrorKind::StillLocked`], with the command that unlocks.
    pub(crate) async fn abandon(self, control: &Control) -> Result<Duration> {
        self.give_back(control).await.map_err(|(_, error)| error)
    }

    async fn give_back(self, control: &Control) -> Result<Duration, (Self, Error)> {
        let way_back = WayBack {
            client: &self.client,
            patience: &self.patience,
            token: &self.token,
            events: &self.events,
        };
        if let Err(error) = way_back.go(self.task.as_ref(), control).await {
            return Err((self, error));
        }
        let held = self.held_for();
        record_free(&self.journal, &self.events);
        Ok(held)
    }
}

/// Frees an instance that a dead run has left locked: ends its task, unlocks, and proves it.
///
/// # Errors
/// [`ErrorKind::StillLocked`], with the command that unlocks.
pub(crate) async fn free_instance(
    client: &Client,
    patience: &Patience,
    token: &UnlockToken,
    cancel: Option<CancelToken>,
    journal: &Journal,
    events: &Events,
    control: &Control,
) -> Result<()> {
    let task = RunningTask {
        cancel,
        told_done: false,
    };
    let way_back = WayBack {
        client,
        patience,
        token,
        events,
    };
    way_back.go(Some(&task), control).await?;
    record_free(journal, events);
    Ok(())
}

/// Whether the instance is proven not to be locked.
///
/// # Errors
/// [`ErrorKind::Bitbucket`] when it does not say.
pub(crate) async fn is_free(client: &Client) -> Result<bool> {
    Ok(client.lock_state().await? == LockState::Free)
}

/// The way back to a free instance.
struct WayBack<'a> {
    client: &'a Client,
    patience: &'a Patience,
    token: &'a UnlockToken,
    events: &'a Events,
}

impl WayBack<'_> {
    /// Ends the task, and unlocks until the instance says that it is free, which is the only proof there is.
    async fn go(&self, task: Option<&RunningTask>, control: &Control) -> Result<()> {
        let started = Instant::now();
        let mut end = match task {
            Some(task) if task.told_done => TaskEnd::Over,
            task => self.end_task(task).await,
        };
        let mut refusals = 0;
        // While an unlock that was not answered may still be at work, a refusal of the next one means nothing.
        let mut at_work_until = started;
        loop {
            let once = self.client.with_retry(RetryPolicy::none());
            let unlocked = self.try_unlock(&once).await;
            let state = answered(self.patience, once.lock_state()).await;
            if is_proof(&unlocked, &state) {
                return Ok(());
            }
            let refused = unlocked.as_ref().is_err_and(|error| !error.is_transient());
            if unlocked
                .as_ref()
                .is_err_and(|error| client_kind(error).is_none())
            {
                at_work_until = Instant::now() + self.patience.request;
            }
            if refused && Instant::now() >= at_work_until {
                refusals += 1;
            }
            if refusals >= REFUSALS || started.elapsed() >= self.patience.unlock {
                return Err(still_locked(unlocked.err(), state.err()));
            }
            tokio::select! {
                () = tokio::time::sleep(self.patience.pause) => {}
                () = control.killed() => return Err(still_locked(unlocked.err(), state.err())),
            }
            // A task that runs on, whatever was said of it, may be what the unlock is refused for.
            if refused || end == TaskEnd::RunsOn {
                end = self.end_task(task).await;
            }
            if end == TaskEnd::RunsOn {
                refusals = 0;
            }
        }
    }

    /// One attempt. What it started goes on in Bitbucket also when its answer is no longer waited for.
    async fn try_unlock(&self, client: &Client) -> Result<()> {
        match tokio::time::timeout(self.patience.unlock_answer, client.unlock(self.token)).await {
            Ok(unlocked) => unlocked.map_err(Error::from),
            Err(_) => Err(Error::new(
                ErrorKind::Bitbucket,
                format!(
                    "bitbucket has not answered the unlock for {} s",
                    self.patience.unlock_answer.as_secs()
                ),
            )
            .transient()),
        }
    }

    /// Ends a backup task that may be running. That it fails keeps nobody from unlocking.
    async fn end_task(&self, task: Option<&RunningTask>) -> TaskEnd {
        let Some(task) = task else {
            return TaskEnd::Over;
        };
        let client = self.client.with_retry(self.patience.short_retry());
        let ended = if let Some(cancel) = &task.cancel {
            answered(self.patience, client.cancel(cancel)).await
        } else {
            // Reporting the end needs the unlock token alone; it is refused until the instance is drained.

            let done = client.report_progress(self.token, Percentage::COMPLETE);
            answered(self.patience, done).await
        };
        let Err(error) = ended else {
            return TaskEnd::Over;
        };
        let why = crate::error::chain(&error);
        tracing::debug!(%why, "the backup task was not ended");
        if error.is_transient() {
            self.events
                .warning(format!("the backup task was not cancelled: {why}"));
            return TaskEnd::RunsOn;
        }
        if task.cancel.is_none() && client_kind(&error) == Some(ClientErrorKind::Conflict) {
            return TaskEnd::RunsOn;
        }
        TaskEnd::Over
    }
}

/// What is known of the backup task.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum TaskEnd {
    /// It has ended, by all that was said, or nothing more can be done about it.
    Over,
    /// It runs on, and can be ended later.
    RunsOn,
}

/// Whether the instance has said that it is free. A page with the status 404 may come from a proxy: it counts only
/// beside an unlock that Bitbucket has answered with success.
fn is_proof(unlocked: &Result<()>, state: &Result<LockState>) -> bool {
    match state {
        Ok(LockState::Free) => true,
        Ok(LockState::Locked) => false,
        Err(error) => {
            unlocked.is_ok() && client_error(error).is_some_and(|cause| cause.status() == Some(404))
        }
    }
}

fn client_kind(error: &Error) -> Option<ClientErrorKind> {
    client_error(error).map(bitbucket_maintenance_client::Error::kind)
}

/// What the client said, below our own words.
fn client_error(error: &Error) -> Option<&bitbucket_maintenance_client::Error> {
    std::error::Error::source(error)?.downcast_ref()
}

fn still_locked(unlock: Option<Error>, look: Option<Error>) -> Error {
    let error = Error::new(ErrorKind::StillLocked, "the instance is still locked")
        .with_hint("Run `diy-backup recover` as soon as Bitbucket answers again: it unlocks with the token in the journal, and puts the rest right. `diy-backup unlock` does nothing but unlock.");
    match unlock.or(look) {
        Some(source) => error.with_source(source),
        None => error,
    }
}

fn record_free(journal: &Journal, events: &Events) {
    let recorded = journal.update(|record| {
        record.step = Step::Released;
        record.unlock_token = None;
        record.cancel_token = None;
    });
    if let Err(error) = recorded {
        // Recovering from it finds the instance free, which is as good.
        events.warning(format!(
            "the unlock could not be recorded: {}",
            crate::error::chain(&error)
        ));
    }
}
