//! Leaving out of a restore what a backup leaves out: the shell scripts have kept more than that.

use std::path::{Path, PathBuf};

use diy_backup_core::{DatabaseLocation, RestoreContext, Result, ResultExt};

use crate::config::RsyncConfig;
use crate::exclude::Exclusions;
use crate::layout::Layout;
use crate::platform::Dir;
use crate::remove::remove_in;
use crate::repositories;
use crate::walk::{Stop, names_in};

/// What a backup of ours would leave out of what is restored.
#[derive(Debug, Clone)]
pub(super) struct LeaveOut {
    config: RsyncConfig,
    database: DatabaseLocation,
}

impl LeaveOut {
    /// Returns `None` for a backup of ours, which has been made by these rules.
    pub(super) fn of_restore(config: &RsyncConfig, cx: &RestoreContext) -> Option<Self> {
        let is_ours = cx.manifest().is_some();
        (!is_ours).then(|| Self {
            config: config.clone(),
            database: cx.database(),
        })
    }

    /// Removes it from the directory that was built, and returns how many entries that were.
    ///
    /// # Errors
    /// When something cannot be removed.
    pub(super) fn apply(&self, layout: Layout, built: &Dir, stop: &Stop) -> Result<u64> {
        let root = built.handle_path();
        let exclusions = if layout == Layout::DataStore {
            Exclusions::of_data_store(&self.config)
        } else {
            let mut rules = Exclusions::of_home(&self.config, layout, self.database);
            if layout == Layout::Mesh {
                for repository in repositories::of(&root, layout)? {
                    if repositories::is_one_of(&repository, &self.config.exclude_repositories)
                        && let Ok(relative) = repository.strip_prefix(&root)
                    {
                        rules.leave_out(relative);
                    }
                }
            }
            rules
        };
        leave_out(&root, &exclusions, stop)
    }
}

/// Removes what `exclusions` cover from the directory at `root`, and returns how many entries that were. No link is
/// followed; directories keep their modification times.
///
/// # Errors
/// When something cannot be removed.
fn leave_out(root: &Path, exclusions: &Exclusions, stop: &Stop) -> Result<u64> {
    let mut removed = 0;
    let mut waiting = vec![PathBuf::new()];
    while let Some(directory) = waiting.pop() {
        let depth = directory.components().count() + 1;
        if !exclusions.reach(depth) {
            continue;
        }
        for name in names_in(&root.join(&directory))? {
            stop.ensure_going_on()?;
            let relative = directory.join(name);
            let is_directory = is_directory(&root.join(&relative))?;
            if exclusions.cover(&relative, depth, is_directory) {
                removed += count(root, &relative, stop)?;
                remove_in(root, &relative)?;
            } else if is_directory {
                waiting.push(relative);
            }
        }
    }
    Ok(removed)
}

/// Returns how many entries `relative` is, with everything in it.
fn count(root: &Path, relative: &Path, stop: &Stop) -> Result<u64> {
    let mut counted = 0;
    let mut waiting = vec![root.join(relative)];
    while let Some(path) = waiting.pop() {
        stop.ensure_going_on()?;
        counted += 1;
        if is_directory(&path)? {
            // What cannot be looked into is removed all the same.
            let names = names_in(&path).unwrap_or_default();
            waiting.extend(names.into_iter().map(|name| path.join(name)));
        }
    }
    Ok(counted)
}

fn is_directory(path: &Path) -> Result<bool> {
    let metadata = path
        .symlink_metadata()
        .io_context(|| format!("cannot inspect {}", path.display()))?;
    Ok(metadata.is_dir())
}

#[cfg(unix)]
#[cfg(test)]
mod tests {
    use std::fs;

    use diy_backup_core::{Control, Section};

    use super::*;

    fn exclusions() -> Exclusions {
        let text = "path = '/h'\nexclude-repositories = [17]";
        let config = Section::from_text("home", text).unwrap().parse().unwrap();
        Exclusions::of_home(&config, Layout::Whole, DatabaseLocation::External)
    }

    #[test]
    fn what_is_left_out_goes_and_nothing_behind_a_link() {
        let root = tempfile::tempdir().unwrap();
        let (home, outside) = (root.path().join("home"), root.path().join("outside"));
        for path in [
            "shared/search/data/nodes",
            "shared/data/repositories/17/objects",
            "shared/data/repositories/1",
            "plugins/.osgi",
            "plugins/installed",
            "export",
        ] {
            fs::create_dir_all(home.join(path)).unwrap();
        }
        fs::write(home.join("shared/.lock"), "").unwrap();
        fs::create_dir_all(outside.join("data")).unwrap();
        std::os::unix::fs::symlink(&outside, home.join("search")).unwrap();
        let stop = Stop::new(&Control::new());
        let removed = leave_out(&home, &exclusions(), &stop).unwrap();
        // Three directories with one more in two of them, one without, and the lock file.
        assert_eq!(removed, 7);
        let names = |path: &str| {
            let mut names = names_in(&home.join(path)).unwrap();
            names.sort();
            names
        };
        assert_eq!(names(""), ["plugins", "search", "shared"]);
        assert_eq!(names("shared"), ["data", "search"]);
        assert_eq!(names("shared/data/repositories"), ["1"]);
        assert_eq!(names("plugins"), ["installed"]);
        assert!(outside.join("data").is_dir());
    }
}
