//! Finding repositories in a home directory or data store, and what is special about them.

use std::collections::BTreeSet;
use std::fs;
use std::io;
use std::path::{Path, PathBuf};

use diy_backup_core::{InstanceKind, Result, ResultExt};

use crate::config::RepositoryId;
use crate::folder::Role;

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

/// Folders of a repository in which whatever ends in `.lock` is a lock: git allows no reference of such a name.
const LOCKED_FOLDERS: &[&str] = &["refs", "stash-refs", "logs"];

/// The repositories below `root`, which is what `role` says. Links are not followed.
///
/// # Errors
/// When a folder cannot be read.
pub(crate) fn of(root: &Path, role: Role, kind: InstanceKind) -> Result<Vec<PathBuf>> {
    match (role, kind) {
        (Role::Home, InstanceKind::Mesh) => of_mesh(root),
        (Role::Home, _) => folders_at(&root.join("shared/data/repositories"), 1),
        (Role::DataStore(_), _) => folders_at(&root.join("repositories"), 3),
    }
}

/// The repositories of a Mesh node, known by what is in them: how deep they lie is the node's own affair.
pub(crate) fn of_mesh(home: &Path) -> Result<Vec<PathBuf>> {
    let mut found = Vec::new();
    let mut level = vec![home.join("store")];
    for _ in 0..=MESH_DEPTH {
        let mut next = Vec::new();
        for folder in level {
            if is_repository(&folder) {
                found.push(folder);
            } else {
                next.extend(subfolders(&folder)?);
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

/// Removes the lock files that were caught in a repository, and says how many there were.
///
/// # Errors
/// When one cannot be removed.
pub(crate) fn remove_locks(repository: &Path) -> Result<u64> {
    let mut removed = 0;
    for name in LOCKED_NAMES {
        for ending in LOCK_ENDINGS {
            removed += u64::from(remove_lock(&repository.join(format!("{name}{ending}")))?);
        }
    }
    for name in LOCKED_FOLDERS {
        let folder = repository.join(name);
        if fs::symlink_metadata(&folder).is_ok_and(|metadata| metadata.is_dir()) {
            removed += remove_locks_below(&folder)?;
        }
    }
    Ok(removed)
}

fn remove_locks_below(folder: &Path) -> Result<u64> {
    let context = || format!("cannot read {}", folder.display());
    let mut removed = 0;
    for entry in fs::read_dir(folder).io_context(context)? {
        let entry = entry.io_context(context)?;
        if entry.file_type().io_context(context)?.is_dir() {
            removed += remove_locks_below(&entry.path())?;
        } else if entry.file_name().as_encoded_bytes().ends_with(b".lock") {
            removed += u64::from(remove_lock(&entry.path())?);
        }
    }
    Ok(removed)
}

/// Whether there was one. A folder of that name is none.
fn remove_lock(path: &Path) -> Result<bool> {
    match fs::symlink_metadata(path) {
        Ok(metadata) if !metadata.is_dir() => {
            fs::remove_file(path).io_context(|| format!("cannot remove {}", path.display()))?;
            Ok(true)
        }
        _ => Ok(false),
    }
}

fn is_repository(folder: &Path) -> bool {
    folder.join("HEAD").is_file() && folder.join("objects").is_dir()
}

/// The folders `depth` levels below `root`.
fn folders_at(root: &Path, depth: usize) -> Result<Vec<PathBuf>> {
    let mut level = vec![root.to_owned()];
    for _ in 0..depth {
        let mut next = Vec::new();
        for folder in level {
            next.extend(subfolders(&folder)?);
        }
        level = next;
    }
    Ok(level)
}

fn subfolders(folder: &Path) -> Result<Vec<PathBuf>> {
    let context = || format!("cannot read {}", folder.display());
    let entries = match fs::read_dir(folder) {
        Ok(entries) => entries,
        Err(error) if crate::walk::is_gone(&error) => return Ok(Vec::new()),
        Err(error) => return Err(error).io_context(context),
    };
    let mut folders = Vec::new();
    for entry in entries {
        let entry = entry.io_context(context)?;
        if entry.file_type().io_context(context)?.is_dir() {
            folders.push(entry.path());
        }
    }
    Ok(folders)
}
