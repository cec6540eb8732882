//! The names of files that have several.
//!
//! A write through one name of a file is reported for that name alone, and its other names change with it. So they
//! have to be known; where they are not, all files have to be looked at.

use std::collections::{BTreeSet, HashMap};
use std::path::{Path, PathBuf};

use diy_backup_core::Result;

use crate::folder::Folder;
use crate::platform::Facts;
use crate::sync::{into_inner, lock};
use crate::walk::{Stop, Walk};

/// How many names are remembered. Files beyond count as those whose names are not known.
const MOST_NAMES: usize = 200_000;

/// Device and inode.
pub(crate) type FileId = (u64, u64);

/// Names in one folder by the file they are of, as they were seen last. They may have changed since.
#[derive(Debug, Clone, Default)]
pub(crate) struct Links {
    names: HashMap<FileId, BTreeSet<PathBuf>>,
    count: usize,
}

impl Links {
    /// Looks at everything in `folder`.
    ///
    /// # Errors
    /// When something cannot be looked at.
    pub(crate) fn of(folder: &Folder, stop: &Stop) -> Result<Self> {
        let links = std::sync::Mutex::new(Self::default());
        let walk = Walk {
            root: &folder.source,
            exclusions: &folder.exclusions,
            stop,
        };
        walk.run((), |entry, ()| {
            let facts = Facts::of(entry.metadata);
            if !entry.metadata.is_dir() && facts.links > 1 {
                lock(&links).add(facts.id, entry.relative);
            }
            Ok(Some(()))
        })?;
        Ok(into_inner(links))
    }

    /// Adds a name of a file.
    pub(crate) fn add(&mut self, file: FileId, name: &Path) {
        if self.count < MOST_NAMES && self.names.entry(file).or_default().insert(name.to_owned()) {
            self.count += 1;
        }
    }

    /// The names that `file` had when it was seen last.
    pub(crate) fn names(&self, file: FileId) -> impl Iterator<Item = &Path> {
        self.names
            .get(&file)
            .into_iter()
            .flatten()
            .map(PathBuf::as_path)
    }

    /// The names of `file` in `folder` that it still has, if these are all `number` it has anywhere.
    pub(crate) fn all_names(
        &self,
        folder: &Folder,
        file: FileId,
        number: u64,
    ) -> Option<Vec<PathBuf>> {
        let names: Vec<PathBuf> = self
            .names
            .get(&file)?
            .iter()
            .filter(|name| is_name_of(&folder.source, name, file))
            .cloned()
            .collect();
        (names.len() as u64 == number).then_some(names)
    }
}

/// Whether `name` leads to `file`, and not by way of a link.
fn is_name_of(root: &Path, name: &Path, file: FileId) -> bool {
    let look = |path: &Path| root.join(path).symlink_metadata();
    let is_folder = |path: &Path| look(path).is_ok_and(|found| found.is_dir());
    name.ancestors().skip(1).all(is_folder)
        && look(name).is_ok_and(|found| Facts::of(&found).id == file)
}
