//! Removing folders, also those whose modes forbid it.

use std::fs;
use std::io;
use std::path::Path;

use diy_backup_core::{Result, ResultExt};

use crate::platform;

/// Removes what is at `path` with everything in it, without following links; that there is nothing is no error.
///
/// # Errors
/// When something is left.
pub(crate) fn remove(path: &Path) -> Result<()> {
    let removed = match fs::symlink_metadata(path) {
        Ok(metadata) if metadata.is_dir() => remove_folder(path),
        Ok(_) => fs::remove_file(path),
        Err(error) => Err(error),
    };
    match removed {
        Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(()),
        other => other.io_context(|| format!("cannot remove {}", path.display())),
    }
}

/// Removes what is at `relative` in the directory `copy` with everything in it, and follows no link on the way. The
/// directory that it was in keeps its modification time. That there is nothing is no error.
///
/// # Errors
/// When something is left.
pub(crate) fn remove_in(copy: &Path, relative: &Path) -> Result<()> {
    #[cfg(unix)]
    return crate::beneath::remove(copy, relative)
        .io_context(|| format!("cannot remove {}", copy.join(relative).display()));
    #[cfg(not(unix))]
    remove(&copy.join(relative))
}

fn remove_folder(path: &Path) -> io::Result<()> {
    match fs::remove_dir_all(path) {
        Err(error) if error.kind() == io::ErrorKind::PermissionDenied => {
            open_up(path)?;
            fs::remove_dir_all(path)
        }
        other => other,
    }
}

/// A copy has the modes of its original: folders that nobody may write to are emptied only after that is changed.
fn open_up(folder: &Path) -> io::Result<()> {
    platform::make_changeable(folder)?;
    for entry in fs::read_dir(folder)? {
        let entry = entry?;
        if entry.file_type()?.is_dir() {
            open_up(&entry.path())?;
        }
    }
    Ok(())
}
