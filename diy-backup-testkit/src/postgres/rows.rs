//! The rows of the live application, in a PostgreSQL.

use std::fmt;
use std::sync::{Mutex, PoisonError};

use async_trait::async_trait;
use tokio_postgres::types::ToSql;
use tokio_postgres::{Client, Config, NoTls};

use crate::RowSink;
use crate::error::{Error, ErrorKind, Result};

/// Writes the live application's rows into table `push` of a database.
///
/// Every writer has a connection of its own, made at its first statement. A connection on which a statement failed is
/// dropped: the push fails, and the application says so.
pub struct PostgresRows {
    config: Config,
    idle: Mutex<Vec<Client>>,
}

impl fmt::Debug for PostgresRows {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("PostgresRows")
            .field("database", &self.config.get_dbname())
            .finish_non_exhaustive()
    }
}

impl PostgresRows {
    /// Rows in a database on a host and port, as a user with a password. Connects when the first row is written.
    pub fn new(host: &str, port: u16, user: &str, password: &str, database: &str) -> Self {
        let mut config = Config::new();
        config
            .host(host)
            .port(port)
            .user(user)
            .password(password)
            .dbname(database)
            .application_name("testkit live application");
        Self {
            config,
            idle: Mutex::new(Vec::new()),
        }
    }

    async fn execute(&self, sql: &str, values: &[&(dyn ToSql + Sync)]) -> Result<()> {
        let client = match self.take_idle() {
            Some(client) => client,
            None => self.connect().await?,
        };
        let changed = client.execute(sql, values).await.map_err(|source| {
            Error::new(ErrorKind::Database, "a row was not written").with_source(source)
        })?;
        self.idle
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
            .push(client);
        if changed == 1 {
            return Ok(());
        }
        Err(Error::new(
            ErrorKind::Database,
            format!("{changed} rows were changed where one was to be"),
        ))
    }

    fn take_idle(&self) -> Option<Client> {
        self.idle
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
            .pop()
    }

    async fn connect(&self) -> Result<Client> {
        let (client, connection) = self.config.connect(NoTls).await.map_err(|source| {
            Error::new(
                ErrorKind::Database,
                "the live application cannot connect to its database",
            )
            .with_source(source)
        })?;
        tokio::spawn(async move {
            // The statement that suffers from a broken connection reports it.
            let _ = connection.await;
        });
        Ok(client)
    }
}

#[async_trait]
impl RowSink for PostgresRows {
    async fn insert(&self, push_id: &str, payload: &str) -> Result<()> {
        let sql = "INSERT INTO push (push_id, payload) VALUES ($1, $2)";
        self.execute(sql, &[&push_id, &payload]).await
    }

    async fn update(&self, push_id: &str, payload: &str) -> Result<()> {
        let sql = "UPDATE push SET payload = $2 WHERE push_id = $1";
        self.execute(sql, &[&push_id, &payload]).await
    }

    async fn rename(&self, push_id: &str, new_id: &str) -> Result<()> {
        let sql = "UPDATE push SET push_id = $2 WHERE push_id = $1";
        self.execute(sql, &[&push_id, &new_id]).await
    }

    async fn delete(&self, push_id: &str) -> Result<()> {
        self.execute("DELETE FROM push WHERE push_id = $1", &[&push_id])
            .await
    }
}
