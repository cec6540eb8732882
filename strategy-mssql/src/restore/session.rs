//! One restore of the database.

use std::path::{Path, PathBuf};

use diy_backup_core::{
    Error, ErrorKind, Phase, RestoreContext, RestoreSession, RestoreSource, Result, async_trait,
};

use super::place::Beside;
use crate::facts::DatabaseFacts;
use crate::header::{self, DatabaseFile, FileSort, Header};
use crate::shared::{self, Part, Reader, SharedFiles, join};
use crate::sql;
use crate::sqlcmd::Server;

/// What was found out before anything changes.
#[derive(Debug)]
pub(super) struct RestorePlan {
    pub(super) cx: RestoreContext,
    pub(super) server: Server,
    pub(super) beside: Beside,
    /// The copies that the server reads.
    pub(super) files: SharedFiles,
    pub(super) data_directory: String,
    pub(super) log_directory: String,
}

/// A restore into one database.
#[derive(Debug)]
pub(super) struct RestoreInto {
    plan: RestorePlan,
    has_files: bool,
    has_database: bool,
}

impl RestoreInto {
    pub(super) fn new(plan: RestorePlan) -> Self {
        Self {
            plan,
            has_files: false,
            has_database: false,
        }
    }

    /// Copies the backup to where the server can read it. Returns which parts there are.
    async fn hand_over(&mut self, backup: &Path) -> Result<Vec<Part>> {
        let sources = parts_in(backup)?;
        let (cx, files) = (&self.plan.cx, &self.plan.files);
        cx.record_leftover(files.leftover())?;
        self.has_files = true;
        let meter = cx.events().meter(Phase::Apply);
        let mut parts = Vec::new();
        for (part, from) in sources {
            let to = files.ours(part);
            shared::copy(from, to, Reader::Server, meter.clone(), cx.control()).await?;
            parts.push(part);
        }
        Ok(parts)
    }

    /// Makes sure that the files belong to one another.
    async fn ensure_whole(&self, parts: &[Part]) -> Result<()> {
        let full = self.header(Part::Full).await?;
        full.ensure_full()?;
        if parts.contains(&Part::Differential) {
            self.header(Part::Differential)
                .await?
                .ensure_based_on(&full)?;
        }
        Ok(())
    }

    async fn header(&self, part: Part) -> Result<Header> {
        let header = Header::of(&self.plan.server, &self.plan.files.servers(part)).await;
        header.map_err(|failure| failure.doing("read the header of a backup"))
    }

    async fn files_of(&self, part: Part) -> Result<Vec<DatabaseFile>> {
        let files = header::files_in(&self.plan.server, &self.plan.files.servers(part)).await;
        files.map_err(|failure| failure.doing("list the files of the database in a backup"))
    }

    async fn build(&mut self, parts: &[Part]) -> Result<()> {
        let known = self.files_of(Part::Full).await?;
        let added = if parts.contains(&Part::Differential) {
            let later = self.files_of(Part::Differential).await?;
            let is_new = |file: &DatabaseFile| !known.iter().any(|one| one.logical == file.logical);
            later.into_iter().filter(is_new).collect()
        } else {
            Vec::new()
        };
        let plan = &self.plan;
        plan.cx.record_leftover(plan.beside.leftover()?)?;
        self.has_database = true;
        let last = parts.len().saturating_sub(1);
        for (number, &part) in parts.iter().enumerate() {
            let files = if part == Part::Differential {
                &added
            } else {
                &known
            };
            let first = if part == Part::Differential {
                known.len()
            } else {
                0
            };
            let recovery = if number == last {
                "RECOVERY"
            } else {
                "NORECOVERY"
            };
            let statement = plan.restore_statement(part, &plan.moves(files, first), recovery);
            let restored = plan.server.execute(&statement).await;
            restored.map_err(|failure| failure.doing("restore a backup"))?;
        }
        let facts = DatabaseFacts::of(&plan.server, &plan.beside.temporary)
            .await
            .map_err(|failure| failure.doing("look at the restored database"))?;
        ensure_online(&plan.beside.temporary, facts.as_ref())
    }

    async fn remove_files(&mut self) -> Result<()> {
        if self.has_files {
            let files = self.plan.files.clone();
            shared::blocking(move || files.remove()).await??;
            self.plan.cx.forget_leftover(&self.plan.files.leftover())?;
            self.has_files = false;
        }
        Ok(())
    }

    fn forget_database(&mut self) -> Result<()> {
        self.has_database = false;
        self.plan.cx.forget_leftover(&self.plan.beside.leftover()?)
    }
}

impl RestorePlan {
    fn restore_statement(&self, part: Part, moves: &str, recovery: &str) -> String {
        format!(
            "RESTORE DATABASE {} FROM DISK = {} WITH CHECKSUM, {moves}{recovery};",
            sql::identifier(&self.beside.temporary),
            sql::literal(&self.files.servers(part))
        )
    }

    /// Where the files of the database go. `first` is the number of the first of them.
    fn moves(&self, files: &[DatabaseFile], first: usize) -> String {
        let mut moves = String::new();
        for (number, file) in files.iter().enumerate() {
            let path = self.physical(file, first + number);
            moves.push_str("MOVE ");
            moves.push_str(&sql::literal(&file.logical));
            moves.push_str(" TO ");
            moves.push_str(&sql::literal(&path));
            moves.push_str(", ");
        }
        moves
    }

    /// A file that nobody has: its name says what it is to people who see it on the server.
    fn physical(&self, file: &DatabaseFile, number: usize) -> String {
        let (directory, extension) = match (file.sort, number) {
            (FileSort::Log, _) => (&self.log_directory, ".ldf"),
            (FileSort::Data, 0) => (&self.data_directory, ".mdf"),
            (FileSort::Data, _) => (&self.data_directory, ".ndf"),
            (FileSort::Folder, _) => (&self.data_directory, ""),
        };
        // No system takes all that a database may be called for the name of a file.
        let plain = |c: char| c.is_ascii_alphanumeric() || matches!(c, '_' | '-');
        let name: String = self
            .beside
            .temporary
            .chars()
            .filter(|&c| plain(c))
            .collect();
        join(directory, &format!("{name}_{number}{extension}"))
    }
}

/// The files of a backup.
fn parts_in(backup: &Path) -> Result<Vec<(Part, PathBuf)>> {
    let path_of = |part: Part| backup.join(part.staged_name());
    if !path_of(Part::Full).is_file() {
        let message = format!(
            "the backup has no {}: it was not made with this strategy",
            Part::Full.staged_name()
        );
        return Err(Error::new(ErrorKind::Damaged, message));
    }
    let parts = [Part::Full, Part::Differential];
    Ok(parts
        .map(|part| (part, path_of(part)))
        .into_iter()
        .filter(|(_, path)| path.is_file())
        .collect())
}

fn ensure_online(name: &str, facts: Option<&DatabaseFacts>) -> Result<()> {
    match facts {
        Some(facts) if facts.is_online() => Ok(()),
        Some(facts) => Err(not_there(format!(
            "the database {name:?} is {} after its restore",
            facts.state
        ))),
        None => Err(not_there(format!(
            "the database {name:?} is not there after its restore"
        ))),
    }
}

fn not_there(message: String) -> Error {
    Error::new(ErrorKind::Database, message).with_hint("The server's error log says why.")
}

#[async_trait]
impl RestoreSession for RestoreInto {
    async fn apply(&mut self, source: &RestoreSource) -> Result<()> {
        let Some(backup) = source.database.as_deref() else {
            return Err(Error::new(
                ErrorKind::Damaged,
                "the backup holds nothing of the database",
            ));
        };
        let parts = self.hand_over(backup).await?;
        self.ensure_whole(&parts).await?;
        self.build(&parts).await?;
        self.remove_files().await
    }

    async fn commit(&mut self) -> Result<()> {
        let plan = &self.plan;
        plan.beside.commit(&plan.server).await?;
        // From here on the restore has succeeded, whatever becomes of the empty database.
        let server = plan.server.under(plan.cx.control().for_cleanup());
        match plan.beside.take_back(&server).await {
            Ok(()) => self.forget_database(),
            Err(error) => {
                plan.cx.events().warning(format!(
                    "the empty database that was there before is left over: {}",
                    diy_backup_core::error_chain(&error)
                ));
                Ok(())
            }
        }
    }

    async fn verify(&mut self) -> Result<()> {
        let server = &self.plan.server;
        let name = &server.config().name;
        let facts = DatabaseFacts::of(server, name)
            .await
            .map_err(|failure| failure.doing("look at the restored database"))?;
        ensure_online(name, facts.as_ref())
    }

    async fn abort(mut self: Box<Self>) -> Result<()> {
        let files = self.remove_files().await;
        if self.has_database {
            let plan = &self.plan;
            let server = plan.server.under(plan.cx.control().for_cleanup());
            plan.beside.take_back(&server).await?;
            self.forget_database()?;
        }
        files
    }
}
