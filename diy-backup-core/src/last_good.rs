//! What the state directory remembers of the last good backup: its manifest, and which directory it was stored in.

use std::fs::Metadata;
use std::path::{Path, PathBuf};
use std::time::UNIX_EPOCH;

use serde::{Deserialize, Serialize};

use crate::durable;
use crate::error::{Error, ErrorKind, Result, ResultExt, printable};
use crate::manifest::Manifest;
use crate::platform;

const FORMAT: u32 = 1;

/// The last good backup of an instance, wherever it is now.
#[derive(Debug, Clone, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub(crate) struct LastGood {
    format: u32,
    pub(crate) manifest: Manifest,
    /// The directory for archives that it was stored in, where that is one on this machine.
    pub(crate) directory: Option<KnownDirectory>,
}

/// A directory, known again by more than its path: another file system may be mounted there, or none.
#[derive(Debug, Clone, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub(crate) struct KnownDirectory {
    pub(crate) path: PathBuf,
    device: u64,
    inode: u64,
    /// When it was made, in nanoseconds since the Unix epoch; not every file system says.
    born: Option<u64>,
}

impl LastGood {
    pub(crate) fn new(manifest: Manifest, directory: Option<&Path>) -> Self {
        Self {
            format: FORMAT,
            manifest,
            directory: directory.and_then(KnownDirectory::at),
        }
    }

    /// Reads what is remembered; `None` before the first backup.
    ///
    /// # Errors
    /// When it cannot be read or is something else.
    pub(crate) fn read(state: &Path) -> Result<Option<Self>> {
        let path = path_in(state);
        let shown = path.display();
        let text = match std::fs::read(&path) {
            Ok(text) => text,
            Err(error) if error.kind() == std::io::ErrorKind::NotFound => return Ok(None),
            Err(error) => return Err(error).io_context(|| format!("cannot read {shown}")),
        };
        let damaged = || {
            let message = format!("{shown} is not the record of a backup");
            Error::new(ErrorKind::Damaged, message)
        };
        let last: Self = serde_json::from_slice(&text)
            .map_err(|error| damaged().with_source(printable(&error.to_string())))?;
        if last.format == FORMAT {
            Ok(Some(last))
        } else {
            Err(damaged())
        }
    }

    pub(crate) fn write(&self, state: &Path) -> Result<()> {
        let text = serde_json::to_vec_pretty(self).map_err(|error| {
            Error::new(ErrorKind::Internal, "cannot write the record of a backup")
                .with_source(error)
        })?;
        durable::write_private(&path_in(state), &text)
    }
}

impl KnownDirectory {
    /// Returns `true` if both are one directory, perhaps after its file system was mounted anew.
    pub(crate) fn is_same(&self, other: &Self) -> bool {
        // The number of a device is given out anew whenever a file system without one of its own (NFS, Btrfs) is
        // mounted, and by what comes first for all others. When the directory was made stays, where it is known.
        let same_device = self.born.is_some()
            || self.device == other.device
            || [self, other]
                .iter()
                .all(|directory| platform::is_anonymous(directory.device));
        self.path == other.path
            && self.inode == other.inode
            && self.born == other.born
            && same_device
    }

    /// Looks at the directory at `path`; `None` when there is none.
    pub(crate) async fn look(path: &Path) -> Option<Self> {
        let path = path.to_owned();
        // A file server that does not answer must not keep signals from being heard.
        let looked = tokio::task::spawn_blocking(move || Self::at(&path));
        looked.await.unwrap_or_default()
    }

    fn at(path: &Path) -> Option<Self> {
        let metadata = std::fs::metadata(path).ok().filter(Metadata::is_dir)?;
        let born = metadata.created().ok();
        let born = born.and_then(|time| time.duration_since(UNIX_EPOCH).ok());
        // Some file systems have the field and leave it empty.
        let born = born.filter(|since| !since.is_zero());
        Some(Self {
            path: path.to_owned(),
            device: platform::device_of(&metadata),
            inode: platform::inode_of(&metadata),
            born: born.and_then(|since| u64::try_from(since.as_nanos()).ok()),
        })
    }
}

fn path_in(state: &Path) -> PathBuf {
    state.join("last-good.json")
}

#[cfg(test)]
mod tests {
    use super::*;

    fn directory(device: u64, inode: u64, born: Option<u64>) -> KnownDirectory {
        KnownDirectory {
            path: "/archives".into(),
            device,
            inode,
            born,
        }
    }

    #[cfg(target_os = "linux")]
    #[test]
    fn a_directory_is_known_again_after_its_file_system_was_mounted_anew() {
        let disk = |minor| rustix::fs::makedev(8, minor);
        let network = |minor| rustix::fs::makedev(0, minor);
        for (before, now, same) in [
            // A disk that came up under another name.
            ((disk(1), 2, Some(5)), (disk(17), 2, Some(5)), true),
            // The directory below the mount point, and another disk.
            ((disk(1), 2, Some(5)), (disk(1), 77, Some(9)), false),
            ((disk(1), 2, Some(5)), (disk(17), 2, Some(9)), false),
            ((network(40), 2, None), (network(51), 2, None), true),
            ((network(40), 2, None), (network(51), 3, None), false),
            ((network(40), 2, None), (disk(1), 2, None), false),
            ((disk(1), 2, None), (disk(17), 2, None), false),
            ((network(40), 2, None), (disk(1), 2, Some(9)), false),
        ] {
            let (one, other) = (
                directory(before.0, before.1, before.2),
                directory(now.0, now.1, now.2),
            );
            assert_eq!(one.is_same(&other), same, "{one:?} {other:?}");
        }
    }
}
