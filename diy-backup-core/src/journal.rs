//! The journal: what a run must not forget, wherever it dies.

use std::fmt;
use std::fs;
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::SystemTime;

use bitbucket_maintenance_client::{CancelToken, UnlockToken};
use serde::{Deserialize, Serialize};

use crate::durable;
use crate::error::{Error, ErrorKind, Result, ResultExt, printable};
use crate::id::BackupId;
use crate::strategy::Leftover;
use crate::trust::Directory;

const FORMAT: u32 = 1;

/// What a run is doing.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
#[non_exhaustive]
pub enum Operation {
    /// It takes a backup.
    Backup,
    /// It restores one.
    Restore,
}

/// How far a run has come; each stands in the journal before what it names begins.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
#[non_exhaustive]
pub enum Step {
    /// Nothing has changed yet but the staging folder.
    Started,
    /// The lock is being asked for: if the run dies now, the instance may be locked with a token nobody knows.
    Locking,
    /// The instance is locked, and the unlock token is in the journal.
    Locked,
    /// The drain has begun, and the cancel token is in the journal.
    Draining,
    /// The instance is proven to be unlocked.
    Released,
    /// The archive is being written.
    Archiving,
    /// The backup is good; what follows is housekeeping.
    Stored,
    /// Restore: a backup is being unpacked beside its targets.
    Building,
    /// Restore: all parts are built, and the first is being moved into place.
    Committing,
}

/// The content of a journal.
#[derive(Clone, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
#[non_exhaustive]
pub struct JournalRecord {
    /// The version of this format.
    pub format: u32,
    /// What the run is doing.
    pub operation: Operation,
    /// The backup that is taken or restored.
    pub backup_id: BackupId,
    /// Marks the run's child processes.
    pub run: String,
    /// The process that runs it. For people: whether a run is alive is known by its lock alone.
    pub process: u32,
    /// When that process began: its children began no earlier. None in a journal of an earlier version.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub born: Option<String>,
    /// The instance's base URL.
    pub url: Option<String>,
    /// How far the run has come.
    pub step: Step,
    /// The token that unlocks the instance, as long as it may be locked by this run.
    pub unlock_token: Option<String>,
    /// The token that cancels the backup task, as long as it may be running.
    pub cancel_token: Option<String>,
    /// What has to be removed if the run dies.
    pub leftovers: Vec<Leftover>,
    /// What a restore had built when it began to commit: all of it goes forward or all of it goes.
    #[serde(default)]
    pub committing: Vec<Leftover>,
    /// What a recovery could neither finish nor remove, and why.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub unfinished: Vec<String>,
}

/// The tokens stand in the file on purpose, and nowhere else.
impl fmt::Debug for JournalRecord {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("JournalRecord")
            .field("operation", &self.operation)
            .field("backup_id", &self.backup_id)
            .field("run", &self.run)
            .field("process", &self.process)
            .field("step", &self.step)
            .field("has_unlock_token", &self.unlock_token.is_some())
            .field("has_cancel_token", &self.cancel_token.is_some())
            .field("leftovers", &self.leftovers)
            .field("committing", &self.committing)
            .finish_non_exhaustive()
    }
}

impl JournalRecord {
    /// The record of a run that begins.
    pub(crate) fn new(operation: Operation, backup_id: BackupId, url: Option<String>) -> Self {
        Self {
            format: FORMAT,
            operation,
            backup_id,
            run: format!("{:016x}", fastrand::u64(..)),
            process: std::process::id(),
            born: crate::platform::born(),
            url,
            step: Step::Started,
            unlock_token: None,
            cancel_token: None,
            leftovers: Vec::new(),
            committing: Vec::new(),
            unfinished: Vec::new(),
        }
    }

    /// The token that unlocks the instance.
    pub fn unlock_token(&self) -> Option<UnlockToken> {
        self.unlock_token.clone().map(UnlockToken::from)
    }

    /// The token that cancels the backup task.
    pub fn cancel_token(&self) -> Option<CancelToken> {
        self.cancel_token.clone().map(CancelToken::from)
    }

    /// Whether the run that wrote this may have left the instance locked.
    pub fn may_be_locked(&self) -> bool {
        self.step == Step::Locking || self.unlock_token.is_some()
    }
}

/// The journal of a run. Every change is on disk before the call returns. Clones share it.
#[derive(Debug, Clone)]
pub struct Journal {
    state: Arc<Mutex<State>>,
}

#[derive(Debug)]
struct State {
    /// None in a journal that is kept in memory.
    path: Option<PathBuf>,
    record: JournalRecord,
}

impl Journal {
    /// Where the journal of an instance with this state folder stands.
    pub fn path_in(state: &Path) -> PathBuf {
        state.join("journal.json")
    }

    /// Reads the journal that an earlier run has left in the state folder; `None` when it ended well.
    ///
    /// # Errors
    /// [`ErrorKind::Check`] when others could have put it there, [`ErrorKind::Io`] when it cannot be read or belongs to
    /// somebody else, [`ErrorKind::Damaged`] when it is not a journal. It is written
    /// wholly or not at all, so that is the work of somebody else.
    pub fn read(state: &Path) -> Result<Option<JournalRecord>> {
        // What stands in it is done: it must be ours.
        Directory::State.ensure_trusted(state)?;
        Self::read_file(&Self::path_in(state))
    }

    /// Reads the journal at `path`.
    pub(crate) fn read_file(path: &Path) -> Result<Option<JournalRecord>> {
        let shown = path.display();
        let read = durable::read_own(path);
        let Some(text) = read.io_context(|| format!("cannot read the journal {shown}"))? else {
            return Ok(None);
        };
        parse(&text).map(Some).map_err(|source| {
            Error::new(ErrorKind::Damaged, format!("the journal {shown} cannot be used"))
                .with_source(source)
                .with_hint(format!(
                    "It may hold the token that unlocks the instance: look into {shown}, unlock with `diy-backup unlock --token TOKEN` if need be, then move the file away."
                ))
        })
    }

    /// Begins a journal in the state folder.
    pub(crate) fn create(state: &Path, record: JournalRecord) -> Result<Self> {
        let journal = Self::keep(Some(Self::path_in(state)), record);
        journal.update(|_| {})?;
        Ok(journal)
    }

    /// Takes up the journal of a run that died.
    pub(crate) fn resume(state: &Path, record: JournalRecord) -> Self {
        Self::keep(Some(Self::path_in(state)), record)
    }

    /// Takes up the journal at `path` of a run that could not be put right before.
    pub(crate) fn resume_file(path: &Path, record: JournalRecord) -> Self {
        Self::keep(Some(path.to_owned()), record)
    }

    /// A journal that is kept in memory: for the tests of strategies, where nothing outlives the process.
    pub(crate) fn in_memory(record: JournalRecord) -> Self {
        Self::keep(None, record)
    }

    fn keep(path: Option<PathBuf>, record: JournalRecord) -> Self {
        Self {
            state: Arc::new(Mutex::new(State { path, record })),
        }
    }

    /// Changes the record, durably. When it cannot be written, the record in memory is as it was.
    pub(crate) fn update(&self, change: impl FnOnce(&mut JournalRecord)) -> Result<()> {
        let mut state = self.lock();
        let mut record = state.record.clone();
        change(&mut record);
        if let Some(path) = &state.path {
            let text = serde_json::to_vec_pretty(&record).map_err(|error| {
                Error::new(ErrorKind::Internal, "cannot write the journal as JSON")
                    .with_source(error)
            })?;
            durable::write_private(path, &text)?;
        }
        state.record = record;
        Ok(())
    }

    pub(crate) fn step(&self, step: Step) -> Result<()> {
        self.update(|record| record.step = step)
    }

    pub(crate) fn add_leftover(&self, leftover: Leftover) -> Result<()> {
        self.update(|record| record.leftovers.push(leftover))
    }

    pub(crate) fn remove_leftover(&self, leftover: &Leftover) -> Result<()> {
        if !self.lock().record.leftovers.contains(leftover) {
            return Ok(());
        }
        self.update(|record| record.leftovers.retain(|other| other != leftover))
    }

    /// When the file was written last; long ago when there is none.
    pub(crate) fn written(&self) -> SystemTime {
        let state = self.lock();
        let metadata = state.path.as_ref().and_then(|path| fs::metadata(path).ok());
        metadata
            .and_then(|metadata| metadata.modified().ok())
            .unwrap_or(SystemTime::UNIX_EPOCH)
    }

    /// The record as it stands now.
    pub(crate) fn record(&self) -> JournalRecord {
        self.lock().record.clone()
    }

    /// Ends the journal: nothing is left to put right. What is recorded after that is kept in memory alone, so that
    /// work which outlives its run does not bring the file back.
    pub(crate) fn finish(&self) -> Result<()> {
        let mut state = self.lock();
        if let Some(path) = &state.path {
            durable::remove(path)?;
        }
        state.path = None;
        Ok(())
    }

    /// Ends the journal of a run that could be neither finished nor taken back: it is kept under another name, which
    /// does not keep later runs from beginning.
    pub(crate) fn set_aside(&self, problems: Vec<String>) -> Result<()> {
        self.update(|record| record.unfinished = problems)?;
        let mut state = self.lock();
        let Some(path) = &state.path else {
            return Ok(());
        };
        let directory = path.parent().unwrap_or(Path::new("/"));
        let aside = crate::unfinished::path_for(directory, &state.record);
        fs::rename(path, &aside)
            .io_context(|| format!("cannot move {} to {}", path.display(), aside.display()))?;
        durable::sync_directory(directory)?;
        state.path = None;
        Ok(())
    }

    fn lock(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

fn parse(text: &[u8]) -> Result<JournalRecord> {
    let record: JournalRecord = serde_json::from_slice(text).map_err(|error| {
        Error::new(ErrorKind::Damaged, "this is not a journal")
            .with_source(printable(&error.to_string()))
    })?;
    if record.format > FORMAT {
        let message = format!(
            "it has format {}, and this version reads up to {FORMAT}",
            record.format
        );
        return Err(Error::new(ErrorKind::Unsupported, message));
    }
    Ok(record)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn record() -> JournalRecord {
        let id = BackupId::at_unix(&"b".parse().unwrap(), 1);
        JournalRecord::new(Operation::Backup, id, None)
    }

    #[test]
    fn what_was_recorded_is_on_disk_for_its_owner_alone() {
        use std::os::unix::fs::MetadataExt;
        let state = tempfile::tempdir().unwrap();
        let journal = Journal::create(state.path(), record()).unwrap();
        journal
            .update(|record| record.unlock_token = Some("t".repeat(40)))
            .unwrap();
        let read = Journal::read(state.path()).unwrap().unwrap();
        assert_eq!(read.unlock_token, Some("t".repeat(40)));
        assert!(read.may_be_locked());
        assert!(!format!("{read:?}").contains("ttt"));
        assert_eq!(
            fs::metadata(Journal::path_in(state.path())).unwrap().mode() & 0o777,
            0o600
        );
        journal.finish().unwrap();
        assert!(Journal::read(state.path()).unwrap().is_none());
        journal.step(Step::Archiving).unwrap();
        assert!(Journal::read(state.path()).unwrap().is_none());
    }

    #[test]
    fn a_journal_that_is_none_says_what_to_do() {
        let state = tempfile::tempdir().unwrap();
        fs::write(Journal::path_in(state.path()), "{").unwrap();
        let error = Journal::read(state.path()).unwrap_err();
        assert_eq!(error.kind(), ErrorKind::Damaged);
        assert!(error.hint().unwrap().contains("unlock --token"));
    }
}
