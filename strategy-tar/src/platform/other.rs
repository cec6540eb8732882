//! The fallback: whole paths in place of open folders, read-only in place of modes, no owners, attributes and holes.

use std::ffi::OsStr;
use std::fs::{self, File, Metadata, OpenOptions};
use std::io;
use std::ops::Range;
use std::path::{Component, Path, PathBuf};
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use crate::format::{self, Segment, Timestamp};

/// A file, whatever its names.
pub(crate) type FileIdentity = (u64, u64);

const READ_ONLY: u32 = 0o555;
const WRITABLE: u32 = 0o755;
const WRITE_BIT: u32 = 0o200;

/// Whether this process may make files in the folder at `path`, as far as can be seen.
pub(crate) fn is_writable(path: &Path) -> bool {
    fs::metadata(path).is_ok_and(|metadata| !metadata.permissions().readonly())
}

/// Permissions of others are not looked at here.
pub(crate) fn is_open_to_others(_: &Metadata) -> bool {
    false
}

/// Makes a folder and its missing parents.
pub(crate) fn create_private_directory(path: &Path) -> io::Result<()> {
    fs::create_dir_all(path)
}

/// Makes a file.
pub(crate) fn create_private_file(path: &Path) -> io::Result<File> {
    OpenOptions::new().write(true).create_new(true).open(path)
}

/// The system begins when it likes.
pub(crate) fn begin_writeback(_: &File, _: Range<u64>) {}

/// Opens a file for reading.
pub(crate) fn open_no_follow(path: &Path) -> io::Result<File> {
    if !fs::symlink_metadata(path)?.is_file() {
        return Err(io::Error::other("it is no file any more"));
    }
    File::open(path)
}

/// What something is that is neither file, folder nor link.
pub(crate) fn describe_special(_: &Metadata) -> &'static str {
    "special file"
}

/// Files with several names are not recognised here: each name has the whole content.
pub(crate) fn identity_if_linked(_: &Metadata) -> Option<(FileIdentity, u64)> {
    None
}

/// Permissions and time of what is at `path`.
pub(crate) fn read_metadata(_: &Path, metadata: &Metadata) -> io::Result<format::Metadata> {
    let mode = if metadata.permissions().readonly() {
        READ_ONLY
    } else {
        WRITABLE
    };
    Ok(format::Metadata {
        mode,
        modified: timestamp(metadata.modified()?),
        ..format::Metadata::default()
    })
}

/// Holes are not looked for here.
pub(crate) fn may_have_holes(_: &Metadata) -> bool {
    false
}

/// Holes are not looked for here.
pub(crate) fn data_segments(_: &File, _: u64, _: usize) -> io::Result<Option<Vec<Segment>>> {
    Ok(None)
}

/// Free space is not known here.
pub(crate) fn free_bytes(_: &Path) -> io::Result<u64> {
    Err(io::ErrorKind::Unsupported.into())
}

/// Owners are not restored here.
pub(crate) fn may_change_owner() -> bool {
    false
}

/// Links in place of folders are told apart when a folder is opened.
pub(crate) fn is_link_in_the_way(_: &io::Error) -> bool {
    false
}

/// A folder that is written to by name. Nobody else writes below the folder of a restore.
#[derive(Debug)]
pub(crate) struct Folder(PathBuf);

impl Folder {
    /// Makes a folder at `path`; fails if there is one.
    pub(crate) fn create(path: &Path) -> io::Result<Self> {
        fs::create_dir(path)?;
        Ok(Self(path.to_owned()))
    }

    /// The folder at `path` below this one. Each part of `path` must be a folder, and no link to one.
    pub(crate) fn below(&self, path: &Path) -> io::Result<Self> {
        let mut folder = self.0.clone();
        for part in path.components() {
            let Component::Normal(name) = part else {
                return Err(io::ErrorKind::InvalidInput.into());
            };
            folder.push(name);
            if !fs::symlink_metadata(&folder)?.is_dir() {
                return Err(io::ErrorKind::NotADirectory.into());
            }
        }
        Ok(Self(folder))
    }

    /// Makes a folder; that there is one already is fine.
    pub(crate) fn make_folder(&self, name: &OsStr) -> io::Result<()> {
        let path = self.0.join(name);
        match fs::create_dir(&path) {
            Err(error)
                if error.kind() == io::ErrorKind::AlreadyExists
                    && fs::symlink_metadata(&path)?.is_dir() =>
            {
                Ok(())
            }
            other => other,
        }
    }

    /// Makes an empty file; fails if there is anything of that name.
    pub(crate) fn make_file(&self, name: &OsStr) -> io::Result<File> {
        create_private_file(&self.0.join(name))
    }

    /// Links cannot be made here in general.
    pub(crate) fn make_symlink(
        &self,
        _: &OsStr,
        _: &[u8],
        _: &format::Metadata,
        _: bool,
    ) -> io::Result<()> {
        Err(io::ErrorKind::Unsupported.into())
    }

    /// Gives what is called `from_name` in `from` another name here. It must be a file.
    pub(crate) fn make_link(&self, name: &OsStr, from: &Self, from_name: &OsStr) -> io::Result<()> {
        let target = from.0.join(from_name);
        if !fs::symlink_metadata(&target)?.is_file() {
            return Err(io::ErrorKind::InvalidInput.into());
        }
        fs::hard_link(target, self.0.join(name))
    }

    /// Times of folders are not restored here.
    pub(crate) fn set_metadata(&self, metadata: &format::Metadata, _: bool) -> io::Result<bool> {
        Ok(metadata.attributes.is_empty())
    }
}

/// Makes a file durable, sets its time and whether it is read-only, and says whether there was no more to set.
pub(crate) fn set_file_metadata(
    file: &File,
    metadata: &format::Metadata,
    _: bool,
) -> io::Result<bool> {
    if let Some(time) = system_time(metadata.modified) {
        file.set_modified(time)?;
    }
    file.sync_all()?;
    let mut permissions = file.metadata()?.permissions();
    permissions.set_readonly(metadata.mode & WRITE_BIT == 0);
    file.set_permissions(permissions)?;
    Ok(metadata.attributes.is_empty())
}

fn timestamp(time: SystemTime) -> Timestamp {
    let since = time.duration_since(UNIX_EPOCH).unwrap_or_default();
    Timestamp {
        seconds: i64::try_from(since.as_secs()).unwrap_or(0),
        nanoseconds: since.subsec_nanos(),
    }
}

fn system_time(time: Timestamp) -> Option<SystemTime> {
    let seconds = u64::try_from(time.seconds).ok()?;
    UNIX_EPOCH.checked_add(Duration::new(seconds, time.nanoseconds))
}
