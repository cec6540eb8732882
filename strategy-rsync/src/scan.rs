//! Finding the files that rsync would wrongly take for unchanged.
//!
//! rsync takes a file for unchanged when size and modification time are the same on both sides. That is not enough
//! for a backup that promises to be exact:
//!
//! - The kernel stamps times by its tick, a few milliseconds. A file that is written, copied by the live pass, and
//!   written again within one tick, with the same size, has the same modification time. References of git are 41
//!   bytes each and written in bursts.
//! - A program can set a modification time to whatever it likes, and moving a file keeps it.
//!
//! Nobody can set a *change* time (ctime), and every write, move, link and change of attributes sets it. So for each
//! folder there is an instant, see [`proven`](crate::proven), of which this holds: **a copy with the size and the
//! modification time of its original has its content too, unless the original's change time is at or after that
//! instant.** Files of the second sort are what a [`Scan`] lists, and rsync compares their content (`--checksum`).
//! As a rule these are a handful: files that changed *and* show the same size and time as their copy.
//!
//! What else could slip through, and why it does not:
//!
//! - *A moved folder* keeps the change times of what is in it. Its own change time is new and later than its
//!   modification time; then everything below counts as changed.
//! - *Stores through mmap* set the times when a page is first written after it was cleaned, not at every store. The
//!   instant is set back by [`SLACK`](crate::proven::SLACK), twice as long as the kernel leaves a page dirty unless it
//!   is told otherwise. Neither git nor Bitbucket write their home so.
//! - *A file server's clock* may go behind ours: the same slack covers it.
//! - *Hard links*: the change time belongs to the inode, so all names of a file are listed together, and rsync keeps
//!   them together. Where a file has other links than its copy, the copy is taken away before, so that it does not
//!   change together with one it no longer belongs to.
//! - *A copy that rsync made in this very pass* was read in this pass: the inode of such a copy has been created after
//!   the pass began, as rsync writes a new file and renames it. It needs no second look.

use std::collections::HashMap;
use std::ffi::OsString;
use std::fs::{File, Metadata};
use std::io::{BufWriter, Write};
use std::path::{Path, PathBuf};
use std::sync::Mutex;
use std::time::SystemTime;

use diy_backup_core::{Error, Result};

use crate::census::{Census, Count};
use crate::folder::Folder;
use crate::platform::{self, Facts};
use crate::surplus::Surplus;
use crate::sync::{into_inner, lock};
use crate::walk::{Entry, Stop, Walk, is_gone};

/// Looks at every file of a folder while rsync copies it.
#[derive(Debug, Clone)]
pub(crate) struct Scan {
    pub(crate) folder: Folder,
    /// Files that changed before are proven, see the module's own text.
    pub(crate) proven_until: SystemTime,
    /// When this pass began.
    pub(crate) began: SystemTime,
    /// Where the list of files goes whose content has to be compared.
    pub(crate) list: PathBuf,
}

/// What a scan has seen.
#[derive(Debug)]
pub(crate) struct Scanned {
    /// Of what belongs into the copy.
    pub(crate) census: Census,
    /// How many files the list holds.
    pub(crate) doubtful: u64,
    /// How many entries of the copy have an original.
    pub(crate) kept: u64,
    /// What has to go from the copy.
    pub(crate) surplus: Surplus,
    /// Whether a directory is in the way of a file, which rsync does not remove.
    pub(crate) has_conflicts: bool,
}

#[derive(Debug, Default)]
struct Found {
    list: Option<BufWriter<File>>,
    doubtful: u64,
    kept: u64,
    surplus: Surplus,
    has_conflicts: bool,
}

/// What entries inherit from their directory.
#[derive(Debug)]
struct Inherited {
    above: Above,
    /// The originals' names, and which are directories, if it is a directory in the copy as well.
    names: Option<HashMap<OsString, bool>>,
}

/// Whether something above an entry may have been moved to where it is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Above {
    Settled,
    Moved,
}

impl Above {
    /// What a folder hands down to its entries.
    pub(crate) fn of(folder: &Facts, proven_until: SystemTime, above: Self) -> Self {
        let moved = folder.latest_change() >= proven_until && folder.changed_after_modification();
        if moved { Self::Moved } else { above }
    }
}

impl Scan {
    /// Looks at everything.
    ///
    /// # Errors
    /// When something cannot be looked at, or the list cannot be written.
    pub(crate) fn run(&self, stop: &Stop) -> Result<Scanned> {
        let (found, count) = (Mutex::new(Found::default()), Count::default());
        let walk = Walk {
            root: &self.folder.source,
            exclusions: &self.folder.exclusions,
            stop,
        };
        let top = Inherited {
            above: Above::Settled,
            names: Some(HashMap::new()),
        };
        walk.run_and_leave(
            top,
            |entry, directory| self.visit(entry, directory, &count, &found),
            |path, directory| {
                let names = directory.names.as_ref();
                names.map_or(Ok(()), |names| self.look_for_more(path, names, &found))
            },
        )?;
        let found = into_inner(found);
        if let Some(mut list) = found.list {
            list.flush().map_err(|error| self.cannot_list(error))?;
        }
        Ok(Scanned {
            census: count.into_census(),
            doubtful: found.doubtful,
            kept: found.kept,
            surplus: found.surplus,
            has_conflicts: found.has_conflicts,
        })
    }

    fn visit(
        &self,
        entry: &Entry<'_>,
        directory: &mut Inherited,
        count: &Count,
        found: &Mutex<Found>,
    ) -> Result<Option<Inherited>> {
        let facts = Facts::of(entry.metadata);
        let kind = entry.metadata.file_type();
        if !kind.is_dir() && !kind.is_file() && !kind.is_symlink() {
            return Ok(None);
        }
        count.add(entry.metadata);
        count.note_name(entry.relative, entry.metadata);
        if let (Some(names), Some(name)) = (&mut directory.names, entry.relative.file_name()) {
            names.insert(name.to_owned(), kind.is_dir());
        }
        if kind.is_dir() {
            let copy = self.folder.copy.join(entry.relative);
            let has_copy = directory.names.is_some()
                && copy.symlink_metadata().is_ok_and(|copy| copy.is_dir());
            return Ok(Some(Inherited {
                above: Above::of(&facts, self.proven_until, directory.above),
                names: has_copy.then(HashMap::new),
            }));
        }
        if kind.is_file() {
            self.look_at(entry, &facts, directory.above, found)?;
        }
        Ok(None)
    }

    /// Looks for what the copy of a directory holds besides these names, or as a directory where a file has to be.
    fn look_for_more(
        &self,
        directory: &Path,
        names: &HashMap<OsString, bool>,
        found: &Mutex<Found>,
    ) -> Result<()> {
        let path = self.folder.copy.join(directory);
        let cannot = |error| Error::io(format!("cannot read {}", path.display()), error);
        let entries = match std::fs::read_dir(&path) {
            Ok(entries) => entries,
            Err(error) if is_gone(&error) => return Ok(()),
            Err(error) => return Err(cannot(error)),
        };
        for entry in entries {
            let entry = entry.map_err(cannot)?;
            let name = entry.file_name();
            let is_directory = entry.file_type().is_ok_and(|kind| kind.is_dir());
            let mut found = lock(found);
            match names.get(&name) {
                None => found.surplus.extra.push(directory.join(name)),
                Some(false) if is_directory => {
                    found.has_conflicts = true;
                    found.surplus.unfit.push(directory.join(name));
                }
                Some(_) => found.kept += 1,
            }
        }
        Ok(())
    }

    fn look_at(
        &self,
        entry: &Entry<'_>,
        facts: &Facts,
        above: Above,
        found: &Mutex<Found>,
    ) -> Result<()> {
        if above == Above::Settled && facts.latest_change() < self.proven_until {
            return Ok(());
        }
        let Ok(copy) = self.folder.copy.join(entry.relative).symlink_metadata() else {
            // There is no copy: rsync will make it, or is just doing so. A name of a linked file is listed with the
            // others nevertheless, so that rsync sees all of them at once.
            return if facts.links > 1 {
                self.list(entry.relative, found)
            } else {
                Ok(())
            };
        };
        let copy_facts = Facts::of(&copy);
        if copy.is_file() && copy_facts.links > 1 && copy_facts.links != facts.links {
            let path = entry.relative.to_owned();
            lock(found).surplus.unfit.push(path);
            return self.list(entry.relative, found);
        }
        if facts.links > 1 || (looks_unchanged(entry, facts, &copy) && !self.is_new(&copy)) {
            return self.list(entry.relative, found);
        }
        Ok(())
    }

    /// Whether the copy was written in this pass. Where the file system does not tell, it counts as older.
    fn is_new(&self, copy: &Metadata) -> bool {
        copy.created().is_ok_and(|created| created >= self.began)
    }

    fn list(&self, relative: &Path, found: &Mutex<Found>) -> Result<()> {
        let mut found = lock(found);
        found.doubtful += 1;
        if found.list.is_none() {
            let file = platform::create_private_file(&self.list)
                .map_err(|error| self.cannot_list(error))?;
            found.list = Some(BufWriter::new(file));
        }
        let Some(list) = &mut found.list else {
            return Ok(());
        };
        // The leading `./` keeps a name such as `#x` or `-x` from meaning something.
        list.write_all(b"./")
            .and_then(|()| list.write_all(relative.as_os_str().as_encoded_bytes()))
            .and_then(|()| list.write_all(b"\0"))
            .map_err(|error| self.cannot_list(error))
    }

    fn cannot_list(&self, error: std::io::Error) -> Error {
        Error::io(format!("cannot write {}", self.list.display()), error)
    }
}

/// Whether rsync would take the file for unchanged.
fn looks_unchanged(entry: &Entry<'_>, facts: &Facts, copy: &Metadata) -> bool {
    copy.is_file()
        && copy.len() == entry.metadata.len()
        && Facts::of(copy).modified == facts.modified
}

#[cfg(unix)]
#[cfg(test)]
mod tests {
    use std::fs;
    use std::time::UNIX_EPOCH;

    use diy_backup_core::Control;

    use super::*;

    struct Pair {
        root: tempfile::TempDir,
    }

    impl Pair {
        fn new() -> Self {
            let root = tempfile::tempdir().unwrap();
            fs::create_dir(root.path().join("source")).unwrap();
            fs::create_dir(root.path().join("copy")).unwrap();
            Self { root }
        }

        fn source(&self, name: &str) -> PathBuf {
            self.root.path().join("source").join(name)
        }

        /// Writes a file and a copy of other content that looks the same.
        fn write(&self, name: &str) {
            let copy = self.root.path().join("copy").join(name);
            for (path, content) in [(&self.source(name), "aa"), (&copy, "bb")] {
                fs::create_dir_all(path.parent().unwrap()).unwrap();
                fs::write(path, content).unwrap();
                let time = UNIX_EPOCH + std::time::Duration::new(1_000_000_000, 7);
                File::options()
                    .write(true)
                    .open(path)
                    .unwrap()
                    .set_modified(time)
                    .unwrap();
            }
        }

        /// An instant of the file system that is after everything so far.
        fn now(&self) -> SystemTime {
            let probe = self.root.path().join("probe");
            let stamp = || {
                fs::write(&probe, "x").unwrap();
                Facts::of(&fs::metadata(&probe).unwrap()).changed
            };
            let first = stamp();
            loop {
                let next = stamp();
                if next > first {
                    return next;
                }
            }
        }

        fn doubtful(&self, proven_until: SystemTime) -> Vec<String> {
            let scan = Scan {
                folder: crate::folder::home_in(self.root.path()),
                proven_until,
                began: SystemTime::now() + std::time::Duration::from_mins(1),
                list: self.root.path().join("list"),
            };
            let scanned = scan.run(&Stop::new(&Control::new())).unwrap();
            let text = fs::read(&scan.list).unwrap_or_default();
            let _ = fs::remove_file(&scan.list);
            let mut names: Vec<String> = String::from_utf8(text)
                .unwrap()
                .split_terminator('\0')
                .map(str::to_owned)
                .collect();
            assert_eq!(scanned.doubtful, names.len() as u64);
            names.sort();
            names
        }
    }

    #[test]
    fn a_file_is_doubtful_when_it_changed_after_the_proven_instant_and_does_not_show_it() {
        let pair = Pair::new();
        pair.write("old");
        let proven_until = pair.now();
        pair.write("new");
        pair.write("shows");
        fs::write(pair.source("shows"), "another length").unwrap();
        assert_eq!(pair.doubtful(proven_until), ["./new"]);
        assert_eq!(pair.doubtful(UNIX_EPOCH), ["./new", "./old"]);
    }

    #[test]
    fn what_lies_in_a_moved_folder_is_doubtful_however_old_it_is() {
        let pair = Pair::new();
        pair.write("one/deep/file");
        pair.write("other/deep/file");
        pair.write("third/file");
        let proven_until = pair.now();
        fs::rename(pair.source("one"), pair.source("aside")).unwrap();
        fs::rename(pair.source("other"), pair.source("one")).unwrap();
        fs::write(pair.source("third/another"), "x").unwrap();
        assert_eq!(pair.doubtful(proven_until), ["./one/deep/file"]);
    }

    #[test]
    fn all_names_of_a_file_are_doubtful_together() {
        let pair = Pair::new();
        pair.write("one");
        let proven_until = pair.now();
        fs::hard_link(pair.source("one"), pair.source("two")).unwrap();
        assert_eq!(pair.doubtful(proven_until), ["./one", "./two"]);
    }
}
