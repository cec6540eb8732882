//! The proof that a copy which was made of changed paths alone is whole.
//!
//! It takes a look at everything, which is why it comes after the unlock, when the originals change again. What has
//! changed since the window opened says nothing about the copy. Everything else must be the same on both sides:
//!
//! - *Change times* tell the two apart, as nobody can set them. Those of an entry whose content, attributes or links
//!   change, and that of a folder whose entries change, are after the window.
//! - *The tracker* goes on telling what changes. It knows of folders that have moved, whose content keeps its times.
//!
//! Where content is not beyond doubt for its time alone, see [`scan`](crate::scan), it is compared byte by byte. That
//! finds what the kernel does not report, such as stores through mmap.

use std::collections::HashMap;
use std::fmt;
use std::fs::{File, Metadata};
use std::io::Read;
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::SystemTime;

use diy_backup_core::{Error, ErrorKind, Result};

use crate::changes::Changes;
use crate::exclude::Exclusions;
use crate::folder::Folder;
use crate::links::FileId;
use crate::platform::{self, Facts};
use crate::walk::{Stop, Walk, is_gone};

/// How many differences are kept for a second look, and how many are named.
const KEPT: usize = 10_000;
const NAMED: usize = 5;

const CHUNK_BYTES: usize = 256 << 10;

/// Compares one folder with its copy.
#[derive(Debug)]
pub(crate) struct Verification<'a> {
    pub(crate) folder: &'a Folder,
    /// The folder's number for `changes`.
    pub(crate) number: usize,
    pub(crate) changes: &'a Changes,
    /// When the window opened: what changed before must be in the copy.
    pub(crate) opened: SystemTime,
    /// Content that has changed since is compared.
    pub(crate) doubtful_since: SystemTime,
    pub(crate) stop: &'a Stop,
}

/// What a copy holds.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Verified {
    pub(crate) entries: u64,
    /// Bytes on disk, hard links counted once.
    pub(crate) bytes: u64,
}

/// In what respect a copy is not what its original was.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Aspect {
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
        })
    }
}

#[derive(Debug, Default)]
struct Differences {
    kept: Vec<(PathBuf, Aspect)>,
    count: u64,
}

/// Which copy belongs to which original, for files with several names.
#[derive(Debug, Default)]
struct Pairs {
    copies: HashMap<FileId, FileId>,
    originals: HashMap<FileId, FileId>,
}

impl Verification<'_> {
    /// Looks at both sides.
    ///
    /// # Errors
    /// [`ErrorKind::Tool`] with the paths when the copy is not what the folder was when the window opened.
    pub(crate) fn run(&self) -> Result<Verified> {
        let differences = Mutex::new(Differences::default());
        let pairs = Mutex::new(Pairs::default());
        let judge = |path: &Path, aspect: Option<Aspect>| {
            if let Some(aspect) = aspect
                && !self.is_excused(path)
            {
                lock(&differences).add(path, aspect);
            }
        };
        let root = platform_metadata(&self.folder.source)?;
        judge(Path::new(""), self.compare(Path::new(""), &root, &pairs)?);
        let originals = Walk {
            root: &self.folder.source,
            exclusions: &self.folder.exclusions,
            stop: self.stop,
        };
        originals.run((), |entry, ()| {
            let aspect = self.compare(entry.relative, entry.metadata, &pairs)?;
            judge(entry.relative, aspect);
            Ok(Some(()))
        })?;
        let verified = self.count_copies(&judge)?;
        let mut differences = differences
            .into_inner()
            .unwrap_or_else(PoisonError::into_inner);
        // A rename can be seen an instant before it is told.
        differences.keep(|path| !self.is_excused(path));
        differences.into_result(self.folder).map(|()| verified)
    }

    /// In what respect the copy of an entry is not what it must be.
    fn compare(
        &self,
        path: &Path,
        original: &Metadata,
        pairs: &Mutex<Pairs>,
    ) -> Result<Option<Aspect>> {
        let (kind, facts) = (original.file_type(), Facts::of(original));
        let belongs = kind.is_dir() || kind.is_file() || kind.is_symlink();
        if !belongs || facts.changed >= self.opened {
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
        let original_path = self.folder.source.join(path);
        if kind.is_symlink() {
            let targets = (original_path.read_link(), copy_path.read_link());
            let is_same = matches!(targets, (Ok(one), Ok(other)) if one == other);
            return Ok((!is_same).then_some(Aspect::Target));
        }
        if kind.is_file() {
            if !lock(pairs).fit(&facts, &copy_facts) {
                return Ok(Some(Aspect::Links));
            }
            if facts.changed >= self.doubtful_since
                && !self.has_same_content(&original_path, &copy_path)?
            {
                return Ok(Some(Aspect::Content));
            }
        }
        Ok(None)
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
    fn count_copies(&self, judge: &(impl Fn(&Path, Option<Aspect>) + Sync)) -> Result<Verified> {
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
        Ok(Verified {
            entries: entries.into_inner(),
            bytes: bytes.into_inner(),
        })
    }

    /// Whether a difference at `path` comes of what has changed since the window opened. Looks anew, after the
    /// difference was seen.
    fn is_excused(&self, path: &Path) -> bool {
        let changed_since = |path: &Path| {
            let found = self.folder.source.join(path).symlink_metadata().ok()?;
            Some(Facts::of(&found).changed >= self.opened)
        };
        // Of what is gone, the folder tells that it was in.
        let nearest = path.ancestors().find_map(changed_since);
        if nearest.unwrap_or(false) {
            return true;
        }
        let known = self.changes.has_changed(self.number, path);
        // Anything above may have been moved here.
        known.unwrap_or_else(|| {
            path.ancestors()
                .any(|above| changed_since(above) == Some(true))
        })
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

impl Differences {
    fn add(&mut self, path: &Path, aspect: Aspect) {
        self.count += 1;
        if self.kept.len() < KEPT {
            self.kept.push((path.to_owned(), aspect));
        }
    }

    fn keep(&mut self, is_real: impl Fn(&Path) -> bool) {
        let before = self.kept.len();
        self.kept.retain(|(path, _)| is_real(path));
        self.count -= (before - self.kept.len()) as u64;
    }

    fn into_result(mut self, folder: &Folder) -> Result<()> {
        if self.count == 0 {
            return Ok(());
        }
        self.kept.sort_by(|(one, _), (other, _)| one.cmp(other));
        let named: Vec<String> = self
            .kept
            .iter()
            .take(NAMED)
            .map(|(path, aspect)| format!("{} ({aspect})", shown(&folder.copy.join(path))))
            .collect();
        let message = format!(
            "the copy of {} is not what it was when the instance was drained, {} differences: {}",
            folder.role,
            self.count,
            named.join(", ")
        );
        Err(Error::new(ErrorKind::Tool, message).with_hint(
"Run the backup again. If it fails in the same way, something else than Bitbucket writes to these files, by a way that the kernel does not report: find it and keep it out during backups.",
        ))
    }
}

/// On one line, whatever is in the name.
fn shown(path: &Path) -> String {
    path.to_string_lossy().escape_debug().to_string()
}

/// A file system that keeps whole seconds cuts the rest off.
fn is_same_time(original: (i64, i64), copy: (i64, i64)) -> bool {
    original == copy || (copy.1 == 0 && original.0 == copy.0)
}

fn platform_metadata(path: &Path) -> Result<Metadata> {
    path.symlink_metadata()
        .map_err(|error| cannot_read(path, error))
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
