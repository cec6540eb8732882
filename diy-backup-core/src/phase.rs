//! The phases of a backup and of a restore.

use std::fmt;

use serde::{Deserialize, Serialize};

/// A step of a backup or a restore that users see by name.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
#[non_exhaustive]
pub enum Phase {
    /// Everything that can be known to fail is found here; nothing is touched.
    Check,
    /// Live: home and database move what they can while people work.
    Prepare,
    /// The maintenance lock is taken.
    Lock,
    /// Locked: running requests end, new ones are held back.
    Drain,
    /// Locked: the state of this instant is pinned.
    Capture,
    /// The lock is given back, and that is proven.
    Release,
    /// Live: the pinned state is copied out and described.
    Complete,
    /// Live: one archive, checksummed, renamed into place.
    Archive,
    /// Live: old backups go.
    Retain,
    /// Restore: the backup is read and checked.
    Fetch,
    /// Restore: home and database are built beside their targets.
    Apply,
    /// Restore: what was built takes its final place.
    Commit,
    /// Restore or verification: what stands there now is compared with the manifest.
    Verify,
}

impl Phase {
    /// The name in logs, manifests and JSON lines.
    pub fn name(self) -> &'static str {
        match self {
            Self::Check => "check",
            Self::Prepare => "prepare",
            Self::Lock => "lock",
            Self::Drain => "drain",
            Self::Capture => "capture",
            Self::Release => "release",
            Self::Complete => "complete",
            Self::Archive => "archive",
            Self::Retain => "retain",
            Self::Fetch => "fetch",
            Self::Apply => "apply",
            Self::Commit => "commit",
            Self::Verify => "verify",
        }
    }
}

impl fmt::Display for Phase {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.name())
    }
}
