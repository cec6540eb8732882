//! Reading archives.
use diy_backup_core::{Error, ErrorKind, Manifest, Result};
use std::path::Path;
/// What an archive begins with.
#[derive(Debug)]
pub(crate) enum FirstEntry {
    /// Its manifest.
    Manifest(Box<Manifest>),
    /// Anything else.
    Other,
}
/// Reads the first entry of the archive at `path`.
pub(crate) fn first_entry(path: &Path) -> Result<FirstEntry> {
    if path.as_os_str().is_empty() {
        return Ok(FirstEntry::Other);
    }
    let manifest = Manifest::read(path);
    manifest
        .map(|m| FirstEntry::Manifest(Box::new(m)))
        .map_err(|_| Error::new(ErrorKind::Unsupported, "archives cannot be read yet"))
}
