//! Copies that have gone bad by themselves, or that somebody has touched.
//!
//! A copy with the size and the time of its original is not looked at again, so a byte that rots in it would go into
//! every later archive. Two things find it, while people work:
//!
//! - A copy whose change time is later than the last sync of all copies was touched by somebody else: that is seen at
//!   once.
//! - What rots sets no time. In every backup another slice of all copies is read and compared with the originals, so that
//!   after [`SLICES`] backups all of them have been.
//!
//! Only originals that have not changed since their copies were proven say anything about these; the others are copied or
//! compared anyway.

use std::collections::HashMap;
use std::path::{Path, PathBuf};
use std::sync::Mutex;
use std::time::SystemTime;

use diy_backup_core::Result;

use crate::compare::has_same_content;
use crate::exclude::Exclusions;
use crate::folder::Folder;
use crate::links::FileId;
use crate::platform::Facts;
use crate::remove::remove_in;
use crate::sync::{into_inner, lock};
use crate::walk::{Stop, Walk};

/// How many backups it takes to read all copies once.
pub(crate) const SLICES: u32 = 30;

/// Which copies are looked at.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Suspicion {
    /// Copies that were touched at or after this instant.
    pub(crate) touched_since: Option<SystemTime>,
    /// Copies of this slice.
    pub(crate) slice: u32,
    /// Originals that may have changed at or after this instant say nothing.
    pub(crate) proven_until: SystemTime,
}

/// Copies that are not what their unchanged originals are. Relative paths, sorted.
#[derive(Debug, Default, PartialEq, Eq)]
pub(crate) struct Decayed {
    pub(crate) touched: Vec<PathBuf>,
    pub(crate) rotten: Vec<PathBuf>,
}

/// Finds copies that have gone bad, and removes them with all their names, so that they are made anew.
///
/// # Errors
/// When something cannot be read or removed.
pub(crate) fn remove_decayed(
    folder: &Folder,
    suspicion: Suspicion,
    stop: &Stop,
) -> Result<Decayed> {
    let found = Mutex::new(Decayed::default());
    let linked: Mutex<HashMap<FileId, Vec<PathBuf>>> = Mutex::default();
    let everything = Exclusions::default();
    let walk = Walk {
        root: &folder.copy,
        exclusions: &everything,
        stop,
    };
    walk.run((), |entry, ()| {
        if !entry.metadata.is_file() {
            return Ok(Some(()));
        }
        let copy = Facts::of(entry.metadata);
        let path = entry.relative;
        if copy.links > 1 {
            let mut linked = lock(&linked);
            linked.entry(copy.id).or_default().push(path.to_owned());
        }
        let was_touched = suspicion
            .touched_since
            .is_some_and(|since| copy.latest_change() >= since);
        if !was_touched && slice_of(path) != suspicion.slice {
            return Ok(Some(()));
        }
        let original = folder.source.join(path);
        let Ok(metadata) = original.symlink_metadata() else {
            return Ok(Some(()));
        };
        let says_nothing = !metadata.is_file()
            || Facts::of(&metadata).latest_change() >= suspicion.proven_until
            || has_same_content(&original, entry.path, stop)?;
        if !says_nothing {
            let mut found = lock(&found);
            let list = if was_touched {
                &mut found.touched
            } else {
                &mut found.rotten
            };
            list.push(path.to_owned());
        }
        Ok(Some(()))
    })?;
    let (mut found, linked) = (into_inner(found), into_inner(linked));
    found.touched.sort();
    found.rotten.sort();
    for path in found.touched.iter().chain(&found.rotten) {
        let copy = folder.copy.join(path).symlink_metadata();
        let names = copy.ok().and_then(|copy| linked.get(&Facts::of(&copy).id));
        for name in names.into_iter().flatten() {
            remove_in(&folder.copy, name)?;
        }
        remove_in(&folder.copy, path)?;
    }
    Ok(found)
}

/// Returns the slice that a path belongs to, the same one for ever (FNV-1a).
fn slice_of(path: &Path) -> u32 {
    let bytes = path.as_os_str().as_encoded_bytes();
    let hash = bytes.iter().fold(0x811c_9dc5_u32, |hash, byte| {
        (hash ^ u32::from(*byte)).wrapping_mul(0x0100_0193)
    });
    hash % SLICES
}

#[cfg(unix)]
#[cfg(test)]
mod tests {
    use std::fs;

    use diy_backup_core::Control;

    use super::*;
    use crate::folder::home_in;

    #[test]
    fn within_all_slices_every_copy_is_read_once() {
        let root = tempfile::tempdir().unwrap();
        let folder = home_in(root.path());
        let names: Vec<PathBuf> = (0..200).map(|number| number.to_string().into()).collect();
        for name in &names {
            fs::write(folder.source.join(name), "good").unwrap();
            fs::write(folder.copy.join(name), "evil").unwrap();
        }
        fs::hard_link(folder.copy.join("7"), folder.copy.join("another name")).unwrap();
        let stop = Stop::new(&Control::new());
        let mut rotten = Vec::new();
        for slice in 0..SLICES {
            let suspicion = Suspicion {
                touched_since: None,
                slice,
                proven_until: SystemTime::now() + std::time::Duration::from_mins(1),
            };
            rotten.extend(remove_decayed(&folder, suspicion, &stop).unwrap().rotten);
        }
        rotten.sort();
        let mut expected = names;
        expected.sort();
        assert_eq!(rotten, expected);
        assert_eq!(fs::read_dir(&folder.copy).unwrap().count(), 0);
    }

    #[test]
    fn an_original_that_may_have_changed_says_nothing() {
        let root = tempfile::tempdir().unwrap();
        let folder = home_in(root.path());
        for name in ["other", "same"] {
            fs::write(folder.source.join(name), "good").unwrap();
            fs::write(
                folder.copy.join(name),
                if name == "same" { "good" } else { "evil" },
            )
            .unwrap();
        }
        let stop = Stop::new(&Control::new());
        let suspicion = |proven_until| Suspicion {
            touched_since: Some(SystemTime::UNIX_EPOCH),
            slice: SLICES,
            proven_until,
        };
        let early = suspicion(SystemTime::UNIX_EPOCH);
        let nothing = Decayed::default();
        assert_eq!(remove_decayed(&folder, early, &stop).unwrap(), nothing);
        let late = suspicion(SystemTime::now() + std::time::Duration::from_mins(1));
        let found = remove_decayed(&folder, late, &stop).unwrap();
        assert_eq!(found.touched, ["other"].map(PathBuf::from));
        assert!(!folder.copy.join("other").exists() && folder.copy.join("same").exists());
    }
}
