//! The strategy `mssql`.

use diy_backup_core::{
    BackupContext, CheckContext, DatabaseAddress, DbStrategy, Findings, Leftover, Restore, Result,
    Session, StrategyConfig, async_trait,
};

use crate::check;
use crate::config::MssqlConfig;
use crate::session::{self, BackupSession};
use crate::shared::SharedFiles;

/// The name that the configuration chooses this strategy by.
pub(crate) const NAME: &str = "mssql";

/// Backs up a SQL Server database with a full backup while people work and a differential one while they are kept
/// out, and restores both.
#[derive(Debug, Clone)]
pub struct MssqlStrategy {
    config: MssqlConfig,
}

impl MssqlStrategy {
    /// A strategy with this configuration.
    pub fn new(config: MssqlConfig) -> Self {
        Self { config }
    }

    /// Reads its section of the configuration.
    ///
    /// # Errors
    /// [`ErrorKind::Config`](diy_backup_core::ErrorKind::Config) with file and line.
    pub fn from_config(config: &StrategyConfig) -> Result<Self> {
        MssqlConfig::from_section(&config.section).map(Self::new)
    }

    pub(crate) fn config(&self) -> &MssqlConfig {
        &self.config
    }
}

#[async_trait]
impl DbStrategy for MssqlStrategy {
    fn name(&self) -> &'static str {
        NAME
    }

    fn address(&self) -> Option<DatabaseAddress> {
        Some(self.config.address())
    }

    async fn check(&self, cx: &CheckContext) -> Result<Findings> {
        check::check(&self.config, cx).await
    }

    async fn prepare(&self, cx: &BackupContext) -> Result<Box<dyn Session>> {
        Ok(Box::new(BackupSession::begin(&self.config, cx).await?))
    }

    fn restore(&self) -> Option<&dyn Restore> {
        Some(self)
    }

    async fn discard(&self, leftover: &Leftover) -> Result<()> {
        match SharedFiles::of(&self.config, leftover)? {
            Some(files) => session::discard_files(files).await,
            None => crate::restore::discard(&self.config, leftover).await,
        }
    }
}
