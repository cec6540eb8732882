//! Folders that are written to by name, so that no link on the way can lead elsewhere.

use std::ffi::OsStr;
use std::fs::File;
use std::io;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::os::unix::ffi::OsStrExt;
use std::path::{Component, Path};

use rustix::fs::{AtFlags, FileType, Gid, Mode, OFlags, Timespec, Timestamps, Uid, XattrFlags};

use crate::format::{Metadata, Timestamp};

/// An open folder.
#[derive(Debug)]
pub(crate) struct Folder(OwnedFd);

impl Folder {
    /// Makes a folder at `path` that is its owner's alone, and opens it; fails if there is one.
    pub(crate) fn create(path: &Path) -> io::Result<Self> {
        rustix::fs::mkdir(path, Mode::RWXU)?;
        let folder = rustix::fs::open(path, open_flags(), Mode::empty())?;
        // Whoever may write to the parent can put another folder there meanwhile, but none that is ours alone.
        let stat = rustix::fs::fstat(&folder)?;
        let is_ours = stat.st_uid == rustix::process::geteuid().as_raw();
        let others = Mode::RWXG | Mode::RWXO;
        if !is_ours || Mode::from_raw_mode(stat.st_mode).intersects(others) {
            return Err(io::Error::other("somebody else has replaced it"));
        }
        Ok(Self(folder))
    }

    /// Opens the folder at `path` below this one. Each part of `path` must be a folder, and no link to one.
    pub(crate) fn below(&self, path: &Path) -> io::Result<Self> {
        let mut folder = self.0.try_clone()?;
        for part in path.components() {
            let Component::Normal(name) = part else {
                return Err(io::ErrorKind::InvalidInput.into());
            };
            folder = rustix::fs::openat(&folder, name, open_flags(), Mode::empty())?;
        }
        Ok(Self(folder))
    }

    /// Makes a folder; that there is one already is fine.
    pub(crate) fn make_folder(&self, name: &OsStr) -> io::Result<()> {
        match rustix::fs::mkdirat(&self.0, name, Mode::RWXU) {
            Err(rustix::io::Errno::EXIST) if self.kind(name)? == FileType::Directory => Ok(()),
            other => Ok(other?),
        }
    }

    /// Makes an empty file that is its owner's alone; fails if there is anything of that name.
    pub(crate) fn make_file(&self, name: &OsStr) -> io::Result<File> {
        let flags =
            OFlags::WRONLY | OFlags::CREATE | OFlags::EXCL | OFlags::NOFOLLOW | OFlags::CLOEXEC;
        let mode = Mode::RUSR | Mode::WUSR;
        Ok(rustix::fs::openat(&self.0, name, flags, mode)?.into())
    }

    /// Makes a link that is content: where it leads does not matter.
    pub(crate) fn make_symlink(
        &self,
        name: &OsStr,
        target: &[u8],
        metadata: &Metadata,
        set_owner: bool,
    ) -> io::Result<()> {
        rustix::fs::symlinkat(OsStr::from_bytes(target), &self.0, name)?;
        let no_follow = AtFlags::SYMLINK_NOFOLLOW;
        if set_owner {
            let (owner, group) = owner(metadata)?;
            rustix::fs::chownat(&self.0, name, Some(owner), Some(group), no_follow)?;
        }
        rustix::fs::utimensat(&self.0, name, &times(metadata.modified), no_follow)?;
        Ok(())
    }

    /// Gives what is called `from_name` in `from` another name here. It must be a file or a link.
    pub(crate) fn make_link(&self, name: &OsStr, from: &Self, from_name: &OsStr) -> io::Result<()> {
        if !matches!(
            from.kind(from_name)?,
            FileType::RegularFile | FileType::Symlink
        ) {
            return Err(io::ErrorKind::InvalidInput.into());
        }
        rustix::fs::linkat(&from.0, from_name, &self.0, name, AtFlags::empty())?;
        Ok(())
    }

    /// Sets owner, permissions, time and attributes of this folder. See [`set_file_metadata`].
    pub(crate) fn set_metadata(&self, metadata: &Metadata, set_owner: bool) -> io::Result<bool> {
        set_metadata(self.0.as_fd(), metadata, set_owner)
    }

    fn kind(&self, name: &OsStr) -> io::Result<FileType> {
        let stat = rustix::fs::statat(&self.0, name, AtFlags::SYMLINK_NOFOLLOW)?;
        Ok(FileType::from_raw_mode(stat.st_mode))
    }
}

/// Sets owner (if asked), attributes, permissions and time of a file, and says whether all attributes could be set.
pub(crate) fn set_file_metadata(
    file: &File,
    metadata: &Metadata,
    set_owner: bool,
) -> io::Result<bool> {
    set_metadata(file.as_fd(), metadata, set_owner)
}

fn set_metadata(file: BorrowedFd<'_>, metadata: &Metadata, set_owner: bool) -> io::Result<bool> {
    // The order matters: a new owner clears capabilities and set-user-ID, and a file that is not writable any more
    // takes no attributes.
    if set_owner {
        let (owner, group) = owner(metadata)?;
        rustix::fs::fchown(file, Some(owner), Some(group))?;
    }
    let mut complete = true;
    for (name, value) in &metadata.attributes {
        let name = OsStr::from_bytes(name);
        complete &= rustix::fs::fsetxattr(file, name, value, XattrFlags::empty()).is_ok();
    }
    rustix::fs::fchmod(file, Mode::from_raw_mode(narrowed(metadata.mode)))?;
    rustix::fs::futimens(file, &times(metadata.modified))?;
    Ok(complete)
}

fn owner(metadata: &Metadata) -> io::Result<(Uid, Gid)> {
    let number =
        |id: u64| u32::try_from(id).map_err(|_| io::Error::from(io::ErrorKind::InvalidInput));
    Ok((
        Uid::from_raw(number(metadata.uid)?),
        Gid::from_raw(number(metadata.gid)?),
    ))
}

/// Systems differ in how wide a mode is; permissions fit all of them.
fn narrowed<Raw: TryFrom<u32> + Default>(mode: u32) -> Raw {
    Raw::try_from(mode).unwrap_or_default()
}

fn times(modified: Timestamp) -> Timestamps {
    let time = Timespec {
        tv_sec: modified.seconds,
        tv_nsec: modified.nanoseconds.into(),
    };
    Timestamps {
        last_access: time,
        last_modification: time,
    }
}

fn open_flags() -> OFlags {
    OFlags::RDONLY | OFlags::DIRECTORY | OFlags::NOFOLLOW | OFlags::CLOEXEC
}
