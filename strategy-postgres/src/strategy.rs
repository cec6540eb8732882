//! The strategy `postgresql`.

use diy_backup_core::{
    BackupContext, CheckContext, DatabaseAddress, DbStrategy, Findings, Leftover, Restore, Result,
    Session, StrategyConfig, async_trait,
};

use crate::check;
use crate::config::PostgresConfig;
use crate::dump::Dump;
use crate::facts;
use crate::failure::{Failure, INSUFFICIENT_PRIVILEGE, LOCK_NOT_AVAILABLE};
use crate::instance;
use crate::pin::PinSession;
use crate::server::{Server, tool_release};
use crate::session::{DumpSession, Plan};

/// The name that the configuration chooses this strategy by.
pub(crate) const NAME: &str = "postgresql";

/// Backs up a PostgreSQL database with `pg_dump` from a state that was pinned while the instance was locked, and
/// restores it with `pg_restore`.
#[derive(Debug, Clone)]
pub struct PostgresStrategy {
    config: PostgresConfig,
}

impl PostgresStrategy {
    /// A strategy with this configuration.
    pub fn new(config: PostgresConfig) -> Self {
        Self { config }
    }

    /// Reads its section of the configuration.
    ///
    /// # Errors
    /// [`ErrorKind::Config`](diy_backup_core::ErrorKind::Config) with file and line.
    pub fn from_config(config: &StrategyConfig) -> Result<Self> {
        PostgresConfig::from_section(&config.section).map(Self::new)
    }

    pub(crate) fn config(&self) -> &PostgresConfig {
        &self.config
    }
}

#[async_trait]
impl DbStrategy for PostgresStrategy {
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
        let control = cx.control();
        let server = Server::reach(&self.config).await?;
        let client = tool_release(&self.config, "pg_dump", control).await?;
        let (mut pin, facts) = PinSession::open(&server, control).await?;
        if client < facts.release() {
            return Err(check::client_too_old("pg_dump", client, facts.release()));
        }
        if instance::count(pin.tables()) == 0 {
            return Err(instance::no_tables(&self.config.name));
        }
        let estimated_bytes = facts::dump_bytes(pin.psql())
            .await
            .map_err(|failure| failure.doing("measure the tables"))?;
        let unpinnable = if facts.in_recovery {
            Some(check::STANDBY.to_owned())
        } else {
            rehearse(&mut pin).await?
        };
        let plan = Plan {
            cx: cx.clone(),
            config: self.config.clone(),
            dump: Dump::new(&server, cx.staging().database()),
            facts,
            client,
            estimated_bytes,
            unpinnable,
        };
        Ok(Box::new(DumpSession::new(plan, pin)))
    }

    fn restore(&self) -> Option<&dyn Restore> {
        Some(self)
    }

    async fn discard(&self, leftover: &Leftover) -> Result<()> {
        crate::restore::discard(&self.config, leftover).await
    }
}

/// Pins once while people work, so that what cannot work is known before they are kept out. Says why, if it cannot.
async fn rehearse(pin: &mut PinSession) -> Result<Option<String>> {
    match pin.pin().await {
        Ok(_) => {
            pin.unpin()
                .await
                .map_err(|failure| failure.doing("let go of a rehearsed pin"))?;
            Ok(None)
        }
        // A table that is held now may be free when it counts.
        Err(refused) if refused.sqlstate() == LOCK_NOT_AVAILABLE => Ok(None),
        Err(refused) if refused.sqlstate() == INSUFFICIENT_PRIVILEGE => {
            Err(refused.doing("lock the tables for reading"))
        }
        Err(Failure::Refused(refusal)) => Ok(Some(refusal.to_string())),
        Err(lost) => Err(lost.doing("rehearse the pinning of the database's state")),
    }
}
