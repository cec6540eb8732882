//! Which data store of a backup goes where, when the configuration of the restore is not that of the backup.

use std::ffi::OsStr;
use std::path::{Component, Path, PathBuf};

use crate::error::{Error, ErrorKind, Result};

/// Where the data stores of a backup go.
#[derive(Debug, Clone, PartialEq, Eq)]
#[non_exhaustive]
pub struct DataStoreMatch {
    /// For each data store of the backup, the number of the one in the configuration.
    pub targets: Vec<usize>,
    /// The data stores whose path in the configuration is another one: where they were, and where they go.
    pub moved: Vec<(PathBuf, PathBuf)>,
}

/// Finds for each data store of a backup, by where it was, the one that the configuration names.
///
/// The same path comes first. Then come paths that end alike, the longest common end first, and last the one pair that
/// is left. Whatever could be taken for two is matched with neither: a data store in the place of another one looks
/// like a good restore until somebody opens a repository.
///
/// # Errors
/// [`ErrorKind::Check`], naming the data stores, when some are left on either side.
pub fn match_data_stores(stored: &[PathBuf], configured: &[PathBuf]) -> Result<DataStoreMatch> {
    let mut targets = vec![None; stored.len()];
    let longest = stored.iter().map(|path| names_of(path).len()).max();
    pair(stored, configured, &mut targets, |one, other| {
        names_of(one) == names_of(other)
    });
    for length in (1..=longest.unwrap_or(0)).rev() {
        pair(stored, configured, &mut targets, |one, other| {
            end_of(one, length).is_some_and(|end| end_of(other, length) == Some(end))
        });
    }
    pair(stored, configured, &mut targets, |_, _| true);
    let free: Vec<&Path> = (0..configured.len())
        .filter(|number| !targets.contains(&Some(*number)))
        .map(|number| configured[number].as_path())
        .collect();
    let lost: Vec<&Path> = stored
        .iter()
        .zip(&targets)
        .filter(|(_, target)| target.is_none())
        .map(|(path, _)| path.as_path())
        .collect();
    if !free.is_empty() || !lost.is_empty() {
        return Err(refusal(&lost, &free));
    }
    let targets: Vec<usize> = targets.into_iter().flatten().collect();
    let moved = stored.iter().zip(&targets).filter_map(|(from, &number)| {
        let to = &configured[number];
        (names_of(from) != names_of(to)).then(|| (from.clone(), to.clone()))
    });
    Ok(DataStoreMatch {
        moved: moved.collect(),
        targets,
    })
}

/// Pairs what belongs together and could not be taken for anything else.
fn pair(
    stored: &[PathBuf],
    configured: &[PathBuf],
    targets: &mut [Option<usize>],
    belong: impl Fn(&Path, &Path) -> bool,
) {
    let free: Vec<usize> = (0..configured.len())
        .filter(|number| !targets.contains(&Some(*number)))
        .collect();
    let lost: Vec<usize> = (0..stored.len())
        .filter(|&number| targets[number].is_none())
        .collect();
    for &one in &lost {
        let candidates = only(
            free.iter()
                .filter(|&&to| belong(&stored[one], &configured[to])),
        );
        if let Some(&to) = candidates
            && only(
                lost.iter()
                    .filter(|&&from| belong(&stored[from], &configured[to])),
            )
            .is_some()
        {
            targets[one] = Some(to);
        }
    }
}

fn only<T>(mut candidates: impl Iterator<Item = T>) -> Option<T> {
    let first = candidates.next()?;
    candidates.next().is_none().then_some(first)
}

/// The names on the way to `path`: archives of the shell scripts have them without the root.
fn names_of(path: &Path) -> Vec<&OsStr> {
    path.components()
        .filter_map(|part| match part {
            Component::Normal(name) => Some(name),
            _ => None,
        })
        .collect()
}

fn end_of(path: &Path, length: usize) -> Option<Vec<&OsStr>> {
    let names = names_of(path);
    let start = names.len().checked_sub(length)?;
    Some(names[start..].to_vec())
}

fn refusal(lost: &[&Path], free: &[&Path]) -> Error {
    let named = |paths: &[&Path]| {
        let paths: Vec<String> = paths
            .iter()
            .map(|path| path.display().to_string())
            .collect();
        paths.join(", ")
    };
    let (message, hint) = match (lost.is_empty(), free.is_empty()) {
        (false, true) => (
            format!(
                "the backup holds data stores that the configuration does not name: {}",
                named(lost)
            ),
            "Add a directory for each of them to `data-stores` in the section [home].",
        ),
        (true, _) => (
            format!(
                "the configuration names data stores that the backup does not hold: {}",
                named(free)
            ),
            "Leave them out of `data-stores` in the section [home] for this restore.",
        ),
        (false, false) => (
            format!(
                "cannot tell where the data stores of the backup go: it holds {}, and the configuration names {}",
                named(lost),
                named(free)
            ),
            "Let `data-stores` in the section [home] name one directory for each, and let each path end as the original does, \
             such as /restored/mnt/store-1 for /mnt/store-1; the order does not matter.",
        ),
    };
    Error::new(ErrorKind::Check, message).with_hint(hint)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn paths(text: &str) -> Vec<PathBuf> {
        text.split_whitespace().map(PathBuf::from).collect()
    }

    fn targets(stored: &str, configured: &str) -> Option<Vec<usize>> {
        let found = match_data_stores(&paths(stored), &paths(configured));
        found.ok().map(|found| found.targets)
    }

    #[test]
    fn the_path_decides_and_not_the_order() {
        assert_eq!(
            targets("/m/a /m/b /m/c", "/m/c /m/a /m/b"),
            Some(vec![1, 2, 0])
        );
        assert_eq!(targets("/m/1/s /m/2/s", "/m/2/s/ /m/1/s"), Some(vec![1, 0]));
        let same = match_data_stores(&paths("/m/a"), &paths("/m/a/")).unwrap();
        assert_eq!(same.moved, []);
    }

    #[test]
    fn paths_that_end_alike_belong_together() {
        assert_eq!(targets("/m/a /m/b", "/t/b /t/a"), Some(vec![1, 0]));
        assert_eq!(
            targets("/m/1/s /m/2/s", "/t/m/2/s /t/m/1/s"),
            Some(vec![1, 0])
        );
        assert_eq!(targets("/m/1/s /m/2/s", "/t/2/s /x/s"), Some(vec![1, 0]));
    }

    #[test]
    fn the_last_pair_belongs_together() {
        let found = match_data_stores(&paths("/m/a /m/b"), &paths("/m/b /n/z")).unwrap();
        assert_eq!(found.targets, [1, 0]);
        assert_eq!(found.moved, [("/m/a".into(), "/n/z".into())]);
    }

    #[test]
    fn what_could_go_to_two_places_goes_to_none() {
        for (stored, configured) in [
            ("/m/a /m/b", "/n/x /n/y"),
            ("/m/1/s /m/2/s", "/n/3/s /n/4/s"),
            ("/m/a", ""),
            ("", "/m/a"),
            ("/m/a /m/b", "/m/a"),
            ("/m/a", "/m/a /m/b"),
        ] {
            let error = match_data_stores(&paths(stored), &paths(configured)).unwrap_err();
            assert_eq!(error.kind(), ErrorKind::Check, "{stored} | {configured}");
        }
        let error = match_data_stores(&paths("/m/a /m/b"), &paths("/n/x /n/y")).unwrap_err();
        let text = error.to_string();
        assert!(
            ["/m/a", "/m/b", "/n/x", "/n/y"]
                .iter()
                .all(|path| text.contains(path)),
            "{text}"
        );
    }
}
