//! Deleting backups, and what runs that died have left.

use std::ffi::OsStr;
use std::fs;
use std::path::{Path, PathBuf};

use diy_backup_core::{
    BackupEntry, BackupId, Error, ErrorKind, Leftover, Manifest, Result, ResultExt, remove_durably,
    sync_directory,
};

use crate::{catalog, names};

/// The kind of the leftover that an archive is while it is written.
pub(crate) const PARTIAL_KIND: &str = "partial-archive";

const PARTIAL: &str = ".partial";
const DELETING: &str = ".deleting";

/// Where an archive is written to before it gets its name; no listing shows it.
pub(crate) fn partial_path(directory: &Path, file_name: &str) -> PathBuf {
    directory.join(format!(".{file_name}{PARTIAL}"))
}

/// Where the archive `file_name` is while it is written and while it is deleted.
pub(crate) fn hidden_paths(directory: &Path, file_name: &str) -> [PathBuf; 2] {
    [PARTIAL, DELETING].map(|suffix| directory.join(format!(".{file_name}{suffix}")))
}

/// Deletes the backup `entry`: a rename takes it off the list at once, however long the rest takes.
pub(crate) fn delete(directory: &Path, entry: &BackupEntry) -> Result<()> {
    let path = PathBuf::from(&entry.location);
    let name = path.file_name().and_then(OsStr::to_str).unwrap_or_default();
    if path.parent() != Some(directory) || names::id_of(OsStr::new(name)).is_none() {
        let message = format!(
            "{} is not an archive in {}",
            entry.location,
            directory.display()
        );
        return Err(Error::new(ErrorKind::NotFound, message));
    }
    let hidden = directory.join(format!(".{name}{DELETING}"));
    match fs::rename(&path, &hidden) {
        Err(error) if error.kind() == std::io::ErrorKind::NotFound => {}
        other => {
            other.io_context(|| format!("cannot delete {}", path.display()))?;
            sync_directory(directory)?;
        }
    }
    finish_deleting(directory, &entry.id, name)
}

/// Finishes what runs that died while they deleted have left of backups of `instance`.
pub(crate) fn sweep(directory: &Path, instance: &diy_backup_core::InstanceName) -> Result<()> {
    let files = fs::read_dir(directory)
        .io_context(|| format!("cannot list the folder {}", directory.display()))?;
    for file in files.flatten() {
        let hidden = file.file_name();
        let name = hidden
            .to_str()
            .and_then(|name| name.strip_prefix('.')?.strip_suffix(DELETING));
        let Some(name) = name else { continue };
        if let Some(id) = names::id_of(OsStr::new(name)).filter(|id| id.name() == instance) {
            finish_deleting(directory, &id, name)?;
        }
    }
    Ok(())
}

fn finish_deleting(directory: &Path, id: &BackupId, name: &str) -> Result<()> {
    let manifest = catalog::manifest_path(directory, id);
    // Another archive of the same ID, packed otherwise, keeps its manifest.
    let of_another = Manifest::read(&manifest)
        .ok()
        .and_then(|manifest| manifest.archive)
        .is_some_and(|seal| seal.file != name && directory.join(&seal.file).exists());
    if !of_another {
        remove_durably(&manifest)?;
    }
    remove_durably(&directory.join(format!(".{name}{DELETING}")))
}

/// Removes an archive that was never finished, and the manifest that may stand beside it already.
pub(crate) fn discard(directory: &Path, leftover: &Leftover) -> Result<()> {
    let partial = PathBuf::from(&leftover.id);
    let name = partial
        .file_name()
        .and_then(OsStr::to_str)
        .and_then(|name| name.strip_prefix('.')?.strip_suffix(PARTIAL));
    let id = name.and_then(|name| names::id_of(OsStr::new(name)));
    let (Some(name), Some(id)) = (name, id) else {
        return Err(not_ours(leftover));
    };
    if leftover.kind != PARTIAL_KIND {
        return Err(not_ours(leftover));
    }
    let folder = partial.parent().unwrap_or(Path::new("/"));
    if fs::symlink_metadata(&partial).is_err() && !folder.exists() {
        return Ok(());
    }
    if !is_same_directory(folder, directory) {
        let message = format!(
            "{} was being written to another directory than the configured {}",
            partial.display(),
            directory.display()
        );
        return Err(Error::new(ErrorKind::Config, message).with_hint(format!(
            "Run `diy-backup recover` with the configuration of that run, or remove {} by hand.",
            partial.display()
        )));
    }
    // The rename may have been the last thing that the run did: then the backup is whole.
    if !folder.join(name).exists() {
        remove_durably(&catalog::manifest_path(folder, &id))?;
    }
    remove_durably(&partial)
}

fn is_same_directory(one: &Path, other: &Path) -> bool {
    one == other
        || fs::canonicalize(one)
            .and_then(|one| Ok(one == fs::canonicalize(other)?))
            .unwrap_or_default()
}

fn not_ours(leftover: &Leftover) -> Error {
    let message = format!(
        "{} ({}) was not left by the archive strategy `{}`",
        leftover.id,
        leftover.kind,
        crate::NAME
    );
    Error::new(ErrorKind::Internal, message)
}
