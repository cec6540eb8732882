//! What Bitbucket's own tables say of the instance: its data stores, and whether an upgrade holds the schema.

use diy_backup_core::{Error, ErrorKind};
use serde::Deserialize;

use crate::facts::Table;
use crate::failure::Failure;
use crate::psql::Psql;
use crate::sql;

/// Tables of which Bitbucket's database has at least one, whatever its release.
const BITBUCKETS: [&str; 3] = ["databasechangelog", "project", "repository"];

const CHANGE_LOG_LOCK: &str = "databasechangeloglock";
const DATA_STORES: &str = "bb_data_store";

/// The number of tables that an inventory counts: those of extensions come and go with the server.
pub(crate) fn count(tables: &[Table]) -> u64 {
    tables.iter().filter(|table| !table.of_extension).count() as u64
}

/// Returns `true` if one of the tables is Bitbucket's.
pub(crate) fn is_bitbuckets(tables: &[Table]) -> bool {
    tables
        .iter()
        .any(|table| BITBUCKETS.contains(&table.name.to_ascii_lowercase().as_str()))
}

/// The error of a database that holds no tables: one that was just made, or another than Bitbucket's.
pub(crate) fn no_tables(database: &str) -> Error {
    let message = format!(
        "the database {database:?} holds no tables, so it is not the one that Bitbucket works with"
    );
    Error::new(ErrorKind::Check, message).with_hint(
        "Correct `name`, `host` and `port` in the section [database]: `jdbc.url` in `shared/bitbucket.properties` says where Bitbucket's database is. If its content was lost, restore the last backup.",
    )
}

/// A lock that Liquibase, which changes Bitbucket's schema, has not released.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct ChangeLogLock {
    /// Who holds it and since when, as far as the table says.
    holder: String,
    /// The statement that releases it.
    release: String,
}

impl ChangeLogLock {
    /// What is wrong with a source that has it.
    pub(crate) fn of_source(&self) -> (String, String) {
        (
            format!(
                "the table {CHANGE_LOG_LOCK} is locked{}: Bitbucket is being upgraded, or an upgrade was broken off, and an instance restored from this state does not start",
                self.holder
            ),
            format!(
                "Wait until Bitbucket has started. If no upgrade is going on: `{}`",
                self.release
            ),
        )
    }

    /// What to do about a restored database that has it.
    pub(crate) fn of_restored(&self) -> String {
        format!(
            "the restored database says that an upgrade was going on{}: Bitbucket waits for that and does not start. Before it is started: `{}`",
            self.holder, self.release
        )
    }
}

/// Returns the lock, if one is held.
pub(crate) async fn change_log_lock(
    psql: &mut Psql,
    tables: &[Table],
) -> Result<Option<ChangeLogLock>, Failure> {
    #[derive(Deserialize)]
    struct Lock {
        by: Option<String>,
        since: Option<String>,
    }
    for name in named(tables, CHANGE_LOG_LOCK) {
        let sql =
            format!("SELECT lockedby AS by, lockgranted::text AS since FROM {name} WHERE locked");
        if let Some(lock) = rows::<Lock>(psql, &sql).await?.pop() {
            let by = lock.by.map(|by| format!(" by {by}")).unwrap_or_default();
            let since = lock
                .since
                .map(|since| format!(" since {since}"))
                .unwrap_or_default();
            return Ok(Some(ChangeLogLock {
                holder: diy_backup_core::printable(&format!("{by}{since}")),
                release: format!(
                    "UPDATE {name} SET locked = false, lockgranted = NULL, lockedby = NULL;"
                ),
            }));
        }
    }
    Ok(None)
}

/// Returns the paths of the data stores that the instance knows of.
pub(crate) async fn data_stores(psql: &mut Psql, tables: &[Table]) -> Result<Vec<String>, Failure> {
    #[derive(Deserialize)]
    struct Store {
        path: String,
    }
    let mut paths = Vec::new();
    for name in named(tables, DATA_STORES) {
        let sql =
            format!("SELECT ds_path AS path FROM {name} WHERE ds_path IS NOT NULL ORDER BY 1");
        let stores: Vec<Store> = rows(psql, &sql).await?;
        paths.extend(stores.into_iter().map(|store| store.path));
    }
    Ok(paths)
}

/// Tables of one name in whatever schema, as SQL names them, as far as they can be read.
fn named(tables: &[Table], name: &str) -> Vec<String> {
    tables
        .iter()
        .filter(|table| table.readable && table.name.eq_ignore_ascii_case(name))
        .map(|table| sql::qualified(&table.schema, &table.name))
        .collect()
}

/// A table of this name with other columns is somebody else's, and says nothing.
async fn rows<T: serde::de::DeserializeOwned>(
    psql: &mut Psql,
    sql: &str,
) -> Result<Vec<T>, Failure> {
    match psql.query(sql).await {
        Err(Failure::Refused(refusal)) => {
            tracing::debug!(%refusal, "a table with a name of Bitbucket's has other columns");
            Ok(Vec::new())
        }
        other => other,
    }
}
