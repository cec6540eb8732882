//! Making what was built what it has to be in its place: without stale locks, its owner's, and on disk.

use std::ffi::OsStr;
use std::path::{Path, PathBuf};

use diy_backup_core::{InstanceKind, Result, ResultExt};

use super::build::Build;
use super::leave_out::LeaveOut;
use super::site::Site;
use crate::layout::{self, Layout};
use crate::owner::Owner;
use crate::platform::{Dir, EntryKind};
use crate::repositories;
use crate::walk::Stop;

/// What was done to the directories of a restore.
#[derive(Debug, Default)]
pub(super) struct Finished {
    /// The entries that a backup of ours would not hold.
    pub(super) left_out: u64,
    /// The lock files that were removed.
    pub(super) locks: u64,
    pub(super) warnings: Vec<String>,
}

/// Finishes everything that was built.
pub(super) fn all(
    builds: &[Build],
    owner: Option<Owner>,
    kind: InstanceKind,
    leave_out: Option<&LeaveOut>,
    stop: &Stop,
) -> Result<Finished> {
    let mut finished = Finished::default();
    for build in builds {
        let content = build.content()?;
        let layout = Layout::of_dir(build.site().role(), &content, kind);
        if let Some(rules) = leave_out {
            finished.left_out += rules.apply(layout, &content, stop)?;
        }
        finished.locks += repositories::remove_locks(&content, layout, stop)?;
        let links = layout::essential_links(&content, layout);
        finished.warnings.extend(
            links
                .iter()
                .filter_map(|link| leads_out(build.site(), link)),
        );
        if let Some(owner) = owner {
            give_all(&content, owner, stop)?;
        }
        content.sync_file_system().io_context(|| {
            format!(
                "cannot sync the file system of {}",
                content.path().display()
            )
        })?;
    }
    Ok(finished)
}

/// Says what is wrong with a link that an instance would follow out of what was restored.
fn leads_out(site: &Site, (link, target): &(PathBuf, PathBuf)) -> Option<String> {
    let mut depth = link.components().count() - 1;
    let leads_inside = !target.is_absolute()
        && target.components().all(|part| match part {
            std::path::Component::ParentDir => {
                let above = depth.checked_sub(1);
                depth = above.unwrap_or(0);
                above.is_some()
            }
            std::path::Component::Normal(_) => {
                depth += 1;
                true
            }
            _ => true,
        });
    (!leads_inside && !target.starts_with(site.target())).then(|| {
        format!(
            "{} is a link to {} in the backup, whose content is not part of it: an instance started on the restored home works on what lies there",
            site.target().join(link).display(),
            target.display()
        )
    })
}

/// Gives everything below `top` to `owner`: a directory after all that is in it, and `top` itself last.
fn give_all(top: &Dir, owner: Owner, stop: &Stop) -> Result<()> {
    let open = |relative: &Path| {
        // Each is opened from the top on, so that no depth takes more handles than there are.
        top.below(relative)
            .io_context(|| format!("cannot open {}", top.path().join(relative).display()))
    };
    let mut directories = vec![PathBuf::new()];
    let mut seen = 0;
    while let Some(relative) = directories.get(seen).cloned() {
        stop.ensure_going_on()?;
        let directory = open(&relative)?;
        let names = directory
            .names()
            .io_context(|| format!("cannot read {}", directory.path().display()))?;
        for name in names {
            if give_entry(&directory, &name, owner)? == EntryKind::Directory {
                directories.push(relative.join(name));
            }
        }
        seen += 1;
    }
    for relative in directories.iter().rev() {
        let directory = open(relative)?;
        directory
            .give(owner)
            .io_context(|| format!("cannot change the owner of {}", directory.path().display()))?;
    }
    Ok(())
}

/// Returns what the entry is. A directory is given away when it is its turn.
fn give_entry(directory: &Dir, name: &OsStr, owner: Owner) -> Result<EntryKind> {
    let context = || {
        let path = directory.path().join(Path::new(name));
        format!("cannot change the owner of {}", path.display())
    };
    let Some(entry) = directory.entry(name).io_context(context)? else {
        return Ok(EntryKind::Other);
    };
    if entry.kind != EntryKind::Directory {
        directory
            .give_entry(name, &entry, owner)
            .io_context(context)?;
    }
    Ok(entry.kind)
}
