//! Runs that died and could be neither finished nor taken back: their journals are kept beside the state of later runs,
//! as evidence and for another try.

use std::fs;
use std::path::{Path, PathBuf};

use serde::Serialize;

use crate::error::{Result, ResultExt};
use crate::id::BackupId;
use crate::journal::{Journal, JournalRecord, Operation};

const PREFIX: &str = "journal-";
const SUFFIX: &str = ".unfinished.json";

/// A run that died and could be neither finished nor taken back.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
#[non_exhaustive]
pub struct UnfinishedRun {
    /// Its journal, which `recover` tries again for as long as it is there.
    pub file: PathBuf,
    /// What it did.
    pub operation: Option<Operation>,
    /// The backup that it took or restored.
    pub backup_id: Option<BackupId>,
    /// What is left, and why it could be neither finished nor removed.
    pub problems: Vec<String>,
}

impl UnfinishedRun {
    fn of(file: PathBuf, record: &JournalRecord) -> Self {
        Self {
            file,
            operation: Some(record.operation),
            backup_id: Some(record.backup_id.clone()),
            problems: record.unfinished.clone(),
        }
    }

    /// What is unfinished, with the way out, in one line.
    pub fn describe(&self) -> String {
        let what = match self.operation {
            Some(Operation::Restore) => "a restore",
            Some(Operation::Backup) => "a backup",
            None => "a run",
        };
        let of = self
            .backup_id
            .as_ref()
            .map_or(String::new(), |id| format!(" of {id}"));
        format!(
            "{what}{of} died and is unfinished: {}; `diy-backup recover` tries again, and {} may be removed once it is settled by hand",
            self.problems.join("; "),
            self.file.display()
        )
    }
}

/// Where the journal of an unfinished run is kept: under a name that no other one has.
pub(crate) fn path_for(state: &Path, record: &JournalRecord) -> PathBuf {
    let id = &record.backup_id;
    let path = state.join(format!("{PREFIX}{id}{SUFFIX}"));
    if fs::symlink_metadata(&path).is_err() {
        return path;
    }
    state.join(format!("{PREFIX}{id}-{:08x}{SUFFIX}", fastrand::u32(..)))
}

/// The unfinished runs in the state directory, oldest backup first. One that cannot be read is listed with the reason.
///
/// # Errors
/// When the directory cannot be read.
pub(crate) fn list(state: &Path) -> Result<Vec<UnfinishedRun>> {
    let runs = files(state)?
        .into_iter()
        .map(|file| match Journal::read_file(&file) {
            Ok(Some(record)) => UnfinishedRun::of(file, &record),
            Ok(None) => UnfinishedRun {
                problems: vec!["its journal is gone".to_owned()],
                file,
                operation: None,
                backup_id: None,
            },
            Err(error) => UnfinishedRun {
                problems: vec![crate::error::chain(&error)],
                file,
                operation: None,
                backup_id: None,
            },
        });
    Ok(runs.collect())
}

/// The journals of the unfinished runs in the state directory.
pub(crate) fn files(state: &Path) -> Result<Vec<PathBuf>> {
    let shown = || format!("cannot list the directory {}", state.display());
    let entries = match fs::read_dir(state) {
        Err(error) if error.kind() == std::io::ErrorKind::NotFound => return Ok(Vec::new()),
        entries => entries.io_context(shown)?,
    };
    let mut files = Vec::new();
    for entry in entries {
        let name = entry.io_context(shown)?.file_name();
        let is_one = name
            .to_str()
            .is_some_and(|name| name.starts_with(PREFIX) && name.ends_with(SUFFIX));
        if is_one {
            files.push(state.join(name));
        }
    }
    files.sort();
    Ok(files)
}
