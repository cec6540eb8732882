//! The way back.

mod place;
mod session;

use diy_backup_core::{
    Committed, Control, Error, ErrorKind, Leftover, Restore, RestoreContext, RestoreSession,
    Result, async_trait,
};

use crate::config::MssqlConfig;
use crate::facts::{self, DatabaseFacts, Facts};
use crate::session::discard_files;
use crate::shared::SharedFiles;
use crate::sql;
use crate::sqlcmd::Server;
use crate::strategy::MssqlStrategy;
use place::Beside;
use session::{RestoreInto, RestorePlan};

#[async_trait]
impl Restore for MssqlStrategy {
    async fn prepare_restore(&self, cx: &RestoreContext) -> Result<Box<dyn RestoreSession>> {
        let plan = plan(self.config(), cx).await?;
        Ok(Box::new(RestoreInto::new(plan)))
    }

    async fn was_committed(&self, leftover: &Leftover) -> Result<Committed> {
        if SharedFiles::of(self.config(), leftover)?.is_some() {
            return Ok(Committed::No);
        }
        let server = Server::reach_for_now(self.config(), &Control::new()).await?;
        if Beside::of(leftover, &self.config().name)?
            .is_committed(&server)
            .await?
        {
            Ok(Committed::Yes)
        } else {
            Ok(Committed::No)
        }
    }

    async fn resume_commit(&self, leftover: &Leftover) -> Result<()> {
        if let Some(files) = SharedFiles::of(self.config(), leftover)? {
            return discard_files(files).await;
        }
        let server = Server::reach_for_now(self.config(), &Control::new()).await?;
        let beside = Beside::of(leftover, &self.config().name)?;
        beside.commit(&server).await?;
        beside.take_back(&server).await
    }
}

/// Removes the databases that a restore which died has left.
pub(crate) async fn discard(config: &MssqlConfig, leftover: &Leftover) -> Result<()> {
    let beside = Beside::of(leftover, &config.name)?;
    let server = Server::reach_for_now(config, &Control::new()).await?;
    beside.take_back(&server).await
}

/// Looks at everything that a restore needs before anything changes.
async fn plan(config: &MssqlConfig, cx: &RestoreContext) -> Result<RestorePlan> {
    // The work folder is there for a part of the restore only.
    let server = Server::reach_for_now(config, cx.control()).await?;
    let facts = Facts::of(&server)
        .await
        .map_err(|failure| failure.doing("log in to the server"))?;
    facts.ensure_supported()?;
    ensure_not_older(&facts, cx)?;
    let name = &config.name;
    let target = DatabaseFacts::of(&server, name)
        .await
        .map_err(|failure| failure.doing(format!("look at the database {name:?}")))?;
    if target.is_some() {
        place::ensure_empty(&server, name).await?;
    }
    ensure_allowed(&facts, target.is_some())?;
    let folder = |own: &Option<String>, servers: &Option<String>, key: &str| {
        own.clone().or_else(|| servers.clone()).ok_or_else(|| {
            Error::new(
                ErrorKind::Check,
                "the server names no default folder for the files of databases",
            )
            .with_hint(format!("Set `{key}` in the section [database]."))
        })
    };
    Ok(RestorePlan {
        cx: cx.clone(),
        data_directory: folder(
            &config.data_directory,
            &facts.data_directory,
            "data-directory",
        )?,
        log_directory: folder(&config.log_directory, &facts.log_directory, "log-directory")?,
        beside: Beside::new(name, target.is_some()),
        files: SharedFiles::new(config, cx.id()),
        server,
    })
}

fn not_empty(message: String, name: &str) -> Error {
    Error::new(ErrorKind::TargetNotEmpty, message).with_hint(format!(
        "Restore to another `name`, or remove it if you are sure: `DROP DATABASE {};`.",
        sql::identifier(name)
    ))
}

fn ensure_not_older(facts: &Facts, cx: &RestoreContext) -> Result<()> {
    let made_by = cx
        .artifact()
        .and_then(|artifact| artifact.detail("server-version"));
    match made_by {
        Some(made_by) if facts::release_of(made_by) > facts.release() => {
            let message = format!(
                "the backup was made by SQL Server {made_by}, and this server is {}",
                facts.version
            );
            Err(Error::new(ErrorKind::Check, message)
                .with_hint("A backup restores to the same or a newer release of SQL Server, never to an older one."))
        }
        _ => Ok(()),
    }
}

fn ensure_allowed(facts: &Facts, target_exists: bool) -> Result<()> {
    let lacking = if !facts.creates_databases {
        "create databases"
    } else if target_exists && !facts.alters_databases {
        "rename the empty database that is there"
    } else {
        return Ok(());
    };
    let message = format!("the login {:?} may not {lacking}", facts.login);
    Err(Error::new(ErrorKind::Check, message).with_hint(format!(
        "Run as an administrator: `ALTER SERVER ROLE dbcreator ADD MEMBER {};`.",
        sql::identifier(&facts.login)
    )))
}
