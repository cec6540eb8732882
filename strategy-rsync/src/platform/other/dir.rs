//! Directories by their paths: nothing here can be held open.

use std::ffi::{OsStr, OsString};
use std::fs::{self, File, Metadata};
use std::io;
use std::path::{Path, PathBuf};

use crate::owner::Owner;

#[derive(Debug)]
pub(crate) struct Dir {
    path: PathBuf,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct DirEntry {
    pub(crate) kind: EntryKind,
    pub(crate) id: (u64, u64),
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum EntryKind {
    Directory,
    File,
    Link,
    Other,
}

impl Dir {
    pub(crate) fn open(path: &Path) -> io::Result<Self> {
        let metadata = fs::symlink_metadata(path)?;
        if !metadata.is_dir() {
            return Err(io::ErrorKind::NotADirectory.into());
        }
        Ok(Self {
            path: path.to_owned(),
        })
    }

    pub(crate) fn below(&self, relative: &Path) -> io::Result<Self> {
        let mut dir = Self::open(&self.path)?;
        for part in relative.components() {
            dir = Self::open(&dir.path.join(part))?;
        }
        Ok(dir)
    }

    pub(crate) fn create(&self, name: &OsStr) -> io::Result<Self> {
        fs::create_dir(self.path.join(name))?;
        self.below(Path::new(name))
    }

    pub(crate) fn is_private(&self) -> io::Result<bool> {
        Ok(true)
    }

    pub(crate) fn path(&self) -> &Path {
        &self.path
    }

    pub(crate) fn handle_path(&self) -> PathBuf {
        self.path.clone()
    }

    pub(crate) fn metadata(&self) -> io::Result<Metadata> {
        fs::symlink_metadata(&self.path)
    }

    pub(crate) fn copy_attributes(&self, from: &Metadata) -> io::Result<()> {
        fs::set_permissions(&self.path, from.permissions())
    }

    pub(crate) fn give(&self, _: Owner) -> io::Result<()> {
        Err(io::ErrorKind::Unsupported.into())
    }

    pub(crate) fn give_entry(&self, _: &OsStr, _: &DirEntry, _: Owner) -> io::Result<()> {
        Err(io::ErrorKind::Unsupported.into())
    }

    pub(crate) fn entry(&self, name: &OsStr) -> io::Result<Option<DirEntry>> {
        let kind = match fs::symlink_metadata(self.path.join(name)) {
            Ok(metadata) if metadata.is_dir() => EntryKind::Directory,
            Ok(metadata) if metadata.is_file() => EntryKind::File,
            Ok(metadata) if metadata.is_symlink() => EntryKind::Link,
            Ok(_) => EntryKind::Other,
            Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(None),
            Err(error) => return Err(error),
        };
        Ok(Some(DirEntry { kind, id: (0, 0) }))
    }

    pub(crate) fn names(&self) -> io::Result<Vec<OsString>> {
        fs::read_dir(&self.path)?
            .map(|entry| Ok(entry?.file_name()))
            .collect()
    }

    pub(crate) fn link_target(&self, name: &OsStr) -> io::Result<PathBuf> {
        fs::read_link(self.path.join(name))
    }

    pub(crate) fn rename(&self, name: &OsStr, to: &Self, to_name: &OsStr) -> io::Result<()> {
        let to = to.path.join(to_name);
        // A rename replaces no directory here, not even an empty one.
        match fs::remove_dir(&to) {
            Err(error) if error.kind() != io::ErrorKind::NotFound => return Err(error),
            _ => {}
        }
        fs::rename(self.path.join(name), to)
    }

    pub(crate) fn replace_with_private_file(&self, name: &OsStr) -> io::Result<File> {
        File::create(self.path.join(name))
    }

    pub(crate) fn remove_file(&self, name: &OsStr) -> io::Result<()> {
        match fs::remove_file(self.path.join(name)) {
            Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(()),
            other => other,
        }
    }

    pub(crate) fn remove_dir(&self, name: &OsStr) -> io::Result<()> {
        fs::remove_dir(self.path.join(name))
    }

    pub(crate) fn sync(&self) -> io::Result<()> {
        Ok(())
    }

    pub(crate) fn sync_file_system(&self) -> io::Result<()> {
        Ok(())
    }
}

pub(crate) fn is_link_or_no_directory(error: &io::Error) -> bool {
    error.kind() == io::ErrorKind::NotADirectory
}
