use std::fs::{File, Metadata};
use std::io;
use std::os::unix::fs::MetadataExt;

use rustix::fs::{SeekFrom, seek};
use rustix::io::Errno;

use crate::format::Segment;

/// Smaller holes are not worth a map.
const MIN_HOLES_BYTES: u64 = 32 * 1024;

/// Whether a file takes up so much less than its length that looking for holes is worth it.
pub(crate) fn may_have_holes(metadata: &Metadata) -> bool {
    let allocated = metadata.blocks().saturating_mul(512);
    metadata.len().saturating_sub(allocated) >= MIN_HOLES_BYTES
}

/// Where the data of a file of `size` bytes lies; `None` where that cannot be found out, or in more than `most` pieces.
pub(crate) fn data_segments(
    file: &File,
    size: u64,
    most: usize,
) -> io::Result<Option<Vec<Segment>>> {
    let mut segments = Vec::new();
    let mut at = 0;
    while at < size {
        let start = match seek(file, SeekFrom::Data(at)) {
            Ok(start) => start,
            // Nothing but a hole up to the end.
            Err(Errno::NXIO) => break,
            Err(Errno::INVAL | Errno::NOTSUP) => return Ok(None),
            Err(error) => return Err(error.into()),
        };
        if start >= size {
            break;
        }
        let end = seek(file, SeekFrom::Hole(start))?.min(size);
        if end <= start || segments.len() == most {
            return Ok(None);
        }
        segments.push(Segment {
            offset: start,
            length: end - start,
        });
        at = end;
    }
    seek(file, SeekFrom::Start(0))?;
    Ok(Some(segments))
}
