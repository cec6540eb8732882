//! Which backups lie in the folder: by their names, their manifests and their first entry.

use std::ffi::OsStr;
use std::fs::DirEntry;
use std::io;
use std::path::{Path, PathBuf};

use diy_backup_core::{
    BackupEntry, BackupId, InstanceName, Manifest, Origin, Result, ResultExt, error_chain,
};

use crate::names::{self, ScriptName, Whose, id_of};
use crate::read::{FirstEntry, first_entry};
use crate::{remove, tail};

const MANIFEST_SUFFIX: &str = ".manifest.json";

/// Where the manifest of the backup `id` stands beside its archive.
pub(crate) fn manifest_path(directory: &Path, id: &BackupId) -> PathBuf {
    directory.join(format!("{id}{MANIFEST_SUFFIX}"))
}

/// All backups of `instance` in `directory`, oldest first; none when there is no such folder. With them come those of
/// the shell scripts, also what cannot be read as it is.
pub(crate) fn list(directory: &Path, instance: &InstanceName) -> Result<Vec<BackupEntry>> {
    let cannot_list = || format!("cannot list the folder {}", directory.display());
    let files = match std::fs::read_dir(directory) {
        Ok(files) => files,
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(Vec::new()),
        Err(error) => return Err(error).io_context(cannot_list),
    };
    let mut entries = Vec::new();
    let of_instance = |id: &BackupId| id.name() == instance;
    for file in files {
        let file = file.io_context(cannot_list)?;
        let name = file.file_name();
        let entry = if let Some(id) = id_of(&name).filter(of_instance) {
            describe(directory, id, instance, &file)
        } else if let Some(named) = names::of_scripts(&name, instance) {
            of_scripts(directory, named, &file)
        } else {
            manifest_id_of(&name)
                .filter(of_instance)
                .and_then(|id| without_archive(directory, &id))
        };
        entries.extend(entry);
    }
    let order =
        |entry: &BackupEntry| (entry.created_unix, entry.id.clone(), entry.location.clone());
    entries.sort_by_key(order);
    Ok(entries)
}

/// The backup that a file of this name would be the manifest of.
fn manifest_id_of(file_name: &OsStr) -> Option<BackupId> {
    let stem = file_name.to_str()?.strip_suffix(MANIFEST_SUFFIX)?;
    stem.parse().ok()
}

/// A backup of which only the manifest is left, unless a run is just making or deleting it.
fn without_archive(directory: &Path, id: &BackupId) -> Option<BackupEntry> {
    let manifest = Manifest::read(&manifest_path(directory, id)).ok()?;
    let file = manifest.archive.as_ref()?.file.clone();
    // The name of a file, and nothing that leads elsewhere.
    if manifest.backup_id != *id || id_of(OsStr::new(&file)).as_ref() != Some(id) {
        return None;
    }
    let path = directory.join(&file);
    let is_hidden = || {
        let hidden = remove::hidden_paths(directory, &file);
        hidden.iter().any(|path| path.exists())
    };
    // A run renames a new archive from a hidden name, and one that it deletes to another: a look at the hidden names
    // before and after the look at the final one sees it under either, whenever the rename comes.
    // A directory, or a link to a disk that is not mounted, is no archive. What else fails says so as an entry.
    let is_there = || !matches!(size_of(&path), Ok(None));
    if is_hidden() || is_there() || is_hidden() {
        return None;
    }
    if !manifest_path(directory, id).exists() {
        return None;
    }
    let problem = format!("its archive {file} is missing");
    let location = path.display().to_string();
    Some(BackupEntry::ours(location, 0, manifest).with_problem(problem))
}

fn describe(
    directory: &Path,
    id: BackupId,
    instance: &InstanceName,
    file: &DirEntry,
) -> Option<BackupEntry> {
    let path = file.path();
    let location = path.display().to_string();
    let bytes = match size_of(&path) {
        Ok(bytes) => bytes?,
        Err(problem) => return Some(unusable(id, location, 0, problem)),
    };
    let manifest_path = manifest_path(directory, &id);
    let named = || names::of_scripts(&file.file_name(), instance);
    if !manifest_path.exists() {
        return Some(without_manifest(id, named(), &path, bytes));
    }
    Some(match Manifest::read(&manifest_path) {
        Ok(manifest) if seals_another(&manifest, file) => {
            without_manifest(id, named(), &path, bytes)
        }
        Ok(manifest) => with_manifest(id, location, bytes, manifest),
        Err(error) => unusable(id, location, bytes, error_chain(&error)),
    })
}

fn seals_another(manifest: &Manifest, file: &DirEntry) -> bool {
    let seal = manifest.archive.as_ref();
    seal.is_some_and(|seal| file.file_name() != seal.file.as_str())
}

fn with_manifest(id: BackupId, location: String, bytes: u64, manifest: Manifest) -> BackupEntry {
    let problem = match &manifest.archive {
        _ if manifest.backup_id != id => {
            Some(format!("its manifest is that of {}", manifest.backup_id))
        }
        None => Some("its manifest does not say how long the archive is".to_owned()),
        Some(seal) if seal.bytes != bytes => Some(format!(
            "the archive has {bytes} bytes, and its manifest says {}",
            seal.bytes
        )),
        Some(_) => None,
    };
    match problem {
        Some(problem) if manifest.backup_id != id => unusable(id, location, bytes, problem),
        Some(problem) => BackupEntry::ours(location, bytes, manifest).with_problem(problem),
        None => BackupEntry::ours(location, bytes, manifest),
    }
}

fn without_manifest(
    id: BackupId,
    named: Option<ScriptName>,
    path: &Path,
    bytes: u64,
) -> BackupEntry {
    let location = path.display().to_string();
    match first_entry(path) {
        // Whether its end is there, only reading it tells: the checksums stand there.
        Ok(FirstEntry::Manifest(manifest)) if manifest.backup_id == id => {
            let missing =
                "the manifest beside it is missing, so nothing says how long it has to be";
            BackupEntry::ours(location, bytes, *manifest).unproven(missing)
        }
        Ok(FirstEntry::Manifest(manifest)) => {
            let problem = format!("the manifest in it is that of {}", manifest.backup_id);
            unusable(id, location, bytes, problem)
        }
        Ok(FirstEntry::Other) => {
            if let Some(named) = named {
                return entry_of_scripts(named, path, bytes);
            }
            let problem = "there is no manifest, neither beside it nor in it";
            unusable(id, location, bytes, problem)
        }
        Err(error) => unusable(id, location, bytes, error_chain(&error)),
    }
}

/// An archive that is named as only the shell scripts or their forks name theirs.
fn of_scripts(directory: &Path, named: ScriptName, file: &DirEntry) -> Option<BackupEntry> {
    let path = file.path();
    let bytes = match size_of(&path) {
        Ok(bytes) => bytes?,
        Err(problem) => {
            let location = path.display().to_string();
            return Some(BackupEntry::from_scripts(named.id, location, 0).with_problem(problem));
        }
    };
    if named.problem.is_some() {
        return Some(entry_of_scripts(named, &path, bytes));
    }
    // Another instance's, of the product's name and with our own kind of archive, is that one's to list.
    if manifest_path(directory, &named.id).exists() {
        return None;
    }
    match first_entry(&path) {
        Ok(FirstEntry::Manifest(_)) => None,
        Ok(FirstEntry::Other) => Some(entry_of_scripts(named, &path, bytes)),
        Err(error) => {
            let entry = entry_of_scripts(named, &path, bytes);
            Some(entry.with_problem(error_chain(&error)))
        }
    }
}

fn entry_of_scripts(named: ScriptName, path: &Path, bytes: u64) -> BackupEntry {
    let location = path.display().to_string();
    let written = std::fs::metadata(path).and_then(|metadata| metadata.modified());
    let entry = BackupEntry::from_scripts(named.id, location, bytes)
        .in_local_time(written.ok(), named.ending);
    if let Some(problem) = named.problem {
        return entry.with_problem(problem);
    }
    if named.whose == Whose::Unknown {
        let name = entry.id.name().clone();
        return entry.unproven(format!(
            "nothing but its name `{name}` says whose it is, and this instance has another one"
        ));
    }
    match tail::looks_whole(path, bytes) {
        Ok(true) => entry,
        Ok(false) => entry.unproven("it does not end as an archive does, and may be cut off"),
        Err(error) => entry.with_problem(format!("cannot be read: {error}")),
    }
}

/// Returns the size of a file, none for what has been deleted since the directory was read or is no file, and why it
/// cannot be read.
fn size_of(path: &Path) -> std::result::Result<Option<u64>, String> {
    match std::fs::metadata(path) {
        Ok(metadata) => Ok(metadata.is_file().then_some(metadata.len())),
        Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(None),
        Err(error) => Err(format!("cannot be read: {error}")),
    }
}

fn unusable(id: BackupId, location: String, bytes: u64, problem: impl Into<String>) -> BackupEntry {
    let mut entry = BackupEntry::from_scripts(id, location, bytes).with_problem(problem);
    entry.origin = Origin::DiyBackup;
    entry
}
