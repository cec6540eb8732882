//! Which file systems have to be watched, and whether that can tell everything.

use std::collections::{BTreeMap, HashSet};
use std::path::{Path, PathBuf};

use super::Unavailable;
use super::mounts::{self, Mount};
use super::place::Watched;
use super::queue::{Queue, no_proc};
use crate::folder::Folder;

/// Fails where a copy goes to a file system that may not keep what the proof of the copy compares.
pub(super) fn ensure_local_copies(folders: &[Folder], mounts: &[Mount]) -> Result<(), Unavailable> {
    let existing = folders
        .iter()
        .filter_map(|folder| folder.copy.ancestors().find(|path| path.is_dir()))
        .filter_map(|path| path.canonicalize().ok());
    for path in existing {
        mount_of(&path, mounts).map_or(Ok(()), Mount::ensure_local)?;
    }
    Ok(())
}

/// Fails where others than this machine's kernel may change the folders or what is mounted in them, or keep the copies.
///
/// # Errors
/// When that is so, or it cannot be known.
pub(crate) fn ensure_local(folders: &[Folder]) -> Result<(), Unavailable> {
    let watched = folders
        .iter()
        .map(Watched::new)
        .collect::<Result<Vec<_>, _>>()?;
    let mounts = mounts::all().map_err(|error| no_proc(&error))?;
    ensure_local_copies(folders, &mounts)?;
    for folder in &watched {
        let source = folder.source.canonicalize();
        let source = source.as_ref().unwrap_or(&folder.source);
        mount_of(source, &mounts).map_or(Ok(()), Mount::ensure_local)?;
    }
    mounts_within(&watched, &mounts)
        .iter()
        .try_for_each(Mount::ensure_local)
}

/// Returns the mount points that `folder` is seen through, the root of everything aside, each with the type of its
/// file system: the one around it, and those in it that are not left out of its copy. `None` where it is not known.
pub(crate) fn mounts_around(folder: &Folder) -> Option<BTreeMap<PathBuf, String>> {
    let mounts = mounts::all().ok()?;
    let around = mount_of(&folder.source, &mounts).filter(|mount| mount.point != Path::new("/"));
    let within = mounts::below(&mounts, &folder.source).filter(|mount| {
        let relative = mount.point.strip_prefix(&folder.source);
        relative.is_ok_and(|relative| !folder.exclusions.cover_within(relative, true))
    });
    let all = around.into_iter().chain(within);
    Some(
        all.map(|mount| (mount.point.clone(), mount.kind.clone()))
            .collect(),
    )
}

/// The mount that `path` is seen through, if no other was put over it.
fn mount_of<'a>(path: &Path, mounts: &'a [Mount]) -> Option<&'a Mount> {
    let around = mounts.iter().filter(|mount| path.starts_with(&mount.point));
    around.max_by_key(|mount| mount.point.as_os_str().len())
}

pub(super) fn refuse_nested(watched: &[Watched]) -> Result<(), Unavailable> {
    for (number, one) in watched.iter().enumerate() {
        for other in watched.iter().skip(number + 1) {
            if one.source.starts_with(&other.source) || other.source.starts_with(&one.source) {
                return Err(Unavailable::new(
                    format!(
                        "{} and {} lie within each other",
                        one.source.display(),
                        other.source.display()
                    ),
                    "Leave the inner one out of `data-stores`: it is copied with the other.",
                ));
            }
        }
    }
    Ok(())
}

/// What is mounted below the watched folders and not left out of the copies.
pub(super) fn mounts_within(watched: &[Watched], mounts: &[Mount]) -> Vec<Mount> {
    let mut within = Vec::new();
    for folder in watched {
        for mount in mounts::below(mounts, &folder.source) {
            let relative = mount.point.strip_prefix(&folder.source);
            if relative.is_ok_and(|relative| !folder.leaves_out(relative, true)) {
                within.push(mount.clone());
            }
        }
    }
    within
}

/// One queue for each file system. A handle is looked up through one mount, so all must be seen through the same.
pub(super) fn open_queues(
    watched: &[Watched],
    mounts: &[Mount],
) -> Result<Vec<Queue>, Unavailable> {
    let within = mounts_within(watched, mounts);
    let points: HashSet<&Path> = within.iter().map(|mount| mount.point.as_path()).collect();
    let folders = watched.iter().map(|folder| folder.source.as_path());
    let mut opened: Vec<(Queue, &Mount)> = Vec::new();
    for folder in folders.chain(points) {
        let queue = Queue::open(folder);
        let id = match &queue {
            Ok(queue) => queue.mount_id,
            // The type of the file system says more about why it cannot be watched.
            Err(unavailable) => {
                mount_of(folder, mounts).map_or(Ok(()), Mount::ensure_local)?;
                return Err(unavailable.clone());
            }
        };
        let Some(mount) = mounts.iter().find(|mount| mount.id == id) else {
            return Err(Unavailable::new(
                format!("/proc does not tell where {} is mounted", folder.display()),
                "Run outside of a container.",
            ));
        };
        mount.ensure_local()?;
        let same = |known: &&(Queue, &Mount)| known.1.is_of_same_file_system(mount);
        match opened.iter().find(same) {
            None => opened.push((queue?, mount)),
            Some((_, known)) if known.id == mount.id => {}
            Some((_, known)) => {
                return Err(Unavailable::new(
                    format!(
                        "{} and {} show the same file system",
                        known.point.display(),
                        mount.point.display()
                    ),
                    "Mount it once, and name its folders by their place there.",
                ));
            }
        }
    }
    Ok(opened.into_iter().map(|(queue, _)| queue).collect())
}
