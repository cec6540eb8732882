//! How the directories that a backup copies are laid out: where repositories lie, and what is shared.

use std::path::{Path, PathBuf};

use diy_backup_core::InstanceKind;

use crate::folder::Role;
use crate::platform::{Dir, EntryKind};

/// The layout of a home directory or a data store.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Layout {
    /// The home directory of a Bitbucket, with the shared home in `shared`.
    Whole,
    /// The shared home of a Bitbucket alone, as clusters mount it.
    SharedOnly,
    /// The home directory of a Mesh node.
    Mesh,
    /// A data store.
    DataStore,
}

/// Entries that only a shared home has at its top, all of one group together.
const MARKS_OF_SHARED: &[&[&str]] = &[
    &["data/repositories"],
    &["bitbucket.properties"],
    &["config", "data"],
];

impl Layout {
    /// Returns the layout of the directory at `root`, which is what `role` says.
    pub(crate) fn of(role: Role, root: &Path, kind: InstanceKind) -> Self {
        Self::detect(role, kind, |path| {
            root.join(path).symlink_metadata().is_ok()
        })
    }

    /// Returns the layout of a directory that a restore has built.
    pub(crate) fn of_dir(role: Role, root: &Dir, kind: InstanceKind) -> Self {
        Self::detect(role, kind, |path| {
            let path = Path::new(path);
            let parent = root.below(path.parent().unwrap_or(Path::new("")));
            let name = path.file_name().unwrap_or_default();
            parent.is_ok_and(|parent| matches!(parent.entry(name), Ok(Some(_))))
        })
    }

    fn detect(role: Role, kind: InstanceKind, has: impl Fn(&str) -> bool) -> Self {
        match (role, kind) {
            (Role::DataStore(_), _) => Self::DataStore,
            (Role::Home, InstanceKind::Mesh) => Self::Mesh,
            // A `shared` of any kind decides, also a link and one that is not mounted.
            (Role::Home, _) if has("shared") => Self::Whole,
            (Role::Home, _) => {
                let is_shared = MARKS_OF_SHARED
                    .iter()
                    .any(|marks| marks.iter().all(|mark| has(mark)));
                if is_shared {
                    Self::SharedOnly
                } else {
                    Self::Whole
                }
            }
        }
    }

    /// Returns the name that it has in a manifest.
    pub(crate) fn name(self) -> &'static str {
        match self {
            Self::Whole => "whole",
            Self::SharedOnly => "shared",
            Self::Mesh => "mesh",
            Self::DataStore => "data-store",
        }
    }

    /// Returns where the repositories lie, and how many levels below that.
    ///
    /// `None` for the depth where it is the node's own affair: a repository is known by what is in it.
    pub(crate) fn repositories(self) -> (&'static str, Option<usize>) {
        match self {
            Self::Whole => ("shared/data/repositories", Some(1)),
            Self::SharedOnly => ("data/repositories", Some(1)),
            Self::Mesh => ("store", None),
            Self::DataStore => ("repositories", Some(3)),
        }
    }

    /// Returns what a backup is about. As links, these would be copied as links, without their content.
    pub(crate) fn essential(self) -> &'static [&'static str] {
        match self {
            Self::Whole => &[
                "shared",
                "shared/config",
                "shared/data",
                "shared/data/attachments",
                "shared/data/repositories",
                "shared/plugins",
            ],
            Self::SharedOnly => &[
                "config",
                "data",
                "data/attachments",
                "data/repositories",
                "plugins",
            ],
            Self::Mesh => &["store", "store/data"],
            Self::DataStore => &["repositories"],
        }
    }
}

/// Returns the links among what a backup is about, each with where it leads to.
pub(crate) fn essential_links(top: &Dir, layout: Layout) -> Vec<(PathBuf, PathBuf)> {
    let mut links = Vec::new();
    for essential in layout.essential() {
        let path = Path::new(essential);
        let Some(name) = path.file_name() else {
            continue;
        };
        // What lies below a link is the link's affair, which has been noted by then.
        let Ok(parent) = top.below(path.parent().unwrap_or(Path::new(""))) else {
            continue;
        };
        if let Ok(Some(entry)) = parent.entry(name)
            && entry.kind == EntryKind::Link
        {
            let target = parent.link_target(name).unwrap_or_default();
            links.push((path.to_owned(), target));
        }
    }
    links
}

#[cfg(test)]
mod tests {
    use super::*;

    fn layout_of(entries: &[&str]) -> Layout {
        Layout::detect(Role::Home, InstanceKind::Bitbucket, |path| {
            entries.contains(&path)
        })
    }

    #[test]
    fn a_shared_home_alone_is_known_by_what_lies_at_its_top() {
        for shared in [
            &["data/repositories"][..],
            &["bitbucket.properties"],
            &["config", "data", "plugins"],
        ] {
            assert_eq!(layout_of(shared), Layout::SharedOnly, "{shared:?}");
        }
        for whole in [
            &["shared", "data/repositories"][..],
            &["plugins", "data", "bin"],
            &[],
        ] {
            assert_eq!(layout_of(whole), Layout::Whole, "{whole:?}");
        }
    }
}
