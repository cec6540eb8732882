//! The strategy `postgresql-fslevel`: the server's files lie on a volume of the home directory, and travel with the
//! atomic snapshot that the home strategy takes of it.
//!
//! What is restored is what a power cut would have left at that instant, and the server recovers from it by itself, as
//! it does from a power cut. So everything that it needs for that must be in the snapshot: data directory, WAL and
//! tablespaces; and the server must not have been told to take risks with it.

mod config;
mod restore;
mod service;
mod session;
mod survey;

use diy_backup_core::{
    BackupContext, CheckContext, DatabaseAddress, DbStrategy, ErrorKind, Findings, Leftover,
    Restore, Result, Session, StrategyConfig, async_trait,
};

pub use config::FslevelConfig;
use session::FslevelSession;
use survey::Survey;

/// The name that the configuration chooses this strategy by.
pub(crate) const NAME: &str = "postgresql-fslevel";

const SUBJECT: &str = "database";

/// Backs up a PostgreSQL server by way of the home directory's snapshot, and starts it again after a restore.
#[derive(Debug, Clone)]
pub struct FslevelStrategy {
    config: FslevelConfig,
}

impl FslevelStrategy {
    /// A strategy with this configuration.
    pub fn new(config: FslevelConfig) -> Self {
        Self { config }
    }

    /// Reads its section of the configuration.
    ///
    /// # Errors
    /// [`ErrorKind::Config`](diy_backup_core::ErrorKind::Config) with file and line.
    pub fn from_config(config: &StrategyConfig) -> Result<Self> {
        FslevelConfig::from_section(&config.section).map(Self::new)
    }
}

#[async_trait]
impl DbStrategy for FslevelStrategy {
    fn name(&self) -> &'static str {
        NAME
    }

    fn address(&self) -> Option<DatabaseAddress> {
        Some(self.config.connection().address())
    }

    async fn check(&self, cx: &CheckContext) -> Result<Findings> {
        let mut findings = match Survey::of(&self.config, &cx.home, &cx.control).await {
            Ok(survey) => survey.findings,
            Err(error) if error.kind() == ErrorKind::Cancelled => return Err(error),
            Err(error) => {
                let mut findings = Findings::new();
                findings.failure(SUBJECT, &error);
                findings
            }
        };
        service::check(&self.config, &cx.control, &mut findings).await?;
        Ok(findings)
    }

    async fn prepare(&self, cx: &BackupContext) -> Result<Box<dyn Session>> {
        Ok(Box::new(FslevelSession::begin(&self.config, cx).await?))
    }

    fn restore(&self) -> Option<&dyn Restore> {
        Some(self)
    }

    async fn discard(&self, leftover: &Leftover) -> Result<()> {
        service::discard(&self.config, leftover).await
    }
}
