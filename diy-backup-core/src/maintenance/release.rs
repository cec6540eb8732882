use std::time::{Duration, Instant};

use bitbucket_maintenance_client::{
    CancelToken, Client, LockState, Percentage, RetryPolicy, UnlockToken,
};

use super::{MaintenanceLock, RunningTask, SHORT_RETRY, UNLOCK_PATIENCE, answered};
use crate::control::Control;
use crate::error::{Error, ErrorKind, Result};
use crate::event::Events;
use crate::journal::{Journal, Step};

/// The pause between two rounds of unlocking and looking.
const PAUSE: Duration = Duration::from_millis(500);
/// A refusal (as opposed to a failure that passes) is tried this often.
const REFUSALS: u32 = 3;

impl MaintenanceLock {
    /// Tells Bitbucket that the backup is done, unlocks, and proves it. The lock comes back when that fails.
    pub(crate) async fn release(mut self, control: &Control) -> Result<Duration, (Self, Error)> {
        if self.task.is_some() {
            let done = self.client.with_retry(SHORT_RETRY);
            match answered(done.report_progress(&self.token, Percentage::COMPLETE)).await {
                Ok(()) => self.task = None,
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
        end_task(&self.client, self.task.as_ref(), &self.token, &self.events).await;
        if let Err(error) = unlock(&self.client, &self.token, control).await {
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
    token: &UnlockToken,
    cancel: Option<CancelToken>,
    journal: &Journal,
    events: &Events,
    control: &Control,
) -> Result<()> {
    let task = RunningTask { cancel };
    end_task(client, Some(&task), token, events).await;
    unlock(client, token, control).await?;
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

/// Ends a backup task that may be running. That it fails keeps nobody from unlocking.
async fn end_task(
    client: &Client,
    task: Option<&RunningTask>,
    token: &UnlockToken,
    events: &Events,
) {
    let Some(task) = task else {
        return;
    };
    let client = client.with_retry(SHORT_RETRY);
    let ended = match &task.cancel {
        Some(cancel) => answered(client.cancel(cancel)).await,
        // Reporting the end needs the unlock token alone.
        None => answered(client.report_progress(token, Percentage::COMPLETE)).await,
    };
    if let Err(error) = ended {
        let why = crate::error::chain(&error);
        tracing::debug!(%why, "the backup task was not cancelled");
        if error.is_transient() {
            events.warning(format!("the backup task was not cancelled: {why}"));
        }
    }
}

/// Unlocks until the instance says that it is free, which is the only proof there is.
async fn unlock(client: &Client, token: &UnlockToken, control: &Control) -> Result<()> {
    let started = Instant::now();
    let mut refusals = 0;
    loop {
        let unlocked = client.with_retry(RetryPolicy::none()).unlock(token).await;
        let state = answered(client.with_retry(RetryPolicy::none()).lock_state()).await;
        if is_proof(&unlocked, &state) {
            return Ok(());
        }
        if unlocked.as_ref().is_err_and(|error| !error.is_transient()) {
            refusals += 1;
        }
        let given_up = refusals >= REFUSALS || started.elapsed() >= UNLOCK_PATIENCE;
        if given_up {
            return Err(still_locked(unlocked.err().map(Error::from), state.err()));
        }
        tokio::select! {
            () = tokio::time::sleep(PAUSE) => {}
            () = control.killed() => return Err(still_locked(unlocked.err().map(Error::from), state.err())),
        }
    }
}

/// Whether the instance has said that it is free. A page with the status 404 may come from a proxy: it counts only
/// beside an unlock that Bitbucket has answered with success.
fn is_proof(
    unlocked: &bitbucket_maintenance_client::Result<()>,
    state: &Result<LockState, Error>,
) -> bool {
    match state {
        Ok(LockState::Free) => true,
        Ok(LockState::Locked) => false,
        Err(error) => {
            let cause = std::error::Error::source(error);
            let cause =
                cause.and_then(|cause| cause.downcast_ref::<bitbucket_maintenance_client::Error>());
            unlocked.is_ok() && cause.is_some_and(|cause| cause.status() == Some(404))
        }
    }
}

fn still_locked(unlock: Option<Error>, look: Option<Error>) -> Error {
    let error = Error::new(ErrorKind::StillLocked, "the instance is still locked")
        .with_hint("Run `diy-backup recover` as soon as Bitbucket answers again; the tokens are in the journal in the state folder.");
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
