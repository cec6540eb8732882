//! Directories that are held open, so that nobody can put another one into the place of what is worked on.

use std::ffi::{OsStr, OsString};
use std::fs::File;
use std::io;
use std::os::fd::{AsRawFd, OwnedFd};
use std::os::unix::ffi::OsStringExt;
use std::os::unix::fs::{MetadataExt, PermissionsExt};
use std::path::{Component, Path, PathBuf};

use rustix::fs::{AtFlags, FileType, Gid, Mode, OFlags, Uid};
use rustix::io::Errno;

use super::{copy_to_open, is_administrator, own_user};
use crate::owner::Owner;

/// An open directory. Whatever is done through it happens in this very directory, wherever others move it.
#[derive(Debug)]
pub(crate) struct Dir {
    fd: OwnedFd,
    path: PathBuf,
}

/// What an entry of a directory is; of a link, the link itself.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct DirEntry {
    pub(crate) kind: EntryKind,
    /// Device and inode.
    pub(crate) id: (u64, u64),
    owner: (u32, u32),
    mode: u32,
}

/// The kind of a directory entry.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum EntryKind {
    Directory,
    File,
    Link,
    Other,
}

impl Dir {
    /// Opens the directory at `path`, which must not be a link itself.
    pub(crate) fn open(path: &Path) -> io::Result<Self> {
        Ok(Self {
            fd: rustix::fs::open(path, open_flags(), Mode::empty())?,
            path: path.to_owned(),
        })
    }

    /// Opens a directory below this one. No part of `relative` may be a link.
    pub(crate) fn below(&self, relative: &Path) -> io::Result<Self> {
        let mut fd = self.fd.try_clone()?;
        for part in relative.components() {
            let Component::Normal(name) = part else {
                return Err(io::ErrorKind::InvalidInput.into());
            };
            fd = rustix::fs::openat(&fd, name, open_flags(), Mode::empty())?;
        }
        Ok(Self {
            fd,
            path: self.path.join(relative),
        })
    }

    /// Creates a directory that is its owner's alone from its creation, and opens it.
    ///
    /// # Errors
    /// When there is something of that name, or somebody else has replaced the new directory meanwhile.
    pub(crate) fn create(&self, name: &OsStr) -> io::Result<Self> {
        rustix::fs::mkdirat(&self.fd, name, Mode::RWXU)?;
        let created = self.below(Path::new(name))?;
        // Whoever may write to this directory can replace what is in it, and so what was just made.
        if created.is_private()? && created.names()?.is_empty() {
            return Ok(created);
        }
        Err(io::Error::other("somebody else has replaced it"))
    }

    /// Returns `true` if nobody else, but root, can reach what is in this directory.
    pub(crate) fn is_private(&self) -> io::Result<bool> {
        let metadata = self.metadata()?;
        let others = metadata.mode() & 0o077;
        Ok(metadata.uid() == own_user() && others == 0)
    }

    /// Returns the path that it was opened by, for messages.
    pub(crate) fn path(&self) -> &Path {
        &self.path
    }

    /// Returns a path that leads into this very directory, for programs that take paths.
    pub(crate) fn handle_path(&self) -> PathBuf {
        // Only root has something to lose by following a path that others can change. And the kernel keeps other
        // processes from looking into one that has capabilities from its file.
        // The dot is for those who do not follow a link at the end of a path.
        let handle = PathBuf::from(format!(
            "/proc/{}/fd/{}/.",
            std::process::id(),
            self.fd.as_raw_fd()
        ));
        if cfg!(target_os = "linux") && is_administrator() && handle.is_dir() {
            handle
        } else {
            self.path.clone()
        }
    }

    /// Returns the attributes of this directory.
    pub(crate) fn metadata(&self) -> io::Result<std::fs::Metadata> {
        File::from(self.fd.try_clone()?).metadata()
    }

    /// Gives this directory the mode, the owner and the modification time of another.
    pub(crate) fn copy_attributes(&self, from: &std::fs::Metadata) -> io::Result<()> {
        copy_to_open(from, &File::from(self.fd.try_clone()?))
    }

    /// Gives this directory to `owner`, and keeps its mode.
    pub(crate) fn give(&self, owner: Owner) -> io::Result<()> {
        let metadata = self.metadata()?;
        if (metadata.uid(), metadata.gid()) == (owner.user, owner.group) {
            return Ok(());
        }
        let (user, group) = raw(owner);
        rustix::fs::fchown(&self.fd, Some(user), Some(group))?;
        // The kernel takes the set-user and set-group bits away with the owner they were meant for.
        File::from(self.fd.try_clone()?).set_permissions(metadata.permissions())
    }

    /// Gives the entry `name`, which is `entry` and no directory, to `owner`, and keeps its mode.
    pub(crate) fn give_entry(
        &self,
        name: &OsStr,
        entry: &DirEntry,
        owner: Owner,
    ) -> io::Result<()> {
        if entry.owner == (owner.user, owner.group) {
            return Ok(());
        }
        let (user, group) = raw(owner);
        let no_follow = AtFlags::SYMLINK_NOFOLLOW;
        rustix::fs::chownat(&self.fd, name, Some(user), Some(group), no_follow)?;
        if entry.kind == EntryKind::File && entry.mode & 0o6000 != 0 {
            let flags = OFlags::NOFOLLOW | OFlags::NONBLOCK | OFlags::CLOEXEC;
            let file = File::from(rustix::fs::openat(&self.fd, name, flags, Mode::empty())?);
            let metadata = file.metadata()?;
            if (metadata.dev(), metadata.ino()) == entry.id {
                file.set_permissions(std::fs::Permissions::from_mode(entry.mode & 0o7777))?;
            }
        }
        Ok(())
    }

    /// Returns what the entry `name` is; `None` when there is none.
    pub(crate) fn entry(&self, name: &OsStr) -> io::Result<Option<DirEntry>> {
        match rustix::fs::statat(&self.fd, name, AtFlags::SYMLINK_NOFOLLOW) {
            Ok(stat) => Ok(Some(DirEntry {
                kind: match FileType::from_raw_mode(stat.st_mode) {
                    FileType::Directory => EntryKind::Directory,
                    FileType::RegularFile => EntryKind::File,
                    FileType::Symlink => EntryKind::Link,
                    _ => EntryKind::Other,
                },
                id: (number(stat.st_dev), number(stat.st_ino)),
                owner: (stat.st_uid, stat.st_gid),
                mode: u32::try_from(number(stat.st_mode)).unwrap_or(0),
            })),
            Err(Errno::NOENT) => Ok(None),
            Err(error) => Err(error.into()),
        }
    }

    /// Returns the names of the entries.
    pub(crate) fn names(&self) -> io::Result<Vec<OsString>> {
        // A listing has a position of its own: the handle of this directory is not to be shared with it.
        let listed = rustix::fs::openat(&self.fd, ".", open_flags(), Mode::empty())?;
        let mut names = Vec::new();
        for entry in rustix::fs::Dir::new(listed)? {
            let name = entry?.file_name().to_bytes().to_vec();
            if name != b"." && name != b".." {
                names.push(OsString::from_vec(name));
            }
        }
        Ok(names)
    }

    /// Returns where the link `name` leads to.
    pub(crate) fn link_target(&self, name: &OsStr) -> io::Result<PathBuf> {
        let target = rustix::fs::readlinkat(&self.fd, name, Vec::new())?;
        Ok(OsString::from_vec(target.into_bytes()).into())
    }

    /// Renames an entry into another directory.
    pub(crate) fn rename(&self, name: &OsStr, to: &Self, to_name: &OsStr) -> io::Result<()> {
        Ok(rustix::fs::renameat(&self.fd, name, &to.fd, to_name)?)
    }

    /// Creates an empty file that is its owner's alone, in place of one that is there.
    pub(crate) fn replace_with_private_file(&self, name: &OsStr) -> io::Result<File> {
        self.remove_file(name)?;
        let flags = OFlags::WRONLY | OFlags::CREATE | OFlags::EXCL | OFlags::NOFOLLOW;
        let mode = Mode::RUSR | Mode::WUSR;
        Ok(rustix::fs::openat(&self.fd, name, flags | OFlags::CLOEXEC, mode)?.into())
    }

    /// Removes an entry that is no directory; that there is none is no error.
    pub(crate) fn remove_file(&self, name: &OsStr) -> io::Result<()> {
        match rustix::fs::unlinkat(&self.fd, name, AtFlags::empty()) {
            Err(Errno::NOENT) => Ok(()),
            other => Ok(other?),
        }
    }

    /// Removes an empty directory.
    pub(crate) fn remove_dir(&self, name: &OsStr) -> io::Result<()> {
        Ok(rustix::fs::unlinkat(&self.fd, name, AtFlags::REMOVEDIR)?)
    }

    /// Makes names that came and went durable.
    pub(crate) fn sync(&self) -> io::Result<()> {
        Ok(rustix::fs::fsync(&self.fd)?)
    }

    /// Writes everything of the file system that it is on to its disk.
    pub(crate) fn sync_file_system(&self) -> io::Result<()> {
        #[cfg(target_os = "linux")]
        {
            Ok(rustix::fs::syncfs(&self.fd)?)
        }
        #[cfg(not(target_os = "linux"))]
        {
            rustix::fs::sync();
            self.sync()
        }
    }
}

/// Returns `true` if a directory could not be opened because a link stands in its place.
pub(crate) fn is_link_or_no_directory(error: &io::Error) -> bool {
    let numbers = [Errno::LOOP, Errno::NOTDIR].map(Errno::raw_os_error);
    error
        .raw_os_error()
        .is_some_and(|number| numbers.contains(&number))
}

fn open_flags() -> OFlags {
    OFlags::RDONLY | OFlags::DIRECTORY | OFlags::NOFOLLOW | OFlags::CLOEXEC
}

fn raw(owner: Owner) -> (Uid, Gid) {
    (Uid::from_raw(owner.user), Gid::from_raw(owner.group))
}

/// Systems differ in how wide the numbers of a file are.
fn number<N: TryInto<u64>>(number: N) -> u64 {
    number.try_into().unwrap_or(u64::MAX)
}
