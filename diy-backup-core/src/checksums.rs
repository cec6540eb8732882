//! Lists of checksums in the format that `sha256sum --check` reads.

use std::path::{Path, PathBuf};

/// The name of the list inside a backup.
pub const FILE_NAME: &str = "SHA256SUMS";

/// One line of a list: the SHA-256 of a file, and its path relative to the list.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ChecksumLine {
    /// The checksum.
    pub sha256: [u8; 32],
    /// The file.
    pub path: PathBuf,
}

impl ChecksumLine {
    /// The line with its newline. As `sha256sum` does it, a line whose path needs escapes begins with a backslash.
    pub fn encode(&self) -> Vec<u8> {
        let path = path_bytes(&self.path);
        let needs_escapes = path
            .iter()
            .any(|byte| matches!(byte, b'\\' | b'\n' | b'\r'));
        let mut line = Vec::with_capacity(path.len() + 68);
        if needs_escapes {
            line.push(b'\\');
        }
        line.extend_from_slice(hex::encode(self.sha256).as_bytes());
        line.extend_from_slice(b"  ");
        for &byte in path.as_ref() {
            match byte {
                b'\\' => line.extend_from_slice(b"\\\\"),
                b'\n' => line.extend_from_slice(b"\\n"),
                b'\r' => line.extend_from_slice(b"\\r"),
                _ => line.push(byte),
            }
        }
        line.push(b'\n');
        line
    }

    /// Reads a line, with or without its newline. `None` for what is not one.
    pub fn decode(line: &[u8]) -> Option<Self> {
        let line = line.strip_suffix(b"\n").unwrap_or(line);
        let (escaped, line) = match line.strip_prefix(b"\\") {
            Some(rest) => (true, rest),
            None => (false, line),
        };
        let (checksum, rest) = line.split_at_checked(64)?;
        let path = rest
            .strip_prefix(b"  ")
            .or_else(|| rest.strip_prefix(b" *"))?;
        let path = if escaped {
            unescape(path)?
        } else {
            path.to_vec()
        };
        if path.is_empty() {
            return None;
        }
        let mut sha256 = [0; 32];
        hex::decode_to_slice(checksum, &mut sha256).ok()?;
        Some(Self {
            sha256,
            path: path_from_bytes(path)?,
        })
    }
}

fn unescape(path: &[u8]) -> Option<Vec<u8>> {
    let mut plain = Vec::with_capacity(path.len());
    let mut bytes = path.iter();
    while let Some(&byte) = bytes.next() {
        plain.push(match byte {
            b'\\' => match bytes.next()? {
                b'\\' => b'\\',
                b'n' => b'\n',
                b'r' => b'\r',
                _ => return None,
            },
            other => other,
        });
    }
    Some(plain)
}

#[cfg(unix)]
fn path_bytes(path: &Path) -> std::borrow::Cow<'_, [u8]> {
    std::os::unix::ffi::OsStrExt::as_bytes(path.as_os_str()).into()
}

#[cfg(unix)]
#[expect(
    clippy::unnecessary_wraps,
    reason = "elsewhere not every sequence of bytes is a path"
)]
fn path_from_bytes(path: Vec<u8>) -> Option<PathBuf> {
    Some(<std::ffi::OsString as std::os::unix::ffi::OsStringExt>::from_vec(path).into())
}

#[cfg(not(unix))]
fn path_bytes(path: &Path) -> std::borrow::Cow<'_, [u8]> {
    path.to_string_lossy()
        .replace('\\', "/")
        .into_bytes()
        .into()
}

#[cfg(not(unix))]
fn path_from_bytes(path: Vec<u8>) -> Option<PathBuf> {
    String::from_utf8(path).ok().map(PathBuf::from)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_path_survives_its_line() {
        for path in [
            "a", "a b", " a", "*a", "a\nb", "a\\nb", "\\", "ä\r", "-n", "a  b",
        ] {
            let line = ChecksumLine {
                sha256: [0xab; 32],
                path: path.into(),
            };
            let encoded = line.encode();
            let end = encoded.iter().position(|&byte| byte == b'\n');
            assert_eq!(end, Some(encoded.len() - 1), "{path:?}");
            assert_eq!(ChecksumLine::decode(&encoded), Some(line), "{path:?}");
        }
    }

    #[test]
    fn what_is_no_line_is_none() {
        let sum = "ab".repeat(32);
        for line in [
            String::new(),
            sum.clone(),
            format!("{sum}  "),
            format!("{sum} a"),
            format!("\\{sum}  a\\x"),
            format!("{}  a", "zz".repeat(32)),
        ] {
            assert_eq!(ChecksumLine::decode(line.as_bytes()), None, "{line:?}");
        }
    }
}
