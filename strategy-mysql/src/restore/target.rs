//! The database that a restore goes to: whether it is empty.

use diy_backup_core::{Error, ErrorKind, Result};
use serde::Deserialize;

use crate::client::Client;
use crate::failure::Failure;
use crate::sql;

/// Fails if the database holds anything.
pub(super) async fn ensure_empty(client: &Client, database: &str) -> Result<()> {
    let content = content(client, database).await.map_err(|failure| {
        failure.doing(format!("see whether the database {database:?} is empty"))
    })?;
    if content.is_empty() {
        return Ok(());
    }
    let message = format!(
        "the database {database:?} is not empty: it holds {}",
        content.join(", ")
    );
    Err(Error::new(ErrorKind::TargetNotEmpty, message).with_hint(format!(
        "A restore never overwrites. Restore under another `name`, or drop the old database if it is not needed any more: `DROP DATABASE {};`.",
        sql::identifier(database)
    )))
}

/// What there is in the database, as a few readable words each.
async fn content(client: &Client, database: &str) -> std::result::Result<Vec<String>, Failure> {
    #[derive(Deserialize)]
    struct Kind {
        objects: String,
        number: u64,
        example: Option<String>,
    }
    let name = sql::literal(database);
    let kinds = [
        ("tables", "TABLES", "TABLE_NAME", "TABLE_SCHEMA"),
        ("routines", "ROUTINES", "ROUTINE_NAME", "ROUTINE_SCHEMA"),
        ("events", "EVENTS", "EVENT_NAME", "EVENT_SCHEMA"),
    ];
    let queries: Vec<String> = kinds
        .iter()
        .map(|(objects, table, column, schema)| {
            format!(
                "SELECT JSON_OBJECT('objects', '{objects}', 'number', COUNT(*), 'example', MIN({column})) \
                 FROM information_schema.{table} WHERE {schema} = {name};"
            )
        })
        .collect();
    let kinds: Vec<Kind> = client.rows(&queries.join("\n")).await?;
    Ok(kinds
        .into_iter()
        .filter(|kind| kind.number > 0)
        .map(|kind| {
            let example = kind.example.unwrap_or_default();
            format!("{} {} ({example})", kind.number, kind.objects)
        })
        .collect())
}
