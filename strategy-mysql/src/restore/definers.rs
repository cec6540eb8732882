//! Definers: the accounts with whose rights views, triggers, routines and events do their work.

use std::collections::BTreeSet;

use crate::client::Client;
use crate::failure::Failure;
use crate::grants::Grants;
use crate::sql;
use crate::tools::Flavour;

/// The definers that a restore keeps, and those that it has replaced by the account that restores.
#[derive(Debug, Clone, Default)]
pub(super) struct Definers {
    /// As a dump writes them: `` `user`@`host` ``.
    kept: BTreeSet<Vec<u8>>,
    replaced: BTreeSet<Vec<u8>>,
}

impl Definers {
    /// Finds out which definers can be kept: accounts that the server has, if the login may act for others at all.
    pub(super) async fn of(client: &Client, flavour: Flavour) -> Result<Self, Failure> {
        /// The name of no database, for which only a privilege on all of them counts.
        const ANY: &str = "\0";

        #[derive(serde::Deserialize)]
        struct Account {
            user: String,
            host: String,
        }
        let grants = Grants::of(client, flavour).await?;
        let has = |name: &str| grants.missing(ANY, &[name]).is_empty();
        let may = match flavour {
            Flavour::MariaDb => has("SET USER"),
            // Some accounts are those of administrators, which takes one more to act for.
            Flavour::MySql => (has("SET_USER_ID") || has("SET_ANY_DEFINER")) && has("SYSTEM_USER"),
        };
        if !may {
            return Ok(Self::default());
        }
        let accounts = client
            .rows::<Account>("SELECT JSON_OBJECT('user', User, 'host', Host) FROM mysql.user;")
            .await;
        let accounts = match accounts {
            Err(Failure::Refused(_)) => Vec::new(),
            other => other?,
        };
        let quoted = |account: Account| {
            let (user, host) = (
                sql::identifier(&account.user),
                sql::identifier(&account.host),
            );
            format!("{user}@{host}").into_bytes()
        };
        Ok(Self {
            kept: accounts.into_iter().map(quoted).collect(),
            replaced: BTreeSet::new(),
        })
    }

    /// Returns what takes the place of a definer.
    pub(super) fn instead_of<'a>(&mut self, definer: &'a [u8]) -> &'a [u8] {
        if self.kept.contains(definer) {
            return definer;
        }
        if !self.replaced.contains(definer) {
            self.replaced.insert(definer.to_vec());
        }
        b"CURRENT_USER"
    }

    /// What is to be said of the definers that were replaced, if any were.
    pub(super) fn warning(&self, login: &str) -> Option<String> {
        if self.replaced.is_empty() {
            return None;
        }
        let names: Vec<String> = self
            .replaced
            .iter()
            .map(|name| diy_backup_core::printable(&String::from_utf8_lossy(name)))
            .collect();
        Some(format!(
            "views, triggers, routines or events that were defined by {} now work with the rights of {login:?}: the server lacks the account, or {login:?} may not act for it",
            names.join(", ")
        ))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_definer_that_is_not_kept_is_named() {
        let mut definers = Definers::default();
        definers.kept.insert(b"`a`@`%`".to_vec());
        assert_eq!(definers.instead_of(b"`a`@`%`"), b"`a`@`%`");
        assert_eq!(definers.warning("me"), None);
        assert_eq!(definers.instead_of(b"`b`@`%`"), b"CURRENT_USER");
        assert!(definers.warning("me").unwrap().contains("`b`@`%`"));
    }
}
