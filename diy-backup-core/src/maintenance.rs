//! The maintenance lock of an instance: taken, drained, and given back whatever happens.

mod acquire;
mod drain;
mod release;

use std::time::{Duration, Instant};

use bitbucket_maintenance_client::{CancelToken, Client, RetryPolicy, UnlockToken};

use crate::event::Events;
use crate::journal::Journal;

pub(crate) use release::{free_instance, is_free};

/// How long a call inside the locked time is repeated before it counts as failed.
const SHORT_RETRY: RetryPolicy = RetryPolicy::none()
    .with_deadline(Duration::from_secs(10))
    .with_backoff(Duration::from_millis(20), Duration::from_secs(1));

/// How long a single answer may take while the instance is locked. Bitbucket answers these in milliseconds; what takes
/// longer has been lost by something in between.
const ANSWER: Duration = Duration::from_secs(10);

/// How long the unlock is tried when it fails for reasons that pass.
pub(crate) const UNLOCK_PATIENCE: Duration = Duration::from_secs(120);

/// The lock, held: made by taking it, used up by giving it back.
///
/// Dropping it without giving it back leaves the instance locked; the tokens are in the journal then.
#[derive(Debug)]
#[must_use = "the instance stays locked until this is given back"]
pub(crate) struct MaintenanceLock {
    client: Client,
    journal: Journal,
    events: Events,
    token: UnlockToken,
    /// There as long as the backup task may be running.
    task: Option<RunningTask>,
    locked_at: Instant,
}

/// The backup task in Bitbucket.
#[derive(Debug, Clone)]
pub(crate) struct RunningTask {
    /// Unknown when the answer to the start was lost.
    cancel: Option<CancelToken>,
}

impl MaintenanceLock {
    /// For how long the instance has been locked.
    pub(crate) fn held_for(&self) -> Duration {
        self.locked_at.elapsed()
    }

    /// Where the tokens stand, for people who have to unlock by hand.
    pub(crate) fn client(&self) -> &Client {
        &self.client
    }

    pub(crate) fn token(&self) -> &UnlockToken {
        &self.token
    }
}

/// The answer to a call, or a timeout as an error text.
async fn answered<T>(
    call: impl Future<Output = bitbucket_maintenance_client::Result<T>>,
) -> Result<T, crate::Error> {
    match tokio::time::timeout(ANSWER, call).await {
        Ok(Ok(value)) => Ok(value),
        Ok(Err(error)) => Err(error.into()),
        Err(_) => Err(crate::Error::new(
            crate::ErrorKind::Bitbucket,
            format!("bitbucket has not answered for {} s", ANSWER.as_secs()),
        )
        .transient()),
    }
}
