//! Everything there is in a folder.

use std::collections::BTreeMap;
use std::ffi::OsString;
use std::fs::{File, Metadata, Permissions};
use std::io::Read;
use std::os::unix::fs::{MetadataExt, PermissionsExt};
use std::path::{Path, PathBuf};

use sha2::{Digest, Sha256};

use super::Exclusions;
use super::diff::TreeDiff;
use crate::error::{IoContext, Result};

/// How many bytes are hashed at a time.
const CHUNK_BYTES: usize = 1 << 16;

/// Holes smaller than this do not make a file sparse: file systems differ in what they allocate.
const HOLE_BYTES: u64 = 1 << 16;

/// What an entry is, with what it holds.
#[derive(Debug, Clone, PartialEq, Eq)]
#[non_exhaustive]
pub enum EntryKind {
    /// A regular file.
    File {
        /// Its length.
        bytes: u64,
        /// The SHA-256 of its contents, in hex.
        sha256: String,
        /// Whether it takes noticeably less room than its length.
        sparse: bool,
    },
    /// A folder.
    Directory,
    /// A symbolic link, which is not followed.
    Symlink {
        /// Where it points, as it is written in it.
        target: PathBuf,
    },
    /// A socket, a pipe or a device.
    Special,
}

/// One entry of a tree.
#[derive(Debug, Clone, PartialEq, Eq)]
#[non_exhaustive]
pub struct Entry {
    /// What it is.
    pub kind: EntryKind,
    /// Permissions with set-uid, set-gid and sticky bits; 0 for symbolic links, which have none of their own.
    pub mode: u32,
    /// The modification time in nanoseconds since 1970.
    pub modified_ns: i128,
    /// All paths of the same file in this tree, sorted, when there is more than one.
    pub hard_links: Vec<PathBuf>,
    /// Extended attributes below `user.`, where the file system has them.
    pub attributes: BTreeMap<OsString, Vec<u8>>,
}

/// Every entry of a tree by its path relative to the root, which is not among them.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct TreeSnapshot {
    pub(super) entries: BTreeMap<PathBuf, Entry>,
}

impl TreeSnapshot {
    /// Reads a whole tree, contents included.
    ///
    /// # Errors
    /// [`ErrorKind::Io`](crate::ErrorKind::Io) when something cannot be read or changes while it is read.
    pub fn of(root: &Path, exclusions: &Exclusions) -> Result<Self> {
        let mut walk = Walk {
            root,
            exclusions,
            entries: BTreeMap::new(),
            inodes: BTreeMap::new(),
        };
        walk.enter(root)?;
        Ok(walk.finish())
    }

    /// The entries, sorted by path.
    pub fn entries(&self) -> &BTreeMap<PathBuf, Entry> {
        &self.entries
    }

    /// What is different in `other`, taken as the copy of this.
    pub fn diff(&self, other: &Self) -> TreeDiff {
        TreeDiff::between(self, other)
    }
}

struct Walk<'a> {
    root: &'a Path,
    exclusions: &'a Exclusions,
    entries: BTreeMap<PathBuf, Entry>,
    inodes: BTreeMap<(u64, u64), Vec<PathBuf>>,
}

impl Walk<'_> {
    fn enter(&mut self, folder: &Path) -> Result<()> {
        for entry in std::fs::read_dir(folder).doing("list", folder)? {
            let path = entry.doing("list", folder)?.path();
            let metadata = path.symlink_metadata().doing("look at", &path)?;
            let relative = path.strip_prefix(self.root).unwrap_or(&path).to_owned();
            if self.exclusions.excludes(&relative, metadata.is_dir()) {
                continue;
            }
            if metadata.nlink() > 1 && !metadata.is_dir() {
                self.inodes
                    .entry((metadata.dev(), metadata.ino()))
                    .or_default()
                    .push(relative.clone());
            }
            self.entries.insert(relative, read_entry(&path, &metadata)?);
            if metadata.is_dir() {
                self.enter(&path)?;
            }
        }
        Ok(())
    }

    fn finish(mut self) -> TreeSnapshot {
        for mut links in self.inodes.into_values() {
            if links.len() < 2 {
                continue;
            }
            links.sort();
            for link in &links {
                if let Some(entry) = self.entries.get_mut(link) {
                    entry.hard_links.clone_from(&links);
                }
            }
        }
        TreeSnapshot {
            entries: self.entries,
        }
    }
}

fn read_entry(path: &Path, metadata: &Metadata) -> Result<Entry> {
    let kind = if metadata.is_symlink() {
        EntryKind::Symlink {
            target: std::fs::read_link(path).doing("read", path)?,
        }
    } else if metadata.is_dir() {
        EntryKind::Directory
    } else if metadata.is_file() {
        EntryKind::File {
            bytes: metadata.len(),
            sha256: hash(path)?,
            sparse: metadata.blocks() * 512 + HOLE_BYTES < metadata.len(),
        }
    } else {
        EntryKind::Special
    };
    let mode = if metadata.is_symlink() {
        0
    } else {
        metadata.mode() & 0o7777
    };
    Ok(Entry {
        attributes: attributes_of(path, &kind),
        kind,
        mode,
        modified_ns: i128::from(metadata.mtime()) * 1_000_000_000
            + i128::from(metadata.mtime_nsec()),
        hard_links: Vec::new(),
    })
}

fn hash(path: &Path) -> Result<String> {
    let mut file = File::open(path).doing("open", path)?;
    let mut hasher = Sha256::new();
    let mut chunk = vec![0; CHUNK_BYTES];
    loop {
        let read = file.read(&mut chunk).doing("read", path)?;
        if read == 0 {
            return Ok(hex::encode(hasher.finalize()));
        }
        hasher.update(&chunk[..read]);
    }
}

/// A file system without extended attributes has none to lose.
fn attributes_of(path: &Path, kind: &EntryKind) -> BTreeMap<OsString, Vec<u8>> {
    if !matches!(kind, EntryKind::File { .. } | EntryKind::Directory) {
        return BTreeMap::new();
    }
    xattr::list(path)
        .into_iter()
        .flatten()
        .filter(|name| name.as_encoded_bytes().starts_with(b"user."))
        .filter_map(|name| {
            let value = xattr::get(path, &name).ok()??;
            Some((name, value))
        })
        .collect()
}

/// Makes every folder below and including `root` writable for its owner, so that a temporary folder with read-only
/// folders in it can be removed by somebody who is not root.
///
/// # Errors
/// [`ErrorKind::Io`](crate::ErrorKind::Io) when a folder belongs to somebody else.
pub fn make_removable(root: &Path) -> Result<()> {
    let metadata = root.symlink_metadata().doing("look at", root)?;
    if !metadata.is_dir() {
        return Ok(());
    }
    let mode = metadata.mode() & 0o7777;
    if mode & 0o700 != 0o700 {
        let writable = Permissions::from_mode(mode | 0o700);
        std::fs::set_permissions(root, writable).doing("change the mode of", root)?;
    }
    for entry in std::fs::read_dir(root).doing("list", root)? {
        make_removable(&entry.doing("list", root)?.path())?;
    }
    Ok(())
}
