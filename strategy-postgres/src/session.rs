//! One backup of the database.

use diy_backup_core::{
    Artifact, BackupContext, Error, ErrorKind, Inventory, LockWindow, Meter, Phase, Released,
    Result, Running, Session, async_trait,
};

use crate::config::PostgresConfig;
use crate::dump::{self, Dump};
use crate::facts::{Facts, Locale, Table};
use crate::failure::Failure;
use crate::files;
use crate::instance;
use crate::original::Original;
use crate::pin::{PinSession, Pinned};
use crate::release::Release;

/// How often a dump is begun again when statements of others kept it from a table.
const DUMP_ATTEMPTS: u32 = 5;

/// What can be known before the window opens.
#[derive(Debug)]
pub(crate) struct Plan {
    pub(crate) cx: BackupContext,
    pub(crate) config: PostgresConfig,
    pub(crate) dump: Dump,
    pub(crate) facts: Facts,
    pub(crate) client: Release,
    pub(crate) estimated_bytes: u64,
    /// Why the state cannot be pinned, if it cannot.
    pub(crate) unpinnable: Option<String>,
}

/// A backup of one PostgreSQL database.
#[derive(Debug)]
pub(crate) struct DumpSession {
    plan: Plan,
    meter: Meter,
    pin: PinSession,
    state: State,
}

#[derive(Debug)]
enum State {
    Prepared,
    /// The pin is held, and `pg_dump` reads from it.
    Pinned {
        pinned: Pinned,
        running: Box<Running>,
    },
    /// The whole dump was made inside the window.
    Dumped,
    Over,
}

impl DumpSession {
    pub(crate) fn new(plan: Plan, pin: PinSession) -> Self {
        let phase = if plan.unpinnable.is_some() {
            Phase::Capture
        } else {
            Phase::Complete
        };
        let meter = plan.cx.events().meter(phase);
        meter.set_total_bytes(plan.estimated_bytes);
        Self {
            plan,
            meter,
            pin,
            state: State::Prepared,
        }
    }

    /// Pins and starts the dump. `Ok(None)` when the state is pinned; else why it cannot be.
    async fn pin(&mut self) -> Result<Option<String>> {
        let pinned = match self.pin.pin().await {
            Ok(pinned) => pinned,
            Err(Failure::Refused(refusal)) => return Ok(Some(refusal.to_string())),
            Err(lost) => return Err(lost.doing("pin the state of the database")),
        };
        let running = self
            .plan
            .dump
            .start_at(&pinned.snapshot, self.plan.cx.control())?;
        self.state = State::Pinned {
            pinned,
            running: Box::new(running),
        };
        Ok(None)
    }

    /// The whole dump, while nothing changes.
    async fn dump_inside_the_window(&mut self, reason: &str) -> Result<()> {
        self.plan.cx.events().warning(format!(
            "the database is dumped while the instance is locked, because its state cannot be pinned: {reason}"
        ));
        if self.plan.facts.in_recovery {
            self.wait_for_replay().await?;
        }
        let running = self.plan.dump.start(self.plan.cx.control())?;
        dump::finish(running, &self.plan.dump, &self.meter).await?;
        self.state = State::Dumped;
        Ok(())
    }

    /// A standby shows what it has replayed: everything that it has received must be in it.
    async fn wait_for_replay(&mut self) -> Result<()> {
        #[derive(serde::Deserialize)]
        struct Replay {
            done: bool,
        }
        let (received, replayed) = if self.plan.facts.release() >= Release::major(10) {
            ("pg_last_wal_receive_lsn()", "pg_last_wal_replay_lsn()")
        } else {
            (
                "pg_last_xlog_receive_location()",
                "pg_last_xlog_replay_location()",
            )
        };
        let sql = format!(
            "SELECT COALESCE({received} <= {replayed}, true) AS done, pg_sleep(0.02) IS NULL AS slept"
        );
        loop {
            let replay: Replay = self
                .pin
                .psql()
                .one(&sql)
                .await
                .map_err(|failure| failure.doing("see how far the standby has come"))?;
            if replay.done {
                return Ok(());
            }
        }
    }

    /// Lets `pg_dump` come to its end. When a statement of somebody else kept it from a table, the pin still holds:
    /// it is begun again.
    async fn finish_pinned(&mut self, pinned: &Pinned, first: Running) -> Result<()> {
        let directory = self.plan.dump.directory().to_owned();
        let mut running = first;
        for attempt in 1.. {
            let Err(error) = dump::finish(running, &self.plan.dump, &self.meter).await else {
                break;
            };
            let control = self.plan.cx.control();
            control.ensure_running()?;
            let waiting = self.pin.waiting_statements().await;
            if waiting.is_empty() && !was_kept_from_a_table(&error) {
                return Err(error);
            }
            if attempt == DUMP_ATTEMPTS {
                return Err(kept_from_tables(&waiting, error));
            }
            self.plan
                .cx
                .events()
                .message("the dump is begun again, because a statement kept it from a table");
            let emptied = directory.clone();
            files::blocking(move || files::empty(&emptied)).await??;
            running = self.plan.dump.start_at(&pinned.snapshot, control)?;
        }
        self.pin.ensure_held(pinned).await
    }

    async fn describe(
        &mut self,
        bytes: u64,
        tables: &[Table],
        original: &Original,
    ) -> Result<Artifact> {
        let facts = &self.plan.facts;
        let inventory = Inventory::new()
            .with_tables(instance::count(tables))
            .with_bytes(self.plan.estimated_bytes);
        let mut artifact = Artifact::staged(bytes)
            .with_inventory(inventory)
            .with_detail("database", &self.plan.config.name)
            .with_detail("server-version", &facts.server_version)
            .with_detail("client-version", self.plan.client.to_string())
            .with_detail("encoding", &facts.encoding)
            .with_detail("tables", tables.len().to_string());
        artifact = original.record(artifact);
        let release = facts.release();
        let locale = Locale::of(self.pin.psql(), release, &self.plan.config.name)
            .await
            .map_err(|failure| failure.doing("look up the database's locale"))?;
        if let Some(locale) = locale {
            let details = [
                ("locale-provider", Some(locale.provider)),
                ("collate", locale.collate),
                ("ctype", locale.ctype),
                ("locale", locale.of_provider),
                ("icu-rules", locale.rules),
            ];
            for (name, value) in details {
                if let Some(value) = value {
                    artifact = artifact.with_detail(name, value);
                }
            }
        }
        Ok(artifact)
    }
}

#[async_trait]
impl Session for DumpSession {
    async fn capture(&mut self, _: &LockWindow) -> Result<()> {
        let unpinnable = match self.plan.unpinnable.clone() {
            Some(reason) => Some(reason),
            None => self.pin().await?,
        };
        match unpinnable {
            Some(reason) => self.dump_inside_the_window(&reason).await,
            None => Ok(()),
        }
    }

    async fn complete(&mut self, _: &Released) -> Result<Artifact> {
        let state = std::mem::replace(&mut self.state, State::Over);
        let tables = match state {
            State::Pinned { pinned, running } => {
                self.finish_pinned(&pinned, *running).await?;
                let tables = Table::all(self.pin.psql())
                    .await
                    .map_err(|failure| failure.doing("list the pinned tables"))?;
                self.pin
                    .unpin()
                    .await
                    .map_err(|failure| failure.doing("let go of the pinned state"))?;
                tables
            }
            State::Dumped => self.pin.tables().to_vec(),
            State::Prepared | State::Over => {
                return Err(Error::new(
                    ErrorKind::Internal,
                    "the database was not captured",
                ));
            }
        };
        let directory = self.plan.dump.directory().to_owned();
        let control = self.plan.cx.control().clone();
        let toc = dump::verify(&self.plan.config, &directory, &tables, &control).await?;
        let original = Original::of(&self.plan.config, &directory, &toc, &control).await?;
        let bytes = files::blocking(move || files::settle(&directory)).await??;
        self.meter.set_done_bytes(self.plan.estimated_bytes);
        self.describe(bytes, &tables, &original).await
    }

    async fn abort(self: Box<Self>) -> Result<()> {
        if let State::Pinned { running, .. } = self.state {
            running.kill().await;
        }
        self.pin.close().await;
        Ok(())
    }
}

/// The statement in the way may be gone by now. These words are `pg_dump`'s own, not the server's.
fn was_kept_from_a_table(error: &Error) -> bool {
    let said = error.to_string();
    said.contains("could not obtain lock on relation") || said.contains("Query was: LOCK TABLE")
}

fn kept_from_tables(waiting: &[String], error: Error) -> Error {
    let who = if waiting.is_empty() {
        "they are gone by now".to_owned()
    } else {
        waiting.join("; ")
    };
    let message = format!(
        "the database could not be dumped, because statements that change tables wait in front of the dump ({who})"
    );
    Error::new(ErrorKind::Database, message)
        .with_source(error)
        .with_hint("Let no ALTER TABLE, TRUNCATE or VACUUM FULL run during the backup; `jobs = 1` makes them wait for the dump once it has begun.")
        .transient()
}
