//! Finding repositories in a home directory or data store, and what is special about them.

use std::collections::BTreeSet;
use std::ffi::{OsStr, OsString};
use std::fs;
use std::io;
use std::path::{Path, PathBuf};

use diy_backup_core::{Result, ResultExt};

use crate::config::RepositoryId;
use crate::layout::Layout;
use crate::platform::{Dir, EntryKind, is_link_or_no_directory};
use crate::walk::Stop;

/// How deep below `store` a Mesh node has its repositories at most.
const MESH_DEPTH: usize = 8;

/// Files at the top of a repository that come and go with a process: these names, with each of [`LOCK_ENDINGS`].
const LOCKED_NAMES: &[&str] = &[
    "HEAD",
    "config",
    "index",
    "gc",
    "packed-refs",
    "stash-packed-refs",
];
const LOCK_ENDINGS: &[&str] = &[".pid", ".lock"];

/// Directories of a repository in which whatever ends in `.lock` is a lock: git allows no reference of such a name.
const LOCKED_DIRECTORIES: &[&str] = &["refs", "stash-refs", "logs"];

/// Returns the repositories below `root`, whose layout is `layout`. Links are not followed.
///
/// # Errors
/// When a directory cannot be read.
pub(crate) fn of(root: &Path, layout: Layout) -> Result<Vec<PathBuf>> {
    let top = Dir::open(root).io_context(|| format!("cannot read {}", root.display()))?;
    let found = find(&top, layout)?;
    Ok(found.iter().map(|relative| root.join(relative)).collect())
}

/// Returns the repositories below `top`, each as a path from there.
fn find(top: &Dir, layout: Layout) -> Result<Vec<PathBuf>> {
    let (place, depth) = layout.repositories();
    let mut level = vec![PathBuf::from(place)];
    let Some(depth) = depth else {
        return find_by_content(top, level);
    };
    for _ in 0..depth {
        let mut next = Vec::new();
        for directory in level {
            next.extend(subdirectories(top, &directory)?);
        }
        level = next;
    }
    Ok(level)
}

fn find_by_content(top: &Dir, mut level: Vec<PathBuf>) -> Result<Vec<PathBuf>> {
    let mut found = Vec::new();
    for _ in 0..=MESH_DEPTH {
        let mut next = Vec::new();
        for directory in level {
            if is_repository(top, &directory) {
                found.push(directory);
            } else {
                next.extend(subdirectories(top, &directory)?);
            }
        }
        level = next;
    }
    Ok(found)
}

/// Whether the folder of a repository has one of these IDs for its name.
pub(crate) fn is_one_of(repository: &Path, ids: &BTreeSet<RepositoryId>) -> bool {
    id_of(repository).is_some_and(|id| ids.contains(&id))
}

/// Returns how many of these repositories a backup holds that leaves out those with one of these IDs.
pub(crate) fn count_kept(repositories: &[PathBuf], excluded: &BTreeSet<RepositoryId>) -> u64 {
    let kept = repositories
        .iter()
        .filter(|repository| !is_one_of(repository, excluded));
    kept.count() as u64
}

/// The ID that the folder of a repository is called by.
pub(crate) fn id_of(repository: &Path) -> Option<RepositoryId> {
    RepositoryId::new(repository.file_name()?.to_str()?)
}

/// The repositories that `repository` borrows objects from, by the names of their folders.
///
/// # Errors
/// When its list cannot be read.
pub(crate) fn lenders(repository: &Path) -> io::Result<Vec<RepositoryId>> {
    let text = match fs::read(repository.join("objects/info/alternates")) {
        Ok(text) => text,
        Err(error) if crate::walk::is_gone(&error) => return Ok(Vec::new()),
        Err(error) => return Err(error),
    };
    let text = String::from_utf8_lossy(&text);
    let lines = text.lines().filter(|line| !line.starts_with('#'));
    Ok(lines
        .filter_map(|line| {
            let objects = Path::new(line.trim_matches('"'));
            id_of(objects.parent()?)
        })
        .collect())
}

/// Removes the lock files that were caught in the repositories below `top`, and returns how many there were.
///
/// # Errors
/// When a directory cannot be read, or a file cannot be removed.
pub(crate) fn remove_locks(top: &Dir, layout: Layout, stop: &Stop) -> Result<u64> {
    let mut removed = 0;
    for relative in find(top, layout)? {
        stop.ensure_going_on()?;
        let Some(repository) = open(top, &relative)? else {
            continue;
        };
        for name in LOCKED_NAMES {
            for ending in LOCK_ENDINGS {
                removed += remove_lock(&repository, format!("{name}{ending}").as_ref())?;
            }
        }
        let mut level: Vec<PathBuf> = LOCKED_DIRECTORIES.iter().map(PathBuf::from).collect();
        while let Some(relative) = level.pop() {
            let Some(directory) = open(&repository, &relative)? else {
                continue;
            };
            for name in names_in(&directory)? {
                if kind_of(&directory, &name)? == Some(EntryKind::Directory) {
                    level.push(relative.join(name));
                } else if name.as_encoded_bytes().ends_with(b".lock") {
                    removed += remove_lock(&directory, &name)?;
                }
            }
        }
    }
    Ok(removed)
}

/// Returns how many there were. A directory of that name is none.
fn remove_lock(directory: &Dir, name: &OsStr) -> Result<u64> {
    match kind_of(directory, name)? {
        None | Some(EntryKind::Directory) => Ok(0),
        Some(_) => directory
            .remove_file(name)
            .map(|()| 1)
            .io_context(|| format!("cannot remove {}", directory.path().join(name).display())),
    }
}

fn is_repository(top: &Dir, relative: &Path) -> bool {
    let kind = |directory: &Dir, name: &str| kind_of(directory, name.as_ref()).ok().flatten();
    top.below(relative).is_ok_and(|directory| {
        kind(&directory, "HEAD") == Some(EntryKind::File)
            && kind(&directory, "objects") == Some(EntryKind::Directory)
    })
}

fn subdirectories(top: &Dir, relative: &Path) -> Result<Vec<PathBuf>> {
    let Some(directory) = open(top, relative)? else {
        return Ok(Vec::new());
    };
    let mut found = Vec::new();
    for name in names_in(&directory)? {
        if kind_of(&directory, &name)? == Some(EntryKind::Directory) {
            found.push(relative.join(name));
        }
    }
    Ok(found)
}

/// Returns `None` when there is no directory at `relative`, or a link on the way to it.
fn open(top: &Dir, relative: &Path) -> Result<Option<Dir>> {
    match top.below(relative) {
        Ok(directory) => Ok(Some(directory)),
        Err(error) if crate::walk::is_gone(&error) || is_link_or_no_directory(&error) => Ok(None),
        Err(error) => {
            Err(error).io_context(|| format!("cannot read {}", top.path().join(relative).display()))
        }
    }
}

fn names_in(directory: &Dir) -> Result<Vec<OsString>> {
    directory
        .names()
        .io_context(|| format!("cannot read {}", directory.path().display()))
}

fn kind_of(directory: &Dir, name: &OsStr) -> Result<Option<EntryKind>> {
    let entry = directory.entry(name);
    let entry =
        entry.io_context(|| format!("cannot look at {}", directory.path().join(name).display()))?;
    Ok(entry.map(|entry| entry.kind))
}
