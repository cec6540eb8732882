//! The rows of the live application, in a MariaDB.

use std::fmt;
use std::process::Stdio;
use std::sync::{Mutex, PoisonError};

use async_trait::async_trait;
use tokio::io::{AsyncBufReadExt, AsyncWriteExt, BufReader};
use tokio::process::{Child, ChildStdin, ChildStdout};

use super::server::quote_text;
use crate::RowSink;
use crate::error::{Error, ErrorKind, Result};

/// Writes the live application's rows into table `push` of a database.
///
/// Every writer has a client process of its own, started at its first statement. A client whose statement failed is
/// ended: the push fails, and the application says so.
pub struct MariaDbRows {
    client: std::process::Command,
    idle: Mutex<Vec<Session>>,
}

struct Session {
    _child: Child,
    input: ChildStdin,
    output: BufReader<ChildStdout>,
}

impl fmt::Debug for MariaDbRows {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("MariaDbRows").finish_non_exhaustive()
    }
}

impl MariaDbRows {
    pub(super) fn new(client: std::process::Command) -> Self {
        Self {
            client,
            idle: Mutex::new(Vec::new()),
        }
    }

    async fn execute(&self, sql: &str) -> Result<()> {
        let idle = self.lock().pop();
        let mut session = match idle {
            Some(session) => session,
            None => self.start()?,
        };
        let failed =
            |source| Error::new(ErrorKind::Database, "a row was not written").with_source(source);
        let request = format!("{sql};\nSELECT ROW_COUNT();\n");
        session
            .input
            .write_all(request.as_bytes())
            .await
            .map_err(failed)?;
        let mut changed = String::new();
        session
            .output
            .read_line(&mut changed)
            .await
            .map_err(failed)?;
        if changed.trim() != "1" {
            let message = format!("{:?} rows were changed where one was to be", changed.trim());
            return Err(Error::new(ErrorKind::Database, message));
        }
        self.lock().push(session);
        Ok(())
    }

    fn start(&self) -> Result<Session> {
        let mut client = tokio::process::Command::new(self.client.get_program());
        let lost = |what: &str| {
            let message = format!("the live application's client has no {what}");
            Error::new(ErrorKind::Io, message)
        };
        let mut child = client
            .args(self.client.get_args())
            .env("LC_ALL", "C")
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .stderr(Stdio::null())
            .kill_on_drop(true)
            .spawn()
            .map_err(|source| lost("process").with_source(source))?;
        Ok(Session {
            input: child.stdin.take().ok_or_else(|| lost("input"))?,
            output: BufReader::new(child.stdout.take().ok_or_else(|| lost("output"))?),
            _child: child,
        })
    }

    fn lock(&self) -> std::sync::MutexGuard<'_, Vec<Session>> {
        self.idle.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

#[async_trait]
impl RowSink for MariaDbRows {
    async fn insert(&self, push_id: &str, payload: &str) -> Result<()> {
        self.execute(&format!(
            "INSERT INTO push (push_id, payload) VALUES ({}, {})",
            quote_text(push_id),
            quote_text(payload)
        ))
        .await
    }

    async fn update(&self, push_id: &str, payload: &str) -> Result<()> {
        self.execute(&format!(
            "UPDATE push SET payload = {} WHERE push_id = {}",
            quote_text(payload),
            quote_text(push_id)
        ))
        .await
    }

    async fn rename(&self, push_id: &str, new_id: &str) -> Result<()> {
        self.execute(&format!(
            "UPDATE push SET push_id = {} WHERE push_id = {}",
            quote_text(new_id),
            quote_text(push_id)
        ))
        .await
    }

    async fn delete(&self, push_id: &str) -> Result<()> {
        self.execute(&format!(
            "DELETE FROM push WHERE push_id = {}",
            quote_text(push_id)
        ))
        .await
    }
}
