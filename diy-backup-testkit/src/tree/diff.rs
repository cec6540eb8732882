//! What two trees do not have in common.

use std::fmt;
use std::path::{Path, PathBuf};

use super::escaped;
use super::snapshot::{Entry, EntryKind, TreeSnapshot};

/// How many differences a message lists.
const LISTED: usize = 20;

/// In what respect an entry differs.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
#[non_exhaustive]
pub enum Aspect {
    /// It is in the original only.
    Missing,
    /// It is in the copy only.
    Extra,
    /// It is of another type.
    Kind,
    /// Its bytes.
    Contents,
    /// Where a symbolic link points.
    Target,
    /// Its permissions.
    Mode,
    /// The modification time of something that is no folder.
    Modified,
    /// The modification time of a folder.
    FolderModified,
    /// Which paths are the same file.
    HardLinks,
    /// The original is sparse and the copy is not.
    Sparseness,
    /// Extended attributes.
    Attributes,
}

/// One difference.
#[derive(Debug, Clone, PartialEq, Eq)]
#[non_exhaustive]
pub struct Difference {
    /// The entry, relative to the root.
    pub path: PathBuf,
    /// In what respect.
    pub aspect: Aspect,
    /// Both sides in words, on one line; empty for missing and extra entries.
    pub detail: String,
}

impl fmt::Display for Difference {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let aspect = match self.aspect {
            Aspect::Missing => "missing",
            Aspect::Extra => "extra",
            Aspect::Kind => "type",
            Aspect::Contents => "contents",
            Aspect::Target => "target",
            Aspect::Mode => "mode",
            Aspect::Modified | Aspect::FolderModified => "modified",
            Aspect::HardLinks => "hard links",
            Aspect::Sparseness => "sparseness",
            Aspect::Attributes => "attributes",
        };
        write!(f, "{}: {aspect}", escaped(&self.path))?;
        if self.detail.is_empty() {
            return Ok(());
        }
        write!(f, " {}", self.detail)
    }
}

/// All differences between an original and its copy, sorted by path.
///
/// `Display` is `no differences in 1234 entries`, or a count and one line for each of the first twenty.
#[derive(Debug, Clone, PartialEq, Eq)]
#[non_exhaustive]
pub struct TreeDiff {
    /// The differences.
    pub differences: Vec<Difference>,
    /// How many entries the original has.
    pub entries: usize,
}

impl TreeDiff {
    pub(super) fn between(original: &TreeSnapshot, copy: &TreeSnapshot) -> Self {
        let mut differences = Vec::new();
        for (path, entry) in &original.entries {
            match copy.entries.get(path) {
                None => differences.push(Difference::alone(path, Aspect::Missing)),
                Some(copied) => compare(path, entry, copied, &mut differences),
            }
        }
        for path in copy.entries.keys() {
            if !original.entries.contains_key(path) {
                differences.push(Difference::alone(path, Aspect::Extra));
            }
        }
        differences.sort_by(|a, b| (&a.path, a.aspect).cmp(&(&b.path, b.aspect)));
        Self {
            differences,
            entries: original.entries.len(),
        }
    }

    /// True if there is no difference.
    pub fn is_empty(&self) -> bool {
        self.differences.is_empty()
    }

    /// The same without differences in these respects, which a test knows a tool does not keep.
    #[must_use]
    pub fn without(mut self, aspects: &[Aspect]) -> Self {
        self.differences
            .retain(|difference| !aspects.contains(&difference.aspect));
        self
    }
}

impl fmt::Display for TreeDiff {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if self.is_empty() {
            return write!(f, "no differences in {} entries", self.entries);
        }
        let number = self.differences.len();
        write!(f, "{number} differences in {} entries", self.entries)?;
        for difference in self.differences.iter().take(LISTED) {
            write!(f, "\n  {difference}")?;
        }
        if number > LISTED {
            write!(f, "\n  … and {} more", number - LISTED)?;
        }
        Ok(())
    }
}

impl Difference {
    fn alone(path: &Path, aspect: Aspect) -> Self {
        Self {
            path: path.to_owned(),
            aspect,
            detail: String::new(),
        }
    }
}

fn compare(path: &Path, original: &Entry, copy: &Entry, found: &mut Vec<Difference>) {
    let mut note = |aspect, was: String, is: String| {
        found.push(Difference {
            path: path.to_owned(),
            aspect,
            detail: format!("{was} became {is}"),
        });
    };
    match (&original.kind, &copy.kind) {
        (
            EntryKind::File {
                bytes,
                sha256,
                sparse,
            },
            EntryKind::File {
                bytes: copied_bytes,
                sha256: copied_sha256,
                sparse: still_sparse,
            },
        ) => {
            if sha256 != copied_sha256 {
                note(
                    Aspect::Contents,
                    format!("{bytes} bytes {}", &sha256[..8]),
                    format!("{copied_bytes} bytes {}", &copied_sha256[..8]),
                );
            }
            if *sparse && !still_sparse {
                note(Aspect::Sparseness, "sparse".into(), "not sparse".into());
            }
        }
        (EntryKind::Symlink { target }, EntryKind::Symlink { target: copied }) => {
            if target != copied {
                note(Aspect::Target, escaped(target), escaped(copied));
            }
        }
        (EntryKind::Directory, EntryKind::Directory) | (EntryKind::Special, EntryKind::Special) => {
        }
        (was, is) => {
            note(Aspect::Kind, kind_name(was).into(), kind_name(is).into());
            return;
        }
    }
    if original.mode != copy.mode {
        note(
            Aspect::Mode,
            format!("{:04o}", original.mode),
            format!("{:04o}", copy.mode),
        );
    }
    if original.modified_ns != copy.modified_ns {
        let aspect = match original.kind {
            EntryKind::Directory => Aspect::FolderModified,
            _ => Aspect::Modified,
        };
        note(aspect, seconds(original), seconds(copy));
    }
    if original.hard_links != copy.hard_links {
        note(Aspect::HardLinks, links(original), links(copy));
    }
    if original.attributes != copy.attributes {
        note(Aspect::Attributes, attributes(original), attributes(copy));
    }
}

fn kind_name(kind: &EntryKind) -> &'static str {
    match kind {
        EntryKind::File { .. } => "file",
        EntryKind::Directory => "folder",
        EntryKind::Symlink { .. } => "symlink",
        EntryKind::Special => "special file",
    }
}

fn seconds(entry: &Entry) -> String {
    let whole = entry.modified_ns.div_euclid(1_000_000_000);
    let rest = entry.modified_ns.rem_euclid(1_000_000_000);
    format!("{whole}.{rest:09}")
}

fn links(entry: &Entry) -> String {
    let paths: Vec<String> = entry.hard_links.iter().map(|path| escaped(path)).collect();
    format!("[{}]", paths.join(", "))
}

fn attributes(entry: &Entry) -> String {
    let pairs: Vec<String> = entry
        .attributes
        .iter()
        .map(|(name, value)| format!("{}={}", name.display(), value.escape_ascii()))
        .collect();
    format!("[{}]", pairs.join(", "))
}
