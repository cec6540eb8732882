//! The database beside the target that a restore fills and renames, and how a later run finds it.

use std::time::Duration;

use diy_backup_core::{Error, ErrorKind, Leftover, Result};
use serde::{Deserialize, Serialize};

use super::not_empty;
use crate::facts::{DatabaseFacts, exists, user_objects};
use crate::failure::{Failure, IN_USE};
use crate::sql;
use crate::sqlcmd::Server;
use crate::strategy::NAME;

const KIND: &str = "restore-database";
const TEMPORARY: &str = "_restore_";
const REPLACED: &str = "_replaced_";

/// How often, and after what pause, a database is dropped again that the server still works on for a client that is gone.
const DROP_ATTEMPTS: u32 = 60;
const DROP_PAUSE: Duration = Duration::from_millis(500);

/// A database beside its target.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case", deny_unknown_fields)]
pub(super) struct Beside {
    /// Where it grows.
    pub(super) temporary: String,
    /// What it becomes.
    pub(super) target: String,
    /// What the empty database that has the target's name now is called, from the commit until it is dropped.
    replaced: Option<String>,
}

impl Beside {
    /// Names that nobody has, for a target that is there and empty, or is not there.
    pub(super) fn new(target: &str, target_exists: bool) -> Self {
        let number = fastrand::u32(..);
        let suffixed = |mark: &str| sql::with_suffix(target, &format!("{mark}{number:08x}"));
        Self {
            temporary: suffixed(TEMPORARY),
            target: target.to_owned(),
            replaced: target_exists.then(|| suffixed(REPLACED)),
        }
    }

    /// What is recorded before anything is made there.
    pub(super) fn leftover(&self) -> Result<Leftover> {
        let id = serde_json::to_string(self).map_err(|error| {
            Error::new(ErrorKind::Internal, "cannot write a leftover as JSON").with_source(error)
        })?;
        Ok(Leftover::new(NAME, KIND, id))
    }

    /// Reads what was recorded for the database `configured`. Names that this strategy would not have made for it are
    /// refused: they may be dropped.
    pub(super) fn of(leftover: &Leftover, configured: &str) -> Result<Self> {
        let unknown = || {
            let message = format!("{:?} is no leftover of a restore with {NAME}", leftover.id);
            Error::new(ErrorKind::Damaged, message)
        };
        if leftover.kind != KIND {
            return Err(unknown());
        }
        let beside: Self =
            serde_json::from_str(&leftover.id).map_err(|error| unknown().with_source(error))?;
        let replaced = beside.replaced.as_deref();
        let is_ours = is_marked(&beside.temporary, &beside.target, TEMPORARY)
            && replaced.is_none_or(|name| is_marked(name, &beside.target, REPLACED));
        if !is_ours {
            return Err(unknown());
        }
        ensure_for(&beside.target, configured)?;
        Ok(beside)
    }

    pub(super) async fn is_committed(&self, server: &Server) -> Result<bool> {
        Ok(!is_there(server, &self.temporary).await? && is_there(server, &self.target).await?)
    }

    /// Gives the new database the target's name. Done already, wholly or in part, it is brought to its end.
    pub(super) async fn commit(&self, server: &Server) -> Result<()> {
        if !is_there(server, &self.temporary).await? {
            if is_there(server, &self.target).await? {
                return Ok(());
            }
            let message = format!(
                "there is no restored database to be called {:?}",
                self.target
            );
            return Err(Error::new(ErrorKind::Database, message));
        }
        if let Some(replaced) = &self.replaced
            && is_there(server, &self.target).await?
        {
            ensure_empty(server, &self.target).await?;
            rename(server, &self.target, replaced).await?;
        }
        let renamed = rename(server, &self.temporary, &self.target).await;
        if renamed.is_err()
            && let Some(replaced) = &self.replaced
        {
            // The target is as it was, or `take_back` tries once more.
            let _ = rename(server, replaced, &self.target).await;
        }
        renamed
    }

    /// Removes whatever is not the target.
    pub(super) async fn take_back(&self, server: &Server) -> Result<()> {
        drop_database(server, &self.temporary).await?;
        let Some(replaced) = &self.replaced else {
            return Ok(());
        };
        if !is_there(server, replaced).await? {
            return Ok(());
        }
        if is_there(server, &self.target).await? {
            ensure_empty(server, replaced).await?;
            drop_database(server, replaced).await
        } else {
            rename(server, replaced, &self.target).await
        }
    }
}

/// Refuses what was made for another database than the one that is configured now.
fn ensure_for(target: &str, configured: &str) -> Result<()> {
    if target == configured {
        return Ok(());
    }
    let message = format!(
        "it was made for the database {target:?}, and the section [database] names {configured:?}"
    );
    Err(Error::new(ErrorKind::Config, message)
        .with_hint("Run `diy-backup recover` with the configuration of that restore."))
}

/// Whether a restore into `target` would have made `name`.
fn is_marked(name: &str, target: &str, mark: &str) -> bool {
    name.rsplit_once(mark).is_some_and(|(_, number)| {
        number.len() == 8
            && number.bytes().all(|byte| byte.is_ascii_hexdigit())
            && name == sql::with_suffix(target, &format!("{mark}{number}"))
    })
}

async fn is_there(server: &Server, name: &str) -> Result<bool> {
    exists(server, name)
        .await
        .map_err(|failure| failure.doing("list the databases"))
}

/// That a database holds nothing of its users. A database in use is no target, and neither is one of which the login
/// cannot tell.
pub(super) async fn ensure_empty(server: &Server, name: &str) -> Result<()> {
    let looking =
        |failure: Failure| failure.doing(format!("see whether the database {name:?} is empty"));
    let facts = DatabaseFacts::of(server, name).await.map_err(looking)?;
    let hidden = match &facts {
        None => "not there any more",
        Some(facts) if !facts.is_online() => facts.state.as_str(),
        Some(facts) if !facts.rights.enter => "not open to this login",
        Some(facts) if !facts.rights.see_everything => "not shown to this login (VIEW DEFINITION)",
        Some(_) => {
            let objects = user_objects(server, name).await.map_err(looking)?;
            if objects == 0 {
                return Ok(());
            }
            let message = format!(
                "the database {name:?} is not empty: it holds {objects} tables and other objects"
            );
            return Err(not_empty(message, name));
        }
    };
    let message =
        format!("the database {name:?} is {hidden}, so that it cannot be seen whether it is empty");
    Err(not_empty(message, name))
}

async fn rename(server: &Server, from: &str, to: &str) -> Result<()> {
    let statement = format!(
        "ALTER DATABASE {} MODIFY NAME = {};",
        sql::identifier(from),
        sql::identifier(to)
    );
    let renamed = server.execute(&statement).await;
    renamed.map_err(|failure| failure.doing(format!("rename the database {from:?} to {to:?}")))
}

/// Drops a database in whatever state it is, also one in the middle of a restore.
async fn drop_database(server: &Server, name: &str) -> Result<()> {
    let statement = format!("DROP DATABASE IF EXISTS {};", sql::identifier(name));
    let mut attempt = 1;
    loop {
        match server.execute(&statement).await {
            Ok(()) => return Ok(()),
            Err(Failure::Refused(refusal))
                if refusal.number == IN_USE && attempt < DROP_ATTEMPTS =>
            {
                attempt += 1;
                tokio::time::sleep(DROP_PAUSE).await;
            }
            Err(failure) => return Err(failure.doing(format!("drop the database {name:?}"))),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_that_are_not_ours_are_never_dropped() {
        let beside = Beside::new("b", true);
        assert_eq!(
            Beside::of(&beside.leftover().unwrap(), "b").unwrap(),
            beside
        );
        for id in [
            r#"{"temporary":"master","target":"b","replaced":null}"#,
            r#"{"temporary":"b_restore_0123456x","target":"b","replaced":null}"#,
            r#"{"temporary":"b_restore_01234567","target":"b","replaced":"b"}"#,
            "[]",
        ] {
            assert!(
                Beside::of(&Leftover::new(NAME, KIND, id), "b").is_err(),
                "{id}"
            );
        }
    }

    #[test]
    fn a_leftover_of_another_database_is_refused() {
        let ours = Beside::new("bitbucket", true).leftover().unwrap();
        let error = Beside::of(&ours, "other").unwrap_err();
        assert_eq!(error.kind(), ErrorKind::Config);
        let mut forged = Beside::new("bitbucket", false);
        forged.temporary = "payroll_restore_00000000".to_owned();
        let leftover = forged.leftover().unwrap();
        let error = Beside::of(&leftover, "bitbucket").unwrap_err();
        assert_eq!(error.kind(), ErrorKind::Damaged);
    }
}
