//! What an archive begins with: enough to know whose it is.

use std::io::Read;
use std::path::Path;

use diy_backup_core::{Error, ErrorKind, Events, Manifest, Phase, Result, Silent, staging};

use super::stream::Stream;
use crate::format::{Content, Entry, FileSize, Kind, ReadError, Roots, TarReader};

/// The longest manifest that is read, in bytes.
const MAX_MANIFEST_BYTES: u64 = 16 * 1024 * 1024;

/// What an archive begins with.
#[derive(Debug)]
pub(crate) enum FirstEntry {
    /// The manifest.
    Manifest(Box<Manifest>),
    /// Anything else.
    Other,
}

/// Reads the first entry of the archive at `path`, and no more of it.
///
/// # Errors
/// When it cannot be read or is no archive.
pub(crate) fn first_entry(path: &Path) -> Result<FirstEntry> {
    let events = Events::new(std::sync::Arc::new(Silent));
    let mut reader = TarReader::new(
        Stream::open(path, events.meter(Phase::Check))?,
        Roots::AsTheFirst,
    );
    let not_one = |error| no_archive(path, error);
    match reader.next().map_err(not_one)? {
        Some(entry) if is_manifest(&entry) => {
            let manifest = read_manifest(&mut reader, &entry)?;
            Ok(FirstEntry::Manifest(Box::new(manifest)))
        }
        Some(_) => Ok(FirstEntry::Other),
        None => Err(Error::new(ErrorKind::Damaged, "the archive is empty")),
    }
}

/// Whether an entry is the manifest of an archive.
pub(super) fn is_manifest(entry: &Entry) -> bool {
    entry.path.as_bytes() == staging::MANIFEST.as_bytes()
        && matches!(entry.kind, Kind::File(FileSize::Dense(_)))
}

/// Reads the content of the entry that [`is_manifest`].
pub(super) fn read_manifest<R: Read>(reader: &mut TarReader<R>, entry: &Entry) -> Result<Manifest> {
    Manifest::from_json(&read_text(reader, entry)?)
}

/// Reads the content of a manifest.
pub(super) fn read_text<R: Read>(reader: &mut TarReader<R>, entry: &Entry) -> Result<Vec<u8>> {
    let Kind::File(size) = &entry.kind else {
        return Ok(Vec::new());
    };
    if size.logical() > MAX_MANIFEST_BYTES {
        let message = format!("{} bytes are too many for a manifest", size.logical());
        return Err(Error::new(ErrorKind::Damaged, message));
    }
    let mut text = Vec::new();
    let read = reader.content::<ReadError>(size, |content| {
        if let Content::Data(data) = content {
            text.extend_from_slice(data);
        }
        Ok(())
    });
    read.map_err(|error| match error {
        ReadError::Malformed(problem) => Error::new(ErrorKind::Damaged, problem),
        ReadError::Io(error) => Error::io("cannot read the manifest in the archive", error),
    })?;
    Ok(text)
}

fn no_archive(path: &Path, error: ReadError) -> Error {
    match error {
        ReadError::Malformed(problem) => {
            Error::new(ErrorKind::Damaged, format!("this is no archive: {problem}"))
        }
        ReadError::Io(error) => Error::io(format!("cannot read {}", path.display()), error),
    }
}
