//! What the catalog says about a server, a database and its tables.

use std::collections::BTreeMap;

use diy_backup_core::{Error, ErrorKind};
use serde::Deserialize;

use crate::client::Client;
use crate::failure::Failure;
use crate::sql;
use crate::tools::Release;

/// A server.
#[derive(Debug, Clone)]
pub(crate) struct Facts {
    pub(crate) release: Release,
    /// As the server prints it: `10.11.19-MariaDB-0+deb12u1`.
    pub(crate) version: String,
    /// Usually a replica.
    pub(crate) read_only: bool,
    /// A node of a Galera cluster, which may lag behind the others.
    pub(crate) in_cluster: bool,
    /// The longest statement that it takes, in bytes.
    pub(crate) max_statement_bytes: u64,
    /// Whether the session that asked was encrypted.
    pub(crate) is_encrypted: bool,
}

impl Facts {
    pub(crate) async fn of(client: &Client) -> Result<Self, Failure> {
        let sql = "SHOW GLOBAL VARIABLES WHERE Variable_name IN \
            ('version', 'read_only', 'wsrep_on', 'max_allowed_packet'); \
            SHOW SESSION STATUS LIKE 'Ssl_cipher';";
        let lines = client.lines(sql).await?;
        let values: BTreeMap<&str, &str> = lines
            .iter()
            .filter_map(|line| line.split_once('\t'))
            .collect();
        let value = |name: &str| values.get(name).copied().unwrap_or_default();
        let version = value("version").to_owned();
        let release = Release::of_server(&version).ok_or_else(|| {
            let message = format!("the server says {version:?}, which names no release");
            Failure::Lost(Error::new(ErrorKind::Database, message))
        })?;
        Ok(Self {
            release,
            version,
            // ON, and on MySQL and MariaDB 12 also finer values; all mean that ordinary accounts do not write.
            read_only: !matches!(value("read_only"), "" | "OFF" | "0"),
            in_cluster: value("wsrep_on") == "ON",
            max_statement_bytes: value("max_allowed_packet").parse().unwrap_or(u64::MAX),
            is_encrypted: !value("Ssl_cipher").is_empty(),
        })
    }
}

/// A database without its content.
#[derive(Debug, Clone, PartialEq, Eq, Deserialize)]
pub(crate) struct Database {
    pub(crate) charset: String,
    /// Empty for the one that goes with the character set.
    pub(crate) collation: String,
}

impl Database {
    /// The one of this name, if it is there.
    pub(crate) async fn of(client: &Client, name: &str) -> Result<Option<Self>, Failure> {
        let sql = format!(
            "SELECT JSON_OBJECT('charset', DEFAULT_CHARACTER_SET_NAME, 'collation', DEFAULT_COLLATION_NAME) \
             FROM information_schema.SCHEMATA WHERE SCHEMA_NAME = {};",
            sql::literal(name)
        );
        Ok(client.rows(&sql).await?.pop())
    }
}

/// A table, view or sequence.
#[derive(Debug, Clone, PartialEq, Eq, Deserialize)]
pub(crate) struct Table {
    pub(crate) name: String,
    /// `BASE TABLE`, `VIEW`, and on MariaDB `SEQUENCE` and `SYSTEM VERSIONED`.
    kind: String,
    pub(crate) engine: Option<String>,
    pub(crate) bytes: Option<u64>,
}

impl Table {
    pub(crate) async fn all(client: &Client, database: &str) -> Result<Vec<Self>, Failure> {
        let sql = format!(
            "SELECT JSON_OBJECT('name', TABLE_NAME, 'kind', TABLE_TYPE, 'engine', ENGINE, 'bytes', DATA_LENGTH) \
             FROM information_schema.TABLES WHERE TABLE_SCHEMA = {} ORDER BY TABLE_NAME;",
            sql::literal(database)
        );
        client.rows(&sql).await
    }

    pub(crate) fn is_view(&self) -> bool {
        self.kind.ends_with("VIEW")
    }

    pub(crate) fn is_sequence(&self) -> bool {
        self.kind == "SEQUENCE"
    }

    /// Whether a snapshot does not hold its rows. A sequence is dumped with the value of the moment it is read, which
    /// is the pinned one or a later one.
    pub(crate) fn is_unpinnable(&self) -> bool {
        let engine = self.engine.as_deref();
        !self.is_view()
            && !self.is_sequence()
            && engine.is_some_and(|engine| !engine.eq_ignore_ascii_case("InnoDB"))
    }
}

/// Why the tables cannot be pinned, if they cannot.
pub(crate) fn unpinnable(tables: &[Table]) -> Option<String> {
    const SHOWN: usize = 5;
    let others: Vec<&Table> = tables
        .iter()
        .filter(|table| table.is_unpinnable())
        .collect();
    if others.is_empty() {
        return None;
    }
    let names: Vec<String> = others
        .iter()
        .take(SHOWN)
        .map(|table| {
            let engine = table.engine.as_deref().unwrap_or_default();
            format!("{:?} ({engine})", table.name)
        })
        .collect();
    let more = match others.len().saturating_sub(SHOWN) {
        0 => String::new(),
        more => format!(" and {more} more"),
    };
    Some(format!(
        "a snapshot holds no rows of tables that are not InnoDB: {}{more}",
        names.join(", ")
    ))
}

/// About how long a dump of the tables is, in bytes.
pub(crate) fn dump_bytes(tables: &[Table]) -> u64 {
    let data: u64 = tables.iter().filter_map(|table| table.bytes).sum();
    data + data / 4 + 1024 * 1024
}

/// The definitions of everything in a database, as lines that compare.
///
/// A snapshot holds rows alone: a dump reads definitions when it comes to a table. That they are the same before the
/// snapshot and after the dump proves that the dump is of one state.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Definitions(Vec<String>);

impl Definitions {
    pub(crate) async fn of(client: &Client, database: &str) -> Result<Self, Failure> {
        let name = sql::literal(database);
        let query = |columns: &str, table: &str, condition: &str| {
            format!(
                "SELECT JSON_ARRAY({columns}) FROM information_schema.{table} WHERE {condition} = {name};\n"
            )
        };
        let sql = [
            query(
                "'table', TABLE_NAME, TABLE_TYPE, ENGINE, TABLE_COLLATION, IF(TABLE_TYPE LIKE '%VIEW', NULL, CAST(CREATE_TIME AS CHAR))",
                "TABLES",
                "TABLE_SCHEMA",
            ),
            query(
                "'table', TABLE_NAME, COLUMN_NAME, ORDINAL_POSITION, COLUMN_TYPE, IS_NULLABLE, COLLATION_NAME, SHA2(COALESCE(COLUMN_DEFAULT, ''), 256)",
                "COLUMNS",
                "TABLE_SCHEMA",
            ),
            query(
                "'view', TABLE_NAME, SHA2(VIEW_DEFINITION, 256)",
                "VIEWS",
                "TABLE_SCHEMA",
            ),
            query(
                "'trigger', TRIGGER_NAME, SHA2(ACTION_STATEMENT, 256)",
                "TRIGGERS",
                "TRIGGER_SCHEMA",
            ),
            query(
                "'routine', ROUTINE_NAME, ROUTINE_TYPE, CAST(LAST_ALTERED AS CHAR)",
                "ROUTINES",
                "ROUTINE_SCHEMA",
            ),
            query(
                "'event', EVENT_NAME, CAST(LAST_ALTERED AS CHAR)",
                "EVENTS",
                "EVENT_SCHEMA",
            ),
        ];
        let mut lines = client.lines(&sql.concat()).await?;
        lines.sort();
        Ok(Self(lines))
    }

    /// Something that is not the same in `later`, in words.
    pub(crate) fn change(&self, later: &Self) -> Option<String> {
        let gone = self
            .0
            .iter()
            .find(|line| later.0.binary_search(line).is_err());
        let come = later
            .0
            .iter()
            .find(|line| self.0.binary_search(line).is_err());
        gone.or(come).map(|line| {
            match serde_json::from_str::<Vec<serde_json::Value>>(line).as_deref() {
                Ok(
                    [
                        serde_json::Value::String(kind),
                        serde_json::Value::String(name),
                        ..,
                    ],
                ) => {
                    format!("{kind} {name:?}")
                }
                _ => diy_backup_core::printable(line),
            }
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn table(kind: &str, engine: Option<&str>) -> Table {
        Table {
            name: "t".to_owned(),
            kind: kind.to_owned(),
            engine: engine.map(str::to_owned),
            bytes: Some(8),
        }
    }

    #[test]
    fn tables_of_other_engines_cannot_be_pinned() {
        let good = [
            table("BASE TABLE", Some("InnoDB")),
            table("VIEW", None),
            table("SEQUENCE", Some("InnoDB")),
            table("SYSTEM VERSIONED", Some("InnoDB")),
        ];
        assert_eq!(unpinnable(&good), None);
        let why = unpinnable(&[table("BASE TABLE", Some("MyISAM"))]).unwrap();
        assert!(why.contains("\"t\" (MyISAM)"), "{why}");
    }

    #[test]
    fn a_change_names_what_has_changed() {
        let before = Definitions(vec!["[\"table\", \"a\", 1]".to_owned()]);
        let later = Definitions(vec!["[\"table\", \"a\", 2]".to_owned()]);
        assert_eq!(before.change(&before), None);
        assert_eq!(before.change(&later).unwrap(), "table \"a\"");
        let none = Definitions(Vec::new());
        assert_eq!(none.change(&later).unwrap(), "table \"a\"");
    }
}
