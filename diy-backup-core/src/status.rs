//! The state of things: is the instance locked, is a run going on, what did the last one do?

use bitbucket_maintenance_client::LockState;

use crate::error::{ErrorKind, Result};
use crate::journal::{Journal, JournalRecord};
use crate::last_run::LastRun;
use crate::maintenance;
use crate::run_lock::RunLock;
use crate::site::Site;
use crate::unfinished::{self, UnfinishedRun};

/// The state of an instance and its backups.
#[derive(Debug)]
#[non_exhaustive]
pub struct Status {
    /// Whether the instance is locked.
    pub instance: InstanceState,
    /// Whether a run is alive.
    pub run_is_alive: bool,
    /// What the run that is alive is doing, or what a dead one has left.
    pub journal: Option<JournalRecord>,
    /// Why the journal cannot be used: it is damaged, or about another instance than the configured one.
    pub journal_problem: Option<crate::Error>,
    /// How the last run that ended has ended.
    pub last: Option<LastRun>,
    /// Runs that died and could be neither finished nor taken back.
    pub unfinished: Vec<UnfinishedRun>,
}

/// Whether an instance is locked.
#[derive(Debug)]
#[non_exhaustive]
pub enum InstanceState {
    /// It is locked, by whomever.
    Locked,
    /// It is not locked.
    Free,
    /// It did not say, and why.
    Unknown(crate::Error),
    /// There is nothing to lock: a Mesh node.
    NotLockable,
}

impl Status {
    /// Whether a run has died and left something to put right.
    pub fn needs_recovery(&self) -> bool {
        !self.run_is_alive && (self.journal.is_some() || self.journal_problem.is_some())
    }
}

/// Looks at the instance and the state folder. Changes nothing.
///
/// # Errors
/// When the state folder cannot be read. That the instance does not answer is part of the status.
pub async fn status(site: &Site) -> Result<Status> {
    let state = site.backup.state.as_path();
    let run_is_alive = RunLock::is_held(state)?;
    let about_us = |record: &JournalRecord| record.ensure_about(&site.instance);
    let (journal, journal_problem) = match Journal::read(state) {
        Ok(journal) => {
            let problem = journal.as_ref().and_then(|record| about_us(record).err());
            (journal, problem)
        }
        Err(error) if error.kind() == ErrorKind::Damaged => (None, Some(error)),
        Err(error) => return Err(error),
    };
    Ok(Status {
        instance: instance_state(site).await,
        run_is_alive,
        journal,
        journal_problem,
        last: LastRun::read(state)?,
        unfinished: unfinished::list(state)?,
    })
}

async fn instance_state(site: &Site) -> InstanceState {
    let client = match site.client().await {
        Ok(Some(client)) => client,
        Ok(None) => return InstanceState::NotLockable,
        Err(error) => return InstanceState::Unknown(error),
    };
    match maintenance::look_once(&client, &site.patience).await {
        Ok(LockState::Locked) => InstanceState::Locked,
        Ok(LockState::Free) => InstanceState::Free,
        Err(error) => InstanceState::Unknown(error),
    }
}
