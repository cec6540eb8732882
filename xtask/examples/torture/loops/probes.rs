//! Looks at what a run leaves and does, while it lives and afterwards.

use std::collections::BTreeSet;
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use serde_json::Value;

/// Follows the journal of a run.
#[derive(Debug)]
pub(crate) struct JournalWatch {
    path: PathBuf,
    last: Option<(u64, i64)>,
    /// How often it was written or removed so far.
    pub(crate) changes: usize,
    /// What marks the children of the runs that wrote it.
    pub(crate) runs: BTreeSet<String>,
    /// The tokens that stood in it.
    pub(crate) tokens: BTreeSet<String>,
    /// The last step that stood in it.
    pub(crate) step: Option<String>,
}

impl JournalWatch {
    pub(crate) fn new(path: PathBuf) -> Self {
        let last = fingerprint(&path);
        Self {
            path,
            last,
            changes: 0,
            runs: BTreeSet::new(),
            tokens: BTreeSet::new(),
            step: None,
        }
    }

    pub(crate) fn look(&mut self) {
        let now = fingerprint(&self.path);
        if now == self.last {
            return;
        }
        self.last = now;
        self.changes += 1;
        // It is replaced as a whole, so what can be read is a whole journal.
        let Some(journal) = std::fs::read(&self.path)
            .ok()
            .and_then(|text| serde_json::from_slice::<Value>(&text).ok())
        else {
            return;
        };
        let word = |key: &str| journal[key].as_str().map(str::to_owned);
        self.runs.extend(word("run"));
        self.tokens.extend(word("unlock-token"));
        self.tokens.extend(word("cancel-token"));
        self.step = word("step");
    }
}

fn fingerprint(path: &Path) -> Option<(u64, i64)> {
    let metadata = path.metadata().ok()?;
    Some((metadata.ino(), metadata.mtime_nsec()))
}

/// The processes that carry a run's mark, or that name something below `root`, after they had a moment to end.
pub(crate) fn strays(runs: &BTreeSet<String>, root: &Path) -> Vec<String> {
    let deadline = Instant::now() + Duration::from_secs(5);
    loop {
        let found = strays_now(runs, root);
        if found.is_empty() || Instant::now() > deadline {
            return found;
        }
        std::thread::sleep(Duration::from_millis(20));
    }
}

fn strays_now(runs: &BTreeSet<String>, root: &Path) -> Vec<String> {
    let marks: Vec<_> = runs
        .iter()
        .map(|run| format!("DIY_BACKUP_RUN={run}"))
        .collect();
    let root = format!("{}/", root.display());
    let mut found = Vec::new();
    for entry in std::fs::read_dir("/proc").into_iter().flatten().flatten() {
        let folder = entry.path();
        let text = |file: &str| {
            let bytes = std::fs::read(folder.join(file)).unwrap_or_default();
            String::from_utf8_lossy(&bytes).into_owned()
        };
        let (command, environment) = (text("cmdline"), text("environ"));
        let is_marked = environment
            .split('\0')
            .any(|entry| marks.iter().any(|mark| mark == entry));
        if is_marked || command.contains(&root) {
            found.push(format!(
                "process {} is still there: {}",
                entry.file_name().display(),
                command.replace('\0', " ")
            ));
        }
    }
    found
}

/// Files and folders that others may look into.
pub(crate) fn open_to_others(path: &Path, depth: usize, found: &mut BTreeSet<String>) {
    let Ok(metadata) = path.symlink_metadata() else {
        return;
    };
    if metadata.is_symlink() {
        return;
    }
    if metadata.mode() & 0o077 != 0 {
        let mode = metadata.mode() & 0o7777;
        found.insert(format!("{} has mode {mode:04o}", path.display()));
    }
    if depth == 0 || !metadata.is_dir() {
        return;
    }
    for entry in std::fs::read_dir(path).into_iter().flatten().flatten() {
        open_to_others(&entry.path(), depth - 1, found);
    }
}

/// All regular files below a folder.
pub(crate) fn files_below(folder: &Path) -> Vec<PathBuf> {
    let mut found = Vec::new();
    for entry in std::fs::read_dir(folder).into_iter().flatten().flatten() {
        let path = entry.path();
        match entry.file_type() {
            Ok(kind) if kind.is_dir() => found.extend(files_below(&path)),
            Ok(kind) if kind.is_file() => found.push(path),
            _ => {}
        }
    }
    found.sort();
    found
}
