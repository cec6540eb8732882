//! What is mounted in and around a folder.

use std::ffi::OsString;
use std::fs::File;
use std::io;
use std::os::fd::AsRawFd;
use std::os::unix::ffi::OsStringExt;
use std::path::{Path, PathBuf};

use super::Unavailable;

/// File systems whose changes all go through this machine's kernel, and that give handles of folders.
const LOCAL: &[&str] = &["ext2", "ext3", "ext4", "xfs", "btrfs", "f2fs", "tmpfs"];

/// One mount.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Mount {
    pub(super) id: u64,
    /// Major and minor number, as they are written.
    device: String,
    pub(super) point: PathBuf,
    pub(super) kind: String,
}

impl Mount {
    /// Whether it shows the same file system as `other`.
    pub(super) fn is_of_same_file_system(&self, other: &Self) -> bool {
        self.device == other.device
    }

    /// Fails when others than this machine's kernel may change what is mounted.
    pub(super) fn ensure_local(&self) -> Result<(), Unavailable> {
        if LOCAL.contains(&self.kind.as_str()) {
            return Ok(());
        }
        let point = self.point.display();
        Err(Unavailable::new(
            format!(
                "{point} is a file system of type {}, and only local ones can be relied on to tell all that changes",
                self.kind
            ),
            format!(
                "Put the files on a local ext4, XFS or Btrfs file system, or {}",
                super::place::WITHOUT
            ),
        ))
    }
}

/// Everything that is mounted, in the order of mounting.
///
/// # Errors
/// When `/proc` is not there, or says something unheard of.
pub(super) fn all() -> io::Result<Vec<Mount>> {
    let text = std::fs::read("/proc/self/mountinfo")?;
    text.split(|byte| *byte == b'\n')
        .filter(|line| !line.is_empty())
        .map(|line| parse(line).ok_or_else(|| io::Error::from(io::ErrorKind::InvalidData)))
        .collect()
}

/// The number of the mount that `file` was opened through.
///
/// # Errors
/// When `/proc` does not tell.
pub(super) fn id_of(file: &File) -> io::Result<u64> {
    let text = std::fs::read_to_string(format!("/proc/self/fdinfo/{}", file.as_raw_fd()))?;
    let id = text.lines().find_map(|line| line.strip_prefix("mnt_id:"));
    id.and_then(|id| id.trim().parse().ok())
        .ok_or_else(|| io::ErrorKind::InvalidData.into())
}

/// Those of `mounts` whose place is below `folder`.
pub(super) fn below<'a>(mounts: &'a [Mount], folder: &Path) -> impl Iterator<Item = &'a Mount> {
    mounts
        .iter()
        .filter(move |mount| mount.point != folder && mount.point.starts_with(folder))
}

/// A line such as `36 35 98:0 /root /mount/point rw,noatime shared:1 - ext4 /dev/sda1 rw`; the options before the dash
/// are any number.
fn parse(line: &[u8]) -> Option<Mount> {
    let fields: Vec<&[u8]> = line.split(|byte| *byte == b' ').collect();
    let text = |at: usize| std::str::from_utf8(fields.get(at)?).ok();
    let dash = fields.iter().skip(6).position(|field| *field == b"-")? + 6;
    Some(Mount {
        id: text(0)?.parse().ok()?,
        device: text(2)?.to_owned(),
        point: unescape(fields.get(4)?).into(),
        kind: text(dash + 1)?.to_owned(),
    })
}

/// Blanks, newlines and backslashes are written as three octal digits.
fn unescape(field: &[u8]) -> OsString {
    let mut plain = Vec::with_capacity(field.len());
    let mut rest = field;
    while let Some((&byte, after)) = rest.split_first() {
        let escaped = (byte == b'\\').then(|| octal(after.get(..3)?)).flatten();
        if let Some(value) = escaped {
            plain.push(value);
            rest = &after[3..];
        } else {
            plain.push(byte);
            rest = after;
        }
    }
    OsString::from_vec(plain)
}

fn octal(digits: &[u8]) -> Option<u8> {
    u8::from_str_radix(std::str::from_utf8(digits).ok()?, 8).ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn lines_are_read_with_any_number_of_options() {
        let plain = parse(b"1 0 8:1 / / rw - ext4 /dev/sda1 rw").unwrap();
        assert_eq!((plain.id, plain.point.as_path()), (1, Path::new("/")));
        let odd = parse(br"7 1 0:5 / /a\040b\134c rw shared:1 master:2 - fuse.x y rw").unwrap();
        assert_eq!(odd.point, Path::new("/a b\\c"));
        assert!(odd.ensure_local().unwrap_err().reason.contains("fuse.x"));
        assert!(plain.ensure_local().is_ok() && !plain.is_of_same_file_system(&odd));
        assert_eq!(parse(b"7 1 0:5 / /a rw shared:1"), None);
    }

    #[test]
    fn a_mount_below_a_folder_is_not_the_folder_itself_nor_beside_it() {
        let mounts: Vec<Mount> = ["/a", "/a/b", "/ab", "/"]
            .map(|point| parse(format!("1 0 8:1 / {point} rw - xfs x rw").as_bytes()).unwrap())
            .into();
        let found: Vec<&Path> = below(&mounts, Path::new("/a"))
            .map(|mount| mount.point.as_path())
            .collect();
        assert_eq!(found, [Path::new("/a/b")]);
    }
}
