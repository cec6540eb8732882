//! Entries as they are read, with what extended headers and the forms of GNU tar say about them.

use std::io::{self, Read};

use tar::{EntryType, GnuExtSparseHeader, GnuSparseHeader, Header};

use super::extensions::{Extensions, SparseExtensions};
use super::sparse::MAX_SEGMENTS;
use super::{
    ArchivePath, BLOCK, Entry, FileSize, Kind, MAX_EXTENSION_BYTES, MAX_GLOBAL_BYTES, Metadata,
    ReadError, Roots, Segment, SparseMap, Timestamp, number, padding,
};

/// How much content is handed on at a time, in bytes.
const CHUNK_BYTES: usize = 128 * 1024;
/// Zero blocks after the end that are still taken for padding, in bytes.
const MAX_TRAILING_BYTES: u64 = 16 * 1024 * 1024;
/// The type of an entry that names the archive and is none of its content, as `tar -V` writes it.
const VOLUME_LABEL: u8 = b'V';

type Result<T> = std::result::Result<T, ReadError>;

/// A stretch of a file's content.
#[derive(Debug)]
pub(crate) enum Content<'a> {
    Data(&'a [u8]),
    /// So many zero bytes, for which no space is taken.
    Hole(u64),
}

/// Reads the entries of an archive one after another.
#[derive(Debug)]
pub(crate) struct TarReader<R> {
    input: R,
    roots: Roots,
    globals: Extensions,
    global_bytes: u64,
    /// Content of the current entry that has not been read, without its padding.
    unread: u64,
    padding: usize,
    buffer: Vec<u8>,
}

impl<R: Read> TarReader<R> {
    pub(crate) fn new(input: R, roots: Roots) -> Self {
        Self {
            input,
            roots,
            globals: Extensions::default(),
            global_bytes: 0,
            unread: 0,
            padding: 0,
            buffer: Vec::new(),
        }
    }

    /// What the entries are read from.
    pub(crate) fn into_input(self) -> R {
        self.input
    }

    /// The next entry, or `None` at the end of the archive, after which nothing but zeros may follow. Content of the
    /// entry before that was not read is skipped.
    pub(crate) fn next(&mut self) -> Result<Option<Entry>> {
        self.skip_content()?;
        let mut extensions = self.globals.clone();
        let mut extension_bytes = 0;
        loop {
            let Some(header) = self.read_header()? else {
                if extension_bytes > 0 {
                    return Err(ReadError::malformed(
                        "the archive ends after an extended header",
                    ));
                }
                return Ok(None);
            };
            let kind = header.entry_type();
            if kind.as_byte() == VOLUME_LABEL {
                continue;
            }
            if !is_extension(kind) {
                return self.make_entry(&header, extensions).map(Some);
            }
            let size = number::parse_unsigned(&header.as_old().size, "size")?;
            // Their headers count too: there may be no end of empty ones.
            let taken = size.saturating_add(BLOCK as u64);
            let (sum, limit) = if kind == EntryType::XGlobalHeader {
                (&mut self.global_bytes, MAX_GLOBAL_BYTES)
            } else {
                (&mut extension_bytes, MAX_EXTENSION_BYTES)
            };
            *sum = sum.saturating_add(taken);
            if *sum > limit {
                return Err(ReadError::malformed(format!(
                    "extended headers have {sum} bytes, and at most {limit} are read"
                )));
            }
            let data = self.read_extension(size)?;
            match kind {
                EntryType::GNULongName => extensions.path = Some(until_zero(&data).to_vec()),
                EntryType::GNULongLink => extensions.link = Some(until_zero(&data).to_vec()),
                EntryType::XGlobalHeader => {
                    self.globals.apply(&data)?;
                    extensions.apply(&data)?;
                }
                _ => extensions.apply(&data)?,
            }
        }
    }

    /// Hands on the content of the file `size` that [`next`](Self::next) has just returned.
    pub(crate) fn content<E: From<ReadError>>(
        &mut self,
        size: &FileSize,
        mut take: impl FnMut(Content<'_>) -> std::result::Result<(), E>,
    ) -> std::result::Result<(), E> {
        match size {
            FileSize::Dense(size) => self.data(*size, &mut take)?,
            FileSize::Sparse(map) => {
                let mut at = 0;
                for segment in map.segments() {
                    if segment.offset > at {
                        take(Content::Hole(segment.offset - at))?;
                    }
                    self.data(segment.length, &mut take)?;
                    at = segment.offset + segment.length;
                }
                if map.size() > at {
                    take(Content::Hole(map.size() - at))?;
                }
            }
        }
        Ok(())
    }

    fn data<E: From<ReadError>>(
        &mut self,
        mut length: u64,
        take: &mut impl FnMut(Content<'_>) -> std::result::Result<(), E>,
    ) -> std::result::Result<(), E> {
        self.buffer.resize(CHUNK_BYTES, 0);
        while length > 0 {
            let chunk = &mut self.buffer[..bounded(length, CHUNK_BYTES)];
            self.input.read_exact(chunk).map_err(ReadError::from)?;
            length -= chunk.len() as u64;
            self.unread = self.unread.saturating_sub(chunk.len() as u64);
            take(Content::Data(chunk))?;
        }
        Ok(())
    }

    /// Skips what is unread of the current entry and its padding.
    pub(crate) fn skip_content(&mut self) -> Result<()> {
        let rest = self.unread + self.padding as u64;
        (self.unread, self.padding) = (0, 0);
        let skipped = io::copy(&mut (&mut self.input).take(rest), &mut io::sink())?;
        if skipped < rest {
            return Err(io::Error::from(io::ErrorKind::UnexpectedEof).into());
        }
        Ok(())
    }

    /// The next header, or `None` after the two zero blocks at the end.
    fn read_header(&mut self) -> Result<Option<Header>> {
        let block = self.read_block()?;
        if is_zero(&block) {
            if !is_zero(&self.read_block()?) {
                return Err(ReadError::malformed(
                    "a zero block stands within the archive",
                ));
            }
            self.read_end()?;
            return Ok(None);
        }
        let header = Header::from_byte_slice(&block).clone();
        let expected = number::parse_unsigned(&header.as_old().cksum, "checksum")?;
        if !checksums(&block).contains(&expected) {
            return Err(ReadError::malformed("a header does not match its checksum"));
        }
        Ok(Some(header))
    }

    /// Reads what follows the end, which must be padding: a stream that was cut off there would lack its checksum.
    fn read_end(&mut self) -> Result<()> {
        let mut chunk = [0; 16 * BLOCK];
        let mut total = 0;
        loop {
            match self.input.read(&mut chunk) {
                Ok(0) => return Ok(()),
                Ok(length) => {
                    total += length as u64;
                    if !is_zero(&chunk[..length]) || total > MAX_TRAILING_BYTES {
                        return Err(ReadError::malformed(
                            "something follows the end of the archive",
                        ));
                    }
                }
                Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
                Err(error) => return Err(error.into()),
            }
        }
    }

    fn read_block(&mut self) -> Result<[u8; BLOCK]> {
        let mut block = [0; BLOCK];
        self.input.read_exact(&mut block)?;
        Ok(block)
    }

    fn read_extension(&mut self, size: u64) -> Result<Vec<u8>> {
        let mut data = vec![0; bounded(size, usize::MAX)];
        self.input.read_exact(&mut data)?;
        let mut rest = [0; BLOCK];
        self.input.read_exact(&mut rest[..padding(size)])?;
        Ok(data)
    }

    fn make_entry(&mut self, header: &Header, extensions: Extensions) -> Result<Entry> {
        let stored = match extensions.size {
            Some(size) => size,
            None => number::parse_unsigned(&header.as_old().size, "size")?,
        };
        if i64::try_from(stored).is_err() {
            return Err(ReadError::malformed("an entry is longer than files can be"));
        }
        let name = extensions.sparse.name.clone().or(extensions.path.clone());
        let name = name.unwrap_or_else(|| header_name(header));
        self.roots = self.roots.of_entry(&name);
        let path = checked(self.roots.apply(&name))?;
        let kind = self.make_kind(header, &extensions, stored, &name, &path)?;
        let metadata = make_metadata(header, extensions)?;
        Ok(Entry {
            path,
            kind,
            metadata,
        })
    }

    fn make_kind(
        &mut self,
        header: &Header,
        extensions: &Extensions,
        stored: u64,
        name: &[u8],
        path: &ArchivePath,
    ) -> Result<Kind> {
        let link = || {
            let link = extensions.link.clone();
            link.unwrap_or_else(|| until_zero(&header.as_old().linkname).to_vec())
        };
        let entry_type = header.entry_type();
        match entry_type {
            // Before ustar, a directory was a file whose name ends in a slash.
            EntryType::Regular if name.ends_with(b"/") && stored == 0 => Ok(Kind::Directory),
            EntryType::Directory => {
                self.set_unread(stored);
                Ok(Kind::Directory)
            }
            EntryType::Regular | EntryType::Continuous | EntryType::GNUSparse => {
                self.set_unread(stored);
                let size = self.file_size(header, &extensions.sparse, stored)?;
                if self.unread != size.stored() {
                    return Err(ReadError::malformed(format!(
                        "`{path}` has a map that does not fit its size"
                    )));
                }
                Ok(Kind::File(size))
            }
            EntryType::Symlink => {
                let target = link();
                // The limit of the system calls, so that reading and unpacking come to the same verdict.
                if target.is_empty() || target.len() > 4095 || target.contains(&0) {
                    return Err(ReadError::malformed(format!(
                        "the link `{path}` has a target that no link can have"
                    )));
                }
                self.set_unread(stored);
                Ok(Kind::Symlink(target))
            }
            EntryType::Link => {
                // Writers differ in whether content follows then: it cannot be read with certainty.
                if stored > 0 {
                    return Err(ReadError::malformed(format!(
                        "the hard link `{path}` has content of its own"
                    )));
                }
                checked(self.roots.apply(&link())).map(Kind::HardLink)
            }
            other => Err(ReadError::malformed(format!(
                "`{path}` is neither file, folder nor link but has the type {:?}",
                char::from(other.as_byte())
            ))),
        }
    }

    fn set_unread(&mut self, stored: u64) {
        self.unread = stored;
        self.padding = padding(stored);
    }

    fn file_size(
        &mut self,
        header: &Header,
        sparse: &SparseExtensions,
        stored: u64,
    ) -> Result<FileSize> {
        if header.entry_type() == EntryType::GNUSparse {
            return self.old_map(header).map(FileSize::Sparse);
        }
        let Some(size) = sparse.size else {
            return Ok(FileSize::Dense(stored));
        };
        let numbers = match sparse.major {
            Some(1) => self.map_in_content()?,
            None | Some(0) => sparse.numbers.clone(),
            Some(other) => {
                return Err(ReadError::malformed(format!(
                    "a file with holes is stored in the unknown version {other}"
                )));
            }
        };
        let (pairs, rest) = numbers.as_chunks::<2>();
        if !rest.is_empty() {
            return Err(ReadError::malformed(
                "the map of a file with holes is not whole",
            ));
        }
        let segments = pairs
            .iter()
            .map(|&[offset, length]| Segment { offset, length });
        SparseMap::new(size, segments.collect()).map(FileSize::Sparse)
    }

    /// The map of the old GNU format, which goes on in blocks behind the header.
    fn old_map(&mut self, header: &Header) -> Result<SparseMap> {
        let gnu = header
            .as_gnu()
            .ok_or_else(|| ReadError::malformed("a file with holes has no GNU header"))?;
        let size = number::parse_unsigned(&gnu.realsize, "size")?;
        let mut segments = Vec::new();
        push_old_segments(&gnu.sparse, &mut segments)?;
        let mut extended = gnu.isextended[0] != 0;
        while extended {
            let block = self.read_block()?;
            let mut extension = GnuExtSparseHeader::new();
            extension.as_mut_bytes().copy_from_slice(&block);
            push_old_segments(&extension.sparse, &mut segments)?;
            extended = extension.isextended[0] != 0;
        }
        SparseMap::new(size, segments)
    }

    /// The map of version 1.0: decimal lines in front of the data, padded to whole blocks.
    fn map_in_content(&mut self) -> Result<Vec<u64>> {
        let mut numbers = Vec::new();
        let mut wanted = None;
        let mut text = Vec::new();
        while wanted.is_none_or(|wanted| numbers.len() < wanted) {
            if self.unread < BLOCK as u64 {
                return Err(ReadError::malformed(
                    "the map of a file with holes is not whole",
                ));
            }
            let block = self.read_block()?;
            self.unread -= BLOCK as u64;
            for &byte in &block {
                if wanted.is_some_and(|wanted| numbers.len() >= wanted) {
                    break;
                }
                if byte != b'\n' {
                    text.push(byte);
                    // Twenty digits are the most that a number can have.
                    if text.len() > 20 {
                        number::parse_decimal(b"", "map")?;
                    }
                    continue;
                }
                let value = number::parse_decimal(&text, "map")?;
                text.clear();
                if wanted.is_some() {
                    numbers.push(value);
                } else {
                    wanted = Some(segments_wanted(value)? * 2);
                }
            }
        }
        Ok(numbers)
    }
}

fn make_metadata(header: &Header, extensions: Extensions) -> Result<Metadata> {
    let old = header.as_old();
    let id = |known: Option<u64>, field: &[u8], what| {
        let id = known.map_or_else(|| number::parse_unsigned(field, what), Ok)?;
        // The highest number means "nobody" to the system calls.
        if id >= u64::from(u32::MAX) {
            return Err(ReadError::malformed(format!(
                "a header has an impossible {what}"
            )));
        }
        Ok(id)
    };
    let modified = match extensions.modified {
        Some(time) => time,
        None => Timestamp {
            seconds: number::parse_signed(&old.mtime, "time")?,
            nanoseconds: 0,
        },
    };
    let mode = number::parse_unsigned(&old.mode, "mode")? & 0o7777;
    Ok(Metadata {
        mode: u32::try_from(mode).unwrap_or(0),
        uid: id(extensions.uid, &old.uid, "owner")?,
        gid: id(extensions.gid, &old.gid, "group")?,
        modified,
        attributes: extensions.attributes,
    })
}

fn header_name(header: &Header) -> Vec<u8> {
    let name = until_zero(&header.as_old().name);
    let prefix = header.as_ustar().map(|ustar| until_zero(&ustar.prefix));
    match prefix {
        Some(prefix) if !prefix.is_empty() => [prefix, name].join(&b'/'),
        _ => name.to_vec(),
    }
}

fn checked(name: &[u8]) -> Result<ArchivePath> {
    ArchivePath::parse(name).map_err(|problem| {
        let shown = name.escape_ascii().to_string();
        let shown: String = shown.chars().take(200).collect();
        ReadError::malformed(format!("an entry, `{shown}`, {problem}"))
    })
}

fn push_old_segments(headers: &[GnuSparseHeader], segments: &mut Vec<Segment>) -> Result<()> {
    for header in headers {
        if header.numbytes[0] == 0 {
            break;
        }
        segments.push(Segment {
            offset: number::parse_unsigned(&header.offset, "map")?,
            length: number::parse_unsigned(&header.numbytes, "map")?,
        });
    }
    segments_wanted(segments.len() as u64).map(drop)
}

fn segments_wanted(count: u64) -> Result<usize> {
    let count = usize::try_from(count).ok();
    count
        .filter(|&count| count <= MAX_SEGMENTS)
        .ok_or_else(|| ReadError::malformed("the map of a file with holes is too long"))
}

fn is_extension(kind: EntryType) -> bool {
    matches!(
        kind,
        EntryType::GNULongName
            | EntryType::GNULongLink
            | EntryType::XHeader
            | EntryType::XGlobalHeader
    )
}

/// The checksum of a header, its own field taken as blanks: of unsigned bytes, and of signed ones as old writers had it.
fn checksums(block: &[u8; BLOCK]) -> [u64; 2] {
    let bytes = block.iter().enumerate();
    let blanked = bytes.map(
        |(at, &byte)| {
            if (148..156).contains(&at) { b' ' } else { byte }
        },
    );
    let unsigned = blanked.clone().map(u64::from).sum();
    let signed = blanked
        .map(|byte| i64::from(byte.cast_signed()))
        .sum::<i64>();
    [unsigned, u64::try_from(signed).unwrap_or(unsigned)]
}

fn until_zero(field: &[u8]) -> &[u8] {
    let end = field.iter().position(|&byte| byte == 0);
    &field[..end.unwrap_or(field.len())]
}

fn is_zero(bytes: &[u8]) -> bool {
    bytes.iter().all(|&byte| byte == 0)
}

fn bounded(length: u64, limit: usize) -> usize {
    usize::try_from(length).map_or(limit, |length| length.min(limit))
}
