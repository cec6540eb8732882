//! SQL through the site's own client, one process for each script.
//!
//! Statements go in by standard input, so they stand in no argument list.

use diy_backup_core::{Control, Error, ErrorKind, Tool};
use serde::de::DeserializeOwned;
use tokio::io::AsyncWriteExt;
use tokio::process::ChildStdin;

use crate::failure::Failure;

/// What every script begins with: literals as this crate writes them, and no endless wait for a table.
const PROLOGUE: &str = "SET SESSION sql_mode = '', lock_wait_timeout = 60;\n";

/// Runs scripts as one account.
#[derive(Debug, Clone)]
pub(crate) struct Client {
    tool: Tool,
    control: Control,
}

impl Client {
    pub(crate) fn new(tool: Tool, control: &Control) -> Self {
        Self {
            tool: tool.args([
                "--batch",
                "--raw",
                "--skip-column-names",
                "--no-auto-rehash",
            ]),
            control: control.clone(),
        }
    }

    /// The same with one more argument.
    pub(crate) fn with_arg(mut self, arg: &str) -> Self {
        self.tool = self.tool.arg(arg);
        self
    }

    /// Runs statements, each with a `;` behind it, and returns the lines of what they answer.
    pub(crate) async fn lines(&self, sql: &str) -> Result<Vec<String>, Failure> {
        let script = format!("{PROLOGUE}{sql}\n");
        let mut running = self.tool.spawn(&self.control).map_err(Failure::of)?;
        let write = async {
            if let Some(mut input) = running.take_stdin() {
                // A client that ends before it has read all says why by its status.
                let _ = input.write_all(script.as_bytes()).await;
            }
        };
        self.control
            .unless_cancelled(async {
                write.await;
                Ok(())
            })
            .await
            .map_err(Failure::Lost)?;
        let output = running.wait().await.map_err(Failure::of)?;
        Ok(output.stdout_text().lines().map(str::to_owned).collect())
    }

    /// Runs statements and ignores what they answer.
    pub(crate) async fn execute(&self, sql: &str) -> Result<(), Failure> {
        self.lines(sql).await.map(drop)
    }

    /// Runs queries that answer one JSON value for each row.
    pub(crate) async fn rows<T: DeserializeOwned>(&self, sql: &str) -> Result<Vec<T>, Failure> {
        let lines = self.lines(sql).await?;
        lines
            .iter()
            .map(|line| serde_json::from_str(line))
            .collect::<Result<_, _>>()
            .map_err(|error| {
                let message = "the client has answered something else than what was asked for";
                Failure::Lost(Error::new(ErrorKind::Database, message).with_source(error))
            })
    }

    /// Runs a long script in `database`, which `write` writes. Of the client's own commands only `DELIMITER` is obeyed.
    pub(crate) async fn feed<T, F>(
        &self,
        database: &str,
        write: impl FnOnce(ChildStdin) -> F,
    ) -> Result<T, Failure>
    where
        F: Future<Output = diy_backup_core::Result<T>>,
    {
        let mut name = std::ffi::OsString::from("--database=");
        name.push(database);
        let tool = self.tool.clone().arg("--binary-mode").arg(name);
        let mut running = tool.spawn(&self.control).map_err(Failure::of)?;
        let Some(input) = running.take_stdin() else {
            let error = Error::new(ErrorKind::Internal, "the client has no standard input");
            return Err(Failure::Lost(error));
        };
        let written = self.control.unless_cancelled(write(input)).await;
        match written {
            Ok(value) => {
                running.wait().await.map_err(Failure::of)?;
                Ok(value)
            }
            // A client that has refused a statement closes its standard input: what it says counts more.
            Err(error) if error.kind() == ErrorKind::Io => match running.wait().await {
                Err(said) => Err(Failure::of(said)),
                Ok(_) => Err(Failure::Lost(error)),
            },
            Err(error) => {
                running.kill().await;
                Err(Failure::Lost(error))
            }
        }
    }
}
