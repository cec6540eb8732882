//! Names of entries: relative, without `..`, and the same whoever wrote them.

use std::ffi::OsStr;
use std::fmt;
use std::path::Path;

use diy_backup_core::{printable, staging};

/// The longest path of a Linux system call, in bytes, without the end mark.
const MAX_PATH_BYTES: usize = 4095;
/// The longest name in one folder, in bytes.
const MAX_NAME_BYTES: usize = 255;

/// A path inside an archive: relative, without `.`, `..`, empty parts and a slash at its end. The root is empty.
#[derive(Clone, PartialEq, Eq, PartialOrd, Ord, Hash, Default)]
pub(crate) struct ArchivePath(Vec<u8>);

/// The part of a backup that an entry belongs to. Hard links stay within one.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Part<'a> {
    Database,
    Home,
    DataStore(&'a [u8]),
    Other,
}

impl ArchivePath {
    /// Takes the name of an entry, as it stands in an archive.
    ///
    /// # Errors
    /// What is wrong with it: it leads out of the archive, or no file system can hold it.
    pub(crate) fn parse(raw: &[u8]) -> Result<Self, &'static str> {
        if raw.is_empty() {
            return Err("has no name");
        }
        if raw.first() == Some(&b'/') {
            return Err("has an absolute path");
        }
        if raw.contains(&0) {
            return Err("has a name with a zero byte in it");
        }
        let mut path = Vec::with_capacity(raw.len());
        for part in raw.split(|&byte| byte == b'/') {
            match part {
                b"" | b"." => continue,
                b".." => return Err("leads out of the archive by `..`"),
                _ if part.len() > MAX_NAME_BYTES => return Err("has a name longer than 255 bytes"),
                _ => {}
            }
            if !path.is_empty() {
                path.push(b'/');
            }
            path.extend_from_slice(part);
        }
        if path.len() > MAX_PATH_BYTES {
            return Err("has a path longer than 4095 bytes");
        }
        Ok(Self(path))
    }

    pub(crate) fn as_bytes(&self) -> &[u8] {
        &self.0
    }

    pub(crate) fn is_root(&self) -> bool {
        self.0.is_empty()
    }

    /// The folder that holds it; the root for what stands at the top, none for the root.
    pub(crate) fn parent(&self) -> Option<Self> {
        if self.is_root() {
            return None;
        }
        let end = self.0.iter().rposition(|&byte| byte == b'/').unwrap_or(0);
        Some(Self(self.0[..end].to_vec()))
    }

    /// The last part.
    pub(crate) fn name(&self) -> &[u8] {
        let start = self.0.iter().rposition(|&byte| byte == b'/');
        &self.0[start.map_or(0, |slash| slash + 1)..]
    }

    /// The path of `name` in this folder.
    pub(crate) fn join(&self, name: &OsStr) -> Self {
        let mut path = self.0.clone();
        if !path.is_empty() {
            path.push(b'/');
        }
        path.extend_from_slice(name.as_encoded_bytes());
        Self(path)
    }

    /// The names on the way to it.
    pub(crate) fn names(&self) -> impl Iterator<Item = &[u8]> {
        self.0
            .split(|&byte| byte == b'/')
            .filter(|name| !name.is_empty())
    }

    /// The path of these names, one in the other.
    pub(crate) fn of_names<'a>(names: impl Iterator<Item = &'a [u8]>) -> Self {
        Self(names.collect::<Vec<_>>().join(&b'/'))
    }

    /// What is left of the path below `top`; none for what does not lie there.
    pub(crate) fn below(&self, top: &Self) -> Option<Self> {
        if top.is_root() {
            return Some(self.clone());
        }
        let rest = self.0.strip_prefix(top.as_bytes())?.strip_prefix(b"/")?;
        Some(Self(rest.to_vec()))
    }

    /// Which part of a backup it belongs to.
    pub(crate) fn part(&self) -> Part<'_> {
        let mut parts = self.0.split(|&byte| byte == b'/');
        let first = parts.next().unwrap_or_default();
        if first == staging::DATABASE.as_bytes() {
            Part::Database
        } else if first == staging::HOME.as_bytes() {
            Part::Home
        } else if first == staging::DATA_STORES.as_bytes() {
            parts.next().map_or(Part::Other, Part::DataStore)
        } else {
            Part::Other
        }
    }

    /// Whether it is the folder that holds a part of a backup, or one above that.
    pub(crate) fn holds_part(&self) -> bool {
        let depth = self.0.split(|&byte| byte == b'/').count();
        match self.part() {
            Part::Database | Part::Home => depth == 1,
            Part::DataStore(_) => depth == 2,
            Part::Other => self.is_root() || self.0 == staging::DATA_STORES.as_bytes(),
        }
    }

    /// The same path as the system writes it.
    #[cfg(unix)]
    pub(crate) fn as_path(&self) -> std::borrow::Cow<'_, Path> {
        use std::os::unix::ffi::OsStrExt;
        Path::new(OsStr::from_bytes(&self.0)).into()
    }

    /// The same path as the system writes it, as far as it can.
    #[cfg(not(unix))]
    pub(crate) fn as_path(&self) -> std::borrow::Cow<'_, Path> {
        std::path::PathBuf::from(String::from_utf8_lossy(&self.0).into_owned()).into()
    }
}

impl fmt::Display for ArchivePath {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if self.is_root() {
            return f.write_str(".");
        }
        f.write_str(&printable(&String::from_utf8_lossy(&self.0)))
    }
}

impl fmt::Debug for ArchivePath {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "`{self}`")
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn parsed(raw: &[u8]) -> Vec<u8> {
        ArchivePath::parse(raw).unwrap().as_bytes().to_vec()
    }

    #[test]
    fn one_path_has_one_form() {
        for raw in ["a/b", "./a/b", "a/b/", "a//b", "././a/./b//"] {
            assert_eq!(parsed(raw.as_bytes()), b"a/b", "{raw}");
        }
        assert_eq!(parsed(b"./"), b"");
        assert_eq!(parsed(b"\xff\n/..x"), b"\xff\n/..x");
    }

    #[test]
    fn paths_that_lead_out_or_fit_no_file_system_are_refused() {
        let long_name = vec![b'x'; 256];
        let long_path = b"x/".repeat(2100);
        for raw in [
            &b"/a"[..],
            b"..",
            b"a/../b",
            b"a/..",
            b"",
            b"a\0b",
            &long_name,
            &long_path,
        ] {
            assert!(ArchivePath::parse(raw).is_err(), "{raw:?}");
        }
    }

    #[test]
    fn a_path_is_shown_in_one_line() {
        for (raw, shown) in [
            ("./", "."),
            ("a\n\u{1b}[2J", "a\\n\\u{1b}[2J"),
            ("ä b", "ä b"),
        ] {
            let path = ArchivePath::parse(raw.as_bytes()).unwrap();
            assert_eq!(path.to_string(), shown);
        }
    }

    #[test]
    fn a_path_knows_its_folder_name_and_part() {
        let path = ArchivePath::parse(b"bitbucket-data-stores/0/x").unwrap();
        assert_eq!(
            path.parent().unwrap().as_bytes(),
            b"bitbucket-data-stores/0"
        );
        assert_eq!(path.name(), b"x");
        assert_eq!(path.part(), Part::DataStore(b"0"));
        let top = ArchivePath::parse(b"manifest.json").unwrap();
        assert!(top.parent().unwrap().is_root());
        assert_eq!(
            (top.name(), top.part()),
            (&b"manifest.json"[..], Part::Other)
        );
    }
}
