use async_trait::async_trait;
use serde::Deserialize;

use crate::error::Result;
use crate::findings::Findings;
use crate::registry::StrategyConfig;
use crate::strategy::{
    Artifact, BackupContext, CheckContext, Committed, DatabaseLocation, DbStrategy, Leftover,
    Restore, RestoreContext, RestoreSession, RestoreSource, Session,
};
use crate::window::{LockWindow, Released};

/// The database strategy `none`: the database is no part of the backups.
#[derive(Debug, Default)]
#[non_exhaustive]
pub struct NoDatabase;

/// The database strategy `internal`: the files of H2 or HSQL are part of the home directory and travel with it.
#[derive(Debug, Default)]
#[non_exhaustive]
pub struct InternalDatabase;

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct NoKeys {}

impl NoDatabase {
    /// Reads its section of the configuration.
    ///
    /// # Errors
    /// [`ErrorKind::Config`](crate::ErrorKind::Config) when there is any key.
    pub fn from_config(config: &StrategyConfig) -> Result<Self> {
        config.section.parse::<NoKeys>().map(|_| Self)
    }
}

impl InternalDatabase {
    /// Reads its section of the configuration.
    ///
    /// # Errors
    /// [`ErrorKind::Config`](crate::ErrorKind::Config) when there is any key.
    pub fn from_config(config: &StrategyConfig) -> Result<Self> {
        config.section.parse::<NoKeys>().map(|_| Self)
    }
}

#[async_trait]
impl DbStrategy for NoDatabase {
    fn name(&self) -> &'static str {
        "none"
    }

    async fn check(&self, _: &CheckContext) -> Result<Findings> {
        let mut findings = Findings::new();
        findings.info(
            "database",
            "the database is no part of the backups (strategy `none`)",
        );
        Ok(findings)
    }

    async fn prepare(&self, _: &BackupContext) -> Result<Box<dyn Session>> {
        Ok(Box::new(Nothing))
    }

    fn restore(&self) -> Option<&dyn Restore> {
        Some(&NothingToRestore)
    }
}

#[async_trait]
impl DbStrategy for InternalDatabase {
    fn name(&self) -> &'static str {
        "internal"
    }

    fn location(&self) -> DatabaseLocation {
        DatabaseLocation::InHome
    }

    async fn check(&self, _: &CheckContext) -> Result<Findings> {
        let mut findings = Findings::new();
        findings.info(
            "database",
            "the database's files travel with the home directory (strategy `internal`)",
        );
        Ok(findings)
    }

    async fn prepare(&self, _: &BackupContext) -> Result<Box<dyn Session>> {
        Ok(Box::new(Nothing))
    }

    fn restore(&self) -> Option<&dyn Restore> {
        Some(&NothingToRestore)
    }
}

/// The session of a part that is none.
#[derive(Debug)]
pub(super) struct Nothing;

#[async_trait]
impl Session for Nothing {
    async fn capture(&mut self, _: &LockWindow) -> Result<()> {
        Ok(())
    }

    async fn complete(&mut self, _: &Released) -> Result<Artifact> {
        Ok(Artifact::none())
    }

    async fn abort(self: Box<Self>) -> Result<()> {
        Ok(())
    }
}

#[async_trait]
impl RestoreSession for Nothing {
    async fn apply(&mut self, _: &RestoreSource) -> Result<()> {
        Ok(())
    }

    async fn commit(&mut self) -> Result<()> {
        Ok(())
    }

    async fn abort(self: Box<Self>) -> Result<()> {
        Ok(())
    }
}

/// The way back of a part that is none.
#[derive(Debug)]
pub(super) struct NothingToRestore;

#[async_trait]
impl Restore for NothingToRestore {
    async fn prepare_restore(&self, _: &RestoreContext) -> Result<Box<dyn RestoreSession>> {
        Ok(Box::new(Nothing))
    }

    async fn was_committed(&self, _: &Leftover) -> Result<Committed> {
        Ok(Committed::Yes)
    }

    async fn resume_commit(&self, _: &Leftover) -> Result<()> {
        Ok(())
    }
}
