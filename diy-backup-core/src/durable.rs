//! Files that are there wholly or not at all, also after a power cut.

use std::fs;
use std::io::{self, Read, Write};
use std::path::{Path, PathBuf};

use crate::error::{Result, ResultExt};
use crate::platform;

/// Replaces the file at `path`: written beside it, synced, renamed, and the rename synced. Only its owner may read it.
///
/// # Errors
/// [`ErrorKind::Io`](crate::ErrorKind::Io) or [`Space`](crate::ErrorKind::Space); the file is as it was.
pub fn write_private(path: &Path, content: &[u8]) -> Result<()> {
    replace(path, content).io_context(|| format!("cannot write {}", path.display()))
}

fn replace(path: &Path, content: &[u8]) -> io::Result<()> {
    let directory = path
        .parent()
        .filter(|parent| !parent.as_os_str().is_empty())
        .unwrap_or(Path::new("."));
    let temporary = temporary_of(path)?;
    // Left by a run that died while it wrote.
    crate::staging::remove_file_if_there(&temporary)?;
    let written = write_synced(&temporary, content).and_then(|()| fs::rename(&temporary, path));
    if let Err(error) = written {
        let _ = fs::remove_file(&temporary);
        return Err(error);
    }
    platform::sync_directory(directory)
}

/// Reads a file that we or root have written; `None` when there is none. A link is not followed: what it leads to is
/// somebody else's.
pub(crate) fn read_own(path: &Path) -> io::Result<Option<Vec<u8>>> {
    let mut file = match platform::open_own_file(path) {
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(None),
        other => other?,
    };
    let mut content = Vec::new();
    file.read_to_end(&mut content)?;
    Ok(Some(content))
}

/// Where the new content of the file at `path` stands until it is whole.
pub(crate) fn temporary_of(path: &Path) -> io::Result<PathBuf> {
    let mut name = std::ffi::OsString::from(".");
    name.push(path.file_name().ok_or(io::ErrorKind::InvalidInput)?);
    name.push(".tmp");
    Ok(path.with_file_name(name))
}

/// Removes what a run that died in [`write_private`] has left beside `path`.
pub(crate) fn discard_temporary(path: &Path) -> Result<()> {
    temporary_of(path)
        .and_then(|temporary| crate::staging::remove_file_if_there(&temporary))
        .io_context(|| format!("cannot remove what was left beside {}", path.display()))
}

fn write_synced(path: &Path, content: &[u8]) -> io::Result<()> {
    let mut file = platform::create_private_file(path)?;
    file.write_all(content)?;
    file.sync_all()
}

/// Removes the file at `path` and makes that durable; that there is none is no error.
///
/// # Errors
/// [`ErrorKind::Io`](crate::ErrorKind::Io).
pub fn remove(path: &Path) -> Result<()> {
    crate::staging::remove_file_if_there(path)
        .and_then(|()| platform::sync_directory(path.parent().unwrap_or(Path::new("/"))))
        .io_context(|| format!("cannot remove {}", path.display()))
}

/// Makes the names in a folder durable: call it after creating or renaming something in it.
///
/// # Errors
/// [`ErrorKind::Io`](crate::ErrorKind::Io).
pub fn sync_directory(path: &Path) -> Result<()> {
    platform::sync_directory(path)
        .io_context(|| format!("cannot sync the folder {}", path.display()))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_a_writer_that_died_has_left_goes_and_the_file_stays() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("journal.json");
        write_private(&path, b"whole").unwrap();
        fs::write(folder.path().join(".journal.json.tmp"), "half").unwrap();
        discard_temporary(&path).unwrap();
        discard_temporary(&path).unwrap();
        assert_eq!(fs::read_dir(folder.path()).unwrap().count(), 1);
        assert_eq!(fs::read(&path).unwrap(), b"whole");
    }
}
