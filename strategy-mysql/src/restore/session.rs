//! One restore of the database.

use std::path::Path;

use diy_backup_core::{
    Control, Error, ErrorKind, Leftover, RestoreContext, RestoreSession, RestoreSource, Result,
    async_trait,
};

use super::commit;
use super::definers::Definers;
use super::objects;
use super::place::Beside;
use super::script;
use crate::client::Client;
use crate::config::MysqlConfig;
use crate::dump;
use crate::facts::{Database, Facts, Table};
use crate::failure::Failure;
use crate::instance;
use crate::option_file::Hideout;
use crate::scan::Scan;
use crate::server::Server;

/// What was found out before anything changes.
#[derive(Debug)]
pub(super) struct RestorePlan {
    pub(super) cx: RestoreContext,
    pub(super) config: MysqlConfig,
    pub(super) beside: Beside,
    /// That of the empty database there is, or else of the original.
    pub(super) database: Option<Database>,
    pub(super) definers: Definers,
    pub(super) facts: Facts,
}

/// A restore into one database.
#[derive(Debug)]
pub(super) struct RestoreInto {
    plan: RestorePlan,
    /// Reached when the restore begins: before, nothing may be recorded.
    server: Option<Server>,
    leftover: Option<Leftover>,
    commit_begun: bool,
    tables: Vec<Table>,
}

impl RestoreInto {
    pub(super) fn new(plan: RestorePlan) -> Self {
        Self {
            plan,
            server: None,
            leftover: None,
            commit_begun: false,
            tables: Vec::new(),
        }
    }

    fn control(&self) -> &Control {
        self.plan.cx.control()
    }

    fn server(&self) -> Result<&Server> {
        self.server
            .as_ref()
            .ok_or_else(|| Error::new(ErrorKind::Internal, "the restore has not begun"))
    }

    fn client(&self) -> Result<Client> {
        Ok(self.server()?.client(self.control()))
    }

    fn record(&mut self) -> Result<()> {
        let leftover = self.plan.beside.leftover()?;
        self.plan.cx.record_leftover(leftover.clone())?;
        self.leftover = Some(leftover);
        Ok(())
    }

    fn forget(&mut self) -> Result<()> {
        match self.leftover.take() {
            Some(leftover) => self.plan.cx.forget_leftover(&leftover),
            None => Ok(()),
        }
    }

    /// Makes sure that the dump is whole before anything is made of it.
    async fn ensure_whole(&self, path: &Path) -> Result<Option<Database>> {
        let (path, control) = (path.to_owned(), self.control().clone());
        let scan = dump::blocking(move || Scan::of(&path, &control)).await??;
        scan.ensure_completed()?;
        scan.ensure_one_database()?;
        super::ensure_statements_fit(scan.longest_statement_bytes, &self.plan.facts)?;
        Ok(scan.database)
    }

    async fn create(&self, dumped: Option<Database>) -> Result<()> {
        let client = self.client()?;
        let name = &self.plan.beside.temporary;
        let wanted = self
            .plan
            .database
            .clone()
            .or(dumped)
            .unwrap_or_else(|| Database {
                // What Bitbucket asks for.
                charset: "utf8mb4".to_owned(),
                collation: "utf8mb4_bin".to_owned(),
            });
        let created = match commit::try_create(&client, name, Some(&wanted)).await {
            Err(Failure::Refused(refusal)) if refusal.is_unknown_collation() => {
                self.plan.cx.events().warning(format!(
                    "the server does not know the collation {}: the database gets the server's own, its tables keep theirs",
                    wanted.collation
                ));
                commit::try_create(&client, name, None).await
            }
            other => other,
        };
        created.map_err(|failure| failure.doing(format!("create the database {name:?}")))
    }

    async fn fill(&mut self, path: &Path) -> Result<()> {
        let server = self.server()?;
        let mut client = server.client(self.control());
        if let Some(sandbox) = server.tools().sandbox_argument(self.control()).await? {
            client = client.with_arg(sandbox);
        }
        let name = &self.plan.beside.temporary;
        let (flavour, definers) = (self.plan.facts.release.flavour, self.plan.definers.clone());
        let definers = client
            .feed(name, |input| script::copy(path, flavour, definers, input))
            .await
            .map_err(|failure| failure.doing("run the dump"))?;
        if let Some(warning) = definers.warning(&self.plan.config.username) {
            self.plan.cx.events().warning(warning);
        }
        let tables = Table::all(&self.client()?, name)
            .await
            .map_err(|failure| failure.doing("list the restored tables"))?;
        objects::set_aside(server, name, &tables, self.control()).await?;
        self.tables = tables;
        Ok(())
    }
}

#[async_trait]
impl RestoreSession for RestoreInto {
    async fn apply(&mut self, source: &RestoreSource) -> Result<()> {
        let Some(database) = source.database.as_deref() else {
            let message = "the backup holds no dump of the database";
            return Err(Error::new(ErrorKind::Damaged, message));
        };
        let path = super::find_dump(database)?;
        let dumped = self.ensure_whole(&path).await?;
        let hideout = Hideout::OfRestore(&self.plan.cx);
        let (server, _) = Server::reach(&self.plan.config, hideout, self.control()).await?;
        self.server = Some(server);
        self.record()?;
        self.create(dumped).await?;
        self.fill(&path).await
    }

    async fn commit(&mut self) -> Result<()> {
        let beside = self.plan.beside.clone();
        // Once the tables move, a restore is not cancelled between them and their triggers.
        let control = self.control().for_cleanup();
        self.control().ensure_running()?;
        let client = self.server()?.client(&control);
        self.commit_begun = true;
        commit::commit(&client, &beside).await?;
        // From here on the restore has succeeded, whatever becomes of the empty database.
        match commit::drop_temporary(&client, &beside).await {
            Ok(()) => self.forget(),
            Err(error) => {
                self.plan.cx.events().warning(format!(
                    "a temporary database is left over: {}",
                    diy_backup_core::error_chain(&error)
                ));
                Ok(())
            }
        }
    }

    async fn verify(&mut self) -> Result<()> {
        let target = &self.plan.beside.target;
        let client = self.client()?;
        let looked = async {
            let found = Table::all(&client, target).await?;
            let lock = instance::change_log_lock(&client, target, &found).await?;
            Ok((found, lock))
        };
        let (found, lock) = looked
            .await
            .map_err(|failure: Failure| failure.doing("list the restored tables"))?;
        if let Some(lock) = lock {
            self.plan.cx.events().warning(lock.of_restored());
        }
        let names = |tables: &[Table]| -> Vec<String> {
            tables.iter().map(|table| table.name.clone()).collect()
        };
        if names(&found) == names(&self.tables) {
            return Ok(());
        }
        let message = format!(
            "the database {target:?} has {} tables and views, and {} were restored",
            found.len(),
            self.tables.len()
        );
        Err(Error::new(ErrorKind::Damaged, message))
    }

    async fn abort(mut self: Box<Self>) -> Result<()> {
        if self.leftover.is_some() {
            let client = self.server()?.client(&self.control().for_cleanup());
            // What stands in the target is ours if there were tables to move, and all of them have been moved.
            let had_tables = self.tables.iter().any(|table| !table.is_view());
            if self.commit_begun && had_tables {
                commit::take_back(&client, &self.plan.beside).await?;
            }
            commit::drop_temporary(&client, &self.plan.beside).await?;
        }
        self.forget()
    }
}
