//! The way back.

mod commit;
mod create;
mod fill;
mod ownership;
mod place;
mod properties;
mod session;
mod target;

use diy_backup_core::{
    Committed, Control, Error, ErrorKind, Leftover, Restore, RestoreContext, RestoreSession,
    Result, async_trait,
};

use crate::config::PostgresConfig;
use crate::facts::{Facts, Locale};
use crate::original::Original;
use crate::psql::Psql;
use crate::release::Release;
use crate::server::{Server, tool_release};
use crate::sql;
use crate::strategy::PostgresStrategy;
use ownership::Owners;
use place::{Beside, Place};
use session::{RestoreInto, RestorePlan};
use target::Standing;

#[async_trait]
impl Restore for PostgresStrategy {
    async fn prepare_restore(&self, cx: &RestoreContext) -> Result<Box<dyn RestoreSession>> {
        let plan = plan(self.config(), cx).await?;
        Ok(Box::new(RestoreInto::new(plan)))
    }

    async fn was_committed(&self, leftover: &Leftover) -> Result<Committed> {
        let server = Server::reach(self.config()).await?;
        let committed = match Place::of(leftover, &self.config().name)? {
            Place::Beside(beside) => {
                !is_there(&server, &beside.temporary).await?
                    && is_there(&server, &beside.target).await?
            }
            Place::Inside { target } => is_filled(&server, &target).await?,
        };
        Ok(if committed {
            Committed::Yes
        } else {
            Committed::No
        })
    }

    async fn resume_commit(&self, leftover: &Leftover) -> Result<()> {
        let control = Control::new();
        let server = Server::reach(self.config()).await?;
        match Place::of(leftover, &self.config().name)? {
            Place::Beside(beside) if is_there(&server, &beside.temporary).await? => {
                commit::commit(&server, &beside, &control).await?;
                commit::take_back(&server, &beside, &control).await
            }
            Place::Beside(beside) if is_there(&server, &beside.target).await? => {
                commit::take_back(&server, &beside, &control).await
            }
            Place::Beside(beside) => Err(commit::nothing_to_commit(&beside.target)),
            Place::Inside { target } if is_filled(&server, &target).await? => Ok(()),
            Place::Inside { target } => Err(commit::nothing_to_commit(&target)),
        }
    }
}

/// Removes what a restore that died has left.
pub(crate) async fn discard(config: &PostgresConfig, leftover: &Leftover) -> Result<()> {
    match Place::of(leftover, &config.name)? {
        Place::Beside(beside) => {
            let server = Server::reach(config).await?;
            commit::take_back(&server, &beside, &Control::new()).await
        }
        // Its transaction has ended with the session that it was in.
        Place::Inside { .. } => Ok(()),
    }
}

/// Looks at everything that a restore needs, and decides where it is made.
async fn plan(config: &PostgresConfig, cx: &RestoreContext) -> Result<RestorePlan> {
    let control = cx.control();
    let client = tool_release(config, "pg_restore", control).await?;
    tool_release(config, "psql", control).await?;
    ensure_client_reads(client, cx)?;
    let server = Server::reach(config).await?;
    let mut psql = Psql::open(&server, &config.maintenance_database, control).await?;
    let looked = async {
        let facts = Facts::of(&mut psql).await?;
        let standing = Standing::of(&mut psql, facts.release(), &config.name).await?;
        let locale = Locale::of(&mut psql, facts.release(), &config.name).await?;
        Ok((facts, standing, locale))
    }
    .await;
    psql.close().await;
    let (facts, standing, target_locale) = looked.map_err(|failure: crate::failure::Failure| {
        failure.doing("look at the target of the restore")
    })?;
    if facts.in_recovery {
        let message = "the server is a standby, which nothing can be restored to";
        return Err(Error::new(ErrorKind::Check, message)
            .with_hint("Let `host` and `port` lead to the primary server."));
    }
    // The dump itself is not there yet, and says more; what is wrong is better known now.
    let recorded = cx.artifact().and_then(Original::recorded);
    let recorded = recorded.unwrap_or_default();
    Owners::decide(config, &standing, &recorded)?;
    ensure_extensions(&standing, &recorded)?;
    let place = choose_place(config, &standing)?;
    if standing.target.is_some() {
        let mut psql = Psql::open(&server, &config.name, control).await?;
        let ready = target::ensure_ready(&mut psql, config, &place).await;
        psql.close().await;
        ready?;
    }
    ensure_encoding(config, cx, target_locale.as_ref())?;
    Ok(RestorePlan {
        cx: cx.clone(),
        place,
        standing,
        server,
        client,
        release: facts.release(),
        target_locale,
    })
}

/// An extension that cannot be installed would end the restore half way.
fn ensure_extensions(standing: &Standing, original: &Original) -> Result<()> {
    let missing = standing.missing_extensions(&original.extensions);
    if missing.is_empty() {
        return Ok(());
    }
    let message = format!(
        "the server does not have extensions that the dump needs: {}",
        missing.join(", ")
    );
    Err(Error::new(ErrorKind::Check, message).with_hint(
        "Install them on the server (on Debian and Ubuntu most are in `postgresql-contrib` or `postgresql-NN-…`).",
    ))
}

fn choose_place(config: &PostgresConfig, standing: &Standing) -> Result<Place> {
    let target_exists = standing.target.is_some();
    let may_replace = !target_exists || standing.usable_owner().is_some();
    if standing.login.creates_databases && may_replace {
        return Ok(Place::Beside(Beside::new(&config.name, target_exists)));
    }
    if target_exists {
        return Ok(Place::Inside {
            target: config.name.clone(),
        });
    }
    let message = format!(
        "the database {:?} does not exist, and {:?} may not create it",
        config.name, config.username
    );
    let owner = config.owner.as_ref().unwrap_or(&config.username);
    Err(Error::new(ErrorKind::Check, message).with_hint(format!(
        "Run as a superuser: `CREATE DATABASE {} OWNER {} TEMPLATE template0 ENCODING 'UTF8';`, or `ALTER ROLE {} CREATEDB;`.",
        sql::identifier(&config.name),
        sql::identifier(owner),
        sql::identifier(&config.username)
    )))
}

fn ensure_client_reads(client: Release, cx: &RestoreContext) -> Result<()> {
    let made_by = cx
        .artifact()
        .and_then(|artifact| artifact.detail("client-version"));
    match made_by.and_then(Release::from_version) {
        Some(made_by) if client < made_by => {
            let message = format!(
                "the dump was made by pg_dump of PostgreSQL {made_by}, and pg_restore is of {client}"
            );
            Err(Error::new(ErrorKind::Check, message).with_hint(format!(
                "Install the client tools of PostgreSQL {made_by} or newer and name their folder with `tools`."
            )))
        }
        _ => Ok(()),
    }
}

/// A database whose encoding lacks letters that the dump may hold would end the restore half way.
fn ensure_encoding(
    config: &PostgresConfig,
    cx: &RestoreContext,
    target: Option<&Locale>,
) -> Result<()> {
    let original = cx
        .artifact()
        .and_then(|artifact| artifact.detail("encoding"));
    match (original, target) {
        (Some(original), Some(target))
            if target.encoding != original && target.encoding != "UTF8" =>
        {
            let message = format!(
                "the database {:?} has the encoding {}, and the dump {original}",
                config.name, target.encoding
            );
            Err(Error::new(ErrorKind::Check, message).with_hint(format!(
                "Drop the empty database, or create it with the right one: `CREATE DATABASE … TEMPLATE template0 ENCODING '{original}';`."
            )))
        }
        _ => Ok(()),
    }
}

async fn is_there(server: &Server, database: &str) -> Result<bool> {
    let control = Control::new();
    let mut psql = Psql::open(server, &server.config().maintenance_database, &control).await?;
    let there = target::exists(&mut psql, database).await;
    psql.close().await;
    there.map_err(|failure| failure.doing("list the databases"))
}

async fn is_filled(server: &Server, database: &str) -> Result<bool> {
    let mut psql = Psql::open(server, database, &Control::new()).await?;
    let empty = target::ensure_empty(&mut psql, database).await;
    psql.close().await;
    match empty {
        Ok(()) => Ok(false),
        Err(error) if error.kind() == ErrorKind::TargetNotEmpty => Ok(true),
        Err(error) => Err(error),
    }
}
