//! One restore of the database.

use std::collections::BTreeSet;
use std::path::{Path, PathBuf};

use diy_backup_core::{
    Control, Error, ErrorKind, Leftover, RestoreContext, RestoreSession, RestoreSource, Result,
    async_trait, write_private,
};

use super::commit;
use super::create;
use super::fill::{self, Content, Tablespaces};
use super::ownership::{Owners, Ownership};
use super::place::{Beside, Place};
use super::properties::{self, Kept};
use super::target::{self, Standing};
use crate::dump;
use crate::facts::Locale;
use crate::failure::Failure;
use crate::found::FoundDump;
use crate::instance;
use crate::original::Original;
use crate::psql::Psql;
use crate::release::Release;
use crate::server::Server;
use crate::toc::Toc;

/// What was found out before anything changes.
#[derive(Debug)]
pub(super) struct RestorePlan {
    pub(super) cx: RestoreContext,
    pub(super) place: Place,
    pub(super) standing: Standing,
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

/// What the dump has told before anything is made of it.
struct Decided {
    original: Original,
    owners: Owners,
    tablespaces: Tablespaces,
    /// What the server may refuse.
    optional: Vec<String>,
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

    /// Writes a list of what is wanted of the dump.
    fn write_list(&self, name: &str, list: &str) -> Result<PathBuf> {
        let path = self.plan.cx.work().join(name);
        write_private(&path, list.as_bytes())?;
        Ok(path)
    }

    /// Decides from the dump itself, and fails while nothing has changed yet.
    async fn decide(&self, dump: &Path) -> Result<Decided> {
        let plan = &self.plan;
        let config = plan.server.config();
        let original = Original::of(config, dump, &self.toc, self.control()).await?;
        let owners = Owners::decide(config, &plan.standing, &original)?;
        super::ensure_extensions(&plan.standing, &original)?;
        if let Ownership::Of(owner) = &owners.content
            && original.all_owners().iter().any(|other| other != owner)
        {
            plan.cx.events().message(format!(
                "everything will belong to {owner:?}, and in the dump it belongs to {}",
                original
                    .all_owners()
                    .into_iter()
                    .collect::<Vec<_>>()
                    .join(", ")
            ));
        }
        let subscriptions = self.toc.count_of("SUBSCRIPTION");
        if subscriptions > 0 {
            plan.cx.events().warning(format!(
                "{subscriptions} subscriptions to other servers are in the dump and are not restored: two databases would share one"
            ));
        }
        let lacks = |name: &&String| !plan.standing.has_tablespace(name);
        let all = original.tablespaces.iter().chain(&original.tablespace);
        let missing: BTreeSet<&str> = all.filter(lacks).map(String::as_str).collect();
        if !missing.is_empty() {
            plan.cx.events().warning(format!(
                "the server lacks tablespaces of the original: {}; what was there goes where the database is",
                missing.into_iter().collect::<Vec<_>>().join(", ")
            ));
        }
        let tablespaces = if original.tablespaces.iter().any(|name| lacks(&name)) {
            Tablespaces::Default
        } else {
            Tablespaces::AsDumped
        };
        Ok(Decided {
            original,
            owners,
            tablespaces,
            optional: Vec::new(),
        })
    }

    async fn build_beside(
        &mut self,
        beside: &Beside,
        content: &Content<'_>,
        decided: Decided,
    ) -> Result<()> {
        let plan = &self.plan;
        let server = &plan.server;
        let maintenance = &server.config().maintenance_database;
        let mut psql = Psql::open(server, maintenance, self.control()).await?;
        let tablespace = decided.original.tablespace.as_deref();
        let created = create::create(
            &mut psql,
            plan.release,
            &beside.temporary,
            &decided.owners.database,
            self.locale(&decided.original).as_ref(),
            tablespace.filter(|name| plan.standing.has_tablespace(name)),
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
        let finished = self.finish_beside(&mut psql, beside, decided).await;
        psql.close().await;
        finished
    }

    async fn finish_beside(
        &self,
        psql: &mut Psql,
        beside: &Beside,
        decided: Decided,
    ) -> Result<()> {
        let transaction = |failure: Failure| failure.doing("give the database its settings");
        psql.execute("BEGIN").await.map_err(transaction)?;
        let names = (beside.temporary.as_str(), beside.target.as_str());
        let kept = Kept::beside(self.plan.standing.target.as_ref());
        self.finish(psql, names, decided, kept).await?;
        psql.execute("COMMIT").await.map_err(transaction)
    }

    /// Does in a transaction what comes after the content.
    async fn finish(
        &self,
        psql: &mut Psql,
        names: (&str, &str),
        decided: Decided,
        kept: Kept,
    ) -> Result<()> {
        let events = self.plan.cx.events();
        psql.execute("ANALYZE")
            .await
            .map_err(|failure| failure.doing("gather statistics for the planner"))?;
        properties::add(psql, decided.optional, events)
            .await
            .map_err(|failure| failure.doing("restore grants and comments"))?;
        properties::apply(psql, &decided.original, names, kept, events)
            .await
            .map_err(|failure| failure.doing("give the database its settings"))
    }

    /// The locale of the empty database there is, else that of the original.
    fn locale(&self, original: &Original) -> Option<Locale> {
        let plan = &self.plan;
        let recorded = || plan.cx.artifact().and_then(create::recorded);
        let known = plan.target_locale.clone().or_else(recorded);
        known.or_else(|| original.locale.clone())
    }

    async fn build_inside(
        &mut self,
        database: &str,
        content: &Content<'_>,
        decided: Decided,
    ) -> Result<()> {
        let plan = &self.plan;
        let server = &plan.server;
        plan.cx.events().message(format!(
            "the role may not create databases: {database:?} is filled in one transaction, with one connection"
        ));
        let mut psql = Psql::open(server, database, self.control()).await?;
        psql.execute("BEGIN")
            .await
            .map_err(|failure| failure.doing("begin a transaction"))?;
        target::ensure_empty(&mut psql, database).await?;
        fill::through(&mut psql, server, content, self.control()).await?;
        let kept = Kept::inside(plan.standing.target.as_ref());
        self.finish(&mut psql, (database, database), decided, kept)
            .await?;
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
        let Some(database) = source.database.as_deref() else {
            return Err(Error::new(
                ErrorKind::Damaged,
                "the backup holds no dump of the database",
            ));
        };
        let found = FoundDump::within(database)?;
        let dump = found.path.as_path();
        self.toc = dump::contents(self.plan.server.config(), dump, self.control()).await?;
        let mut decided = self.decide(dump).await?;
        let ownership = decided.owners.content.clone();
        let content = |list| Content {
            dump,
            format: found.format,
            list,
            ownership: &ownership,
            tablespaces: decided.tablespaces,
        };
        let optional = self.toc.extras();
        if !optional.is_empty() {
            let optional = content(self.write_list("optional.list", &optional)?);
            decided.optional =
                fill::statements(&self.plan.server, &optional, self.control()).await?;
        }
        let content = content(self.write_list("content.list", &self.toc.content())?);
        self.record()?;
        match self.plan.place.clone() {
            Place::Beside(beside) => self.build_beside(&beside, &content, decided).await,
            Place::Inside { target } => self.build_inside(&target, &content, decided).await,
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
