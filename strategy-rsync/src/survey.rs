//! What has to be done to a copy, given which paths of its original have changed.
//!
//! A [`Survey`] looks at the changed paths on both sides and makes a [`Plan`]: what has to go from the copy, and what
//! rsync has to be told of. Every file whose content may have changed loses its copy first. So rsync copies it whatever
//! size and time say, and nothing stays linked to what it does not belong to. Every folder whose entries change is
//! named too, as its modification time is new.

use std::collections::{BTreeSet, HashMap, HashSet};
use std::ffi::OsString;
use std::fs::Metadata;

use std::path::{Path, PathBuf};

use diy_backup_core::{Error, ErrorKind, Result, ResultExt};

use crate::folder::Folder;
use crate::links::{FileId, Links, find_files};
use crate::platform::Facts;
use crate::track::{Change, Dirty, Full};
use crate::walk::{Stop, asked_again, is_gone, names_in};

/// What has to be done to a copy, in this order. All paths are relative.
#[derive(Debug, Default, PartialEq, Eq)]
pub(crate) struct Plan {
    /// What goes from the copy, with everything below.
    pub(crate) remove: BTreeSet<PathBuf>,
    /// Copies that have the content of their original for certain, and its modification time in seconds and
    /// nanoseconds: with that time, rsync leaves the content alone.
    pub(crate) retime: Vec<(PathBuf, (i64, i64))>,
    /// What rsync is told of; a folder without what is in it.
    pub(crate) list: BTreeSet<PathBuf>,
    /// Names of files that have others which are not known.
    pub(crate) unsettled: Vec<PathBuf>,
}

/// Makes a [`Plan`].
#[derive(Debug)]
pub(crate) struct Survey<'a> {
    folder: &'a Folder,
    links: &'a mut Links,
    stop: &'a Stop,
    plan: Plan,
    /// Folders that are folders on both sides.
    sound: HashSet<PathBuf>,
    /// Subtrees that have been looked at.
    walked: HashSet<PathBuf>,
    /// Files with several names, and the changed ones of them.
    linked: HashMap<FileId, Linked>,
}

#[derive(Debug)]
struct Linked {
    number: u64,
    changed: BTreeSet<PathBuf>,
}

impl<'a> Survey<'a> {
    pub(crate) fn new(folder: &'a Folder, links: &'a mut Links, stop: &'a Stop) -> Self {
        Self {
            folder,
            links,
            stop,
            plan: Plan::default(),
            sound: HashSet::new(),
            walked: HashSet::new(),
            linked: HashMap::new(),
        }
    }

    /// Looks at everything that has changed.
    ///
    /// # Errors
    /// When something cannot be looked at.
    pub(crate) fn run(mut self, mut dirty: Dirty) -> Result<Plan> {
        let linked = dirty.linked().flat_map(|file| self.links.names(file));
        let mut names: Vec<PathBuf> = linked.map(Path::to_owned).collect();
        names.extend(self.names_of(dirty.files().collect())?);
        for name in names {
            dirty
                .mark(name, Change::Content)
                .map_err(|Full| Error::new(ErrorKind::Internal, "too much has changed"))?;
        }
        for (path, change) in dirty.into_sorted() {
            self.stop.ensure_going_on()?;
            let (path, change) = self.within_reach(path, change)?;
            if self.look_at(&path, change)? == Found::FolderToWalk {
                self.walk(path)?;
            }
        }
        self.settle_links()?;
        Ok(self.plan)
    }

    /// Returns the names of files that the kernel told without one. Such a file has changed by its handle, as a file
    /// server writes, or by a name elsewhere; which names it has here takes a look at everything, if none is known.
    fn names_of(&self, files: HashSet<FileId>) -> Result<Vec<PathBuf>> {
        let mut names = Vec::new();
        let mut unknown = HashSet::new();
        for file in files {
            if self.links.all_names(self.folder, file, u64::MAX).is_none() {
                unknown.insert(file);
            }
            names.extend(self.links.names(file).map(Path::to_owned));
        }
        if !unknown.is_empty() {
            tracing::debug!(
                files = unknown.len(),
                "looking for files that changed without a name"
            );
            let wanted = |facts: &Facts| unknown.contains(&facts.id);
            names.extend(find_files(self.folder, self.stop, wanted)?);
        }
        Ok(names)
    }

    /// The path itself, or what above it is no folder on one of both sides: that has to be put right then.
    fn within_reach(&mut self, path: PathBuf, change: Change) -> Result<(PathBuf, Change)> {
        let mut above: Vec<&Path> = path.ancestors().skip(1).collect();
        above.retain(|above| !above.as_os_str().is_empty());
        for folder in above.into_iter().rev() {
            if self.sound.contains(folder) {
                continue;
            }
            if !self.original(folder)?.is_some_and(|found| found.is_dir()) {
                return Ok((folder.to_owned(), Change::Content));
            }
            if !self.copy(folder)?.is_some_and(|found| found.is_dir()) {
                return Ok((folder.to_owned(), Change::Subtree));
            }
            self.sound.insert(folder.to_owned());
        }
        Ok((path, change))
    }

    fn look_at(&mut self, path: &Path, change: Change) -> Result<Found> {
        let original = self.original(path)?;
        let copy = self.copy(path)?;
        self.list_folder_of(path);
        let Some(original) = original else {
            if copy.is_some() {
                self.plan.remove.insert(path.to_owned());
            }
            return Ok(Found::NoFolder);
        };
        self.plan.list.insert(path.to_owned());
        if original.is_dir() {
            let has_folder = copy.as_ref().is_some_and(Metadata::is_dir);
            if copy.is_some() && !has_folder {
                self.plan.remove.insert(path.to_owned());
            }
            return Ok(if change == Change::Subtree || !has_folder {
                Found::FolderToWalk
            } else {
                Found::FolderAlone
            });
        }
        self.look_at_file(path, change, &original, copy.as_ref());
        Ok(Found::NoFolder)
    }

    /// A file, or a symbolic link.
    fn look_at_file(
        &mut self,
        path: &Path,
        change: Change,
        original: &Metadata,
        copy: Option<&Metadata>,
    ) {
        let facts = Facts::of(original);
        if facts.links > 1 {
            self.links.add(&facts, path);
        }
        let keeps_content = change == Change::Attributes
            && copy.is_some_and(|copy| {
                copy.file_type() == original.file_type()
                    && copy.len() == original.len()
                    && Facts::of(copy).links == facts.links
            });
        if keeps_content {
            if original.is_file() {
                self.plan.retime.push((path.to_owned(), facts.modified));
            }
            return;
        }
        if copy.is_some() {
            self.plan.remove.insert(path.to_owned());
        }
        if facts.links > 1 {
            let linked = self.linked.entry(facts.id).or_insert_with(|| Linked {
                number: facts.links,
                changed: BTreeSet::new(),
            });
            linked.changed.insert(path.to_owned());
        }
    }

    /// Looks at everything below a folder, and at what only its copy has.
    fn walk(&mut self, top: PathBuf) -> Result<()> {
        let mut waiting = vec![top];
        while let Some(folder) = waiting.pop() {
            self.stop.ensure_going_on()?;
            if !self.walked.insert(folder.clone()) {
                continue;
            }
            let names = names_in(&self.folder.source.join(&folder))?;
            for name in &names {
                let path = folder.join(name);
                if self.look_at(&path, Change::Subtree)? == Found::FolderToWalk {
                    waiting.push(path);
                }
            }
            let copy = self.folder.copy.join(&folder);
            if copy.symlink_metadata().is_ok_and(|copy| copy.is_dir()) {
                let original: HashSet<OsString> = names.into_iter().collect();
                let extra = names_in(&copy)?;
                let extra = extra.into_iter().filter(|name| !original.contains(name));
                self.plan.remove.extend(extra.map(|name| folder.join(name)));
            }
        }
        Ok(())
    }

    /// A file with several names is copied with all of them at once, so that rsync links them to each other.
    fn settle_links(&mut self) -> Result<()> {
        for (file, linked) in std::mem::take(&mut self.linked) {
            let Some(names) = self.links.all_names(self.folder, file, linked.number) else {
                self.plan.unsettled.extend(linked.changed);
                continue;
            };
            for name in names {
                if self.copy(&name)?.is_some() {
                    self.plan.remove.insert(name.clone());
                }
                self.list_folder_of(&name);
                self.plan.list.insert(name);
            }
        }
        Ok(())
    }

    fn list_folder_of(&mut self, path: &Path) {
        if let Some(folder) = path.parent() {
            self.plan.list.insert(folder.to_owned());
        }
    }

    /// What is at `path` in the original, if it belongs into the copy.
    fn original(&self, path: &Path) -> Result<Option<Metadata>> {
        let found = look(&self.folder.source.join(path))?;
        Ok(found.filter(|found| {
            let kind = found.file_type();
            (kind.is_dir() || kind.is_file() || kind.is_symlink())
                && !self.folder.exclusions.cover_within(path, kind.is_dir())
        }))
    }

    fn copy(&self, path: &Path) -> Result<Option<Metadata>> {
        look(&self.folder.copy.join(path))
    }
}

/// What was found at a path.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Found {
    NoFolder,
    FolderAlone,
    FolderToWalk,
}

fn look(path: &Path) -> Result<Option<Metadata>> {
    match asked_again(|| path.symlink_metadata()) {
        Ok(metadata) => Ok(Some(metadata)),
        Err(error) if is_gone(&error) => Ok(None),
        Err(error) => Err(error).io_context(|| format!("cannot look at {}", path.display())),
    }
}

impl Plan {
    pub(crate) fn is_empty(&self) -> bool {
        self.list.is_empty() && self.remove.is_empty()
    }

    /// Does to the copy what rsync does not: removes and sets times.
    ///
    /// # Errors
    /// When something cannot be removed, or a time cannot be set.
    pub(crate) fn clear(&self, copy: &Path, stop: &Stop) -> Result<()> {
        for path in &self.remove {
            stop.ensure_going_on()?;
            crate::remove::remove_in(copy, path)?;
        }
        for (path, modified) in &self.retime {
            let path = copy.join(path);
            match crate::platform::set_modified(&path, *modified) {
                // Another name of the same file has changed, and all of them have just been removed.
                Err(error) if is_gone(&error) => {}
                set => set.io_context(|| format!("cannot set the time of {}", path.display()))?,
            }
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use std::fs;

    use super::*;

    #[cfg(unix)]
    #[test]
    fn a_file_that_changed_under_an_unknown_name_is_copied_under_those_that_are_known() {
        let root = tempfile::tempdir().unwrap();
        let folder = crate::folder::home_in(root.path());
        for side in [&folder.source, &folder.copy] {
            fs::create_dir_all(side.join("a")).unwrap();
            fs::write(side.join("a/one"), "x").unwrap();
            fs::hard_link(side.join("a/one"), side.join("two")).unwrap();
            fs::write(side.join("other"), "x").unwrap();
        }
        let stop = Stop::new(&diy_backup_core::Control::new());
        let mut links = Links::of(&folder, crate::links::look_begins(), &stop).unwrap();
        let id = Facts::of(&fs::metadata(folder.source.join("two")).unwrap()).id;
        let mut dirty = Dirty::default();
        dirty.mark_file(id).unwrap();
        dirty.mark_file((id.0, u64::MAX)).unwrap();
        let plan = Survey::new(&folder, &mut links, &stop).run(dirty).unwrap();
        let names = ["a/one", "two"].map(PathBuf::from);
        assert_eq!(plan.remove, names.clone().into());
        assert_eq!(
            plan.list,
            BTreeSet::from(["", "a", "a/one", "two"].map(PathBuf::from))
        );
        assert_eq!(plan.unsettled, Vec::<PathBuf>::new());
    }

    #[cfg(unix)]
    #[test]
    fn a_file_that_changed_without_a_name_is_looked_for() {
        let root = tempfile::tempdir().unwrap();
        let mut folder = crate::folder::home_in(root.path());
        folder.exclusions.leave_out(Path::new("out"));
        for side in [&folder.source, &folder.copy] {
            fs::create_dir_all(side.join("a/b")).unwrap();
            fs::write(side.join("a/b/file"), "x").unwrap();
        }
        fs::create_dir(folder.source.join("out")).unwrap();
        fs::write(folder.source.join("out/file"), "x").unwrap();
        let id = |path: &str| Facts::of(&fs::metadata(folder.source.join(path)).unwrap()).id;
        let mut dirty = Dirty::default();
        dirty.mark_file(id("a/b/file")).unwrap();
        dirty.mark_file(id("out/file")).unwrap();
        let stop = Stop::new(&diy_backup_core::Control::new());
        let mut links = Links::default();
        let plan = Survey::new(&folder, &mut links, &stop).run(dirty).unwrap();
        assert_eq!(plan.remove, BTreeSet::from(["a/b/file".into()]));
        assert_eq!(
            plan.list,
            BTreeSet::from(["a/b", "a/b/file"].map(PathBuf::from))
        );
    }
}
