//! One backup of the database.

use diy_backup_core::{
    Artifact, BackupContext, Error, ErrorKind, Inventory, LockWindow, Meter, Phase, Released,
    Result, Session, async_trait,
};

use crate::dump::{self, Dump, Dumping, Hold, Proof};
use crate::facts::{Database, Definitions, Facts, Table};
use crate::instance;
use crate::scan::Scan;
use crate::server::Server;

/// What can be known before the window opens.
#[derive(Debug)]
pub(crate) struct Plan {
    pub(crate) cx: BackupContext,
    pub(crate) server: Server,
    pub(crate) dump: Dump,
    pub(crate) facts: Facts,
    pub(crate) database: Database,
    pub(crate) tables: Vec<Table>,
    pub(crate) definitions: Definitions,
    pub(crate) estimated_bytes: u64,
    /// Why the state cannot be pinned, if it cannot.
    pub(crate) unpinnable: Option<String>,
}

/// A backup of one database.
#[derive(Debug)]
pub(crate) struct DumpSession {
    plan: Plan,
    meter: Meter,
    state: State,
}

#[derive(Debug)]
enum State {
    Prepared,
    /// The dump program has its snapshot, and reads from it.
    Pinned(Box<Dumping>),
    /// The whole dump was made inside the window.
    Dumped,
    Over,
}

impl DumpSession {
    pub(crate) fn new(plan: Plan) -> Self {
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
            state: State::Prepared,
        }
    }

    /// A node of a cluster may still have to apply what people did on another one before they were kept out.
    async fn catch_up(&self) -> Result<()> {
        if !self.plan.facts.in_cluster {
            return Ok(());
        }
        let client = self.plan.server.client(self.plan.cx.control());
        client
            .execute("SET SESSION wsrep_sync_wait = 1; SELECT COUNT(*) FROM information_schema.SCHEMATA;")
            .await
            .map_err(|failure| failure.doing("wait until the node has caught up with its cluster"))
    }

    async fn pin(&mut self) -> Result<()> {
        let control = self.plan.cx.control().clone();
        let mut dumping = Box::new(self.plan.dump.start(Hold::Snapshot, &control)?);
        match dumping.proof(&control).await? {
            Proof::Taken => {
                self.state = State::Pinned(dumping);
                Ok(())
            }
            // Without proof, only a dump that is whole before the unlock is one of this instant.
            Proof::Ended => {
                self.finish(*dumping).await?;
                self.warn_of_window("the dump program does not say when its snapshot is taken");
                self.state = State::Dumped;
                Ok(())
            }
        }
    }

    async fn dump_inside_the_window(&mut self, reason: &str) -> Result<()> {
        self.warn_of_window(reason);
        let control = self.plan.cx.control();
        let dumping = self.plan.dump.start(Hold::Locks, control)?;
        self.finish(dumping).await?;
        self.state = State::Dumped;
        Ok(())
    }

    fn warn_of_window(&self, reason: &str) {
        self.plan.cx.events().warning(format!(
            "the database is dumped while the instance is locked, because its state cannot be pinned: {reason}"
        ));
    }

    async fn finish(&self, dumping: Dumping) -> Result<()> {
        for warning in dumping.finish(&self.meter).await? {
            self.plan.cx.events().warning(warning);
        }
        Ok(())
    }

    /// Rows are those of the snapshot, and definitions those of the moment in which they were read: both go together
    /// only if no definition has changed.
    async fn ensure_unchanged(&self) -> Result<()> {
        let client = self.plan.server.client(self.plan.cx.control());
        let later = Definitions::of(&client, &self.plan.server.config().name)
            .await
            .map_err(|failure| failure.doing("look at the definitions of the tables again"))?;
        let Some(change) = self.plan.definitions.change(&later) else {
            return Ok(());
        };
        let message = format!("the definition of a table was changed during the backup: {change}");
        Err(Error::new(ErrorKind::Database, message)
            .with_hint("Let no ALTER TABLE, TRUNCATE, RENAME, CREATE or DROP run during the backup, and take it once more.")
            .transient())
    }

    async fn verify(&self) -> Result<Scan> {
        let path = self.plan.dump.path().to_owned();
        let control = self.plan.cx.control().clone();
        let scan = dump::blocking(move || Scan::of(&path, &control)).await??;
        scan.ensure_completed()?;
        scan.ensure_holds(&self.plan.tables)?;
        Ok(scan)
    }

    fn describe(&self, bytes: u64, scan: &Scan) -> Artifact {
        let (facts, database) = (&self.plan.facts, &self.plan.database);
        let inventory = Inventory::new()
            .with_tables(instance::count(&self.plan.tables))
            .with_bytes(self.plan.estimated_bytes);
        Artifact::staged(bytes)
            .with_inventory(inventory)
            .with_detail("database", &self.plan.server.config().name)
            .with_detail("file", dump::FILE)
            .with_detail("flavour", facts.release.flavour.to_string())
            .with_detail("server-version", &facts.version)
            .with_detail("client-version", self.plan.server.release().to_string())
            .with_detail("character-set", &database.charset)
            .with_detail("collation", &database.collation)
            .with_detail("tables", self.plan.tables.len().to_string())
            .with_detail(
                "longest-statement-bytes",
                scan.longest_statement_bytes.to_string(),
            )
    }
}

#[async_trait]
impl Session for DumpSession {
    async fn capture(&mut self, _: &LockWindow) -> Result<()> {
        self.catch_up().await?;
        match self.plan.unpinnable.clone() {
            Some(reason) => self.dump_inside_the_window(&reason).await,
            None => self.pin().await,
        }
    }

    async fn complete(&mut self, _: &Released) -> Result<Artifact> {
        match std::mem::replace(&mut self.state, State::Over) {
            State::Pinned(dumping) => self.finish(*dumping).await?,
            State::Dumped => {}
            State::Prepared | State::Over => {
                let message = "the database was not captured";
                return Err(Error::new(ErrorKind::Internal, message));
            }
        }
        self.ensure_unchanged().await?;
        let scan = self.verify().await?;
        let path = self.plan.dump.path().to_owned();
        let bytes = dump::blocking(move || dump::size_of(&path)).await??;
        self.meter.set_done_bytes(self.plan.estimated_bytes);
        self.plan.server.forget()?;
        Ok(self.describe(bytes, &scan))
    }

    async fn abort(mut self: Box<Self>) -> Result<()> {
        if let State::Pinned(dumping) = self.state {
            dumping.kill().await;
        }
        self.plan.server.forget()
    }
}
