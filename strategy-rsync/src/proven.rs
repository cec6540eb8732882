//! What is known of the copies that earlier runs have left.
//!
//! For each copy there is an instant in a file beside it, the *proven* instant: a copy that looks like its original
//! has its content too, unless the original changed at or after it. [`scan`](crate::scan) says what that is for. A
//! pass over everything moves the instant to its own beginning. A copy without one, such as one that the shell
//! scripts made, is proven by nothing: its first pass compares the content of all files.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use diy_backup_core::{Error, ErrorKind, Result, Staging, write_private};
use serde::{Deserialize, Serialize};

use crate::decay::{SLICES, Suspicion};
use crate::folder::Folder;
use crate::platform::Facts;
use crate::walk::blocking;

/// By how much a proven instant is set back. It covers the clock of a file server that goes behind ours, and the
/// time that the kernel leaves a page dirty.
pub(crate) const SLACK: Duration = Duration::from_mins(1);

const FILE: &str = ".rsync-proven.json";
const FORMAT: u32 = 1;

/// The proven instants of a staging folder.
#[derive(Debug)]
pub(crate) struct Proven {
    path: PathBuf,
    record: Record,
    /// Whether this run has looked for copies that were touched since the last one.
    has_looked: bool,
    /// Whether the last run had not ended in order.
    was_open: bool,
}

#[derive(Debug, Serialize, Deserialize)]
struct Record {
    format: u32,
    /// Whether a run writes to the copies, or has died before all of that was on disk.
    #[serde(default)]
    open: bool,
    copies: BTreeMap<String, Copy>,
    /// When all copies had last been written and synced, by the clock that stamps them, since the Unix epoch. Where it is
    /// missing, that was when this file was written.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    settled: Option<Duration>,
    /// The slice of the copies that is read next.
    #[serde(default)]
    slice: u32,
}

#[derive(Debug, PartialEq, Eq, Serialize, Deserialize)]
struct Copy {
    source: String,
    /// Since the Unix epoch.
    proven_until: Duration,
    /// What was mounted around and in the source when it was copied last, each with the type of its file system.
    #[serde(default)]
    mounts: BTreeMap<String, String>,
}

impl Proven {
    /// Reads what is known in `staging`. A file that cannot be read proves nothing, which is safe.
    pub(crate) fn read(staging: &Staging) -> Self {
        let path = staging.root().join(FILE);
        let mut record = std::fs::read(&path)
            .ok()
            .and_then(|text| serde_json::from_slice::<Record>(&text).ok())
            .filter(|record| record.format == FORMAT);
        if let (Some(record), Ok(written)) = (&mut record, path.symlink_metadata()) {
            let written = Facts::of(&written).changed.duration_since(UNIX_EPOCH);
            record.settled = match record.settled {
                None if !record.open => written.ok(),
                settled => settled,
            };
        }
        Self {
            path,
            has_looked: false,
            was_open: record.as_ref().is_none_or(|record| record.open),
            record: record.unwrap_or_else(|| Record {
                format: FORMAT,
                open: true,
                copies: BTreeMap::new(),
                settled: None,
                slice: 0,
            }),
        }
    }

    /// Until when the copy of `folder` is proven, seen from `now`.
    pub(crate) fn until(&self, folder: &Folder, now: SystemTime) -> SystemTime {
        if is_empty(&folder.copy) {
            return set_back(now);
        }
        let copy = self.record.copies.get(&folder.role.label());
        copy.filter(|copy| copy.source == name_of(&folder.source))
            .map(|copy| UNIX_EPOCH + copy.proven_until)
            // An instant in the future says that the clock was set: it proves nothing.
            .filter(|until| *until <= now)
            .unwrap_or(UNIX_EPOCH)
    }

    /// Returns which copies are looked at in this run, whose originals have not changed since `proven_until`.
    pub(crate) fn suspicion(&self, proven_until: SystemTime, now: SystemTime) -> Suspicion {
        let settled = self.record.settled.map(|settled| UNIX_EPOCH + settled);
        Suspicion {
            // An instant in the future says that the clock was set: everything may have been touched since.
            touched_since: settled.map(|settled| if settled > now { UNIX_EPOCH } else { settled }),
            slice: self.record.slice % SLICES,
            proven_until,
        }
    }

    /// Says that all copies were looked at for having been touched.
    pub(crate) fn has_looked(&mut self) {
        self.has_looked = true;
    }

    /// Says that the slice of this run is in a good backup.
    pub(crate) fn finish_slice(&mut self) {
        self.record.slice = (self.record.slice + 1) % SLICES;
    }

    /// Says that a pass over all of `folder`, begun at `began`, has succeeded.
    pub(crate) fn set(&mut self, folder: &Folder, began: SystemTime) {
        let proven_until = set_back(began)
            .duration_since(UNIX_EPOCH)
            .unwrap_or_default();
        let source = name_of(&folder.source);
        let known = self.record.copies.remove(&folder.role.label());
        let mounts = known
            .filter(|known| known.source == source)
            .map(|known| known.mounts)
            .unwrap_or_default();
        let copy = Copy {
            source,
            proven_until,
            mounts,
        };
        self.record.copies.insert(folder.role.label(), copy);
    }

    /// Remembers what is mounted around and in `folder`, of which there is a good copy now.
    pub(crate) fn set_mounts(&mut self, folder: &Folder, mounts: BTreeMap<PathBuf, String>) {
        if let Some(copy) = self.record.copies.get_mut(&folder.role.label()) {
            let named = mounts.into_iter();
            copy.mounts = named.map(|(point, kind)| (name_of(&point), kind)).collect();
        }
    }

    /// Returns what was mounted around and in `folder` when it was copied last, if that was ever written down.
    pub(crate) fn mounts(&self, folder: &Folder) -> Option<&BTreeMap<String, String>> {
        let copy = self.record.copies.get(&folder.role.label())?;
        (copy.source == name_of(&folder.source)).then_some(&copy.mounts)
    }

    /// Returns where all this is written down.
    pub(crate) fn path(&self) -> &Path {
        &self.path
    }

    /// Whether what earlier runs have written to the copies may not be on disk.
    pub(crate) fn is_open(&self) -> bool {
        self.record.open
    }

    /// Whether the last run had died.
    pub(crate) fn was_open(&self) -> bool {
        self.was_open
    }

    /// Says that the copies are written to from now on.
    ///
    /// # Errors
    /// When it cannot be written down.
    pub(crate) async fn open(&mut self) -> Result<()> {
        self.record.open = true;
        self.write().await
    }

    /// Writes down, durably, what is known of copies that are on disk.
    ///
    /// # Errors
    /// When it cannot be written; then the next run compares more than it would have to.
    pub(crate) async fn close(&mut self) -> Result<()> {
        self.record.open = false;
        if self.has_looked {
            // From now on: what writes this file comes after whatever was written to the copies.
            self.record.settled = None;
        }
        self.write().await
    }

    async fn write(&self) -> Result<()> {
        let text = serde_json::to_vec_pretty(&self.record).map_err(|error| {
            Error::new(ErrorKind::Internal, "cannot write proven instants as JSON")
                .with_source(error)
        })?;
        let path = self.path.clone();
        blocking(move || write_private(&path, &text)).await
    }
}

/// The instant to take for `began`, so that whatever changed after it counts as changed.
pub(crate) fn set_back(began: SystemTime) -> SystemTime {
    began.checked_sub(SLACK).unwrap_or(UNIX_EPOCH)
}

fn name_of(source: &Path) -> String {
    source.to_string_lossy().into_owned()
}

fn is_empty(folder: &Path) -> bool {
    match std::fs::read_dir(folder) {
        Ok(mut entries) => entries.next().is_none(),
        Err(error) => error.kind() == std::io::ErrorKind::NotFound,
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::exclude::Exclusions;
    use crate::folder::Role;

    fn folder(root: &Path, source: &str) -> Folder {
        let copy = root.join("bitbucket-home");
        std::fs::create_dir_all(&copy).unwrap();
        Folder {
            role: Role::Home,
            layout: crate::layout::Layout::Whole,
            source: source.into(),
            copy,
            exclusions: Exclusions::default(),
        }
    }

    #[test]
    fn a_copy_of_unknown_origin_is_proven_by_nothing() {
        let root = tempfile::tempdir().unwrap();
        let staging = Staging::new(root.path());
        let folder = folder(root.path(), "/h");
        let now = SystemTime::now();
        assert_eq!(Proven::read(&staging).until(&folder, now), set_back(now));
        std::fs::write(folder.copy.join("x"), "x").unwrap();
        assert_eq!(Proven::read(&staging).until(&folder, now), UNIX_EPOCH);
    }

    #[tokio::test]
    async fn an_instant_holds_for_the_same_source_and_the_past_alone() {
        let root = tempfile::tempdir().unwrap();
        let staging = Staging::new(root.path());
        let one = folder(root.path(), "/h");
        std::fs::write(one.copy.join("x"), "x").unwrap();
        let now = SystemTime::now();
        let mut proven = Proven::read(&staging);
        proven.set(&one, now);
        assert!(Proven::read(&staging).is_open(), "nothing is known yet");
        proven.close().await.unwrap();
        assert!(!Proven::read(&staging).is_open());
        proven.open().await.unwrap();
        let proven = Proven::read(&staging);
        assert!(proven.is_open());
        assert_eq!(proven.until(&one, now), set_back(now));
        assert_eq!(
            proven.until(&folder(root.path(), "/other"), now),
            UNIX_EPOCH
        );
        let earlier = now - SLACK - SLACK;
        assert_eq!(proven.until(&one, earlier), UNIX_EPOCH);
    }
}
