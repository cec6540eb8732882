//! The list of checksums, as `sha256sum` writes and checks it.

use diy_backup_core::Result;
use sha2::{Digest, Sha256};

/// The name of the list, the last entry of an archive.
pub(crate) const NAME: &str = "SHA256SUMS";

const HEX_DIGITS: usize = 64;

/// One line for the file `path`. Names with a backslash or a line feed are escaped, which a backslash in front says.
pub(crate) fn format_line(sum: &[u8; 32], path: &[u8]) -> Vec<u8> {
    let mut line = Vec::with_capacity(HEX_DIGITS + path.len() + 3);
    let escaped = path.iter().any(|byte| matches!(byte, b'\\' | b'\n'));
    if escaped {
        line.push(b'\\');
    }
    line.extend_from_slice(hex::encode(sum).as_bytes());
    line.extend_from_slice(b"  ");
    for &byte in path {
        match byte {
            b'\\' => line.extend_from_slice(b"\\\\"),
            b'\n' => line.extend_from_slice(b"\\n"),
            _ => line.push(byte),
        }
    }
    line.push(b'\n');
    line
}

/// Reads a line without its end; `None` when it is not well-formed.
pub(crate) fn parse_line(line: &[u8]) -> Option<([u8; 32], Vec<u8>)> {
    let (escaped, line) = match line.strip_prefix(b"\\") {
        Some(rest) => (true, rest),
        None => (false, line),
    };
    let (digits, rest) = line.split_at_checked(HEX_DIGITS)?;
    let mut sum = [0; 32];
    hex::decode_to_slice(digits, &mut sum).ok()?;
    let name = rest.strip_prefix(b"  ").filter(|name| !name.is_empty())?;
    if !escaped {
        return Some((sum, name.to_vec()));
    }
    let mut plain = Vec::with_capacity(name.len());
    let mut bytes = name.iter();
    while let Some(&byte) = bytes.next() {
        plain.push(match byte {
            b'\\' => match bytes.next()? {
                b'\\' => b'\\',
                b'n' => b'\n',
                _ => return None,
            },
            _ => byte,
        });
    }
    Some((sum, plain))
}

/// Adds `length` zero bytes to a checksum, asking `go_on` now and then.
pub(crate) fn hash_zeros(
    hash: &mut Sha256,
    mut length: u64,
    mut go_on: impl FnMut() -> Result<()>,
) -> Result<()> {
    const ZEROS: [u8; 64 * 1024] = [0; 64 * 1024];
    while length > 0 {
        go_on()?;
        let step = usize::try_from(length).map_or(ZEROS.len(), |length| length.min(ZEROS.len()));
        hash.update(&ZEROS[..step]);
        length -= step as u64;
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn lines_survive_being_written_and_read() {
        let sum: [u8; 32] = Sha256::digest(b"x").into();
        for name in [
            &b"a/b"[..],
            b"a\nb",
            b"a\\nb",
            b"\\",
            b" a ",
            b"\xff",
            b"*a",
        ] {
            let line = format_line(&sum, name);
            let line = line.strip_suffix(b"\n").unwrap();
            assert!(!line.contains(&b'\n'));
            assert_eq!(parse_line(line).unwrap(), (sum, name.to_vec()));
        }
    }

    #[test]
    fn lines_that_are_none_are_refused() {
        let digits = "0".repeat(64);
        for line in [
            String::new(),
            digits.clone(),
            format!("{digits}  "),
            format!("{digits} a"),
            format!("{}  a", "g".repeat(64)),
            format!("\\{digits}  a\\x"),
            format!("\\{digits}  a\\"),
        ] {
            assert!(parse_line(line.as_bytes()).is_none(), "{line}");
        }
    }
}
