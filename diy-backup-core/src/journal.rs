//! The journal: what a run must not forget, wherever it dies.

mod found;

use std::fmt;
use std::fs;
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use bitbucket_maintenance_client::{CancelToken, UnlockToken};
use serde::{Deserialize, Serialize};

use crate::config::InstanceSettings;
use crate::durable;
use crate::error::{Error, ErrorKind, Result, ResultExt, printable};
use crate::id::BackupId;
use crate::moment::Moment;
use crate::strategy::Leftover;
pub(crate) use found::Found;

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
    /// When the lock was asked for last, as long as its answer is open.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(crate) asked: Option<Moment>,
    /// What may be unlock tokens too: read out of files that a run has left half-written, or that are damaged.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub(crate) other_tokens: Vec<String>,
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
            .field("other_tokens", &self.other_tokens.len())
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
            asked: None,
            other_tokens: Vec::new(),
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

    /// Everything that may unlock the instance, the likeliest first.
    pub(crate) fn unlock_tokens(&self) -> Vec<UnlockToken> {
        let all = self.unlock_token.iter().chain(&self.other_tokens);
        all.cloned().map(UnlockToken::from).collect()
    }

    /// Whether the run that wrote this may have left the instance locked.
    pub fn may_be_locked(&self) -> bool {
        self.step == Step::Locking || self.unlock_token.is_some() || !self.other_tokens.is_empty()
    }

    /// Makes sure that the journal is about the configured instance: its tokens unlock no other, and what another one
    /// answers says nothing about it.
    pub(crate) fn ensure_about(&self, instance: &InstanceSettings) -> Result<()> {
        let (theirs, ours) = (self.backup_id.name(), &instance.name);
        let url = |text: &str| text.trim_end_matches('/').to_owned();
        let configured = instance.url.as_ref().map(|it| url(it.as_str()));
        // What was written by hand, or by another version, may be spelled otherwise.
        let recorded = self.url.as_deref().map(|text| {
            let parsed = url::Url::parse(text).map(|parsed| url(parsed.as_str()));
            parsed.unwrap_or_else(|_| url(text))
        });
        let same_url = match (&recorded, &configured) {
            (Some(recorded), Some(configured)) => recorded == configured,
            _ => true,
        };
        if same_url && theirs == ours {
            return Ok(());
        }
        let shown = |url: &Option<String>| url.as_deref().map_or("no url".to_owned(), printable);
        Err(Error::new(
            ErrorKind::Config,
            format!(
                "the journal in the state directory is about the instance {theirs} at {}, and this configuration about {ours} at {}",
                shown(&recorded),
                shown(&configured)
            ),
        )
        .with_hint("Run `diy-backup recover` with the configuration of that run: its journal holds what unlocks that instance. Give each instance a `state` directory of its own.             If it is the same instance under a new address, put the old `name` and `url` back for one `recover`."))
    }
}

/// The journal of a run. Every change is on disk before the call returns. Clones share it.
#[derive(Debug, Clone)]
pub struct Journal {
    shared: Arc<Shared>,
}

#[derive(Debug)]
struct Shared {
    /// Held while the file changes, so that two changes do not meet. Apart from the state: a disk that hangs must not
    /// keep anybody from reading the record.
    file: Mutex<()>,
    state: Mutex<State>,
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

    /// Reads the journal that an earlier run has left in the state directory; `None` when it ended well. What a run was
    /// writing when it died counts too.
    ///
    /// # Errors
    /// [`ErrorKind::Check`] when others could have put it there, [`ErrorKind::Io`] when it cannot be read or belongs to
    /// somebody else, [`ErrorKind::Damaged`] when it is not a journal. It is written
    /// wholly or not at all, so that is the work of somebody else.
    pub fn read(state: &Path) -> Result<Option<JournalRecord>> {
        Ok(Found::in_directory(state)?.record()?.cloned())
    }

    /// Reads the journal at `path`, and nothing beside it.
    pub(crate) fn read_file(path: &Path) -> Result<Option<JournalRecord>> {
        found::read_file(path)
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
            shared: Arc::new(Shared {
                file: Mutex::default(),
                state: Mutex::new(State { path, record }),
            }),
        }
    }

    /// Changes the record, durably. When it cannot be written, the record in memory is as it was.
    pub(crate) fn update(&self, change: impl FnOnce(&mut JournalRecord)) -> Result<()> {
        let _file = locked(&self.shared.file);
        let (path, mut record) = {
            let state = self.state();
            (state.path.clone(), state.record.clone())
        };
        change(&mut record);
        if let Some(path) = &path {
            let text = serde_json::to_vec_pretty(&record).map_err(|error| {
                Error::new(ErrorKind::Internal, "cannot write the journal as JSON")
                    .with_source(error)
            })?;
            durable::write_private(path, &text)?;
        }
        self.state().record = record;
        Ok(())
    }

    /// Changes the record as [`update`](Self::update) does, on another thread, and waits `limit` for it: a state
    /// directory on a disk that hangs must not keep the instance locked.
    ///
    /// # Errors
    /// Those of `update`, and [`ErrorKind::Io`] when time is up. The change may still be written later.
    pub(crate) async fn update_within(
        &self,
        limit: Duration,
        change: impl FnOnce(&mut JournalRecord) + Send + 'static,
    ) -> Result<()> {
        let journal = self.clone();
        let written = tokio::task::spawn_blocking(move || journal.update(change));
        match tokio::time::timeout(limit, written).await {
            Ok(Ok(result)) => result,
            Ok(Err(error)) => Err(
                Error::new(ErrorKind::Internal, "the journal was not written").with_source(error),
            ),
            Err(_) => Err(Error::new(
                ErrorKind::Io,
                format!(
                    "the journal could not be written within {}: the disk of the state directory does not answer",
                    humantime::format_duration(limit)
                ),
            )),
        }
    }

    pub(crate) fn step(&self, step: Step) -> Result<()> {
        self.update(|record| record.step = step)
    }

    pub(crate) fn add_leftover(&self, leftover: Leftover) -> Result<()> {
        self.update(|record| record.leftovers.push(leftover))
    }

    pub(crate) fn remove_leftover(&self, leftover: &Leftover) -> Result<()> {
        if !self.state().record.leftovers.contains(leftover) {
            return Ok(());
        }
        self.update(|record| record.leftovers.retain(|other| other != leftover))
    }

    /// The record as it stands now.
    pub(crate) fn record(&self) -> JournalRecord {
        self.state().record.clone()
    }

    /// Ends the journal: nothing is left to put right. What is recorded after that is kept in memory alone, so that
    /// work which outlives its run does not bring the file back.
    pub(crate) fn finish(&self) -> Result<()> {
        let _file = locked(&self.shared.file);
        let path = self.state().path.clone();
        if let Some(path) = &path {
            durable::remove(path)?;
        }
        self.state().path = None;
        Ok(())
    }

    /// Ends the journal of a run that could be neither finished nor taken back: it is kept under another name, which
    /// does not keep later runs from beginning.
    pub(crate) fn set_aside(&self, problems: Vec<String>) -> Result<()> {
        self.update(|record| record.unfinished = problems)?;
        let _file = locked(&self.shared.file);
        let (path, record) = {
            let state = self.state();
            (state.path.clone(), state.record.clone())
        };
        let Some(path) = path else {
            return Ok(());
        };
        let directory = path.parent().unwrap_or(Path::new("/"));
        let aside = crate::unfinished::path_for(directory, &record);
        fs::rename(&path, &aside)
            .io_context(|| format!("cannot move {} to {}", path.display(), aside.display()))?;
        durable::sync_directory(directory)?;
        self.state().path = None;
        Ok(())
    }

    fn state(&self) -> MutexGuard<'_, State> {
        locked(&self.shared.state)
    }
}

fn locked<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
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

    #[test]
    fn a_write_that_hangs_is_not_waited_for_and_hides_nothing() {
        let journal = Journal::in_memory(record());
        // Stands for a write that a disk does not finish.
        let hanging = locked(&journal.shared.file);
        let limit = Duration::from_millis(20);
        let runtime = tokio::runtime::Builder::new_current_thread()
            .enable_time()
            .build()
            .unwrap();
        let update = journal.update_within(limit, |record| record.step = Step::Locked);
        let error = runtime.block_on(update).unwrap_err();
        assert_eq!(error.kind(), ErrorKind::Io);
        assert_eq!(journal.record().step, Step::Started);
        drop(hanging);
    }

    #[test]
    fn a_journal_is_about_one_instance_however_its_url_is_spelled() {
        let mut instance = InstanceSettings::new("b".parse().unwrap());
        instance.url = Some("https://git.example.com/bitbucket/".parse().unwrap());
        let about = |url: &str| JournalRecord {
            url: Some(url.to_owned()),
            ..record()
        };
        for same in [
            "https://git.example.com/bitbucket",
            "HTTPS://Git.Example.com:443/bitbucket//",
        ] {
            about(same).ensure_about(&instance).unwrap();
        }
        for other in [
            "https://git.example.com",
            "http://git.example.com/bitbucket",
            "https://other.example.com/bitbucket",
        ] {
            let error = about(other).ensure_about(&instance).unwrap_err();
            assert_eq!(error.kind(), ErrorKind::Config);
            assert!(error.to_string().contains(other), "{error}");
        }
        instance.name = "c".parse().unwrap();
        let same_url = about("https://git.example.com/bitbucket");
        assert!(same_url.ensure_about(&instance).is_err());
    }
}
