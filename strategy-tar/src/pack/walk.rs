//! The staging folder from top to bottom, each folder in the order of its names.

use std::ffi::OsString;
use std::fs::{self, Metadata};
use std::path::{Path, PathBuf};

use diy_backup_core::{Result, ResultExt};

use crate::format::ArchivePath;

/// Something in the staging folder.
#[derive(Debug)]
pub(crate) struct Found {
    pub(crate) path: PathBuf,
    pub(crate) inside: ArchivePath,
    pub(crate) metadata: Metadata,
}

/// Yields a folder and then what is in it. Links are not followed. No more than the names of the folders that are
/// open are in memory.
#[derive(Debug)]
pub(crate) struct Walk {
    first: Option<(PathBuf, ArchivePath)>,
    open: Vec<Folder>,
}

#[derive(Debug)]
struct Folder {
    path: PathBuf,
    inside: ArchivePath,
    /// The last one comes first.
    names: Vec<OsString>,
}

impl Walk {
    /// Walks the folder at `path`, which is called `inside` in the archive.
    pub(crate) fn new(path: &Path, inside: ArchivePath) -> Self {
        Self {
            first: Some((path.to_owned(), inside)),
            open: Vec::new(),
        }
    }

    fn advance(&mut self) -> Option<(PathBuf, ArchivePath)> {
        if let Some(first) = self.first.take() {
            return Some(first);
        }
        loop {
            let folder = self.open.last_mut()?;
            if let Some(name) = folder.names.pop() {
                return Some((folder.path.join(&name), folder.inside.join(&name)));
            }
            self.open.pop();
        }
    }

    fn visit(&mut self, path: PathBuf, inside: ArchivePath) -> Result<Found> {
        let cannot_read = || format!("cannot read {}", path.display());
        let metadata = fs::symlink_metadata(&path).io_context(cannot_read)?;
        if metadata.is_dir() {
            let names = fs::read_dir(&path)
                .and_then(|files| files.map(|file| Ok(file?.file_name())).collect())
                .io_context(cannot_read);
            let mut names: Vec<OsString> = names?;
            names.sort_unstable_by(|a, b| b.cmp(a));
            self.open.push(Folder {
                path: path.clone(),
                inside: inside.clone(),
                names,
            });
        }
        Ok(Found {
            path,
            inside,
            metadata,
        })
    }
}

impl Iterator for Walk {
    type Item = Result<Found>;

    fn next(&mut self) -> Option<Self::Item> {
        let (path, inside) = self.advance()?;
        Some(self.visit(path, inside))
    }
}
