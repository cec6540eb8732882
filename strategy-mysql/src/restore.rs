//! The way back.
//!
//! No flavour has a transaction around DDL, nor a new name for a database. So a restore fills a database beside the
//! target, and its commit is one `RENAME TABLE` that moves every table at once. What `RENAME TABLE` cannot move, views,
//! triggers, routines and events, is kept as a script in a table of the temporary database, and made anew in the
//! target right after the tables; until that is done, the script stays where a later run finds it.

mod commit;
mod definers;
mod objects;
mod place;
mod script;
mod session;
mod target;

use std::path::{Path, PathBuf};

use diy_backup_core::{
    Committed, Control, Error, ErrorKind, Leftover, Restore, RestoreContext, RestoreSession,
    Result, ResultExt, async_trait,
};

use crate::check;
use crate::client::Client;
use crate::config::MysqlConfig;
use crate::facts::{Database, Facts};
use crate::failure::Failure;
use crate::grants::{self, Grants};
use crate::option_file::{self, Hideout};
use crate::server::Server;
use crate::strategy::MysqlStrategy;
use crate::tools::Flavour;
use definers::Definers;
use place::Beside;
use session::{RestoreInto, RestorePlan};

/// What a restore does in the temporary database and in the target.
const NEEDED: [&str; 11] = [
    "SELECT",
    "INSERT",
    "CREATE",
    "DROP",
    "ALTER",
    "INDEX",
    "REFERENCES",
    "CREATE VIEW",
    "CREATE ROUTINE",
    "TRIGGER",
    "EVENT",
];

#[async_trait]
impl Restore for MysqlStrategy {
    async fn prepare_restore(&self, cx: &RestoreContext) -> Result<Box<dyn RestoreSession>> {
        let plan = plan(self.config(), cx).await?;
        Ok(Box::new(RestoreInto::new(plan)))
    }

    async fn was_committed(&self, leftover: &Leftover) -> Result<Committed> {
        if leftover.kind == option_file::KIND {
            return Ok(Committed::No);
        }
        let beside = Beside::of(leftover, &self.config().name)?;
        let (server, _) = reach(self.config()).await?;
        let moved = commit::is_moved(&server.client(&Control::new()), &beside).await?;
        Ok(if moved { Committed::Yes } else { Committed::No })
    }

    async fn resume_commit(&self, leftover: &Leftover) -> Result<()> {
        if leftover.kind == option_file::KIND {
            return option_file::discard(leftover);
        }
        let beside = Beside::of(leftover, &self.config().name)?;
        let (server, _) = reach(self.config()).await?;
        commit::resume(&server.client(&Control::new()), &beside).await
    }
}

/// Removes what a restore that died has left.
pub(crate) async fn discard(config: &MysqlConfig, leftover: &Leftover) -> Result<()> {
    let beside = Beside::of(leftover, &config.name)?;
    let (server, _) = reach(config).await?;
    commit::drop_temporary(&server.client(&Control::new()), &beside).await
}

async fn reach(config: &MysqlConfig) -> Result<(Server, Facts)> {
    Server::reach(config, Hideout::Temporary, &Control::new()).await
}

/// What the account lacks for a restore, and the statement that gives it.
pub(crate) async fn missing_grants(
    client: &Client,
    config: &MysqlConfig,
    flavour: Flavour,
) -> std::result::Result<Option<(String, String)>, Failure> {
    let grants = Grants::of(client, flavour).await?;
    let beside = Beside::new(&config.name, false);
    let mut statements = Vec::new();
    let account = grants::account(client).await?;
    let all = ["ALL PRIVILEGES"];
    for (database, pattern) in [
        (&config.name, crate::sql::grant_pattern(&config.name)),
        (&beside.temporary, place::pattern(&config.name)),
    ] {
        if !grants.missing(database, &NEEDED).is_empty() {
            statements.push(grants::statement(&all, &pattern, &account));
        }
    }
    if statements.is_empty() {
        return Ok(None);
    }
    let message = format!(
        "{:?} may not fill the database {:?} and the one beside it that a restore is made in",
        config.username, config.name
    );
    let fix = format!("Run as an administrator: `{}`", statements.join(" "));
    Ok(Some((message, fix)))
}

/// Looks at everything that a restore needs.
async fn plan(config: &MysqlConfig, cx: &RestoreContext) -> Result<RestorePlan> {
    let control = cx.control();
    let (server, facts) = Server::reach(config, Hideout::Temporary, control).await?;
    check::ensure_supported(facts.release)?;
    let client = server.client(control);
    if facts.read_only {
        let message = "the server is read-only, and nothing can be restored to it";
        return Err(Error::new(ErrorKind::Check, message)
            .with_hint("Let `host` and `port` lead to the primary server, or run `SET GLOBAL read_only = OFF;`."));
    }
    let existing = Database::of(&client, &config.name)
        .await
        .map_err(|failure| failure.doing("look at the target of the restore"))?;
    if existing.is_some() {
        target::ensure_empty(&client, &config.name).await?;
    }
    let missing = missing_grants(&client, config, facts.release.flavour)
        .await
        .map_err(|failure| failure.doing("look up what the account may do"))?;
    if let Some((message, fix)) = missing {
        return Err(Error::new(ErrorKind::Check, message).with_hint(fix));
    }
    let definers = Definers::of(&client, facts.release.flavour)
        .await
        .map_err(|failure| failure.doing("look up the accounts of the server"))?;
    ensure_statements_fit(recorded_statement_bytes(cx), &facts)?;
    tell_of_other_flavour(cx, &facts);
    Ok(RestorePlan {
        cx: cx.clone(),
        config: config.clone(),
        beside: Beside::new(&config.name, existing.is_some()),
        database: existing.or_else(|| recorded_database(cx)),
        definers,
        facts,
    })
}

fn recorded_database(cx: &RestoreContext) -> Option<Database> {
    let artifact = cx.artifact()?;
    Some(Database {
        charset: artifact.detail("character-set")?.to_owned(),
        collation: artifact.detail("collation")?.to_owned(),
    })
}

fn recorded_statement_bytes(cx: &RestoreContext) -> u64 {
    let recorded = cx
        .artifact()
        .and_then(|artifact| artifact.detail("longest-statement-bytes")?.parse().ok());
    recorded.unwrap_or(0)
}

/// A statement that the server does not take would end the restore half way.
fn ensure_statements_fit(longest_bytes: u64, facts: &Facts) -> Result<()> {
    if longest_bytes < facts.max_statement_bytes {
        return Ok(());
    }
    let message = format!(
        "the dump has a statement of {longest_bytes} bytes, and the server takes {} (max_allowed_packet)",
        facts.max_statement_bytes
    );
    Err(Error::new(ErrorKind::Check, message).with_hint(
        "Raise it, in the server's option file too: `SET GLOBAL max_allowed_packet = 1073741824;`.",
    ))
}

fn tell_of_other_flavour(cx: &RestoreContext, facts: &Facts) {
    let recorded = cx
        .artifact()
        .and_then(|artifact| artifact.detail("flavour"));
    let here = facts.release.flavour.to_string();
    if let Some(flavour) = recorded.filter(|&flavour| flavour != here) {
        cx.events().warning(format!(
            "the dump comes from {flavour} and is restored to {here}, which may not know all that is in it"
        ));
    }
}

/// The dump in a backup: ours, or what the shell scripts have made, a folder with one file in it or the file itself.
fn find_dump(database: &Path) -> Result<PathBuf> {
    let unreadable = || format!("cannot list {}", database.display());
    if database.is_file() {
        return Ok(database.to_owned());
    }
    let ours = database.join(crate::dump::FILE);
    if ours.is_file() {
        return Ok(ours);
    }
    let mut files = Vec::new();
    for entry in std::fs::read_dir(database).io_context(unreadable)? {
        let path = entry.io_context(unreadable)?.path();
        if path.is_file() {
            files.push(path);
        }
    }
    let is_sql = |path: &&PathBuf| path.extension().is_some_and(|extension| extension == "sql");
    let scripts: Vec<&PathBuf> = files.iter().filter(is_sql).collect();
    match (scripts.as_slice(), files.as_slice()) {
        ([one], _) => Ok((*one).clone()),
        ([], [one]) => Ok(one.clone()),
        _ => {
            let message = format!(
                "the backup holds {} files where one dump of the database should be",
                files.len()
            );
            Err(Error::new(ErrorKind::Damaged, message))
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_dump_is_found_in_every_layout() {
        let folder = tempfile::tempdir().unwrap();
        let write = |name: &str| {
            let path = folder.path().join(name);
            std::fs::write(&path, "").unwrap();
            path
        };
        assert!(find_dump(folder.path()).is_err());
        let bare = write("bitbucket");
        assert_eq!(find_dump(&bare).unwrap(), bare);
        assert_eq!(find_dump(folder.path()).unwrap(), bare);
        let script = write("bitbucket.sql");
        assert_eq!(find_dump(folder.path()).unwrap(), script);
        write("other.sql");
        assert_eq!(
            find_dump(folder.path()).unwrap_err().kind(),
            ErrorKind::Damaged
        );
        let ours = write("dump.sql");
        assert_eq!(find_dump(folder.path()).unwrap(), ours);
    }
}
