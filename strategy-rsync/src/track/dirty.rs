//! A set of paths that have changed.

use std::collections::{HashMap, HashSet};
use std::path::{Path, PathBuf};

use crate::links::FileId;

/// How many paths a set holds. Where more have changed, looking at everything is as quick.
const MOST_PATHS: usize = 100_000;
const MOST_BYTES: usize = 32 << 20;

/// What may have changed about a path. Each includes those before it.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) enum Change {
    /// Mode, owner, times, extended attributes: not the content.
    Attributes,
    /// What it is and what is in it, and whether it is there.
    Content,
    /// All that, and everything below it.
    Subtree,
}

/// Paths below one folder that have changed. The empty path is the folder itself.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(crate) struct Dirty {
    paths: HashMap<PathBuf, Change>,
    bytes: usize,
    /// Files that have changed under a name that is not known.
    files: HashSet<FileId>,
    /// Files with several names of which one is known to have changed: the others have, too.
    linked: HashSet<FileId>,
}

/// A set holds as many paths as it can.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Full;

impl Dirty {
    /// Adds a change.
    ///
    /// # Errors
    /// When there are too many; then the set does not hold all of them any more.
    pub(crate) fn mark(&mut self, path: PathBuf, change: Change) -> Result<(), Full> {
        if let Some(known) = self.paths.get_mut(&path) {
            *known = change.max(*known);
            return Ok(());
        }
        if self.paths.len() >= MOST_PATHS || self.bytes >= MOST_BYTES {
            return Err(Full);
        }
        self.bytes += path.as_os_str().len();
        self.paths.insert(path, change);
        Ok(())
    }

    /// Adds a file with several names, whose names may all have changed.
    ///
    /// # Errors
    /// Like [`mark`](Self::mark).
    pub(crate) fn mark_linked(&mut self, file: FileId) -> Result<(), Full> {
        if self.linked.len() >= MOST_PATHS {
            return Err(Full);
        }
        self.linked.insert(file);
        Ok(())
    }

    /// Adds a file of which no name is known.
    ///
    /// # Errors
    /// Like [`mark`](Self::mark).
    pub(crate) fn mark_file(&mut self, file: FileId) -> Result<(), Full> {
        if self.files.len() >= MOST_PATHS {
            return Err(Full);
        }
        self.files.insert(file);
        Ok(())
    }

    /// The files of which no name is known. They may lie elsewhere.
    pub(crate) fn files(&self) -> impl Iterator<Item = FileId> + '_ {
        self.files.iter().copied()
    }

    /// The files with several names which may all have changed. They may lie elsewhere.
    pub(crate) fn linked(&self) -> impl Iterator<Item = FileId> + '_ {
        self.linked.iter().copied()
    }

    /// Adds all changes of `other`.
    ///
    /// # Errors
    /// Like [`mark`](Self::mark).
    pub(crate) fn merge(&mut self, other: Self) -> Result<(), Full> {
        let (paths, files, linked) = (other.paths, other.files, other.linked);
        paths
            .into_iter()
            .try_for_each(|(path, change)| self.mark(path, change))?;
        files
            .into_iter()
            .try_for_each(|file| self.mark_file(file))?;
        linked
            .into_iter()
            .try_for_each(|file| self.mark_linked(file))
    }

    pub(crate) fn len(&self) -> usize {
        self.paths.len()
    }

    pub(crate) fn is_empty(&self) -> bool {
        self.paths.is_empty() && self.files.is_empty() && self.linked.is_empty()
    }

    /// Whether `path` has come, gone or changed, alone or with a directory that it is or was in.
    pub(crate) fn tells_of(&self, path: &Path) -> bool {
        let is_told = |above: &Path| {
            let change = self.paths.get(above);
            change.is_some_and(|change| *change >= Change::Content)
        };
        self.paths.contains_key(path) || path.ancestors().skip(1).any(is_told)
    }

    /// Whether `file` is one of [`files`](Self::files) or [`linked`](Self::linked).
    pub(crate) fn has_file(&self, file: FileId) -> bool {
        self.files.contains(&file) || self.linked.contains(&file)
    }

    /// The changes, each folder before what is in it. What lies in a subtree that has changed as a whole is left out.
    pub(crate) fn into_sorted(self) -> Vec<(PathBuf, Change)> {
        let mut sorted: Vec<(PathBuf, Change)> = self.paths.into_iter().collect();
        sorted.sort_unstable();
        let mut kept: Vec<(PathBuf, Change)> = Vec::with_capacity(sorted.len());
        let mut subtree: Option<PathBuf> = None;
        for (path, change) in sorted {
            if subtree.as_ref().is_some_and(|top| path.starts_with(top)) {
                continue;
            }
            if change == Change::Subtree {
                subtree = Some(path.clone());
            }
            kept.push((path, change));
        }
        kept
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn dirty(paths: &[(&str, Change)]) -> Dirty {
        let mut dirty = Dirty::default();
        for (path, change) in paths {
            dirty.mark(path.into(), *change).unwrap();
        }
        dirty
    }

    #[test]
    fn the_greater_change_of_a_path_counts() {
        let dirty = dirty(&[
            ("a", Change::Content),
            ("a", Change::Attributes),
            ("b", Change::Attributes),
        ]);
        assert_eq!(
            dirty.into_sorted(),
            [
                ("a".into(), Change::Content),
                ("b".into(), Change::Attributes)
            ]
        );
    }

    #[test]
    fn a_subtree_stands_for_all_that_is_in_it_and_for_nothing_beside_it() {
        let dirty = dirty(&[
            ("a/b", Change::Subtree),
            ("a/b/c", Change::Content),
            ("a/b/d/e", Change::Subtree),
            ("a/b.c", Change::Content),
            ("a/bc/d", Change::Content),
            ("a", Change::Attributes),
        ]);
        for told in ["a/b/x/y", "a", "a/b.c/what was in it"] {
            assert!(dirty.tells_of(Path::new(told)), "{told}");
        }
        assert!(!dirty.tells_of(Path::new("a/x")) && !dirty.tells_of(Path::new("a/bc")));
        let left: Vec<PathBuf> = dirty
            .into_sorted()
            .into_iter()
            .map(|(path, _)| path)
            .collect();
        assert_eq!(left, ["a", "a/b", "a/b.c", "a/bc/d"].map(PathBuf::from));
    }

    #[test]
    fn a_set_does_not_grow_without_bound() {
        let mut dirty = Dirty::default();
        for number in 0..MOST_PATHS {
            dirty
                .mark(number.to_string().into(), Change::Content)
                .unwrap();
        }
        assert_eq!(dirty.mark("0".into(), Change::Subtree), Ok(()));
        assert_eq!(dirty.mark("x".into(), Change::Content), Err(Full));
        let mut long = Dirty::default();
        let name = "n".repeat(MOST_BYTES);
        long.mark(name.into(), Change::Content).unwrap();
        assert_eq!(long.mark("x".into(), Change::Content), Err(Full));
    }
}
