//! The pin: a transaction that keeps the state of one instant readable for `pg_dump`.
//!
//! The transaction locks every table in ACCESS SHARE mode before its snapshot exists. So from the instant of the
//! snapshot on nothing can truncate, rewrite or drop a table, which a snapshot alone does not keep from `pg_dump`:
//! it would see an empty table and no error. Statements such as TRUNCATE wait until the pin is let go; readers,
//! writers and plain VACUUM do not.

use std::time::Duration;

use diy_backup_core::{Control, Error, ErrorKind, Result};
use serde::Deserialize;

use crate::facts::{Facts, TABLES, Table};
use crate::failure::{self, Failure};
use crate::psql::{Psql, as_json, batch, set_local};
use crate::release::Release;
use crate::server::Server;
use crate::sql;

/// How often tables may come and go between listing and locking before that is a reason to give up.
const ATTEMPTS: u32 = 5;

/// A session that can pin, and the tables it will lock.
#[derive(Debug)]
pub(crate) struct PinSession {
    psql: Psql,
    release: Release,
    lock_timeout: Duration,
    tables: Vec<Table>,
}

/// What a pinned transaction has told about itself.
#[derive(Debug, Clone, Deserialize)]
pub(crate) struct Pinned {
    /// What `pg_dump --snapshot` takes.
    pub(crate) snapshot: String,
    backend: i32,
    unguarded: u64,
}

impl PinSession {
    /// Logs in to the database that will be dumped.
    pub(crate) async fn open(server: &Server, control: &Control) -> Result<(Self, Facts)> {
        let config = server.config();
        let mut psql = Psql::open(server, &config.name, control).await?;
        let facts = Facts::of(&mut psql)
            .await
            .map_err(|failure| failure.doing("look at the database"))?;
        let mut session = Self {
            psql,
            release: facts.release(),
            lock_timeout: config.lock_timeout.get(),
            tables: Vec::new(),
        };
        session.list_tables().await?;
        Ok((session, facts))
    }

    /// The session, for questions before and after the pin; while it lasts, they see the pinned state.
    pub(crate) fn psql(&mut self) -> &mut Psql {
        &mut self.psql
    }

    /// Pins the state of a moment inside this call.
    pub(crate) async fn pin(&mut self) -> std::result::Result<Pinned, Failure> {
        let mut attempt = 1;
        loop {
            let outcome = self.try_pin().await;
            let again = match &outcome {
                Ok(pinned) => pinned.unguarded > 0,
                Err(failure) => {
                    matches!(
                        failure.sqlstate(),
                        failure::UNDEFINED_TABLE | failure::INVALID_SCHEMA
                    )
                }
            };
            if let (Ok(_), false) = (&outcome, again) {
                return outcome;
            }
            if !matches!(outcome, Err(Failure::Lost(_))) {
                self.unpin().await?;
            }
            if !again || attempt == ATTEMPTS {
                return outcome.and_then(|_| Err(Failure::Lost(tables_keep_changing())));
            }
            attempt += 1;
            self.tables = Table::all(&mut self.psql).await?;
        }
    }

    /// The tables as they were listed last.
    pub(crate) fn tables(&self) -> &[Table] {
        &self.tables
    }

    /// Lets go of what is pinned.
    pub(crate) async fn unpin(&mut self) -> std::result::Result<(), Failure> {
        self.psql.execute("ROLLBACK").await
    }

    /// Makes sure that the pin has held until now.
    pub(crate) async fn ensure_held(&mut self, pinned: &Pinned) -> Result<()> {
        #[derive(Deserialize)]
        struct Held {
            backend: i32,
            unguarded: u64,
        }
        let sql = format!("SELECT pg_backend_pid() AS backend, ({UNGUARDED_IN} ) AS unguarded");
        let sql = sql.replace("TABLES", TABLES);
        let held: Held =
            self.psql.one(&sql).await.map_err(|failure| {
                failure.doing("make sure that the pinned transaction has lasted")
            })?;
        if held.backend == pinned.backend && held.unguarded == 0 {
            return Ok(());
        }
        Err(Error::new(
            ErrorKind::Database,
            "the pinned transaction has not lasted until the end of the dump",
        )
        .with_hint("A connection pooler in between ends transactions: let `host` and `port` lead to the server itself."))
    }

    /// Statements of others that wait for a table to be let go, as readable lines.
    pub(crate) async fn waiting_statements(&mut self) -> Vec<String> {
        #[derive(Deserialize)]
        struct Waiting {
            pid: i32,
            query: String,
        }
        let sql = "SELECT a.pid, left(regexp_replace(a.query, '\\s+', ' ', 'g'), 200) AS query \
            FROM pg_stat_activity a WHERE pg_backend_pid() = ANY (pg_blocking_pids(a.pid)) ORDER BY 1";
        let waiting: Vec<Waiting> = self.psql.query(sql).await.unwrap_or_default();
        waiting
            .into_iter()
            .map(|waiting| format!("process {}: {}", waiting.pid, waiting.query))
            .collect()
    }

    pub(crate) async fn close(self) {
        self.psql.close().await;
    }

    async fn list_tables(&mut self) -> Result<()> {
        self.tables = Table::all(&mut self.psql)
            .await
            .map_err(|failure| failure.doing("list the tables"))?;
        Ok(())
    }

    /// One message to the server: the transaction, its settings, the locks, and only then the snapshot.
    async fn try_pin(&mut self) -> std::result::Result<Pinned, Failure> {
        let mut statements = vec!["BEGIN ISOLATION LEVEL REPEATABLE READ READ ONLY".to_owned()];
        statements.extend(self.settings());
        if let Some(lock) = lock_statement(&self.tables) {
            statements.push(lock);
        }
        let export = format!(
            "SELECT pg_export_snapshot() AS snapshot, pg_backend_pid() AS backend, ({UNGUARDED_IN}) AS unguarded"
        );
        statements.push(as_json(&export.replace("TABLES", TABLES)));
        let mut rows: Vec<Pinned> = self.psql.rows(&batch(&statements)).await?;
        rows.pop().ok_or_else(|| {
            Failure::Lost(Error::new(
                ErrorKind::Database,
                "the server has exported no snapshot",
            ))
        })
    }

    /// Set within the transaction, so that they also hold where a pooler hands sessions around.
    fn settings(&self) -> Vec<String> {
        let mut settings = vec![
            set_local("search_path", "pg_catalog"),
            set_local("statement_timeout", "0"),
            set_local(
                "lock_timeout",
                &format!("{}ms", self.lock_timeout.as_millis().max(1)),
            ),
        ];
        for (name, since) in [
            (
                "idle_in_transaction_session_timeout",
                Release::from_number(90_600),
            ),
            ("transaction_timeout", Release::major(17)),
        ] {
            if self.release >= since {
                settings.push(set_local(name, "0"));
            }
        }
        settings
    }
}

/// How many tables that the snapshot sees are not locked by us: some that came after the list was made.
const UNGUARDED_IN: &str = "SELECT count(*) FROM (TABLES) AS t WHERE (t.readable OR NOT t.of_extension) \
    AND NOT EXISTS (SELECT 1 FROM pg_locks l WHERE l.pid = pg_backend_pid() AND l.relation = t.oid \
        AND l.mode = 'AccessShareLock' AND l.granted)";

fn lock_statement(tables: &[Table]) -> Option<String> {
    let names: Vec<String> = tables
        .iter()
        .filter(|table| table.readable || !table.of_extension)
        .map(|table| format!("ONLY {}", sql::qualified(&table.schema, &table.name)))
        .collect();
    (!names.is_empty()).then(|| format!("LOCK TABLE {} IN ACCESS SHARE MODE", names.join(", ")))
}

fn tables_keep_changing() -> Error {
    Error::new(
        ErrorKind::Database,
        "tables are created or dropped faster than they can be locked",
    )
    .with_hint("Let no migration run at the same time as the backup.")
    .transient()
}
