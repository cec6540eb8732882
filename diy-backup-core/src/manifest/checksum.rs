//! The checksum that a manifest carries of itself.
//!
//! A restore goes by what the manifest says before it has read the archive: where data stores go, which roles a database
//! needs. The checksum is over the bytes, not the values, so that a later version may add members that this one ignores.

use sha2::{Digest, Sha256};

const BEFORE: &[u8] = b",\n  \"checksum\": \"sha256:";
const AFTER: &[u8] = b"\"\n}\n";
/// Hexadecimal digits of a SHA-256.
const DIGITS: usize = 64;

/// What the checksum of a manifest tells.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Checksum {
    Right,
    Wrong,
    /// There is none at the end.
    Absent,
}

/// Returns the end of a manifest whose text so far is `body`: the member with the checksum, and the last brace.
pub(super) fn tail(body: &[u8]) -> String {
    let before = String::from_utf8_lossy(BEFORE);
    let after = String::from_utf8_lossy(AFTER);
    format!("{before}{}{after}", digest(body))
}

/// Compares the text of a whole manifest with the checksum at its end.
pub(super) fn judge(text: &[u8]) -> Checksum {
    let found = text.strip_suffix(AFTER).and_then(|rest| {
        let (rest, digits) = rest.split_at_checked(rest.len().checked_sub(DIGITS)?)?;
        Some((rest.strip_suffix(BEFORE)?, digits))
    });
    match found {
        Some((body, digits)) if digits == digest(body).as_bytes() => Checksum::Right,
        Some(_) => Checksum::Wrong,
        None => Checksum::Absent,
    }
}

fn digest(body: &[u8]) -> String {
    hex::encode(Sha256::digest(body))
}
