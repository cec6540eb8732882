//! What the end of an archive tells without reading all of it.

use std::fs::File;
use std::io::{self, Read, Seek, SeekFrom};
use std::path::Path;

use crate::format::BLOCK;

const GZIP_MAGIC: [u8; 2] = [0x1f, 0x8b];
const ZSTD_MAGIC: [u8; 4] = [0x28, 0xb5, 0x2f, 0xfd];
/// The header and the end of a compressed file, in bytes.
const SHORTEST: u64 = 18;
/// The two blocks of zeros that a tar file ends with, in bytes.
const END_BYTES: u64 = 2 * BLOCK as u64;

/// Returns `false` for an archive that was cut off, as far as its last bytes tell: a compressed one ends with the length
/// of its content, which is a multiple of a block, and one that is not compressed with blocks of zeros.
///
/// One in 512 of the compressed ones that were cut off looks whole.
pub(crate) fn looks_whole(path: &Path, bytes: u64) -> io::Result<bool> {
    let mut file = File::open(path)?;
    let mut start = [0; 4];
    if bytes < SHORTEST {
        return Ok(false);
    }
    file.read_exact(&mut start)?;
    if start == ZSTD_MAGIC {
        // Its end says nothing.
        return Ok(true);
    }
    if start.starts_with(&GZIP_MAGIC) {
        let mut length = [0; 4];
        file.seek(SeekFrom::End(-4))?;
        file.read_exact(&mut length)?;
        return Ok(u64::from(u32::from_le_bytes(length)).is_multiple_of(BLOCK as u64));
    }
    if bytes < END_BYTES || !bytes.is_multiple_of(BLOCK as u64) {
        return Ok(false);
    }
    let mut end = [0; 2 * BLOCK];
    file.seek(SeekFrom::Start(bytes - END_BYTES))?;
    file.read_exact(&mut end)?;
    Ok(end.iter().all(|&byte| byte == 0))
}
