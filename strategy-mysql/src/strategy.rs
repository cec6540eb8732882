//! The strategy `mysql`.

use diy_backup_core::{
    BackupContext, CheckContext, DatabaseAddress, DbStrategy, Findings, Leftover, Restore, Result,
    Session, StrategyConfig, async_trait,
};

use crate::check;
use crate::config::MysqlConfig;
use crate::dump::Dump;
use crate::facts::{self, Database, Definitions, Table};
use crate::failure::Failure;
use crate::instance;
use crate::option_file::{self, Hideout};
use crate::server::Server;
use crate::session::{DumpSession, Plan};

/// The name that the configuration chooses this strategy by.
pub(crate) const NAME: &str = "mysql";

/// Backs up a MySQL or MariaDB database with the site's own dump program from a snapshot that was taken while the
/// instance was locked, and restores it with the client.
#[derive(Debug, Clone)]
pub struct MysqlStrategy {
    config: MysqlConfig,
}

impl MysqlStrategy {
    /// A strategy with this configuration.
    pub fn new(config: MysqlConfig) -> Self {
        Self { config }
    }

    /// Reads its section of the configuration.
    ///
    /// # Errors
    /// [`ErrorKind::Config`](diy_backup_core::ErrorKind::Config) with file and line.
    pub fn from_config(config: &StrategyConfig) -> Result<Self> {
        MysqlConfig::from_section(&config.section).map(Self::new)
    }

    pub(crate) fn config(&self) -> &MysqlConfig {
        &self.config
    }
}

#[async_trait]
impl DbStrategy for MysqlStrategy {
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
        let (server, facts) = Server::reach(&self.config, Hideout::OfBackup(cx), control).await?;
        check::ensure_supported(facts.release)?;
        let client = server.client(control);
        let name = &self.config.name;
        let looked = async {
            let database = Database::of(&client, name).await?;
            let tables = Table::all(&client, name).await?;
            let definitions = Definitions::of(&client, name).await?;
            Ok((database, tables, definitions))
        };
        let (database, tables, definitions) = looked
            .await
            .map_err(|failure: Failure| failure.doing("look at the database"))?;
        let database = database.ok_or_else(|| check::no_such_database(name))?;
        if instance::count(&tables) == 0 {
            return Err(instance::no_tables(name));
        }
        let plan = Plan {
            cx: cx.clone(),
            dump: Dump::new(&server, &cx.staging().database(), control).await?,
            server,
            facts,
            database,
            estimated_bytes: facts::dump_bytes(&tables),
            unpinnable: facts::unpinnable(&tables),
            tables,
            definitions,
        };
        Ok(Box::new(DumpSession::new(plan)))
    }

    fn restore(&self) -> Option<&dyn Restore> {
        Some(self)
    }

    async fn discard(&self, leftover: &Leftover) -> Result<()> {
        if leftover.kind == option_file::KIND {
            return option_file::discard(leftover);
        }
        crate::restore::discard(&self.config, leftover).await
    }
}
