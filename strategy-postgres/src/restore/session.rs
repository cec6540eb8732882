//! One restore of the database.

use std::path::{Path, PathBuf};

use diy_backup_core::{
    Control, Error, ErrorKind, Leftover, RestoreContext, RestoreSession, RestoreSource, Result,
    async_trait, write_private,
};

use super::commit;
use super::create;
use super::fill::{self, Content};
use super::place::{Beside, Place};
use super::target;
use crate::dump;
use crate::facts::Locale;
use crate::failure::Failure;
use crate::instance;
use crate::psql::{Psql, batch, set_local};
use crate::release::Release;
use crate::server::Server;
use crate::toc::Toc;

/// What was found out before anything changes.
#[derive(Debug)]
pub(super) struct RestorePlan {
    pub(super) cx: RestoreContext,
    pub(super) place: Place,
    /// The role that will own what is made.
    pub(super) owner: String,
    pub(super) server: Server,
    pub(super) client: Release,
    pub(super) release: Release,
    /// That of the empty database there is.
    pub(super) target_locale: Option<Locale>,
}

/// A restore into one database.
#[derive(Debug)]
pub(super) struct RestoreInto {
    plan: RestorePlan,
    leftover: Option<Leftover>,
    /// The session whose transaction has filled the target.
    transaction: Option<Psql>,
    toc: Toc,
}

impl RestoreInto {
    pub(super) fn new(plan: RestorePlan) -> Self {
        Self {
            plan,
            leftover: None,
            transaction: None,
            toc: Toc::default(),
        }
    }

    fn control(&self) -> &Control {
        self.plan.cx.control()
    }

    fn record(&mut self) -> Result<()> {
        let leftover = self.plan.place.leftover()?;
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

    /// Writes the list of what is wanted of the dump.
    fn write_list(&self) -> Result<PathBuf> {
        let list = self.plan.cx.work().join("restore.list");
        write_private(&list, self.toc.restorable().as_bytes())?;
        Ok(list)
    }

    fn tell_what_is_left_out(&self) {
        let grants = self.toc.count_of("ACL") + self.toc.count_of("DEFAULT ACL");
        if grants > 0 {
            self.plan.cx.events().message(format!(
                "{grants} grants to other roles are in the dump and are not restored: all belongs to {:?}",
                self.plan.owner
            ));
        }
    }

    async fn build_beside(&mut self, beside: &Beside, content: &Content<'_>) -> Result<()> {
        let plan = &self.plan;
        let server = &plan.server;
        let locale = self.locale(content.dump).await?;
        let mut psql = Psql::open(
            server,
            &server.config().maintenance_database,
            self.control(),
        )
        .await?;
        let created = create::create(
            &mut psql,
            plan.release,
            &beside.temporary,
            content.owner,
            locale.as_ref(),
        )
        .await;
        psql.close().await;
        if let Some(warning) = created? {
            plan.cx.events().warning(warning);
        }
        if fill::can_connect(plan.client, plan.release) {
            fill::in_parallel(server, &beside.temporary, content, self.control()).await?;
        } else {
            let mut psql = Psql::open(server, &beside.temporary, self.control()).await?;
            let filled = fill_in_transaction(&mut psql, server, content, self.control()).await;
            psql.close().await;
            filled?;
        }
        let mut psql = Psql::open(server, &beside.temporary, self.control()).await?;
        let analyzed = psql.execute("ANALYZE").await;
        psql.close().await;
        analyzed.map_err(|failure| failure.doing("gather statistics for the planner"))
    }

    /// The locale of the empty database there is, else that of the original.
    async fn locale(&self, dump: &Path) -> Result<Option<Locale>> {
        let plan = &self.plan;
        let known = plan
            .target_locale
            .clone()
            .or_else(|| plan.cx.artifact().and_then(create::recorded));
        if known.is_some() {
            return Ok(known);
        }
        let (config, work) = (plan.server.config(), plan.cx.work());
        create::told_by_dump(config, dump, &self.toc, work, self.control()).await
    }

    async fn build_inside(&mut self, database: &str, content: &Content<'_>) -> Result<()> {
        let server = &self.plan.server;
        self.plan.cx.events().message(format!(
            "the role may not create databases: {database:?} is filled in one transaction, with one connection"
        ));
        let mut psql = Psql::open(server, database, self.control()).await?;
        let begin = ["BEGIN".to_owned(), set_local("statement_timeout", "0")];
        psql.execute(&batch(&begin))
            .await
            .map_err(|failure| failure.doing("begin a transaction"))?;
        target::ensure_empty(&mut psql, database).await?;
        fill::through(&mut psql, server, content, self.control()).await?;
        psql.execute("ANALYZE")
            .await
            .map_err(|failure| failure.doing("gather statistics for the planner"))?;
        self.transaction = Some(psql);
        Ok(())
    }

    async fn commit_beside(&mut self, beside: &Beside) -> Result<()> {
        let (server, cx) = (&self.plan.server, &self.plan.cx);
        commit::copy_properties(server, beside, cx.control(), cx.events()).await?;
        commit::commit(server, beside, cx.control()).await?;
        // From here on the restore has succeeded, whatever becomes of the empty database.
        let control = cx.control().for_cleanup();
        match commit::take_back(server, beside, &control).await {
            Ok(()) => self.forget(),
            Err(error) => {
                cx.events().warning(format!(
                    "the empty database that was there before is left over: {}",
                    diy_backup_core::error_chain(&error)
                ));
                Ok(())
            }
        }
    }
}

async fn fill_in_transaction(
    psql: &mut Psql,
    server: &Server,
    content: &Content<'_>,
    control: &Control,
) -> Result<()> {
    let transaction = |failure: Failure| failure.doing("fill the database in one transaction");
    psql.execute("BEGIN").await.map_err(transaction)?;
    fill::through(psql, server, content, control).await?;
    psql.execute("COMMIT").await.map_err(transaction)
}

#[async_trait]
impl RestoreSession for RestoreInto {
    async fn apply(&mut self, source: &RestoreSource) -> Result<()> {
        let Some(dump) = source.database.as_deref() else {
            return Err(Error::new(
                ErrorKind::Damaged,
                "the backup holds no dump of the database",
            ));
        };
        self.toc = dump::contents(self.plan.server.config(), dump, self.control()).await?;
        let list = self.write_list()?;
        self.tell_what_is_left_out();
        self.record()?;
        let owner = self.plan.owner.clone();
        let content = Content {
            dump,
            list,
            owner: &owner,
        };
        match self.plan.place.clone() {
            Place::Beside(beside) => self.build_beside(&beside, &content).await,
            Place::Inside { target } => self.build_inside(&target, &content).await,
        }
    }

    async fn commit(&mut self) -> Result<()> {
        match self.plan.place.clone() {
            Place::Beside(beside) => self.commit_beside(&beside).await,
            Place::Inside { target } => {
                let Some(mut psql) = self.transaction.take() else {
                    return Err(Error::new(
                        ErrorKind::Internal,
                        "there is nothing to commit",
                    ));
                };
                let committed = psql.execute("COMMIT").await;
                psql.close().await;
                committed.map_err(|failure| {
                    failure.doing(format!("commit the content of {target:?}"))
                })?;
                self.forget()
            }
        }
    }

    async fn verify(&mut self) -> Result<()> {
        let server = &self.plan.server;
        let database = &server.config().name;
        let mut psql = Psql::open(server, database, self.control()).await?;
        let looked = async {
            let tables = crate::facts::Table::all(&mut psql).await?;
            let lock = instance::change_log_lock(&mut psql, &tables).await?;
            Ok((target::names(tables), lock))
        }
        .await;
        psql.close().await;
        let (tables, lock) =
            looked.map_err(|failure: Failure| failure.doing("list the restored tables"))?;
        if let Some(lock) = lock {
            self.plan.cx.events().warning(lock.of_restored());
        }
        let dumped: Vec<&str> = self.toc.tables().collect();
        let differing = tables.iter().find(|table| {
            let prefix = format!("{} ", crate::toc::one_line(table));
            !dumped.iter().any(|entry| entry.starts_with(&prefix))
        });
        if differing.is_none() && tables.len() == dumped.len() {
            return Ok(());
        }
        let message = format!(
            "the database {database:?} has {} tables, and the dump {}",
            tables.len(),
            dumped.len()
        );
        Err(Error::new(ErrorKind::Damaged, message))
    }

    async fn abort(mut self: Box<Self>) -> Result<()> {
        if let Some(psql) = self.transaction.take() {
            // Closed without COMMIT: the server rolls back.
            psql.close().await;
        }
        if self.leftover.is_some()
            && let Place::Beside(beside) = self.plan.place.clone()
        {
            let control = self.control().for_cleanup();
            commit::take_back(&self.plan.server, &beside, &control).await?;
        }
        self.forget()
    }
}
