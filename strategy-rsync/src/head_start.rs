//! The first copy of a folder: plain files and folders by several threads, before it is made what it must be.
//!
//! rsync writes one file after the other, which takes it several times as long where there are many small ones. So
//! where there is no copy yet, [plain](crate::plain) files and folders are copied here. All else is left to rsync, and
//! told.

use std::path::Path;

use diy_backup_core::{Meter, Result};

use crate::census::Count;
use crate::copier::{Copier, Quiet};
use crate::folder::Folder;
use crate::mend::{Draft, Lacks};
use crate::plain::{Done, PlainCopy};
use crate::track::Change;
use crate::walk::{Stop, Walk, blocking};

impl Copier {
    /// Copies plain files and folders to a copy with nothing in it. What changes meanwhile is for others to know, all
    /// else that the copy lacks is returned; `None` when it is too much.
    ///
    /// # Errors
    /// When a folder cannot be read, or the copy cannot be written.
    pub(crate) async fn head_start(&self, folder: &Folder, quiet: &Quiet) -> Result<Option<Draft>> {
        self.unsynced.add_all(&folder.copy);
        let (folder, stop) = (folder.clone(), Stop::new(&self.control));
        let _stop_with_us = stop.on_drop();
        let meter = quiet.meter().cloned();
        blocking(move || copy_files(&folder, meter.as_ref(), &stop)).await
    }
}

fn copy_files(folder: &Folder, meter: Option<&Meter>, stop: &Stop) -> Result<Option<Draft>> {
    let (count, lacks) = (Count::default(), Lacks::new());
    // Its attributes are set when all is in it.
    lacks.add(Path::new(""), Change::Attributes);
    let copy = PlainCopy {
        folder,
        meter,
        stop,
    };
    let walk = Walk {
        root: &folder.source,
        exclusions: &folder.exclusions,
        stop,
    };
    // A folder hands down its own attributes, which its copy gets last.
    walk.run_and_leave(
        None,
        |entry, _| {
            let original = entry.metadata;
            if !original.is_dir() && !original.is_file() && !original.is_symlink() {
                return Ok(None);
            }
            count.add(original);
            count.note_name(entry.relative, original);
            if copy.copy(entry.relative, original)? == Done::LeftToRsync {
                lacks.add(entry.relative, Change::Subtree);
                return Ok(None);
            }
            Ok(Some(original.is_dir().then(|| original.clone())))
        },
        |path, original| {
            if let Some(original) = original
                && copy.finish_folder(path, &original)? == Done::LeftToRsync
            {
                lacks.add(path, Change::Attributes);
            }
            Ok(())
        },
    )?;
    tracing::debug!(folder = %folder.role, "files were copied");
    Ok(lacks.into_draft(count.into_census()))
}

#[cfg(test)]
mod tests {
    use std::fs;

    use diy_backup_core::{Control, ErrorKind};

    use super::*;
    use crate::folder::home_in;
    use crate::platform::{self, Facts};

    #[cfg(unix)]
    #[test]
    fn plain_files_are_whole_and_all_else_is_left() {
        use std::os::unix::fs::PermissionsExt;
        let root = tempfile::tempdir().unwrap();
        let folder = home_in(root.path());
        fs::create_dir_all(folder.source.join("a/b")).unwrap();
        fs::write(folder.source.join("a/b/small"), "x").unwrap();
        fs::write(folder.source.join("a/large"), vec![7; 3 << 20]).unwrap();
        fs::write(folder.source.join("one"), "linked").unwrap();
        fs::hard_link(folder.source.join("one"), folder.source.join("two")).unwrap();
        std::os::unix::fs::symlink("one", folder.source.join("link")).unwrap();
        let sparse = fs::File::create(folder.source.join("sparse")).unwrap();
        sparse.set_len(1 << 20).unwrap();
        let small = folder.source.join("a/b/small");
        fs::set_permissions(&small, fs::Permissions::from_mode(0o440)).unwrap();
        platform::set_modified(&small, (1_600_000_000, 123_456_789)).unwrap();
        let mut expected = vec!["a"];
        let mut lacks = vec![("", Change::Attributes)];
        lacks.extend(["link", "one", "sparse", "two"].map(|path| (path, Change::Subtree)));
        fs::create_dir(folder.source.join("labelled")).unwrap();
        fs::write(folder.source.join("labelled/file"), "x").unwrap();
        for (path, change) in [
            ("labelled", Change::Attributes),
            ("labelled/file", Change::Subtree),
        ] {
            let labelled = folder.source.join(path);
            if xattr::set(&labelled, "user.label", b"x").is_ok() {
                platform::set_modified(&labelled, (1_600_000_000, 0)).unwrap();
                expected = vec!["a", "labelled"];
                lacks.push((path, change));
            }
        }
        let draft = copy_files(&folder, None, &Stop::new(&Control::new()));
        let draft = draft.unwrap().unwrap();
        for path in ["a/b/small", "a/large", "a", "a/b"] {
            let (original, copy) = (folder.source.join(path), folder.copy.join(path));
            if original.is_file() {
                assert_eq!(fs::read(&original).unwrap(), fs::read(&copy).unwrap());
            }
            let facts = |path| Facts::of(&fs::metadata(path).unwrap());
            let (original, copy) = (facts(original), facts(copy));
            assert_eq!(
                (original.mode, original.modified),
                (copy.mode, copy.modified)
            );
        }
        lacks.sort_unstable();
        let lacks: Vec<_> = lacks
            .iter()
            .map(|(path, change)| (path.into(), *change))
            .collect();
        assert_eq!(draft.lacks.into_sorted(), lacks);
        assert_eq!(draft.census.entries, 10);
        let names = |path: &Path| {
            let mut names = crate::walk::names_in(path).unwrap();
            names.sort();
            names
        };
        assert_eq!(names(&folder.copy), expected);
        if expected.len() == 2 {
            // Seen by its time, and then given its attributes by rsync.
            let labelled = folder.copy.join("labelled");
            assert_eq!(names(&labelled), [""; 0]);
            let facts = Facts::of(&fs::metadata(&labelled).unwrap());
            assert_ne!(facts.modified, (1_600_000_000, 0));
        }
    }

    #[test]
    fn a_run_that_is_cancelled_copies_no_further() {
        let root = tempfile::tempdir().unwrap();
        let folder = home_in(root.path());
        fs::write(folder.source.join("file"), "x").unwrap();
        let control = Control::new();
        control.cancel(diy_backup_core::CancelReason::Requested);
        let error = copy_files(&folder, None, &Stop::new(&control)).unwrap_err();
        assert_eq!(error.kind(), ErrorKind::Cancelled);
        assert!(!folder.copy.join("file").exists());
    }
}
