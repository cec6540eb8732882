//! One backup of the database.

use diy_backup_core::{
    Artifact, BackupContext, Error, ErrorKind, Inventory, LockWindow, Phase, Released, Result,
    Session, async_trait,
};

use crate::backup::{self, Content, Plan};
use crate::config::MssqlConfig;
use crate::facts::{self, DatabaseFacts, Facts};
use crate::failure::{Failure, NO_BASE};
use crate::header::Header;
use crate::shared::{self, Part, Reader, SharedFiles};
use crate::sqlcmd::Server;

/// A backup of one SQL Server database.
#[derive(Debug)]
pub(crate) struct BackupSession {
    cx: BackupContext,
    server: Server,
    facts: Facts,
    database: DatabaseFacts,
    files: SharedFiles,
    estimated_bytes: u64,
    /// What the database holds, as far as the login may see.
    inventory: Inventory,
    /// The full backup that was made while people worked.
    full: Header,
    /// The files that the backup consists of, once it is captured.
    parts: Vec<Part>,
}

/// What the differential backup has become.
enum Differential {
    Good,
    /// Why it cannot be used.
    Useless(String),
}

impl BackupSession {
    /// Makes the full backup. What is left of it after an error is removed.
    pub(crate) async fn begin(config: &MssqlConfig, cx: &BackupContext) -> Result<Self> {
        let server = Server::reach(config, &cx.staging().database(), cx.control()).await?;
        let facts = Facts::of(&server)
            .await
            .map_err(|failure| failure.doing("log in to the server"))?;
        facts.ensure_supported()?;
        let name = &config.name;
        let database = DatabaseFacts::of(&server, name)
            .await
            .map_err(|failure| failure.doing(format!("look at the database {name:?}")))?;
        let database = ensure_online(name, database)?;
        let estimated_bytes = facts::used_bytes(&server, name)
            .await
            .map_err(|failure| failure.doing(format!("measure the database {name:?}")))?;
        let mut inventory = Inventory::new().with_bytes(estimated_bytes);
        if database.rights.see_everything {
            let tables = facts::tables(&server, name)
                .await
                .map_err(|failure| failure.doing("count the tables"))?;
            if tables == 0 {
                return Err(facts::no_tables(name));
            }
            inventory = inventory.with_tables(tables);
        }
        let files = SharedFiles::new(config, cx.id());
        cx.record_leftover(files.leftover())?;
        let mut session = Self {
            cx: cx.clone(),
            server,
            facts,
            database,
            files,
            estimated_bytes,
            inventory,
            full: Header::default(),
            parts: Vec::new(),
        };
        match session.make_full().await {
            Ok(()) => Ok(session),
            Err(error) => {
                // What cannot be removed now stays recorded.
                if let Err(left) = session.take_back().await {
                    cx.events().warning(diy_backup_core::error_chain(&left));
                }
                Err(error)
            }
        }
    }

    fn name(&self) -> &str {
        &self.server.config().name
    }

    async fn make_full(&mut self) -> Result<()> {
        self.make(Content::Full, Part::Full, Phase::Prepare)
            .await
            .map_err(|failure| failure.doing(format!("make a full backup of {:?}", self.name())))?;
        self.files.readable_bytes(Part::Full)?;
        self.full = self.header(Part::Full).await?;
        self.full.ensure_base()
    }

    async fn make(&self, content: Content, part: Part, phase: Phase) -> Result<(), Failure> {
        let meter = self.cx.events().meter(phase);
        let title = self.cx.id().to_string();
        let plan = Plan {
            database: self.name(),
            content,
            compressed: self.facts.compresses(self.server.config().compression),
            title: &title,
        };
        plan.make(
            &self.server,
            &self.files.servers(part),
            &meter,
            self.estimated_bytes,
        )
        .await
    }

    async fn header(&self, part: Part) -> Result<Header> {
        Header::of(&self.server, &self.files.servers(part))
            .await
            .map_err(|failure| failure.doing("read the header of a backup"))
    }

    /// Backs up what has changed since the full backup, and finds out whether it can be used with it.
    async fn make_differential(&self) -> Result<Differential> {
        match self
            .make(Content::Differential, Part::Differential, Phase::Capture)
            .await
        {
            Ok(()) => {}
            Err(Failure::Refused(refusal)) if refusal.number == NO_BASE => {
                return Ok(Differential::Useless(refusal.to_string()));
            }
            Err(failure) => {
                return Err(
                    failure.doing(format!("make a differential backup of {:?}", self.name()))
                );
            }
        }
        if self
            .header(Part::Differential)
            .await?
            .is_based_on(&self.full)
        {
            return Ok(Differential::Good);
        }
        Ok(Differential::Useless(
            "somebody else has made a full backup meanwhile, which it would be based on".to_owned(),
        ))
    }

    async fn verify(&self, part: Part) -> Result<()> {
        let header = self.header(part).await?;
        match part {
            Part::Full => header.ensure_base()?,
            Part::Window => header.ensure_full()?,
            Part::Differential => header.ensure_based_on(&self.full)?,
        }
        backup::verify(&self.server, &self.files.servers(part))
            .await
            .map_err(|failure| failure.doing("verify a backup"))
    }

    /// Copies what the server has written into the staging folder.
    async fn fetch(&self) -> Result<u64> {
        let meter = self.cx.events().meter(Phase::Complete);
        let mut total = 0;
        for &part in &self.parts {
            total += self.files.readable_bytes(part)?;
        }
        meter.set_total_bytes(total);
        let mut bytes = 0;
        for &part in &self.parts {
            let to = self.cx.staging().database().join(part.staged_name());
            let from = self.files.ours(part);
            bytes += shared::copy(from, to, Reader::Us, meter.clone(), self.cx.control()).await?;
        }
        Ok(bytes)
    }

    /// Removes what is in the shared folder.
    async fn take_back(&self) -> Result<()> {
        let files = self.files.clone();
        shared::blocking(move || files.remove()).await??;
        self.cx.forget_leftover(&self.files.leftover())
    }

    fn describe(&self, bytes: u64) -> Artifact {
        Artifact::staged(bytes)
            .with_inventory(self.inventory)
            .with_detail("database", self.name())
            .with_detail("server-version", &self.facts.version)
            .with_detail("edition", &self.facts.edition)
            .with_detail("collation", &self.database.collation)
            .with_detail(
                "encrypted",
                if self.database.encrypted { "yes" } else { "no" },
            )
    }
}

#[async_trait]
impl Session for BackupSession {
    async fn capture(&mut self, _: &LockWindow) -> Result<()> {
        match self.make_differential().await? {
            Differential::Good => self.parts = vec![Part::Full, Part::Differential],
            Differential::Useless(why) => {
                self.cx.events().warning(format!(
                    "the whole database is backed up while the instance is locked, because a differential backup is of no use: {why}"
                ));
                self.make(Content::CopyOfAll, Part::Window, Phase::Capture)
                    .await
                    .map_err(|failure| {
                        failure.doing(format!("make a full backup of {:?}", self.name()))
                    })?;
                self.parts = vec![Part::Window];
            }
        }
        Ok(())
    }

    async fn complete(&mut self, _: &Released) -> Result<Artifact> {
        if self.parts.is_empty() {
            return Err(Error::new(
                ErrorKind::Internal,
                "the database was not captured",
            ));
        }
        for &part in &self.parts {
            self.verify(part).await?;
        }
        let bytes = self.fetch().await?;
        self.take_back().await?;
        Ok(self.describe(bytes))
    }

    async fn abort(self: Box<Self>) -> Result<()> {
        self.take_back().await
    }
}

/// That there is a database which can be backed up.
fn ensure_online(name: &str, facts: Option<DatabaseFacts>) -> Result<DatabaseFacts> {
    let refuse = |what: String| {
        Error::new(ErrorKind::Check, what).with_hint("`diy-backup check` looks at all of it.")
    };
    match facts {
        None => Err(refuse(format!(
            "there is no database {name:?}, or the login may not see it"
        ))),
        Some(facts) if !facts.is_online() => {
            Err(refuse(format!("the database {name:?} is {}", facts.state)))
        }
        Some(facts) => Ok(facts),
    }
}

/// Removes the files that a run which died has left in the shared folder.
pub(crate) async fn discard_files(files: SharedFiles) -> Result<()> {
    shared::blocking(move || files.remove()).await?
}
