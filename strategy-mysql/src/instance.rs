//! What Bitbucket's own tables say of the instance: its data stores, and whether an upgrade holds the schema.

use diy_backup_core::{Error, ErrorKind};
use serde::Deserialize;

use crate::client::Client;
use crate::facts::Table;
use crate::failure::Failure;
use crate::sql;

/// Tables of which Bitbucket's database has at least one, whatever its release.
const BITBUCKETS: [&str; 3] = ["databasechangelog", "project", "repository"];

const CHANGE_LOG_LOCK: &str = "databasechangeloglock";
const DATA_STORES: &str = "bb_data_store";

/// The number of tables that an inventory counts, without views.
pub(crate) fn count(tables: &[Table]) -> u64 {
    tables.iter().filter(|table| !table.is_view()).count() as u64
}

/// Returns `true` if one of the tables is Bitbucket's.
pub(crate) fn is_bitbuckets(tables: &[Table]) -> bool {
    BITBUCKETS
        .iter()
        .any(|name| named(tables, name).next().is_some())
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
    /// What is wrong with a source that has it, and what to do.
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
    client: &Client,
    database: &str,
    tables: &[Table],
) -> Result<Option<ChangeLogLock>, Failure> {
    #[derive(Deserialize)]
    struct Lock {
        by: Option<String>,
        since: Option<String>,
    }
    for table in named(tables, CHANGE_LOG_LOCK) {
        let name = sql::qualified(database, &table.name);
        // A bit or a number, as the release of Liquibase had it.
        let sql = format!(
            "SELECT JSON_OBJECT('by', LOCKEDBY, 'since', CAST(LOCKGRANTED AS CHAR)) FROM {name} WHERE LOCKED + 0 <> 0;"
        );
        if let Some(lock) = rows::<Lock>(client, &sql).await?.pop() {
            let by = lock.by.map(|by| format!(" by {by}")).unwrap_or_default();
            let since = lock
                .since
                .map(|since| format!(" since {since}"))
                .unwrap_or_default();
            return Ok(Some(ChangeLogLock {
                holder: diy_backup_core::printable(&format!("{by}{since}")),
                release: format!(
                    "UPDATE {name} SET LOCKED = 0, LOCKGRANTED = NULL, LOCKEDBY = NULL;"
                ),
            }));
        }
    }
    Ok(None)
}

/// Returns the paths of the data stores that the instance knows of.
pub(crate) async fn data_stores(
    client: &Client,
    database: &str,
    tables: &[Table],
) -> Result<Vec<String>, Failure> {
    let mut paths = Vec::new();
    for table in named(tables, DATA_STORES) {
        let sql = format!(
            "SELECT JSON_QUOTE(ds_path) FROM {} WHERE ds_path IS NOT NULL ORDER BY ds_path;",
            sql::qualified(database, &table.name)
        );
        paths.extend(rows::<String>(client, &sql).await?);
    }
    Ok(paths)
}

/// Tables of one name; whether letters are big or small depends on the server.
fn named<'t>(tables: &'t [Table], name: &str) -> impl Iterator<Item = &'t Table> {
    tables
        .iter()
        .filter(move |table| table.name.eq_ignore_ascii_case(name))
}

/// A table of this name with other columns is somebody else's, and says nothing.
async fn rows<T: serde::de::DeserializeOwned>(
    client: &Client,
    sql: &str,
) -> Result<Vec<T>, Failure> {
    match client.rows(sql).await {
        Err(Failure::Refused(refusal)) => {
            tracing::debug!(%refusal, "a table with a name of Bitbucket's has other columns");
            Ok(Vec::new())
        }
        other => other,
    }
}
