//! What is not looked at.

use std::os::unix::ffi::OsStrExt;
use std::path::Path;

/// Patterns in the form that rsync takes them: `/caches/`, `/shared/data/db.*`.
///
/// A pattern begins at the root of the tree. `*` stands for any number of bytes of one name, a slash at the end for
/// folders only. What is below an excluded folder is excluded.
#[derive(Debug, Clone, Default)]
pub struct Exclusions {
    patterns: Vec<Pattern>,
}

#[derive(Debug, Clone)]
struct Pattern {
    names: Vec<Vec<u8>>,
    folders_only: bool,
}

impl Exclusions {
    /// Nothing is excluded.
    pub fn none() -> Self {
        Self::default()
    }

    /// Excludes what any of the patterns matches.
    pub fn new<S: AsRef<str>>(patterns: &[S]) -> Self {
        let patterns = patterns
            .iter()
            .map(|pattern| {
                let pattern = pattern.as_ref();
                let names = pattern.split('/').filter(|name| !name.is_empty());
                Pattern {
                    names: names.map(|name| name.as_bytes().to_vec()).collect(),
                    folders_only: pattern.ends_with('/'),
                }
            })
            .collect();
        Self { patterns }
    }

    /// True if the entry itself is excluded, given by its path relative to the root of the tree. Whoever walks the tree
    /// does not enter an excluded folder.
    pub fn excludes(&self, relative: &Path, is_folder: bool) -> bool {
        let names: Vec<&[u8]> = relative.iter().map(OsStrExt::as_bytes).collect();
        self.patterns.iter().any(|pattern| {
            (is_folder || !pattern.folders_only)
                && pattern.names.len() == names.len()
                && pattern
                    .names
                    .iter()
                    .zip(&names)
                    .all(|(pattern, name)| matches(pattern, name))
        })
    }
}

fn matches(pattern: &[u8], name: &[u8]) -> bool {
    match pattern.split_first() {
        None => name.is_empty(),
        Some((b'*', rest)) => (0..=name.len()).any(|skipped| matches(rest, &name[skipped..])),
        Some((first, rest)) => name.first() == Some(first) && matches(rest, &name[1..]),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_pattern_matches_from_the_root_and_one_name_at_a_time() {
        let exclusions = Exclusions::new(&["/caches/", "/data/db.*", "/plugins/.*/", "/.lock"]);
        let excluded = |path: &str, is_folder| exclusions.excludes(Path::new(path), is_folder);
        assert!(excluded("caches", true));
        assert!(!excluded("caches", false));
        assert!(!excluded("shared/caches", true));
        assert!(excluded("data/db.h2.mv", false));
        assert!(!excluded("data/dbx", false));
        assert!(excluded("plugins/.osgi", true));
        assert!(!excluded("plugins/installed", true));
        assert!(excluded(".lock", false));
    }
}
