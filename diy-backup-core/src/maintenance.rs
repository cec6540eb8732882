//! The maintenance lock of an instance: taken, drained, and given back whatever happens.

mod acquire;
mod drain;
mod pauses;
mod proof;
mod release;

use std::time::Duration;

use bitbucket_maintenance_client::{CancelToken, Client, UnlockToken};

use crate::event::Events;
use crate::journal::Journal;
use crate::moment::Stopwatch;
use crate::patience::Patience;

pub(crate) use acquire::stays_free;
pub(crate) use proof::{is_free, look_once};
pub(crate) use release::free_instance;

/// The lock, held: made by taking it, used up by giving it back.
///
/// Dropping it without giving it back leaves the instance locked; the tokens are in the journal then.
#[derive(Debug)]
#[must_use = "the instance stays locked until this is given back"]
pub(crate) struct MaintenanceLock {
    client: Client,
    journal: Journal,
    events: Events,
    patience: Patience,
    token: UnlockToken,
    /// There as long as the backup task may be running.
    task: Option<RunningTask>,
    held: Stopwatch,
}

/// The backup task in Bitbucket.
#[derive(Debug, Clone, Default)]
pub(crate) struct RunningTask {
    /// Unknown when the answer to the start was lost, and of a task that a dead run has started.
    id: Option<String>,
    /// Unknown when the answer to the start was lost.
    cancel: Option<CancelToken>,
    /// Whether Bitbucket has been told that the backup is done, which ends the task.
    told_done: bool,
}

impl MaintenanceLock {
    /// For how long the instance has been locked.
    pub(crate) fn held_for(&self) -> Duration {
        self.held.elapsed()
    }

    pub(crate) fn client(&self) -> &Client {
        &self.client
    }

    pub(crate) fn token(&self) -> &UnlockToken {
        &self.token
    }
}

/// The answer to a call that is answered in milliseconds, or a timeout as an error that passes.
pub(crate) async fn answered<T>(
    patience: &Patience,
    call: impl Future<Output = bitbucket_maintenance_client::Result<T>>,
) -> Result<T, crate::Error> {
    match tokio::time::timeout(patience.answer, call).await {
        Ok(result) => result.map_err(crate::Error::from),
        Err(_) => Err(crate::Error::new(
            crate::ErrorKind::Bitbucket,
            format!(
                "bitbucket has not answered for {}",
                humantime::format_duration(patience.answer)
            ),
        )
        .transient()),
    }
}

/// What the client said, below our own words.
fn client_error(error: &crate::Error) -> Option<&bitbucket_maintenance_client::Error> {
    std::error::Error::source(error)?.downcast_ref()
}

fn client_kind(error: &crate::Error) -> Option<bitbucket_maintenance_client::ErrorKind> {
    client_error(error).map(bitbucket_maintenance_client::Error::kind)
}
