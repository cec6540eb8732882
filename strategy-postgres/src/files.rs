//! The files of a dump.

use std::fs::{self, File};
use std::path::{Path, PathBuf};

use diy_backup_core::{Error, ErrorKind, Result, ResultExt};

/// The sum of the sizes of the files in `directory`, in bytes; zero for what cannot be looked at.
pub(crate) fn size_of(directory: &Path) -> u64 {
    fs::read_dir(directory)
        .into_iter()
        .flatten()
        .filter_map(|entry| entry.ok()?.metadata().ok())
        .filter(fs::Metadata::is_file)
        .map(|metadata| metadata.len())
        .sum()
}

/// Makes every file of a dump its owner's alone, and returns their size in bytes.
pub(crate) fn settle(directory: &Path) -> Result<u64> {
    let mut bytes = 0;
    for path in entries(directory)? {
        let file = File::open(&path).io_context(|| format!("cannot open {}", path.display()))?;
        bytes += make_private(&file)
            .and_then(|()| Ok(file.metadata()?.len()))
            .io_context(|| format!("cannot settle {}", path.display()))?;
    }
    Ok(bytes)
}

/// Empties the folder of a dump for another try.
pub(crate) fn empty(directory: &Path) -> Result<()> {
    for path in entries(directory)? {
        fs::remove_file(&path).io_context(|| format!("cannot remove {}", path.display()))?;
    }
    Ok(())
}

/// Runs file work where it does not hold up anything else.
pub(crate) async fn blocking<T: Send + 'static>(
    work: impl FnOnce() -> T + Send + 'static,
) -> Result<T> {
    tokio::task::spawn_blocking(work).await.map_err(|error| {
        Error::new(ErrorKind::Internal, "work on files ended unexpectedly").with_source(error)
    })
}

fn entries(directory: &Path) -> Result<Vec<PathBuf>> {
    fs::read_dir(directory)
        .and_then(|entries| entries.map(|entry| Ok(entry?.path())).collect())
        .io_context(|| format!("cannot list {}", directory.display()))
}

#[cfg(unix)]
fn make_private(file: &File) -> std::io::Result<()> {
    use std::os::unix::fs::PermissionsExt;

    file.set_permissions(fs::Permissions::from_mode(0o600))
}

#[cfg(not(unix))]
fn make_private(_: &File) -> std::io::Result<()> {
    Ok(())
}
