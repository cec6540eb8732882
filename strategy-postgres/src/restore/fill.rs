//! `pg_restore` into a database.

use std::path::{Path, PathBuf};

use diy_backup_core::{Control, Error, ErrorKind, Result, Tool};

use super::ownership::Ownership;
use crate::failure::Failure;
use crate::found::Format;
use crate::psql::Psql;
use crate::release::Release;
use crate::server::{Server, local_tool};
use crate::statement;

/// What is to be restored, and to whom it will belong.
#[derive(Debug)]
pub(super) struct Content<'a> {
    /// The dump.
    pub(super) dump: &'a Path,
    pub(super) format: Format,
    /// The list of what is wanted of it.
    pub(super) list: PathBuf,
    pub(super) ownership: &'a Ownership,
    /// Whether tables go to the tablespaces that they were in.
    pub(super) tablespaces: Tablespaces,
}

/// Where tables are stored.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Tablespaces {
    /// As in the dump.
    AsDumped,
    /// All in that of the database, as the server lacks one.
    Default,
}

impl Content<'_> {
    fn options(&self, tool: Tool) -> Tool {
        let tool = match self.ownership {
            Ownership::AsDumped => tool,
            Ownership::Of(owner) => {
                let mut role = std::ffi::OsString::from("--role=");
                role.push(owner);
                tool.arg("--no-owner").arg(role)
            }
        };
        let tool = match self.tablespaces {
            Tablespaces::AsDumped => tool,
            Tablespaces::Default => tool.arg("--no-tablespaces"),
        };
        tool.arg("--use-list").arg(&self.list)
    }
}

/// Whether `pg_restore` of this release may talk to the server itself. From 17 on it begins with a setting that older
/// servers do not know, and stops there.
pub(super) fn can_connect(client: Release, server: Release) -> bool {
    client < Release::major(17) || server >= Release::major(17)
}

/// Fills an empty database with several connections.
pub(super) async fn in_parallel(
    server: &Server,
    database: &str,
    content: &Content<'_>,
    control: &Control,
) -> Result<()> {
    let tool = server.tool("pg_restore", database).arg("--no-password");
    let tool = match content.format {
        Format::Seekable => tool.arg(format!("--jobs={}", server.config().jobs)),
        Format::Tar => tool,
    };
    content
        .options(tool)
        .args(["--exit-on-error"])
        .arg(content.dump)
        .run(control)
        .await
        .map(drop)
        .map_err(cannot_fill)
}

/// Returns the statements that a list of entries stands for, without those that prepare a session of `psql`.
pub(super) async fn statements(
    server: &Server,
    content: &Content<'_>,
    control: &Control,
) -> Result<Vec<String>> {
    let tool = local_tool(server.config(), "pg_restore").arg("--file=-");
    let output = content.options(tool).arg(content.dump).run(control).await?;
    let mut statements = statement::split(&output.stdout_text());
    statements.retain(|statement| {
        let prepares =
            statement.starts_with("SET ") && !statement.starts_with("SET SESSION AUTHORIZATION");
        !prepares && !statement.starts_with("SELECT pg_catalog.set_config(")
    });
    Ok(statements)
}

/// Fills the database of a session, within the transaction that it is in.
pub(super) async fn through(
    psql: &mut Psql,
    server: &Server,
    content: &Content<'_>,
    control: &Control,
) -> Result<()> {
    let tool = local_tool(server.config(), "pg_restore").args([
        "--file=-",
        "--single-transaction",
        "--exit-on-error",
    ]);
    let mut running = content.options(tool).arg(content.dump).spawn(control)?;
    let Some(script) = running.take_stdout() else {
        return Err(Error::new(ErrorKind::Internal, "pg_restore has no pipe"));
    };
    let fed = psql.feed(script).await;
    match fed {
        Ok(()) => running.wait().await.map(drop).map_err(cannot_fill),
        Err(failure) => {
            running.kill().await;
            Err(match failure {
                Failure::Lost(error) => cannot_fill(error),
                refused @ Failure::Refused(_) => refused.doing("fill the database"),
            })
        }
    }
}

fn cannot_fill(error: Error) -> Error {
    if error.kind() == ErrorKind::Cancelled {
        return error;
    }
    let said = error.to_string();
    let hint = if said.contains("extension")
        && (said.contains("permission denied") || said.contains("must be superuser"))
    {
        "Only a superuser may create this extension: restore with `username` set to one, or make the extension trusted."
    } else if said.contains("extension")
        && (said.contains("could not open extension control file")
            || said.contains("is not available"))
    {
        "Install the extension on the server (on Debian and Ubuntu most are in `postgresql-contrib` or `postgresql-NN-…`)."
    } else if said.contains("unsupported version") {
        "A newer pg_dump has made this dump: install client tools as new as that and name their folder with `tools`."
    } else {
        return Error::new(
            ErrorKind::Database,
            "pg_restore could not fill the database",
        )
        .with_source(error);
    };
    Error::new(
        ErrorKind::Database,
        "pg_restore could not fill the database",
    )
    .with_source(error)
    .with_hint(hint)
}
