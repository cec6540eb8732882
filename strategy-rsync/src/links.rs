//! The names of files that have several.
//!
//! A write through one name of a file is reported for that name alone, and its other names change with it. So they
//! have to be known; where they are not, all files have to be looked at.

use std::collections::{BTreeSet, HashMap};
use std::path::{Path, PathBuf};
use std::time::SystemTime;

use diy_backup_core::Result;

use crate::folder::Folder;
use crate::platform::{self, Facts};
use crate::sync::{into_inner, lock};
use crate::times::TICK;
use crate::walk::{Stop, Walk};

/// How many names are remembered. Files beyond count as those whose names are not known.
const MOST_NAMES: usize = 200_000;

/// Device and inode.
pub(crate) type FileId = (u64, u64);

/// Names in one folder by the file they are of, as they were seen last. They may have changed since.
#[derive(Debug, Clone, Default)]
pub(crate) struct Links {
    files: HashMap<FileId, Linked>,
    count: usize,
    /// Whether some names were not remembered.
    is_full: bool,
}

/// A file with several names.
#[derive(Debug, Clone, Default)]
struct Linked {
    names: BTreeSet<PathBuf>,
    /// How many it has anywhere.
    number: u64,
    /// Whether it had several before a look at everything began, which so has found all of them that are here. Names
    /// that come later are told. One that had a single name then is known by its later ones alone.
    is_whole: bool,
}

impl Links {
    /// Looks at everything in `folder`, for all names of files that last changed before `began`: see
    /// [`note`](Self::note).
    ///
    /// # Errors
    /// When something cannot be looked at.
    pub(crate) fn of(folder: &Folder, began: SystemTime, stop: &Stop) -> Result<Self> {
        let links = std::sync::Mutex::new(Self::default());
        let walk = Walk {
            root: &folder.source,
            exclusions: &folder.exclusions,
            stop,
        };
        walk.run((), |entry, ()| {
            let facts = Facts::of(entry.metadata);
            if !entry.metadata.is_dir() && facts.links > 1 {
                lock(&links).note(&facts, entry.relative, began);
            }
            Ok(Some(()))
        })?;
        Ok(into_inner(links))
    }

    /// Adds a name of a file that a look at everything has found, which began at `began`.
    pub(crate) fn note(&mut self, file: &Facts, name: &Path, began: SystemTime) {
        self.add(file, name);
        if let Some(linked) = self.files.get_mut(&file.id) {
            linked.is_whole = file.latest_change() < began;
        }
    }

    /// Adds a name of a file.
    pub(crate) fn add(&mut self, file: &Facts, name: &Path) {
        if self.count >= MOST_NAMES {
            self.is_full = true;
            return;
        }
        let linked = self.files.entry(file.id).or_default();
        linked.number = file.links;
        if linked.names.insert(name.to_owned()) {
            self.count += 1;
        }
    }

    /// Returns the names in `folder` of files that have others elsewhere and may have changed at or after `since`: a
    /// write by such a name is told of a place that is nobody's. Looks at these files alone, if all are known.
    ///
    /// # Errors
    /// When something cannot be looked at.
    pub(crate) fn changed_elsewhere(
        &self,
        folder: &Folder,
        since: SystemTime,
        stop: &Stop,
    ) -> Result<Vec<PathBuf>> {
        let is_new = |facts: &Facts| facts.links > 1 && facts.latest_change() >= since;
        if self.is_full {
            return find_files(folder, stop, is_new);
        }
        let mut changed = Vec::new();
        for linked in self.files.values().filter(|linked| linked.is_elsewhere()) {
            stop.ensure_going_on()?;
            for name in &linked.names {
                let found = folder.source.join(name).symlink_metadata();
                // Where a name is gone, or leads elsewhere, that was told.
                if found.is_ok_and(|found| is_new(&Facts::of(&found))) {
                    changed.push(name.clone());
                }
            }
        }
        Ok(changed)
    }

    /// Returns `true` if `file` has names elsewhere, or may have.
    pub(crate) fn has_names_elsewhere(&self, file: FileId) -> bool {
        self.is_full || self.files.get(&file).is_some_and(Linked::is_elsewhere)
    }

    /// The names that `file` had when it was seen last.
    pub(crate) fn names(&self, file: FileId) -> impl Iterator<Item = &Path> {
        let linked = self.files.get(&file).into_iter();
        linked
            .flat_map(|linked| &linked.names)
            .map(PathBuf::as_path)
    }

    /// The names of `file` in `folder` that it still has, if these are all `number` it has anywhere, or all that were
    /// ever seen in the folder.
    pub(crate) fn all_names(
        &self,
        folder: &Folder,
        file: FileId,
        number: u64,
    ) -> Option<Vec<PathBuf>> {
        let linked = self.files.get(&file)?;
        let names: Vec<PathBuf> = linked
            .names
            .iter()
            .filter(|name| is_name_of(&folder.source, name, file))
            .cloned()
            .collect();
        let is_known = linked.is_whole && !self.is_full && !names.is_empty();
        (is_known || names.len() as u64 == number).then_some(names)
    }
}

impl Linked {
    fn is_elsewhere(&self) -> bool {
        (self.names.len() as u64) < self.number
    }
}

/// Returns the instant for [`Links::note`], of a look that begins now.
pub(crate) fn look_begins() -> SystemTime {
    let now = platform::file_clock();
    now.checked_sub(TICK).unwrap_or(now)
}

/// Returns the names in `folder` of files that `wanted` says. Looks at everything.
///
/// # Errors
/// When something cannot be looked at.
pub(crate) fn find_files(
    folder: &Folder,
    stop: &Stop,
    wanted: impl Fn(&Facts) -> bool + Sync,
) -> Result<Vec<PathBuf>> {
    let found = std::sync::Mutex::new(Vec::new());
    let walk = Walk {
        root: &folder.source,
        exclusions: &folder.exclusions,
        stop,
    };
    walk.run((), |entry, ()| {
        if !entry.metadata.is_dir() && wanted(&Facts::of(entry.metadata)) {
            lock(&found).push(entry.relative.to_owned());
        }
        Ok(Some(()))
    })?;
    Ok(into_inner(found))
}

/// Whether `name` leads to `file`, and not by way of a link.
fn is_name_of(root: &Path, name: &Path, file: FileId) -> bool {
    let look = |path: &Path| root.join(path).symlink_metadata();
    let is_folder = |path: &Path| look(path).is_ok_and(|found| found.is_dir());
    name.ancestors().skip(1).all(is_folder)
        && look(name).is_ok_and(|found| Facts::of(&found).id == file)
}
