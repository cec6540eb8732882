//! Removing things below a directory by descriptors, so that no link on the way leads anywhere else.
//!
//! A path that was looked at a moment ago may lead elsewhere by now: a program that copies at the same time may have put
//! a link in the place of a directory. The kernel follows no link here, neither on the way nor at the end.

use std::ffi::OsStr;
use std::io;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::path::{Component, Path};

use rustix::fs::{AtFlags, FileType, Mode, OFlags, Timespec, Timestamps, UTIME_OMIT};
use rustix::io::Errno;

const DIRECTORY: OFlags = OFlags::RDONLY
    .union(OFlags::DIRECTORY)
    .union(OFlags::NOFOLLOW)
    .union(OFlags::CLOEXEC);

/// Removes what is at `relative` below the directory `root` with everything in it; that there is nothing is no error.
/// The directory that it was in keeps its modification time.
///
/// # Errors
/// When something is left, and when `relative` does not lead down.
pub(crate) fn remove(root: &Path, relative: &Path) -> io::Result<()> {
    let Some(name) = relative.file_name() else {
        return Err(io::ErrorKind::InvalidInput.into());
    };
    let Some(parent) = open_parent(root, relative)? else {
        return Ok(());
    };
    let before = rustix::fs::fstat(&parent)?;
    let removed = remove_at(parent.as_fd(), name);
    let times = Timestamps {
        last_access: Timespec {
            tv_sec: 0,
            tv_nsec: UTIME_OMIT,
        },
        last_modification: Timespec {
            tv_sec: before.st_mtime,
            tv_nsec: i64::try_from(before.st_mtime_nsec).unwrap_or(0),
        },
    };
    // A time that cannot be kept is found and mended like any other difference.
    let _ = rustix::fs::futimens(&parent, &times);
    removed
}

/// Opens the directory that `relative` is in; `None` where there is none, or a link on the way.
fn open_parent(root: &Path, relative: &Path) -> io::Result<Option<OwnedFd>> {
    // Links that lead to the root are the administrator's own.
    let mut directory = rustix::fs::open(
        root,
        OFlags::RDONLY | OFlags::DIRECTORY | OFlags::CLOEXEC,
        Mode::empty(),
    )?;
    for part in relative.parent().into_iter().flat_map(Path::components) {
        let Component::Normal(name) = part else {
            return Err(io::ErrorKind::InvalidInput.into());
        };
        directory = match open_directory(directory.as_fd(), name) {
            Ok(opened) => opened,
            Err(Errno::NOENT | Errno::NOTDIR | Errno::LOOP) => return Ok(None),
            Err(error) => return Err(error.into()),
        };
    }
    Ok(Some(directory))
}

/// Opens a directory, also one of our own whose mode forbids it: a copy has the mode of its original.
fn open_directory(parent: BorrowedFd<'_>, name: &OsStr) -> Result<OwnedFd, Errno> {
    match rustix::fs::openat(parent, name, DIRECTORY, Mode::empty()) {
        Err(Errno::ACCESS) => {
            open_up(parent, name)?;
            rustix::fs::openat(parent, name, DIRECTORY, Mode::empty())
        }
        opened => opened,
    }
}

/// Gives us every right to a directory. Linux cannot change the mode of a mere reference, but by this detour.
fn open_up(parent: BorrowedFd<'_>, name: &OsStr) -> Result<(), Errno> {
    use std::os::fd::AsRawFd;
    let flags = OFlags::PATH | OFlags::DIRECTORY | OFlags::NOFOLLOW | OFlags::CLOEXEC;
    let reference = rustix::fs::openat(parent, name, flags, Mode::empty())?;
    let path = format!("/proc/self/fd/{}", reference.as_raw_fd());
    rustix::fs::chmod(path, Mode::RWXU)
}

fn remove_at(parent: BorrowedFd<'_>, name: &OsStr) -> io::Result<()> {
    match unlink(parent, name, AtFlags::empty()) {
        Ok(()) | Err(Errno::NOENT) => return Ok(()),
        // Linux says the first of a directory, others the second.
        Err(Errno::ISDIR | Errno::PERM) => {}
        Err(error) => return Err(error.into()),
    }
    let directory = match open_directory(parent, name) {
        Ok(directory) => directory,
        Err(Errno::NOENT) => return Ok(()),
        Err(error) => return Err(error.into()),
    };
    for entry in rustix::fs::Dir::read_from(&directory)? {
        let entry = entry?;
        let name = entry.file_name();
        if name == c"." || name == c".." {
            continue;
        }
        let name = std::os::unix::ffi::OsStrExt::from_bytes(name.to_bytes());
        if entry.file_type() == FileType::Directory {
            remove_at(directory.as_fd(), name)?;
        } else {
            match unlink(directory.as_fd(), name, AtFlags::empty()) {
                Ok(()) | Err(Errno::NOENT) => {}
                Err(_) => remove_at(directory.as_fd(), name)?,
            }
        }
    }
    match unlink(parent, name, AtFlags::REMOVEDIR) {
        Ok(()) | Err(Errno::NOENT) => Ok(()),
        Err(error) => Err(error.into()),
    }
}

/// Removes a name, also from a directory of our own that nobody may write to.
fn unlink(parent: BorrowedFd<'_>, name: &OsStr, flags: AtFlags) -> Result<(), Errno> {
    match rustix::fs::unlinkat(parent, name, flags) {
        Err(Errno::ACCESS) => {
            let mode = Mode::from_raw_mode(rustix::fs::fstat(parent)?.st_mode);
            rustix::fs::fchmod(parent, mode | Mode::RWXU)?;
            let unlinked = rustix::fs::unlinkat(parent, name, flags);
            rustix::fs::fchmod(parent, mode)?;
            unlinked
        }
        unlinked => unlinked,
    }
}

#[cfg(test)]
mod tests {
    use std::fs;
    use std::os::unix::fs::{MetadataExt, PermissionsExt, symlink};
    use std::path::PathBuf;

    use super::*;

    struct Place {
        root: tempfile::TempDir,
    }

    impl Place {
        fn new() -> Self {
            let root = tempfile::tempdir().unwrap();
            fs::create_dir_all(root.path().join("copy/a/b")).unwrap();
            fs::create_dir_all(root.path().join("outside/b")).unwrap();
            fs::write(root.path().join("outside/b/file"), "x").unwrap();
            Self { root }
        }

        fn at(&self, path: &str) -> PathBuf {
            self.root.path().join(path)
        }

        fn remove(&self, relative: &str) -> io::Result<()> {
            remove(&self.at("copy"), Path::new(relative))
        }
    }

    #[test]
    fn nothing_is_removed_through_a_link() {
        let place = Place::new();
        symlink(place.at("outside"), place.at("copy/link")).unwrap();
        symlink(place.at("outside"), place.at("copy/a/link")).unwrap();
        place.remove("link/b/file").unwrap();
        place.remove("a/link/b").unwrap();
        assert!(place.remove("../outside/b/file").is_err());
        place.remove("a").unwrap();
        place.remove("link").unwrap();
        assert!(place.at("outside/b/file").exists());
        assert_eq!(fs::read_dir(place.at("copy")).unwrap().count(), 0);
    }

    #[test]
    fn directories_that_nobody_may_write_to_are_removed_and_times_stay() {
        let place = Place::new();
        fs::write(place.at("copy/a/b/file"), "x").unwrap();
        for (path, mode) in [("copy/a/b", 0o000), ("copy/a", 0o555)] {
            fs::set_permissions(place.at(path), fs::Permissions::from_mode(mode)).unwrap();
        }
        filetime::set_file_mtime(place.at("copy/a"), filetime::FileTime::zero()).unwrap();
        place.remove("a/b").unwrap();
        place.remove("a/gone/too").unwrap();
        let left = fs::metadata(place.at("copy/a")).unwrap();
        assert_eq!((left.mtime(), left.mode() & 0o777), (0, 0o555));
        assert!(!place.at("copy/a/b").exists());
    }
}
