use std::fmt::Debug;

use async_trait::async_trait;

use crate::error::Result;
use crate::findings::Findings;
use crate::strategy::{BackupContext, CheckContext, Leftover, Restore, Session};

/// How the database of an instance is backed up and restored.
#[async_trait]
pub trait DbStrategy: Debug + Send + Sync + 'static {
    /// The name that the configuration chooses it by.
    fn name(&self) -> &str;

    /// Whether the database's files are part of the home directory.
    fn location(&self) -> DatabaseLocation {
        DatabaseLocation::External
    }

    /// Finds everything that can be known to fail: tools and their versions, logins, grants, room. Changes nothing.
    ///
    /// # Errors
    /// When the check itself could not be done; what it finds wrong is a finding.
    async fn check(&self, cx: &CheckContext) -> Result<Findings>;

    /// Does all that can be done while people work, opens connections and starts tools, so that `capture` has
    /// nothing left to do but pin. The staging folder for the database exists and is empty.
    ///
    /// # Errors
    /// Any: the backup fails before anything is locked.
    async fn prepare(&self, cx: &BackupContext) -> Result<Box<dyn Session>>;

    /// The way back, for strategies that have one.
    fn restore(&self) -> Option<&dyn Restore> {
        None
    }

    /// Removes what a run that died left outside the staging folder. Called again if it fails, and also for what is gone already.
    ///
    /// # Errors
    /// When it is still there.
    async fn discard(&self, leftover: &Leftover) -> Result<()> {
        let _ = leftover;
        Ok(())
    }
}

/// Where the files of a database are.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[non_exhaustive]
pub enum DatabaseLocation {
    /// On a server: `data/db*` in the home directory is left over from earlier times and is not backed up.
    External,
    /// In the home directory (H2, HSQL): those files are the database and must be in the backup.
    InHome,
}
