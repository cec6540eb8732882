//! Comparing a folder with its copy: attributes of everything, and content where attributes say too little.

use std::collections::HashMap;
use std::fmt;
use std::fs::{File, Metadata};
use std::io::Read;
use std::path::Path;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::SystemTime;

use diy_backup_core::{Error, Result};

use crate::exclude::Exclusions;
use crate::folder::Folder;
use crate::links::{FileId, Links};
use crate::platform::{self, Facts};
use crate::scan::Above;
use crate::walk::{Stop, Walk, is_gone};

const CHUNK_BYTES: usize = 256 << 10;

/// Compares one folder with its copy.
#[derive(Debug)]
pub(crate) struct Comparison<'a> {
    pub(crate) folder: &'a Folder,
    /// What has changed since is left out; without it, everything is compared.
    pub(crate) changed_before: Option<SystemTime>,
    /// Content that has changed since is compared byte by byte.
    pub(crate) doubtful_since: SystemTime,
    pub(crate) unseen: Unseen,
    pub(crate) stop: &'a Stop,
}

/// What is done about access lists and extended attributes, which are not compared, where they may have changed.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Unseen {
    /// They are taken for the same.
    Trusted,
    /// The path of what has changed since is told with [`Aspect::Unseen`].
    ToldSince(SystemTime),
}

/// What a copy holds.
#[derive(Debug)]
pub(crate) struct Compared {
    pub(crate) entries: u64,
    /// Bytes on disk, hard links counted once.
    pub(crate) bytes: u64,
    /// The names of originals that have several.
    pub(crate) links: Links,
}

/// In what respect a copy is not what its original was.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Aspect {
    Missing,
    Extra,
    Kind,
    Size,
    Modified,
    Mode,
    Owner,
    Target,
    Links,
    Content,
    Unseen,
}

impl fmt::Display for Aspect {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Missing => "missing",
            Self::Extra => "not in the original",
            Self::Kind => "another type",
            Self::Size => "another size",
            Self::Modified => "another modification time",
            Self::Mode => "other permissions",
            Self::Owner => "another owner",
            Self::Target => "another target",
            Self::Links => "other hard links",
            Self::Content => "other content",
            Self::Unseen => "perhaps other attributes",
        })
    }
}

/// Which copy belongs to which original, for files with several names.
#[derive(Debug, Default)]
struct Pairs {
    copies: HashMap<FileId, FileId>,
    originals: HashMap<FileId, FileId>,
}

impl Comparison<'_> {
    /// Looks at both sides, and tells `differs` each path where they are not the same.
    ///
    /// # Errors
    /// When something cannot be looked at.
    pub(crate) fn run(&self, differs: impl Fn(&Path, Aspect) + Sync) -> Result<Compared> {
        let pairs = Mutex::new(Pairs::default());
        let links = Mutex::new(Links::default());
        let judge = |path: &Path, aspect: Option<Aspect>| {
            if let Some(aspect) = aspect {
                differs(path, aspect);
            }
        };
        let source = &self.folder.source;
        let root = source
            .symlink_metadata()
            .map_err(|error| cannot_read(source, error))?;
        let top = Path::new("");
        judge(top, self.compare(top, &root, Above::Settled, &pairs)?);
        let originals = Walk {
            root: source,
            exclusions: &self.folder.exclusions,
            stop: self.stop,
        };
        originals.run(Above::Settled, |entry, above| {
            let facts = Facts::of(entry.metadata);
            if facts.links > 1 && !entry.metadata.is_dir() {
                lock(&links).add(facts.id, entry.relative);
            }
            let aspect = self.compare(entry.relative, entry.metadata, above, &pairs)?;
            judge(entry.relative, aspect);
            Ok(Some(Above::of(&facts, self.moved_since(), above)))
        })?;
        let (entries, bytes) = self.count_copies(&judge)?;
        Ok(Compared {
            entries,
            bytes,
            links: links.into_inner().unwrap_or_else(PoisonError::into_inner),
        })
    }

    /// Since when a folder may have been moved that the copy does not know of. Moving sets its change time at once.
    fn moved_since(&self) -> SystemTime {
        match self.unseen {
            Unseen::Trusted => self.doubtful_since,
            Unseen::ToldSince(since) => since,
        }
    }

    /// In what respect the copy of an entry is not what it must be.
    fn compare(
        &self,
        path: &Path,
        original: &Metadata,
        above: Above,
        pairs: &Mutex<Pairs>,
    ) -> Result<Option<Aspect>> {
        let (kind, facts) = (original.file_type(), Facts::of(original));
        let belongs = kind.is_dir() || kind.is_file() || kind.is_symlink();
        let is_left_out = |before| facts.changed >= before;
        if !belongs || self.changed_before.is_some_and(is_left_out) {
            return Ok(None);
        }
        let copy_path = self.folder.copy.join(path);
        let Ok(copy) = copy_path.symlink_metadata() else {
            return Ok(Some(Aspect::Missing));
        };
        let copy_facts = Facts::of(&copy);
        if copy.file_type() != kind {
            return Ok(Some(Aspect::Kind));
        }
        if kind.is_file() && copy.len() != original.len() {
            return Ok(Some(Aspect::Size));
        }
        if !is_same_time(facts.modified, copy_facts.modified) {
            return Ok(Some(Aspect::Modified));
        }
        // Only root can keep owners, and the bits that go with them.
        let compared_bits = if platform::is_administrator() {
            if platform::owner_of(original) != platform::owner_of(&copy) {
                return Ok(Some(Aspect::Owner));
            }
            0o7777
        } else {
            0o777
        };
        if !kind.is_symlink() && (facts.mode ^ copy_facts.mode) & compared_bits != 0 {
            return Ok(Some(Aspect::Mode));
        }
        let is_doubtful = above == Above::Moved || facts.changed >= self.doubtful_since;
        let original_path = self.folder.source.join(path);
        if kind.is_symlink() {
            let targets = (original_path.read_link(), copy_path.read_link());
            if !matches!(targets, (Ok(one), Ok(other)) if one == other) {
                return Ok(Some(Aspect::Target));
            }
        }
        if kind.is_file() {
            if !lock(pairs).fit(&facts, &copy_facts) {
                return Ok(Some(Aspect::Links));
            }
            if is_doubtful && !self.has_same_content(&original_path, &copy_path)? {
                return Ok(Some(Aspect::Content));
            }
        }
        let is_told = match self.unseen {
            Unseen::Trusted => false,
            Unseen::ToldSince(since) => above == Above::Moved || facts.changed >= since,
        };
        Ok(is_told.then_some(Aspect::Unseen))
    }

    fn has_same_content(&self, original: &Path, copy: &Path) -> Result<bool> {
        let open = |path: &Path| match File::open(path) {
            Ok(file) => Ok(Some(file)),
            Err(error) if is_gone(&error) => Ok(None),
            Err(error) => Err(cannot_read(path, error)),
        };
        let (Some(mut one), Some(mut other)) = (open(original)?, open(copy)?) else {
            return Ok(false);
        };
        let (mut ours, mut theirs) = (vec![0; CHUNK_BYTES], vec![0; CHUNK_BYTES]);
        loop {
            self.stop.ensure_going_on()?;
            let length =
                read_full(&mut one, &mut ours).map_err(|error| cannot_read(original, error))?;
            let other_length =
                read_full(&mut other, &mut theirs).map_err(|error| cannot_read(copy, error))?;
            if ours[..length] != theirs[..other_length] {
                return Ok(false);
            }
            if length == 0 {
                return Ok(true);
            }
        }
    }

    /// Counts what the copy holds, and looks for what must not be there.
    fn count_copies(&self, judge: &(impl Fn(&Path, Option<Aspect>) + Sync)) -> Result<(u64, u64)> {
        let (entries, bytes) = (AtomicU64::new(0), AtomicU64::new(0));
        let linked = Mutex::new(std::collections::HashSet::new());
        let copies = Walk {
            root: &self.folder.copy,
            exclusions: &Exclusions::default(),
            stop: self.stop,
        };
        copies.run((), |entry, ()| {
            let facts = Facts::of(entry.metadata);
            entries.fetch_add(1, Ordering::Relaxed);
            if entry.metadata.is_dir() || facts.links == 1 || lock(&linked).insert(facts.id) {
                bytes.fetch_add(facts.allocated_bytes, Ordering::Relaxed);
            }
            let exclusions = &self.folder.exclusions;
            let is_left_out = exclusions.cover_within(entry.relative, entry.metadata.is_dir());
            let is_there = || {
                self.folder
                    .source
                    .join(entry.relative)
                    .symlink_metadata()
                    .is_ok()
            };
            judge(
                entry.relative,
                (is_left_out || !is_there()).then_some(Aspect::Extra),
            );
            Ok(Some(()))
        })?;
        Ok((entries.into_inner(), bytes.into_inner()))
    }
}

impl Pairs {
    /// Whether the names of a file are the names of one copy, and of no other's.
    fn fit(&mut self, original: &Facts, copy: &Facts) -> bool {
        if original.links == 1 {
            return copy.links == 1;
        }
        *self.copies.entry(original.id).or_insert(copy.id) == copy.id
            && *self.originals.entry(copy.id).or_insert(original.id) == original.id
    }
}

/// A file system that keeps whole seconds cuts the rest off.
fn is_same_time(original: (i64, i64), copy: (i64, i64)) -> bool {
    original == copy || (copy.1 == 0 && original.0 == copy.0)
}

fn cannot_read(path: &Path, error: std::io::Error) -> Error {
    Error::io(format!("cannot read {}", path.display()), error)
}

/// Reads until the buffer is full or the file ends.
fn read_full(file: &mut File, buffer: &mut [u8]) -> std::io::Result<usize> {
    let mut filled = 0;
    while filled < buffer.len() {
        match file.read(&mut buffer[filled..]) {
            Ok(0) => break,
            Ok(length) => filled += length,
            Err(error) if error.kind() == std::io::ErrorKind::Interrupted => {}
            Err(error) => return Err(error),
        }
    }
    Ok(filled)
}

fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}
