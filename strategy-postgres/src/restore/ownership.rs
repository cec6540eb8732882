//! Whom a restored database and what is in it belong to.

use std::collections::BTreeSet;

use diy_backup_core::{Error, ErrorKind, Result};

use super::target::Standing;
use crate::config::PostgresConfig;
use crate::original::Original;
use crate::sql;

/// Whom what a restore makes belongs to.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Ownership {
    /// Everything to whom it belonged.
    AsDumped,
    /// Everything to one role.
    Of(String),
}

/// The owners that a restore gives.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Owners {
    /// Of the database.
    pub(super) database: String,
    /// Of what is in it.
    pub(super) content: Ownership,
}

impl Owners {
    /// Decides before anything changes, and fails for roles that are missing or that the login may not act as.
    ///
    /// A configured owner counts most. An empty database that was made for an ordinary role says by that whom its
    /// content is for. Else everything belongs to whom it belonged.
    pub(super) fn decide(
        config: &PostgresConfig,
        standing: &Standing,
        original: &Original,
    ) -> Result<Self> {
        let owner = match &config.owner {
            Some(owner) => Some(owner.clone()),
            None => made_for(standing, original),
        };
        if let Some(owner) = owner {
            ensure_one(config, standing, &owner)?;
            return Ok(Self {
                database: owner.clone(),
                content: Ownership::Of(owner),
            });
        }
        if !original.has_owners() {
            let owner = standing.usable_owner().unwrap_or(&config.username);
            return Ok(Self {
                database: owner.to_owned(),
                content: Ownership::Of(owner.to_owned()),
            });
        }
        ensure_all_there(config, standing, original)?;
        ensure_usable(config, standing, original)?;
        let database = original.owner.as_deref();
        Ok(Self {
            database: database.unwrap_or(&config.username).to_owned(),
            content: Ownership::AsDumped,
        })
    }
}

/// The ordinary role that owns the empty target, unless the original belonged to it, too. A superuser who has created
/// an empty database has said nothing by that.
fn made_for(standing: &Standing, original: &Original) -> Option<String> {
    let owner = standing.usable_owner()?;
    let is_ordinary = standing.role(owner).is_some_and(|role| !role.superuser);
    let differs = original.owner.as_deref() != Some(owner);
    (is_ordinary && differs && original.has_owners()).then(|| owner.to_owned())
}

fn ensure_one(config: &PostgresConfig, standing: &Standing, owner: &str) -> Result<()> {
    let quoted = sql::identifier(owner);
    match standing.role(owner) {
        None => {
            let message =
                format!("the role {owner:?}, which is to own the database, does not exist");
            Err(Error::new(ErrorKind::Check, message).with_hint(format!(
                "Run as a superuser: `CREATE ROLE {quoted} LOGIN;`, or correct `owner`."
            )))
        }
        Some(role) if !role.usable => {
            let login = &config.username;
            let message = format!("{login:?} may not give a database to the role {owner:?}");
            Err(Error::new(ErrorKind::Check, message).with_hint(format!(
                "Run as a superuser: `GRANT {quoted} TO {};`.",
                sql::identifier(login)
            )))
        }
        Some(_) => Ok(()),
    }
}

fn ensure_all_there(
    config: &PostgresConfig,
    standing: &Standing,
    original: &Original,
) -> Result<()> {
    let is_missing = |role: &&str| standing.role(role).is_none();
    let owners: Vec<&str> = original
        .all_owners()
        .into_iter()
        .filter(is_missing)
        .collect();
    let all = original
        .all_owners()
        .union(&original.all_named())
        .copied()
        .collect::<BTreeSet<_>>();
    let missing: Vec<&str> = all.into_iter().filter(is_missing).collect();
    if missing.is_empty() {
        return Ok(());
    }
    let statements: Vec<String> = missing
        .iter()
        .map(|role| {
            // Whoever owns things is usually somebody who logs in.
            let login = if owners.contains(role) { " LOGIN" } else { "" };
            format!("CREATE ROLE {}{login};", sql::identifier(role))
        })
        .collect();
    let message = format!(
        "the dump names roles that the server does not have, as owners or in grants: {}",
        missing.join(", ")
    );
    Err(Error::new(ErrorKind::Check, message).with_hint(format!(
        "Run as a superuser: `{}`, or let everything belong to one role: `owner = {}` in the section [database].",
        statements.join(" "),
        serde_json::json!(config.username)
    )))
}

fn ensure_usable(config: &PostgresConfig, standing: &Standing, original: &Original) -> Result<()> {
    if standing.login.superuser {
        return Ok(());
    }
    let foreign: Vec<&str> = original
        .all_owners()
        .into_iter()
        .filter(|owner| standing.role(owner).is_none_or(|role| !role.usable))
        .collect();
    if foreign.is_empty() {
        return Ok(());
    }
    let login = sql::identifier(&config.username);
    let grants: Vec<String> = foreign
        .iter()
        .map(|owner| format!("GRANT {} TO {login};", sql::identifier(owner)))
        .collect();
    let message = format!(
        "{:?} may not give back what belonged to other roles: {}",
        config.username,
        foreign.join(", ")
    );
    Err(Error::new(ErrorKind::Check, message).with_hint(format!(
        "Restore with a superuser as `username`, or run as a superuser: `{}`, or let everything belong to one role: `owner = {}` in the section [database].",
        grants.join(" "),
        serde_json::json!(config.username)
    )))
}
