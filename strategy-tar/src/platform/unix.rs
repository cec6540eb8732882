use std::fs::{DirBuilder, File, Metadata, OpenOptions};
use std::io;
#[cfg(target_os = "linux")]
use std::num::NonZeroU64;
use std::ops::Range;
use std::os::unix::fs::{DirBuilderExt, FileTypeExt, MetadataExt, OpenOptionsExt};
use std::path::Path;

use rustix::fs::{Access, OFlags};

use crate::format;

mod folder;
mod holes;

pub(crate) use folder::{Folder, set_file_metadata};
pub(crate) use holes::{data_segments, may_have_holes};

/// A file, whatever its names: device and inode.
pub(crate) type FileIdentity = (u64, u64);

/// Attributes that belong to the content; others, such as security labels, belong to the machine.
const KEPT_ATTRIBUTES: [&str; 3] = ["user.", "security.capability", "system.posix_acl_"];

/// Whether this process may make files in the folder at `path`.
pub(crate) fn is_writable(path: &Path) -> bool {
    rustix::fs::access(path, Access::WRITE_OK | Access::EXEC_OK).is_ok()
}

/// Whether others than the owner have any permission.
pub(crate) fn is_open_to_others(metadata: &Metadata) -> bool {
    metadata.mode() & 0o077 != 0
}

/// Makes a folder and its missing parents, its owner's alone from their creation.
pub(crate) fn create_private_directory(path: &Path) -> io::Result<()> {
    DirBuilder::new().recursive(true).mode(0o700).create(path)
}

/// Makes a file that is its owner's alone from its creation.
pub(crate) fn create_private_file(path: &Path) -> io::Result<File> {
    OpenOptions::new()
        .write(true)
        .create_new(true)
        .mode(0o600)
        .open(path)
}

/// Lets the disk begin with a range of a file, without waiting for it. Its pages stay in memory while they are written.
pub(crate) fn begin_writeback(file: &File, range: Range<u64>) {
    #[cfg(target_os = "linux")]
    {
        // Linux begins to write what it is told that nobody needs, and drops it only once it is written.
        let length = NonZeroU64::new(range.end - range.start);
        // Advice that is not taken makes nothing wrong.
        let _ = rustix::fs::fadvise(file, range.start, length, rustix::fs::Advice::DontNeed);
    }
    #[cfg(not(target_os = "linux"))]
    let _ = (file, range);
}

/// Opens a file for reading, unless it has become a link or something that would block.
pub(crate) fn open_no_follow(path: &Path) -> io::Result<File> {
    let flags = OFlags::NOFOLLOW | OFlags::NONBLOCK;
    let flags = i32::try_from(flags.bits()).unwrap_or(0);
    let file = OpenOptions::new()
        .read(true)
        .custom_flags(flags)
        .open(path)?;
    if !file.metadata()?.is_file() {
        return Err(io::Error::other("it is no file any more"));
    }
    Ok(file)
}

/// What something is that is neither file, folder nor link.
pub(crate) fn describe_special(metadata: &Metadata) -> &'static str {
    let kind = metadata.file_type();
    if kind.is_socket() {
        "socket"
    } else if kind.is_fifo() {
        "named pipe"
    } else {
        "device"
    }
}

/// Which file this is and how many names it has, if it has several.
pub(crate) fn identity_if_linked(metadata: &Metadata) -> Option<(FileIdentity, u64)> {
    let several = !metadata.is_dir() && metadata.nlink() > 1;
    several.then(|| ((metadata.dev(), metadata.ino()), metadata.nlink()))
}

/// Owner, permissions, time and attributes of what is at `path`.
pub(crate) fn read_metadata(path: &Path, metadata: &Metadata) -> io::Result<format::Metadata> {
    let attributes = if metadata.is_symlink() {
        Vec::new()
    } else {
        read_attributes(path)?
    };
    Ok(format::Metadata {
        mode: metadata.mode() & 0o7777,
        uid: metadata.uid().into(),
        gid: metadata.gid().into(),
        modified: format::Timestamp {
            seconds: metadata.mtime(),
            nanoseconds: u32::try_from(metadata.mtime_nsec()).unwrap_or(0),
        },
        attributes,
    })
}

fn read_attributes(path: &Path) -> io::Result<Vec<(Vec<u8>, Vec<u8>)>> {
    let names = match xattr::list(path) {
        Ok(names) => names,
        Err(error) if error.kind() == io::ErrorKind::Unsupported => return Ok(Vec::new()),
        Err(error) => return Err(error),
    };
    let mut attributes = Vec::new();
    for name in names {
        let bytes = name.as_encoded_bytes();
        let kept = KEPT_ATTRIBUTES
            .iter()
            .any(|kept| bytes.starts_with(kept.as_bytes()));
        if kept && let Some(value) = xattr::get(path, &name)? {
            attributes.push((bytes.to_vec(), value));
        }
    }
    attributes.sort_unstable();
    Ok(attributes)
}

/// Free bytes for this process on the file system of `path`.
pub(crate) fn free_bytes(path: &Path) -> io::Result<u64> {
    let stat = rustix::fs::statvfs(path)?;
    Ok(stat.f_bavail.saturating_mul(stat.f_frsize))
}

/// Whether files can be given to other owners.
pub(crate) fn may_change_owner() -> bool {
    rustix::process::geteuid().is_root()
}

/// Whether a folder could not be opened because a link stands in its place.
pub(crate) fn is_link_in_the_way(error: &io::Error) -> bool {
    let loops = rustix::io::Errno::LOOP.raw_os_error();
    error.raw_os_error() == Some(loops)
}
