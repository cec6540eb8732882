//! Where the data of a file with holes lies.

use super::{BLOCK, ReadError};

/// The most segments that a map may have: it is held in memory.
pub(super) const MAX_SEGMENTS: usize = 1 << 20;

/// A stretch of data in a file with holes.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Segment {
    pub(crate) offset: u64,
    pub(crate) length: u64,
}

/// The data of a file with holes: ascending, without overlaps, all within the file.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct SparseMap {
    size: u64,
    stored: u64,
    segments: Vec<Segment>,
}

impl SparseMap {
    /// The map of a file of `size` bytes with data in `segments`.
    ///
    /// # Errors
    /// When the segments overlap, go back, or lead out of the file.
    pub(crate) fn new(size: u64, mut segments: Vec<Segment>) -> Result<Self, ReadError> {
        let wrong = || ReadError::malformed("the map of a file with holes contradicts itself");
        if i64::try_from(size).is_err() {
            return Err(ReadError::malformed("an entry is longer than files can be"));
        }
        let (mut end, mut stored) = (0_u64, 0_u64);
        for segment in &segments {
            if segment.offset < end {
                return Err(wrong());
            }
            end = segment
                .offset
                .checked_add(segment.length)
                .filter(|&end| end <= size)
                .ok_or_else(wrong)?;
            stored += segment.length;
        }
        // Writers mark the end of a file by an empty segment.
        segments.retain(|segment| segment.length > 0);
        Ok(Self {
            size,
            stored,
            segments,
        })
    }

    /// The length of the file with its holes, in bytes.
    pub(crate) fn size(&self) -> u64 {
        self.size
    }

    /// The bytes of data.
    pub(crate) fn stored(&self) -> u64 {
        self.stored
    }

    pub(crate) fn segments(&self) -> &[Segment] {
        &self.segments
    }

    /// The map as version 1.0 of the GNU format has it in front of the data, padded to whole blocks.
    pub(super) fn encode(&self) -> Vec<u8> {
        let end = Segment {
            offset: self.size,
            length: 0,
        };
        let ends_in_hole = self
            .segments
            .last()
            .is_none_or(|last| last.offset + last.length < self.size);
        let mark = ends_in_hole.then_some(end);
        let count = self.segments.len() + usize::from(ends_in_hole);
        let segments = self.segments.iter().chain(mark.as_ref());
        let numbers = segments.flat_map(|segment| [segment.offset, segment.length]);
        let lines = std::iter::once(count as u64)
            .chain(numbers)
            .map(|number| format!("{number}\n"));
        let mut map = lines.collect::<String>().into_bytes();
        map.resize(map.len().next_multiple_of(BLOCK), 0);
        map
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn segment(offset: u64, length: u64) -> Segment {
        Segment { offset, length }
    }

    #[test]
    fn maps_that_contradict_themselves_are_refused() {
        for segments in [
            vec![segment(0, 11)],
            vec![segment(5, 2), segment(6, 1)],
            vec![segment(5, 2), segment(0, 1)],
            vec![segment(u64::MAX, 2)],
        ] {
            assert!(
                SparseMap::new(10, segments.clone()).is_err(),
                "{segments:?}"
            );
        }
    }

    #[test]
    fn a_hole_at_the_end_is_marked() {
        let map = SparseMap::new(100, vec![segment(0, 10), segment(50, 5)]).unwrap();
        assert_eq!(map.stored(), 15);
        let encoded = map.encode();
        assert_eq!(encoded.len(), BLOCK);
        assert!(encoded.starts_with(b"3\n0\n10\n50\n5\n100\n0\n\0"));
    }
}
