//! The program rsync: which one is there, and how it is called.

use std::collections::BTreeSet;
use std::ffi::OsString;
use std::path::{Path, PathBuf};

use diy_backup_core::{Control, Error, ErrorKind, Result, Tool};

use crate::platform;

/// The oldest rsync that compares modification times to the nanosecond.
const OLDEST: Version = Version(3, 1, 3);

/// Exit status: some files could not be transferred.
pub(crate) const PARTIAL: i32 = 23;
/// Exit status: some files vanished before they could be transferred.
pub(crate) const VANISHED: i32 = 24;

/// The rsync of this machine.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Rsync {
    pub(crate) version: Version,
    pub(crate) acls: bool,
    pub(crate) xattrs: bool,
}

/// A version of rsync: major, minor, patch.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) struct Version(u32, u32, u32);

impl std::fmt::Display for Version {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "{}.{}.{}", self.0, self.1, self.2)
    }
}

/// What is copied beside content, modes, owners and times.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Extras {
    pub(crate) acls: bool,
    pub(crate) xattrs: bool,
}

impl Rsync {
    /// Looks which rsync is in `PATH`.
    ///
    /// # Errors
    /// [`ErrorKind::Tool`] when there is none, or one that is too old or another program of that name.
    pub(crate) async fn find(control: &Control) -> Result<Self> {
        let output = program().arg("--version").run(control).await?;
        let found = Self::parse(&output.stdout_text()).ok_or_else(|| {
            Error::new(
                ErrorKind::Tool,
                "the program `rsync` is not the rsync of samba.org",
            )
            .with_hint("Put the folder of rsync 3.1.3 or newer first into PATH.")
        })?;
        if found.version < OLDEST {
            let message = format!("rsync is {}, and {OLDEST} is needed", found.version);
            return Err(Error::new(ErrorKind::Tool, message).with_hint(
                "Install a newer rsync: older ones take two files that changed within one second for the same.",
            ));
        }
        Ok(found)
    }

    fn parse(text: &str) -> Option<Self> {
        let mut words = text.lines().next()?.split_whitespace();
        let version = (words.next()? == "rsync" && words.next()? == "version")
            .then(|| words.next())
            .flatten()?;
        let has = |name| text.split([',', '\n']).any(|word| word.trim() == name);
        Some(Self {
            version: Version::parse(version.trim_start_matches('v'))?,
            acls: has("ACLs"),
            xattrs: has("xattrs"),
        })
    }

    /// What this rsync can carry from the file system of `from` to the one of `to`, both of which must exist.
    pub(crate) fn extras(self, from: &Path, to: &Path) -> Extras {
        let both = |keeps: fn(&Path) -> bool| keeps(from) && keeps(to);
        Extras {
            acls: self.acls && both(platform::keeps_acls),
            xattrs: self.xattrs && both(platform::keeps_attributes),
        }
    }
}

impl Version {
    fn parse(text: &str) -> Option<Self> {
        let mut numbers = text.split('.').map(|part| {
            let digits = part
                .find(|c: char| !c.is_ascii_digit())
                .unwrap_or(part.len());
            part[..digits].parse::<u32>().ok()
        });
        let mut next = || numbers.next().flatten();
        Some(Self(next()?, next()?, next().unwrap_or(0)))
    }
}

/// The program without any arguments.
pub(crate) fn program() -> Tool {
    // Progress and messages are read by us: they must not be translated, nor numbers grouped by a locale.
    Tool::new("rsync").from_package("rsync").env("LC_ALL", "C")
}

/// What every copy has in common: the whole state of each file, compared to the nanosecond.
pub(crate) fn exact_copy(extras: Extras) -> Tool {
    let tool = program().args([
        "--recursive",
        "--links",
        "--perms",
        "--times",
        "--group",
        "--owner",
        "--numeric-ids",
        "--hard-links",
        "--sparse",
        "--modify-window=-1",
        "--no-specials",
        "--no-devices",
    ]);
    let optional = [(extras.acls, "--acls"), (extras.xattrs, "--xattrs")];
    tool.args(
        optional
            .iter()
            .filter(|(wanted, _)| *wanted)
            .map(|(_, name)| name),
    )
}

/// A folder whose content is meant, not itself: as rsync sees it, that is a slash at the end.
pub(crate) fn content_of(folder: &Path) -> OsString {
    let mut path = folder.as_os_str().to_owned();
    path.push("/");
    path
}

/// The bytes that a line of `--info=progress2` says are done.
pub(crate) fn progress_bytes(line: &str) -> Option<u64> {
    let mut words = line.split_whitespace();
    let bytes = words.next()?;
    if !words.next()?.ends_with('%') {
        return None;
    }
    bytes
        .chars()
        .filter(|c| *c != ',')
        .collect::<String>()
        .parse()
        .ok()
}

/// Paths as rsync wants to read them from a file with `--from0`, so that they mean themselves alone.
pub(crate) fn list_text(paths: &BTreeSet<PathBuf>) -> Vec<u8> {
    let mut text = Vec::new();
    for path in paths {
        // The leading `.` keeps a name such as `#x` or `-x` from meaning something.
        text.push(b'.');
        if !path.as_os_str().is_empty() {
            text.push(b'/');
            text.extend_from_slice(path.as_os_str().as_encoded_bytes());
        }
        text.push(0);
    }
    text
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_are_listed_so_that_they_mean_themselves_alone() {
        let paths = ["", "-a", "b/\n c"].map(PathBuf::from);
        assert_eq!(list_text(&paths.into()), b".\0./-a\0./b/\n c\0");
    }

    #[test]
    fn versions_and_capabilities_are_read() {
        let text = "rsync  version v3.2.7pre1  protocol version 31\nCapabilities:\n    hardlinks, no ACLs, xattrs, symtimes\n";
        let rsync = Rsync::parse(text).unwrap();
        assert_eq!(rsync.version, Version(3, 2, 7));
        assert!(!rsync.acls && rsync.xattrs);
        assert_eq!(Rsync::parse("openrsync: protocol version 29\n"), None);
        assert_eq!(Rsync::parse(""), None);
        assert!(Version::parse("3.1.2").unwrap() < OLDEST);
        assert!(Version::parse("3.10").unwrap() > OLDEST);
    }

    #[test]
    fn progress_is_told_from_other_lines() {
        assert_eq!(
            progress_bytes("  1,234,567  45%  12.3MB/s 0:00:01"),
            Some(1_234_567)
        );
        assert_eq!(progress_bytes("skipping non-regular file \"x\""), None);
        assert_eq!(progress_bytes(""), None);
    }
}
