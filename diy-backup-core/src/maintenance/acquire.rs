use std::time::Duration;

use bitbucket_maintenance_client::{
    BackupTask, Client, ErrorKind as ClientErrorKind, Lock, LockState, RetryPolicy, Task, TaskKind,
    TaskState,
};

use super::pauses::Pauses;
use super::proof::{is_free, look_once};
use super::{MaintenanceLock, RunningTask, answered, client_error, client_kind};
use crate::control::Control;
use crate::error::{Error, ErrorKind, Result};
use crate::event::Events;
use crate::journal::{Journal, Step};
use crate::moment::{Moment, Stopwatch};
use crate::patience::Patience;
use crate::window::LockLimits;

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
        let request = LockRequest {
            client,
            patience: &patience,
            journal,
            events,
            control,
        };
        let lock = match request.send().await {
            Ok(lock) => lock,
            Err(error) => {
                if error.kind() == ErrorKind::StillLocked {
                    return Err(error);
                }
                control.note_locked(false);
                if let Err(unwritten) = journal.step(Step::Started) {
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
            held: Stopwatch::start(),
        };
        let token = held.token.expose().to_owned();
        let recorded = journal.update_within(patience.answer, move |record| {
            record.step = Step::Locked;
            record.unlock_token = Some(token);
        });
        match recorded.await {
            Ok(()) => Ok(held),
            // Without a durable token a crash would leave it locked for good.
            Err(error) => match held.abandon(control).await {
                Ok(_) => Err(error),
                Err(stuck) => Err(stuck.with_hint(WHERE_TOKENS_ARE)),
            },
        }
    }

    /// Starts the backup task: Bitbucket lets running work end and holds new work back. A start that is refused because
    /// the lock has not reached the whole instance yet is asked for again, for as long as the drain may take.
    ///
    /// # Errors
    /// [`ErrorKind::Bitbucket`] when it refuses, or when a start whose answer was lost cannot be made sure of.
    pub(crate) async fn start_task(&mut self, limits: LockLimits, control: &Control) -> Result<()> {
        control.ensure_running()?;
        let started = Stopwatch::start();
        let deadline = self.drain_time(limits);
        let mut pauses = Pauses::from(self.patience.pause);
        // Until the answer is here, a task may be running.
        self.task = Some(RunningTask::default());
        let mut failures = 0;
        let mut may_run = false;
        loop {
            let once = self.client.with_retry(RetryPolicy::none());
            let answer = answered(&self.patience, once.start_backup(&self.token)).await;
            let error = match answer {
                Ok(task) => return self.keep_task(task).await,
                Err(error) => error,
            };
            let refusal = Refusal::of(&error);
            failures += u32::from(refusal == Refusal::Passes);
            if refusal == Refusal::Final || failures == ATTEMPTS {
                return Err(error);
            }
            may_run |= client_error(&error)
                .is_none_or(bitbucket_maintenance_client::Error::may_have_reached_server);
            match self.running_task(refusal).await? {
                Some(task) if task.kind == TaskKind::Migration => return Err(error),
                Some(task) if may_run => {
                    self.task = Some(RunningTask {
                        id: Some(task.id).filter(|id| !id.is_empty()),
                        ..RunningTask::default()
                    });
                    self.events.warning(
                        "the answer to the start of the backup task was lost: it goes on without the token that cancels it",
                    );
                    return Ok(());
                }
                _ => {}
            }
            let left = deadline.saturating_sub(started.elapsed());
            if left.is_zero() {
                return Err(error);
            }
            tracing::warn!(%error, "the backup task did not start; trying again");
            control
                .unless_cancelled(pause(pauses.after([&error]).min(left)))
                .await?;
        }
    }

    /// The task that runs on the instance by now, if there is one.
    async fn running_task(&self, refusal: Refusal) -> Result<Option<Task>> {
        let client = self.client.with_retry(self.patience.short_retry());
        let status = answered(&self.patience, client.maintenance(&self.token)).await;
        let status = match status {
            // What refuses the start for now may refuse this for now, too.
            Err(error) if refusal == Refusal::NotYet && Refusal::of(&error) != Refusal::Final => {
                None
            }
            status => status?,
        };
        let task = status.and_then(|status| status.task);
        // An ended task may stay visible as the latest one.
        Ok(task.filter(|task| matches!(task.state, TaskState::Running | TaskState::Unknown(_))))
    }

    async fn keep_task(&mut self, task: BackupTask) -> Result<()> {
        let token = task.cancel_token.expose().to_owned();
        self.task = Some(RunningTask {
            id: Some(task.id).filter(|id| !id.is_empty()),
            cancel: Some(task.cancel_token),
            told_done: false,
        });
        let recorded = self
            .journal
            .update_within(self.patience.answer, move |record| {
                record.step = Step::Draining;
                record.cancel_token = Some(token);
            });
        recorded.await
    }
}

/// What a start that was not accepted amounts to.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Refusal {
    /// Nothing changes it: the account, or the request itself.
    Final,
    /// The steps of an instance are asynchronous: what is accepted may have not happened yet.
    NotYet,
    /// The network, a proxy, a server that is overloaded.
    Passes,
}

impl Refusal {
    fn of(error: &Error) -> Self {
        match client_kind(error) {
            // A rate limiter says by itself for how long.
            Some(
                ClientErrorKind::Conflict
                | ClientErrorKind::NotFound
                | ClientErrorKind::RateLimited,
            ) => Self::NotYet,
            _ if error.is_transient() => Self::Passes,
            _ => Self::Final,
        }
    }
}

/// The request for the lock, with all that it touches.
struct LockRequest<'a> {
    client: &'a Client,
    patience: &'a Patience,
    journal: &'a Journal,
    events: &'a Events,
    control: &'a Control,
}

impl LockRequest<'_> {
    async fn send(&self) -> Result<Lock> {
        let mut pauses = Pauses::from(self.patience.pause);
        // When the last request was sent that may still be at work: a cluster takes its time to lock.
        let mut may_come_late = None;
        for attempt in 1.. {
            let recorded = self.journal.update(|record| {
                record.step = Step::Locking;
                record.asked = Moment::now();
            });
            if let Err(unwritten) = recorded {
                return Err(self.unless_late(may_come_late, unwritten).await);
            }
            self.control.note_locked(true);
            let sent = Stopwatch::start();
            // Not cancelled half way: an answer that nobody reads is a token that nobody knows.
            let error = match self.client.with_retry(RetryPolicy::none()).lock().await {
                Ok(lock) => return Ok(lock),
                Err(error) => error,
            };
            if may_come_late.is_some() && error.kind() == ClientErrorKind::Conflict {
                return Err(lost_answer(error));
            }
            if error.may_have_reached_server() {
                may_come_late = Some(sent);
                if !proven_within(self.client, self.patience).await {
                    return Err(lost_answer(error));
                }
            }
            let error = Error::from(error);
            if attempt == ATTEMPTS || !error.is_transient() {
                return Err(self.unless_late(may_come_late, error).await);
            }
            self.events.warning(format!(
                "the lock was not taken ({}); trying again",
                crate::error::chain(&error)
            ));
            let waited = self.control.unless_cancelled(pause(pauses.after([&error])));
            if let Err(cancelled) = waited.await {
                return Err(self.unless_late(may_come_late, cancelled).await);
            }
        }
        Err(Error::new(
            ErrorKind::Internal,
            "the lock was not asked for",
        ))
    }

    /// `error`, once no lock can arrive any more for which nobody has the token.
    async fn unless_late(&self, sent: Option<Stopwatch>, error: Error) -> Error {
        let Some(sent) = sent else {
            return error;
        };
        let left = self.patience.late_lock.saturating_sub(sent.elapsed());
        match stays_free(self.client, self.patience, left, self.events).await {
            Ok(true) => error,
            Ok(false) => lost_answer(error),
            Err(unknown) => {
                self.events.warning(crate::error::chain(&unknown));
                lost_answer(error)
            }
        }
    }
}

/// Whether the instance is proven to be free within the time that [`Patience::proof`] allows.
async fn proven_within(client: &Client, patience: &Patience) -> bool {
    let started = Stopwatch::start();
    let once = client.with_retry(RetryPolicy::none());
    loop {
        match look_once(&once, patience).await {
            Ok(state) => return state == LockState::Free,
            Err(_) if started.elapsed() < patience.proof => {
                tokio::time::sleep(patience.pause).await;
            }
            Err(_) => return false,
        }
    }
}

/// Whether an instance that nobody has the token of is free, and remains so for `time`.
///
/// # Errors
/// [`ErrorKind::Bitbucket`] when nothing proves either at the end.
pub(crate) async fn stays_free(
    client: &Client,
    patience: &Patience,
    time: Duration,
    events: &Events,
) -> Result<bool> {
    let started = Stopwatch::start();
    let mut pauses = Pauses::from(patience.pause);
    let mut told = false;
    let once = client.with_retry(RetryPolicy::none());
    loop {
        // A look that fails says nothing: the lock may arrive while a gateway stands in front.
        if let Ok(LockState::Locked) = answered(patience, once.lock_state()).await {
            return Ok(false);
        }
        let left = time.saturating_sub(started.elapsed());
        if left.is_zero() {
            return is_free(client, patience).await;
        }
        if !told {
            told = true;
            events.message(format!(
                "A lock was asked for and its answer is lost: looking for {} s whether it still arrives",
                left.as_secs() + 1
            ));
        }
        tokio::time::sleep(pauses.after([]).min(left)).await;
    }
}

async fn pause(duration: Duration) -> Result<()> {
    tokio::time::sleep(duration).await;
    Ok(())
}

const WHERE_TOKENS_ARE: &str = "Look for the unlock token in Bitbucket's application log (atlassian-bitbucket.log), then run `diy-backup unlock --token TOKEN`. \
    If an administrator has locked it, wait until that maintenance is over. `diy-backup recover` clears this up once the instance is free.";

fn lost_answer(error: impl Into<Box<dyn std::error::Error + Send + Sync>>) -> Error {
    Error::new(
        ErrorKind::StillLocked,
        "the answer to the lock request was lost, and the instance is locked, or nothing proves that it is not: most likely by this request, with a token that is not known here",
    )
    .with_source(error)
    .with_hint(WHERE_TOKENS_ARE)
}
