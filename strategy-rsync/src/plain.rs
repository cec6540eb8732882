//! Copying what needs no rsync: plain files and folders.
//!
//! To start rsync takes some ten milliseconds, and it writes one file after the other. Most of what changes in a home
//! are files with one name and no holes, in folders without access lists, which are as well copied by a few calls. All
//! else is left to rsync, and whatever goes wrong because the original comes, goes or changes meanwhile, for which
//! rsync has better words.
//!
//! A copy that is made here is as good as one of rsync's: its time is that of the original before it was read, so
//! whoever writes to the original meanwhile gives it another, or a later change time, for which
//! [`scan`](crate::scan) and [`compare`](crate::compare) look.

use std::collections::BTreeSet;
use std::fs::Metadata;
use std::io;
use std::path::{Path, PathBuf};

use diy_backup_core::{Meter, Result, ResultExt};

use crate::folder::Folder;
use crate::platform::{self, Facts};
use crate::walk::{Stop, is_stale};

/// Copies single entries of a folder.
#[derive(Debug, Clone, Copy)]
pub(crate) struct PlainCopy<'a> {
    pub(crate) folder: &'a Folder,
    pub(crate) meter: Option<&'a Meter>,
    pub(crate) stop: &'a Stop,
}

/// Whether an entry has been copied.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Done {
    Copied,
    LeftToRsync,
}

impl PlainCopy<'_> {
    /// Copies the entry at `path`, whose copy is not there yet. A folder is made for our eyes only, and without what
    /// is in it.
    ///
    /// # Errors
    /// When the copy cannot be written, or the run ends.
    pub(crate) fn copy(&self, path: &Path, original: &Metadata) -> Result<Done> {
        let to = self.folder.copy.join(path);
        let done = if original.is_dir() {
            platform::create_private_folder(&to).map(|()| Some(0))
        } else if is_plain(original) {
            let mut may_go_on = || self.stop.ensure_going_on().map_err(io::Error::other);
            platform::copy_new_file(&self.folder.source.join(path), &to, &mut may_go_on)
        } else {
            Ok(None)
        };
        self.result(done, &to)
    }

    /// Gives the copy of a folder the attributes of its original. What is made or removed in it afterwards sets its
    /// time.
    ///
    /// # Errors
    /// Like [`copy`](Self::copy).
    pub(crate) fn finish_folder(&self, path: &Path, original: &Metadata) -> Result<Done> {
        let (from, to) = (self.folder.source.join(path), self.folder.copy.join(path));
        if platform::has_attributes(&from) || platform::has_attributes(&to) {
            return Ok(Done::LeftToRsync);
        }
        let done = platform::copy_what_we_may(original, &to).map(|()| Some(0));
        self.result(done, &to)
    }

    /// Copies what is listed: entries whose copies are not there, and folders that have got other entries. Returns what
    /// is left to rsync.
    ///
    /// # Errors
    /// Like [`copy`](Self::copy).
    pub(crate) fn copy_listed(&self, list: &BTreeSet<PathBuf>) -> Result<BTreeSet<PathBuf>> {
        let mut left = BTreeSet::new();
        let mut folders = Vec::new();
        // Each folder comes before what is in it.
        for path in list {
            let original = self.folder.source.join(path).symlink_metadata();
            let copy = self.folder.copy.join(path).symlink_metadata();
            let done = match (original, copy) {
                (Ok(original), Ok(copy)) if original.is_dir() && copy.is_dir() => {
                    folders.push((path, original));
                    Done::Copied
                }
                (Ok(original), Err(error)) if error.kind() == io::ErrorKind::NotFound => {
                    let done = self.copy(path, &original)?;
                    if original.is_dir() && done == Done::Copied {
                        folders.push((path, original));
                    }
                    done
                }
                _ => Done::LeftToRsync,
            };
            if done == Done::LeftToRsync {
                // What it does in a folder sets the time of that.
                left.extend(path.parent().map(Path::to_owned));
                left.insert(path.clone());
            }
        }
        for (path, original) in folders.into_iter().rev() {
            if self.finish_folder(path, &original)? == Done::LeftToRsync {
                left.insert(path.clone());
            }
        }
        Ok(left)
    }

    fn result(&self, done: io::Result<Option<u64>>, to: &Path) -> Result<Done> {
        match done {
            Ok(Some(bytes)) => {
                if let Some(meter) = self.meter {
                    meter.advance(bytes);
                }
                Ok(Done::Copied)
            }
            Ok(None) => Ok(Done::LeftToRsync),
            Err(error) if is_left_to_rsync(&error) => Ok(Done::LeftToRsync),
            Err(error) => {
                // That the run ends is no fault of the file.
                self.stop.ensure_going_on()?;
                Err(error).io_context(|| format!("cannot write {}", to.display()))
            }
        }
    }
}

/// Whether a file has one name and no holes.
fn is_plain(metadata: &Metadata) -> bool {
    let facts = Facts::of(metadata);
    metadata.is_file() && facts.links == 1 && facts.allocated_bytes >= metadata.len()
}

/// What comes and goes while people work, and what rsync has better words for.
fn is_left_to_rsync(error: &io::Error) -> bool {
    use io::ErrorKind as Kind;
    matches!(
        error.kind(),
        Kind::NotFound
            | Kind::NotADirectory
            | Kind::AlreadyExists
            | Kind::PermissionDenied
            | Kind::Unsupported
    ) || platform::is_link_in_the_way(error)
        || is_stale(error)
}

#[cfg(all(test, unix))]
mod tests {
    use std::fs;

    use diy_backup_core::Control;

    use super::*;
    use crate::folder::home_in;

    #[test]
    fn what_is_there_already_stays_and_is_left_to_rsync() {
        let root = tempfile::tempdir().unwrap();
        let folder = home_in(root.path());
        fs::write(folder.source.join("file"), "new").unwrap();
        fs::write(folder.copy.join("file"), "old").unwrap();
        let stop = Stop::new(&Control::new());
        let plain = PlainCopy {
            folder: &folder,
            meter: None,
            stop: &stop,
        };
        let original = folder.source.join("file").symlink_metadata().unwrap();
        let path = Path::new("file");
        assert_eq!(plain.copy(path, &original).unwrap(), Done::LeftToRsync);
        assert_eq!(fs::read(folder.copy.join(path)).unwrap(), b"old");
        let listed = BTreeSet::from(["", "file", "gone"].map(PathBuf::from));
        assert_eq!(plain.copy_listed(&listed).unwrap(), listed);
    }

    #[test]
    fn of_a_file_that_is_not_copied_to_its_end_nothing_stays() {
        let root = tempfile::tempdir().unwrap();
        let folder = home_in(root.path());
        fs::write(folder.source.join("file"), vec![7; 1 << 20]).unwrap();
        let control = Control::new();
        let stop = Stop::new(&control);
        let plain = PlainCopy {
            folder: &folder,
            meter: None,
            stop: &stop,
        };
        let original = folder.source.join("file").symlink_metadata().unwrap();
        control.cancel(diy_backup_core::CancelReason::Requested);
        let error = plain.copy(Path::new("file"), &original).unwrap_err();
        assert_eq!(error.kind(), diy_backup_core::ErrorKind::Cancelled);
        assert!(!folder.copy.join("file").exists());
    }
}
