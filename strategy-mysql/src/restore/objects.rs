//! Views, triggers, routines and events, which `RENAME TABLE` does not move.

use diy_backup_core::{Control, Error, ErrorKind, Result};
use tokio::io::AsyncWriteExt;

use crate::client::Client;
use crate::facts::Table;
use crate::failure::Failure;
use crate::server::Server;
use crate::sql;

/// The table of the temporary database that keeps the script that makes them anew.
pub(super) const TABLE: &str = "diy_backup_objects";

/// Takes views, triggers and events out of `database`, and keeps what makes them, and routines, anew. Does nothing
/// where there are none.
pub(super) async fn set_aside(
    server: &Server,
    database: &str,
    tables: &[Table],
    control: &Control,
) -> Result<()> {
    let client = server.client(control);
    let names = Names::of(&client, database)
        .await
        .map_err(|failure| failure.doing("list views, triggers, routines and events"))?;
    let views: Vec<&str> = tables
        .iter()
        .filter(|table| table.is_view())
        .map(|table| table.name.as_str())
        .collect();
    if views.is_empty() && names.are_none() {
        return Ok(());
    }
    let script = script(server, database, &views, control).await?;
    let mut statements = format!(
        "CREATE TABLE {table} (script LONGBLOB NOT NULL) ENGINE = InnoDB;\nINSERT INTO {table} VALUES (0x{});\n",
        hex(&script),
        table = sql::qualified(database, TABLE),
    );
    let doomed = (names.triggers.iter().map(|name| ("TRIGGER", name.as_str())))
        .chain(names.events.iter().map(|name| ("EVENT", name.as_str())))
        .chain(views.iter().map(|&name| ("VIEW", name)));
    for (kind, name) in doomed {
        statements.push_str("DROP ");
        statements.push_str(kind);
        statements.push(' ');
        statements.push_str(&sql::qualified(database, name));
        statements.push_str(";\n");
    }
    client
        .execute(&statements)
        .await
        .map_err(|failure| failure.doing("set views, triggers and events aside"))
}

/// Makes in `target` what was set aside in `temporary`. Doing it twice does no harm.
pub(super) async fn make_anew(client: &Client, temporary: &str, target: &str) -> Result<()> {
    let doing = "make views, triggers, routines and events anew";
    let sql = format!(
        "SELECT HEX(script) FROM {};",
        sql::qualified(temporary, TABLE)
    );
    let rows = client
        .lines(&sql)
        .await
        .map_err(|failure| failure.doing(doing))?;
    let script = rows.first().and_then(|row| unhex(row)).ok_or_else(|| {
        let message = "what makes views, triggers, routines and events anew is not there";
        Error::new(ErrorKind::Database, message)
    })?;
    let write = async |mut input: tokio::process::ChildStdin| {
        let written = async {
            input.write_all(&script).await?;
            input.flush().await
        };
        written
            .await
            .map_err(|error| Error::io("cannot hand a script over to the client", error))
    };
    client
        .feed(target, write)
        .await
        .map_err(|failure: Failure| failure.doing(doing))
}

async fn script(
    server: &Server,
    database: &str,
    views: &[&str],
    control: &Control,
) -> Result<Vec<u8>> {
    let tool = server
        .dump_tool()
        .args(["--no-data", "--no-tablespaces"])
        .args(server.tools().dump_arguments(control).await?);
    let objects = tool
        .clone()
        .args(["--no-create-info", "--routines", "--events", "--triggers"])
        .arg("--add-drop-trigger");
    let definitions = tool.arg("--skip-triggers");
    let objects = objects.args(["--", database]).run(control).await?;
    let mut script = without_sandbox(&objects.stdout).to_vec();
    if !views.is_empty() {
        let definitions = definitions.args(["--", database]).args(views);
        script.extend_from_slice(without_sandbox(&definitions.run(control).await?.stdout));
    }
    Ok(script)
}

/// Without MariaDB's command at the very beginning, which older clients and MySQL's do not know.
fn without_sandbox(script: &[u8]) -> &[u8] {
    let is_command = script.starts_with(b"/*M!999999\\-") || script.starts_with(b"/*!999999\\-");
    match script.iter().position(|&byte| byte == b'\n') {
        Some(end) if is_command => &script[end + 1..],
        _ => script,
    }
}

/// Of what is no table.
#[derive(Debug)]
struct Names {
    triggers: Vec<String>,
    events: Vec<String>,
    routines: Vec<String>,
}

impl Names {
    async fn of(client: &Client, database: &str) -> std::result::Result<Self, Failure> {
        let query = |column: &str, table: &str, schema: &str| {
            format!(
                "SELECT JSON_QUOTE({column}) FROM information_schema.{table} WHERE {schema} = {};",
                sql::literal(database)
            )
        };
        Ok(Self {
            triggers: client
                .rows(&query("TRIGGER_NAME", "TRIGGERS", "TRIGGER_SCHEMA"))
                .await?,
            events: client
                .rows(&query("EVENT_NAME", "EVENTS", "EVENT_SCHEMA"))
                .await?,
            routines: client
                .rows(&query("ROUTINE_NAME", "ROUTINES", "ROUTINE_SCHEMA"))
                .await?,
        })
    }

    fn are_none(&self) -> bool {
        self.triggers.is_empty() && self.events.is_empty() && self.routines.is_empty()
    }
}

fn hex(bytes: &[u8]) -> String {
    use std::fmt::Write as _;

    let mut text = String::with_capacity(bytes.len() * 2);
    for byte in bytes {
        // Writing to a string cannot fail.
        let _ = write!(text, "{byte:02x}");
    }
    text
}

fn unhex(text: &str) -> Option<Vec<u8>> {
    let digit = |byte: u8| char::from(byte).to_digit(16);
    text.as_bytes()
        .chunks(2)
        .map(|pair| match pair {
            [high, low] => u8::try_from(digit(*high)? * 16 + digit(*low)?).ok(),
            _ => None,
        })
        .collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_script_survives_as_digits() {
        let script: Vec<u8> = (0..=255).collect();
        assert_eq!(unhex(&hex(&script)).unwrap(), script);
        assert_eq!(unhex("0"), None);
        assert_eq!(unhex("zz"), None);
    }

    #[test]
    fn the_sandbox_command_goes_and_nothing_else() {
        assert_eq!(without_sandbox(b"/*M!999999\\- x */ \n-- a\n"), b"-- a\n");
        assert_eq!(without_sandbox(b"-- a\n"), b"-- a\n");
    }
}
