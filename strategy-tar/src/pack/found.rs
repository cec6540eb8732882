//! One entry of the staging folder, with as much of it as is read ahead of time.

use std::ffi::OsString;
use std::fs::{self, Metadata};
use std::io::{self, Read};
use std::path::{Path, PathBuf};

use diy_backup_core::{Error, ErrorKind, Result, ResultExt};
use sha2::{Digest, Sha256};

use crate::format::{self, ArchivePath};
use crate::platform;

/// Files up to this size are read ahead, in bytes; those of a repository mostly are.
const SMALL_BYTES: u64 = 128 * 1024;

/// Something in the staging folder.
#[derive(Debug)]
pub(crate) struct Found {
    pub(crate) path: PathBuf,
    pub(crate) inside: ArchivePath,
    pub(crate) metadata: Metadata,
    /// What the archive keeps of its metadata.
    pub(crate) kept: format::Metadata,
    pub(crate) body: Body,
}

/// What there is of an entry beside its metadata.
#[derive(Debug)]
pub(crate) enum Body {
    /// Nothing that has been read.
    Unread,
    /// All of a small file, and its SHA-256.
    Content(Vec<u8>, [u8; 32]),
    /// The names in a folder, in order.
    Names(Vec<OsString>),
    /// Where a link leads to.
    Target(Vec<u8>),
}

impl Found {
    /// Looks at what is at `path`, which is called `inside` in the archive.
    ///
    /// # Errors
    /// When it cannot be read.
    pub(crate) fn at(path: PathBuf, inside: ArchivePath) -> Result<Self> {
        let look = || -> Result<_> {
            let metadata = fs::symlink_metadata(&path).io_context(|| cannot_read(&path))?;
            let kept =
                platform::read_metadata(&path, &metadata).io_context(|| cannot_read(&path))?;
            let body = Body::read(&path, &metadata)?;
            Ok((metadata, kept, body))
        };
        let (metadata, kept, body) = look()?;
        Ok(Self {
            path,
            inside,
            metadata,
            kept,
            body,
        })
    }

    /// How much of it is in memory, in bytes.
    pub(crate) fn read_bytes(&self) -> usize {
        match &self.body {
            Body::Content(bytes, _) => bytes.len(),
            _ => 0,
        }
    }
}

impl Body {
    fn read(path: &Path, metadata: &Metadata) -> Result<Self> {
        if metadata.is_dir() {
            names_in(path).io_context(|| cannot_read(path))
        } else if metadata.is_symlink() {
            let target = fs::read_link(path).io_context(|| cannot_read(path))?;
            Ok(Self::Target(target.as_os_str().as_encoded_bytes().to_vec()))
        } else if metadata.is_file()
            && metadata.len() <= SMALL_BYTES
            && !platform::may_have_holes(metadata)
        {
            read_small(path)
        } else {
            Ok(Self::Unread)
        }
    }
}

fn names_in(folder: &Path) -> io::Result<Body> {
    let mut names = fs::read_dir(folder)?
        .map(|entry| Ok(entry?.file_name()))
        .collect::<io::Result<Vec<_>>>()?;
    names.sort_unstable();
    Ok(Body::Names(names))
}

fn read_small(path: &Path) -> Result<Body> {
    let context = || cannot_read(path);
    let file = platform::open_no_follow(path).io_context(context)?;
    let before = file.metadata().io_context(context)?;
    let length = before.len();
    if length > SMALL_BYTES {
        return Ok(Body::Unread);
    }
    let mut bytes = Vec::with_capacity(usize::try_from(length).unwrap_or(0) + 1);
    let mut reader = (&file).take(length + 1);
    reader.read_to_end(&mut bytes).io_context(context)?;
    let after = file.metadata().io_context(context)?;
    if bytes.len() as u64 != length || !is_same(&before, &after) {
        return Err(changed(path));
    }
    let sum = Sha256::digest(&bytes).into();
    Ok(Body::Content(bytes, sum))
}

/// Whether a file has not been written to between two looks.
pub(crate) fn is_same(before: &Metadata, after: &Metadata) -> bool {
    after.len() == before.len() && after.modified().ok() == before.modified().ok()
}

pub(crate) fn changed(path: &Path) -> Error {
    Error::new(
        ErrorKind::Io,
        format!("{} has changed while it was read", path.display()),
    )
    .with_hint("Something besides diy-backup writes to the staging folder: keep it away, then take the backup again.")
}

pub(crate) fn cannot_read(path: &Path) -> String {
    format!("cannot read {}", path.display())
}
