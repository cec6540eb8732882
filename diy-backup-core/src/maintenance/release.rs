use std::time::{Duration, Instant};

use bitbucket_maintenance_client::{
    CancelToken, Client, ErrorKind as ClientErrorKind, LockState, Percentage, RetryPolicy,
    UnlockToken,
};

use super::pauses::Pauses;
use super::proof::{LOOKS, ensure_at_work};
use super::{MaintenanceLock, RunningTask, answered, client_error, client_kind};
use crate::control::Control;
use crate::error::{Error, ErrorKind, Result};
use crate::event::Events;
use crate::journal::{Journal, Step};
use crate::moment::Stopwatch;
use crate::patience::Patience;

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
        if let Err(error) = way_back.go(self.task.as_ref()).await {
            return Err((self, error));
        }
        let held = self.held_for();
        control.note_locked(false);
        record_free(&self.journal, &self.patience, &self.events).await;
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
    control.note_locked(true);
    let task = RunningTask {
        id: None,
        cancel,
        told_done: false,
    };
    let way_back = WayBack {
        client,
        patience,
        token,
        events,
    };
    way_back.go(Some(&task)).await?;
    control.note_locked(false);
    record_free(journal, patience, events).await;
    Ok(())
}

/// The way back to a free instance.
struct WayBack<'a> {
    client: &'a Client,
    patience: &'a Patience,
    token: &'a UnlockToken,
    events: &'a Events,
}

impl WayBack<'_> {
    /// Ends the task, and unlocks until the instance is proven to be free, or time is up. Nothing else ends it: an
    /// instance that is left locked keeps everybody out.
    async fn go(&self, task: Option<&RunningTask>) -> Result<()> {
        let started = Stopwatch::start();
        let mut end = match task {
            Some(task) if task.told_done => TaskEnd::Over,
            task => self.end_task(task).await,
        };
        let mut pauses = Pauses::from(self.patience.pause);
        let mut evidence = Evidence::default();
        // While an unlock that was not answered may still be at work, a refusal of the next one means nothing.
        let mut at_work_until = Instant::now();
        // Since when the token has been refused as one that is not the lock's.
        let mut foreign: Option<Stopwatch> = None;
        loop {
            let once = self.client.with_retry(RetryPolicy::none());
            let unlocked = self.try_unlock(&once).await;
            let state = answered(self.patience, once.lock_state()).await;
            let Err(doubt) = evidence.weigh(&once, self.patience, &unlocked, state).await else {
                return Ok(());
            };
            let unlocked = unlocked.err();
            if unlocked.as_ref().is_some_and(|e| client_kind(e).is_none()) {
                at_work_until = Instant::now() + self.patience.request;
            }
            let conflict = unlocked
                .as_ref()
                .is_some_and(|error| client_kind(error) == Some(ClientErrorKind::Conflict));
            // The same 409 says that a task of ours has not ended yet, and that the lock is somebody else's.
            let is_foreign =
                conflict && Instant::now() >= at_work_until && self.token_is_refused(&once).await;
            foreign = is_foreign.then(|| foreign.unwrap_or_else(Stopwatch::start));
            if foreign.is_some_and(|since| since.elapsed() >= self.patience.retry) {
                return Err(still_locked(unlocked.or(doubt)));
            }
            let left = self.patience.unlock.saturating_sub(started.elapsed());
            if left.is_zero() {
                return Err(still_locked(unlocked.or(doubt)));
            }
            let pause = pauses.after(unlocked.iter().chain(&doubt));
            tokio::time::sleep(pause.min(left)).await;
            // A task that runs on, whatever was said of it, may be what the unlock is refused for.
            let refused = unlocked.is_some_and(|error| !error.is_transient());
            if refused || end == TaskEnd::RunsOn {
                end = self.end_task(task).await;
            }
        }
    }

    /// Whether Bitbucket says that the token is not the one of the lock.
    async fn token_is_refused(&self, client: &Client) -> bool {
        let seen = answered(self.patience, client.maintenance(self.token)).await;
        seen.is_err_and(|error| client_kind(&error) == Some(ClientErrorKind::Conflict))
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

/// What speaks for the instance being free, over several looks.
#[derive(Debug, Default)]
struct Evidence {
    /// Whether Bitbucket has accepted an unlock with our token.
    accepted: bool,
    /// How many looks in a row found no lock, and an instance at work.
    looks: u32,
}

impl Evidence {
    /// Weighs one more look. `Err` as long as the instance may be locked, with what speaks against the proof.
    async fn weigh(
        &mut self,
        client: &Client,
        patience: &Patience,
        unlocked: &Result<()>,
        state: Result<LockState>,
    ) -> Result<(), Option<Error>> {
        self.accepted |= unlocked.is_ok();
        let page = match state {
            Ok(LockState::Free) if self.accepted => return Ok(()),
            Ok(LockState::Free) => None,
            Ok(LockState::Locked) => {
                self.looks = 0;
                return Err(None);
            }
            // Something in front may have put its own page in the place of Bitbucket's 404.
            Err(error) if client_error(&error).is_some_and(|e| e.status() == Some(404)) => {
                Some(error)
            }
            Err(error) => {
                self.looks = 0;
                return Err(Some(error));
            }
        };
        if let Err(doubt) = ensure_at_work(client, patience).await {
            self.looks = 0;
            return Err(Some(doubt));
        }
        self.looks += 1;
        if self.accepted || self.looks >= LOOKS {
            Ok(())
        } else {
            Err(page)
        }
    }
}

fn still_locked(cause: Option<Error>) -> Error {
    let error = Error::new(ErrorKind::StillLocked, "the instance is still locked")
        .with_hint("Run `diy-backup recover` as soon as Bitbucket answers again: it unlocks with the token in the journal, and puts the rest right. `diy-backup unlock` does nothing but unlock.");
    match cause {
        Some(source) => error.with_source(source),
        None => error,
    }
}

async fn record_free(journal: &Journal, patience: &Patience, events: &Events) {
    let recorded = journal.update_within(patience.answer, |record| {
        record.step = Step::Released;
        record.asked = None;
        record.unlock_token = None;
        record.cancel_token = None;
        record.other_tokens.clear();
    });
    if let Err(error) = recorded.await {
        // Recovering from it finds the instance free, which is as good.
        events.warning(format!(
            "the unlock could not be recorded: {}",
            crate::error::chain(&error)
        ));
    }
}
