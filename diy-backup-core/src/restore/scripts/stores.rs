//! The data stores, each of which is found by the path that it had.

use std::path::{Path, PathBuf};

use super::{Listing, unclear};
use crate::error::{Error, ErrorKind, Result, ResultExt};
use crate::event::Events;
use crate::platform;
use crate::strategy::{DataStoreDestination, match_data_stores};

/// Directories above a data store; deeper ones are not looked for.
const MAX_DEPTH: usize = 64;

/// Something in the backup that is a data store, or in the place of one.
#[derive(Debug, Clone)]
struct Found {
    /// Where it was unpacked to.
    place: PathBuf,
    /// Its path below `bitbucket-data-stores`.
    path: PathBuf,
    content: Content,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Content {
    Store,
    Nothing,
    Something,
}

/// Finds the data store of the backup for each of `configured`, moves it to its destination where that costs nothing,
/// and returns where they are, in order.
///
/// # Errors
/// [`ErrorKind::Check`] when there are more or fewer in the backup than in the configuration, or when it is uncertain
/// which is which.
pub(super) fn assign(
    configured: &[DataStoreDestination],
    unnamed: &Path,
    events: &Events,
) -> Result<Vec<PathBuf>> {
    let mut found = Vec::new();
    for store in configured.iter().filter(|store| store.path.is_dir()) {
        find(&store.path, &relative(&store.store), 0, &mut found)?;
    }
    if unnamed.is_dir() {
        find(unnamed, Path::new(""), 0, &mut found)?;
        // Without a name, only what is a data store itself counts.
        found.retain(|found| found.place != unnamed || found.content == Content::Store);
    }
    let matched = match_up(configured, found, events)?;
    configured
        .iter()
        .zip(&matched)
        .map(|(store, found)| settle(store, found, events))
        .collect()
}

/// Finds the data stores in `place`, which lies at `path` below `bitbucket-data-stores`.
fn find(place: &Path, path: &Path, depth: usize, found: &mut Vec<Found>) -> Result<()> {
    let listing = Listing::of(place)?;
    let content = if is_store(place, &listing) {
        // rsync leaves the copy of an earlier configuration, with a slash at its end or without, beside the new one.
        if let Some(name) = path.file_name()
            && listing.directories.iter().any(|known| known == name)
            && is_store(&place.join(name), &Listing::of(&place.join(name))?)
        {
            find(&place.join(name), &path.join(name), MAX_DEPTH, found)?;
        }
        Content::Store
    } else if listing.is_empty() {
        Content::Nothing
    } else if !listing.others.is_empty() || depth == MAX_DEPTH {
        Content::Something
    } else {
        for name in &listing.directories {
            find(&place.join(name), &path.join(name), depth + 1, found)?;
        }
        return Ok(());
    };
    found.push(Found {
        place: place.to_owned(),
        path: path.to_owned(),
        content,
    });
    Ok(())
}

/// Directories in `repositories` are called by two hexadecimal digits: one of the same name is the data store itself,
/// whose path ends in `repositories`.
fn is_store(place: &Path, listing: &Listing) -> bool {
    let repositories = place.join("repositories");
    listing.has_directory("repositories") && !repositories.join("repositories").is_dir()
}

fn match_up(
    configured: &[DataStoreDestination],
    mut found: Vec<Found>,
    events: &Events,
) -> Result<Vec<Found>> {
    let mut matched: Vec<Option<Found>> = Vec::new();
    for store in configured {
        let plain = relative(&store.store);
        let deeper = plain.join(&store.name);
        let mut both = take(&mut found, |found| {
            found.path == plain || found.path == deeper
        });
        if both.len() > 1 {
            return Err(twice(store, &both));
        }
        matched.push(both.pop());
    }
    // Some forks name the directories by the last part of the path, and our own staging directory by number.
    for (store, matched) in configured.iter().zip(&mut matched) {
        if matched.is_none() {
            *matched = take(&mut found, |found| found.path == Path::new(&store.name)).pop();
        }
    }
    let names: Vec<String> = (0..configured.len())
        .map(|number| number.to_string())
        .collect();
    let are_numbered = found.len() == configured.len()
        && names
            .iter()
            .all(|name| found.iter().any(|found| found.path == Path::new(name)));
    if are_numbered {
        for (name, matched) in names.iter().zip(&mut matched) {
            *matched = take(&mut found, |found| found.path == Path::new(name)).pop();
        }
    }
    // The directory of a store that was taken out of the configuration of the scripts stays behind, and may be empty.
    found.retain(|found| found.content != Content::Nothing);
    let lost: Vec<usize> = (0..configured.len())
        .filter(|number| matched[*number].is_none())
        .collect();
    let lost_paths: Vec<PathBuf> = lost
        .iter()
        .map(|number| configured[*number].store.clone())
        .collect();
    let originals: Vec<PathBuf> = found.iter().map(original).collect();
    let moved = match_data_stores(&originals, &lost_paths)?;
    for (from, to) in &moved.moved {
        events.warning(format!(
            "the data store {} of the backup is restored to {}",
            from.display(),
            to.display(),
        ));
    }
    for (found, target) in found.into_iter().zip(moved.targets) {
        matched[lost[target]] = Some(found);
    }
    Ok(matched.into_iter().flatten().collect())
}

/// Takes out what `wanted` says, keeping the order of the rest.
fn take(found: &mut Vec<Found>, wanted: impl Fn(&Found) -> bool) -> Vec<Found> {
    let (taken, left) = std::mem::take(found).into_iter().partition(wanted);
    *found = left;
    taken
}

fn settle(store: &DataStoreDestination, found: &Found, events: &Events) -> Result<PathBuf> {
    let shown = original(found);
    match found.content {
        Content::Store | Content::Nothing => {}
        Content::Something => {
            let listing = Listing::of(&found.place)?;
            if listing.directories.is_empty() && found.place.join(&listing.others[0]).is_symlink() {
                let message = format!(
                    "the data store `{}` is a link in the backup, which does not hold what it leads to",
                    shown.display()
                );
                return Err(Error::new(ErrorKind::Check, message).with_hint(
                    "Take the data store out of `data-stores` in [home], and restore it from another backup.",
                ));
            }
            events.warning(format!(
                "the data store `{}` of the backup has no `repositories`",
                shown.display()
            ));
        }
    }
    let destination = &store.path;
    let cannot_move = || {
        format!(
            "cannot move {} to {}",
            found.place.display(),
            destination.display()
        )
    };
    if let Ok(below) = found.place.strip_prefix(destination) {
        if below.as_os_str().is_empty() {
            return Ok(destination.clone());
        }
        platform::move_up(destination, below).io_context(cannot_move)?;
        return Ok(destination.clone());
    }
    if destination.exists() {
        // Nothing but empty directories, or it would have been found.
        crate::staging::remove_tree_if_there(destination).io_context(cannot_move)?;
    }
    match std::fs::rename(&found.place, destination) {
        Ok(()) => Ok(destination.clone()),
        // On another file system: the restore of the home directory copies it.
        Err(error) if error.kind() == std::io::ErrorKind::CrossesDevices => Ok(found.place.clone()),
        Err(error) => Err(error).io_context(cannot_move),
    }
}

/// Returns the path of a data store below the root of the file system.
fn relative(store: &Path) -> PathBuf {
    store.components().skip(1).collect()
}

/// Returns the path that a data store had, as far as the backup tells.
fn original(found: &Found) -> PathBuf {
    let path = &found.path;
    let is_doubled = path
        .parent()
        .is_some_and(|parent| parent.file_name().is_some_and(|name| path.ends_with(name)));
    let path = match path.parent() {
        Some(parent) if is_doubled => parent,
        _ => path,
    };
    Path::new("/").join(path)
}

fn twice(store: &DataStoreDestination, both: &[Found]) -> Error {
    let places: Vec<String> = both
        .iter()
        .map(|found| format!("`bitbucket-data-stores/{}`", found.path.display()))
        .collect();
    unclear(
        format!(
            "the backup holds the data store {} more than once: {}",
            store.store.display(),
            places.join(" and ")
        ),
        "Unpack the archive with `tar`, remove the older one, and pack it again.",
    )
}

#[cfg(test)]
mod tests;
