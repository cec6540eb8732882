//! What a copy holds that its original does not, and how it goes.

use std::path::PathBuf;

use diy_backup_core::Result;

use crate::folder::Folder;
use crate::remove::remove_in;
use crate::walk::{Stop, names_in};

/// What has to go from a copy. All paths are relative.
#[derive(Debug, Clone, Default)]
pub(crate) struct Surplus {
    /// Tops of what the original does not have, or what belongs into no backup.
    pub(crate) extra: Vec<PathBuf>,
    /// What the original has in another way: as a file instead of a directory, or linked to other names.
    pub(crate) unfit: Vec<PathBuf>,
}

impl Surplus {
    pub(crate) fn is_empty(&self) -> bool {
        self.extra.is_empty() && self.unfit.is_empty()
    }

    /// Returns how many entries have lost their original, each directory with everything in it. What is left out of
    /// backups has lost nothing.
    ///
    /// # Errors
    /// When a directory of the copy cannot be read, or the run ends.
    pub(crate) fn count_lost(&self, folder: &Folder, stop: &Stop) -> Result<u64> {
        let mut lost = 0;
        let mut waiting: Vec<PathBuf> = self.extra.clone();
        while let Some(path) = waiting.pop() {
            stop.ensure_going_on()?;
            let copy = folder.copy.join(&path);
            let Ok(found) = copy.symlink_metadata() else {
                continue;
            };
            if folder.exclusions.cover_within(&path, found.is_dir()) {
                continue;
            }
            lost += 1;
            if found.is_dir() {
                let names = names_in(&copy)?;
                waiting.extend(names.into_iter().map(|name| path.join(name)));
            }
        }
        Ok(lost)
    }

    /// Removes all of it from the copy of `folder`, but for what has got an original by now.
    ///
    /// # Errors
    /// When something cannot be removed.
    pub(crate) fn remove(&self, folder: &Folder, stop: &Stop) -> Result<()> {
        for path in &self.extra {
            stop.ensure_going_on()?;
            let original = folder.source.join(path).symlink_metadata();
            // A name that came after the look may have been copied already.
            let has_original = original.is_ok_and(|found| {
                let kind = found.file_type();
                (kind.is_dir() || kind.is_file() || kind.is_symlink())
                    && !folder.exclusions.cover_within(path, kind.is_dir())
            });
            if !has_original {
                remove_in(&folder.copy, path)?;
            }
        }
        for path in &self.unfit {
            stop.ensure_going_on()?;
            remove_in(&folder.copy, path)?;
        }
        Ok(())
    }
}

#[cfg(unix)]
#[cfg(test)]
mod tests {
    use std::fs;
    use std::os::unix::fs::symlink;
    use std::path::Path;

    use diy_backup_core::Control;

    use super::*;
    use crate::folder::home_in;

    #[test]
    fn a_link_that_came_after_the_look_leads_no_deletion_astray() {
        let root = tempfile::tempdir().unwrap();
        let folder = home_in(root.path());
        let outside = root.path().join("outside");
        fs::create_dir(&outside).unwrap();
        for name in ["extra", "unfit"] {
            fs::write(outside.join(name), "x").unwrap();
        }
        let surplus = Surplus {
            extra: vec!["directory/extra".into()],
            unfit: vec!["directory/unfit".into()],
        };
        // rsync has copied a link since, which is what the original has now.
        symlink(&outside, folder.copy.join("directory")).unwrap();
        let stop = Stop::new(&Control::new());
        surplus.remove(&folder, &stop).unwrap();
        assert!(outside.join("extra").exists() && outside.join("unfit").exists());
    }

    #[test]
    fn what_is_left_out_has_lost_nothing_and_what_has_come_back_stays() {
        let root = tempfile::tempdir().unwrap();
        let mut folder = home_in(root.path());
        folder.exclusions.leave_out(Path::new("out"));
        for path in ["out/a/b", "gone/a/b", "back"] {
            fs::create_dir_all(folder.copy.join(path)).unwrap();
        }
        fs::create_dir(folder.source.join("back")).unwrap();
        let surplus = Surplus {
            extra: ["out", "gone", "back"].map(PathBuf::from).into(),
            unfit: Vec::new(),
        };
        let stop = Stop::new(&Control::new());
        assert_eq!(surplus.count_lost(&folder, &stop).unwrap(), 4);
        surplus.remove(&folder, &stop).unwrap();
        assert_eq!(names_in(&folder.copy).unwrap(), ["back"]);
    }
}
