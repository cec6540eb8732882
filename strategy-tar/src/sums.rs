//! Checksums of files.

use diy_backup_core::Result;
use sha2::{Digest, Sha256};

/// Adds `length` zero bytes to a checksum, asking `go_on` now and then.
pub(crate) fn hash_zeros(
    hash: &mut Sha256,
    mut length: u64,
    mut go_on: impl FnMut() -> Result<()>,
) -> Result<()> {
    static ZEROS: [u8; 64 * 1024] = [0; 64 * 1024];
    while length > 0 {
        go_on()?;
        let step = usize::try_from(length).map_or(ZEROS.len(), |length| length.min(ZEROS.len()));
        hash.update(&ZEROS[..step]);
        length -= step as u64;
    }
    Ok(())
}
