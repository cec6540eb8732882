//! What has been written to the copies and may not be on their disks yet.
//!
//! Syncing a whole file system waits for what everybody else has written there, too, which can be many times as much.
//! So it is left to runs that have written a lot, or after one of which that is not known.

use std::collections::{BTreeMap, BTreeSet};
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::thread;

use diy_backup_core::{Result, ResultExt};

use crate::platform;

/// More paths than these are not worth a sync each.
const MOST_PATHS: usize = 10_000;
/// Each waits for the disk most of the time, and what waits together is written together.
const THREADS: usize = 8;

/// What has been written, by copy. Clones share it.
#[derive(Debug, Clone, Default)]
pub(crate) struct Unsynced(Arc<Mutex<BTreeMap<PathBuf, Written>>>);

#[derive(Debug)]
enum Written {
    /// These paths below the copy.
    Paths(BTreeSet<PathBuf>),
    Anything,
}

impl Unsynced {
    /// Notes that everything in `copy` may have been written.
    pub(crate) fn add_all(&self, copy: &Path) {
        self.lock().insert(copy.to_owned(), Written::Anything);
    }

    /// Notes that these paths in `copy` were written.
    pub(crate) fn add<'a>(&self, copy: &Path, paths: impl IntoIterator<Item = &'a PathBuf>) {
        let mut all = self.lock();
        let written = all
            .entry(copy.to_owned())
            .or_insert_with(|| Written::Paths(BTreeSet::new()));
        if let Written::Paths(known) = written {
            known.extend(paths.into_iter().cloned());
            if known.len() > MOST_PATHS {
                *written = Written::Anything;
            }
        }
    }

    /// Makes all of it durable. Waits for disks.
    ///
    /// # Errors
    /// When a disk fails; all of it counts as written still.
    pub(crate) fn sync(&self) -> Result<()> {
        let mut all = self.lock();
        for (copy, written) in &*all {
            match written {
                Written::Paths(paths) if sync_paths(copy, paths) => {}
                _ => platform::sync_file_system(copy)
                    .io_context(|| format!("cannot sync the file system of {}", copy.display()))?,
            }
        }
        all.clear();
        Ok(())
    }

    fn lock(&self) -> MutexGuard<'_, BTreeMap<PathBuf, Written>> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// Whether all of these, as far as they are still there, are on their disk.
fn sync_paths(copy: &Path, paths: &BTreeSet<PathBuf>) -> bool {
    let paths: Vec<&PathBuf> = paths.iter().collect();
    let next = AtomicUsize::new(0);
    let work = || {
        while let Some(path) = paths.get(next.fetch_add(1, Ordering::Relaxed)) {
            if platform::sync_entry(&copy.join(path)).is_err() {
                return false;
            }
        }
        true
    };
    thread::scope(|scope| {
        let threads: Vec<_> = (0..THREADS.min(paths.len()))
            .map(|_| scope.spawn(work))
            .collect();
        let ended = threads.into_iter().map(thread::ScopedJoinHandle::join);
        ended.fold(true, |all, one| all & one.unwrap_or(false))
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn noted(unsynced: &Unsynced) -> Option<usize> {
        match unsynced.lock().values().next()? {
            Written::Paths(paths) => Some(paths.len()),
            Written::Anything => None,
        }
    }

    #[test]
    fn what_was_written_is_synced_once_whatever_it_is() {
        let copy = tempfile::tempdir().unwrap();
        std::fs::create_dir(copy.path().join("folder")).unwrap();
        std::fs::write(copy.path().join("folder/file"), "x").unwrap();
        #[cfg(unix)]
        std::os::unix::fs::symlink("nowhere", copy.path().join("link")).unwrap();
        let unsynced = Unsynced::default();
        let paths = ["", "folder", "folder/file", "link", "gone", "gone/too"].map(PathBuf::from);
        unsynced.add(copy.path(), &paths);
        assert_eq!(noted(&unsynced), Some(paths.len()));
        unsynced.sync().unwrap();
        assert!(unsynced.lock().is_empty());
    }

    #[test]
    fn many_paths_amount_to_everything() {
        let unsynced = Unsynced::default();
        let copy = Path::new("/copy");
        let paths: Vec<PathBuf> = (0..=MOST_PATHS).map(|n| n.to_string().into()).collect();
        unsynced.add(copy, &paths[..MOST_PATHS]);
        unsynced.add(copy, &paths[..MOST_PATHS]);
        assert_eq!(noted(&unsynced), Some(MOST_PATHS));
        unsynced.add(copy, &paths);
        assert_eq!(noted(&unsynced), None);
        unsynced.add(copy, &paths[..1]);
        assert_eq!(noted(&unsynced), None, "everything stays everything");
    }

    #[test]
    fn a_file_system_that_is_not_there_is_an_error_and_nothing_is_forgotten() {
        let root = tempfile::tempdir().unwrap();
        let unsynced = Unsynced::default();
        unsynced.add_all(&root.path().join("gone"));
        assert!(unsynced.sync().is_err());
        assert_eq!(unsynced.lock().len(), 1);
    }
}
