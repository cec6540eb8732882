//! The content of an archive: entries, files read once, their checksums last.

use std::collections::HashMap;
use std::fs::{self, File};
use std::io::{self, Read, Seek, SeekFrom, Write};
use std::path::Path;

use diy_backup_core::checksums::{self, ChecksumLine};
use diy_backup_core::{Error, ErrorKind, Events, Meter, Result, ResultExt};
use sha2::{Digest, Sha256};

use super::ahead;
use super::found::{Body, Found, cannot_read, changed, is_same};
use super::pipeline::Pipe;

use crate::format::{
    self, ArchivePath, BLOCK, Entry, FileSize, Kind, Metadata, SparseMap, Timestamp,
};
use crate::platform::{self, FileIdentity};
use crate::spool::Spool;
use crate::stop::Stop;
use crate::sums;

/// How much of a file is read at a time, in bytes.
const CHUNK_BYTES: usize = 256 * 1024;
/// What archives are a multiple of, as tools expect it, in bytes.
const RECORD_BYTES: u64 = 20 * BLOCK as u64;
/// More segments than this are not worth a map.
const MAX_SEGMENTS: usize = 1 << 16;
/// The longest attributes of one file that are kept, in bytes: readers bound what they take.
const MAX_ATTRIBUTE_BYTES: usize = 512 * 1024;

/// Writes an archive to a pipe.
#[derive(Debug)]
pub(crate) struct Packer {
    output: Pipe,
    written: u64,
    packed: Packed,
    sums: Spool,
    /// Files with several names, as long as not all of them were seen.
    links: HashMap<FileIdentity, (u64, ArchivePath)>,
    buffer: Vec<u8>,
    stop: Stop,
    events: Events,
    meter: Meter,
}

/// What an archive holds.
#[derive(Debug, Clone, Copy, Default)]
pub(crate) struct Packed {
    pub(crate) entries: u64,
    pub(crate) content_bytes: u64,
}

impl Packer {
    /// An archive that goes to `output`, with the list of checksums kept in `sums` until its end.
    pub(crate) fn new(output: Pipe, sums: Spool, stop: Stop, events: Events, meter: Meter) -> Self {
        Self {
            output,
            written: 0,
            packed: Packed::default(),
            sums,
            links: HashMap::new(),
            buffer: vec![0; CHUNK_BYTES],
            stop,
            events,
            meter,
        }
    }

    /// Adds a file of this program's own at the top of the archive.
    pub(crate) fn add_text(&mut self, name: &str, text: &[u8], modified: Timestamp) -> Result<()> {
        let path = own_path(name)?;
        self.begin(&own_entry(path.clone(), text.len() as u64, modified))?;
        self.write(text)?;
        self.pad(text.len() as u64)?;
        self.add_sum(Sha256::digest(text).into(), &path)
    }

    /// Adds the folder at `path` with all that is in it, called `name`. Does nothing if it is not there.
    pub(crate) fn add_tree(&mut self, path: &Path, name: &str) -> Result<()> {
        if !path.exists() {
            return Ok(());
        }
        let stop = self.stop.clone();
        ahead::walk(path, own_path(name)?, &stop, |found| {
            stop.ensure_running()?;
            self.add(found)
        })
    }

    /// Writes the checksums and the end.
    pub(crate) fn finish(mut self, modified: Timestamp) -> Result<Packed> {
        let list = std::mem::take(&mut self.sums);
        let mut list = list.read_back().io_context(cannot_spool)?;
        let size = list.length();
        self.begin(&own_entry(own_path(checksums::FILE_NAME)?, size, modified))?;
        let copied = io::copy(&mut list, &mut self.output).io_context(cannot_write)?;
        self.written += copied;
        self.packed.content_bytes += copied;
        self.pad(size)?;
        self.write_raw(&[0; 2 * BLOCK])?;
        let rest = self.written.next_multiple_of(RECORD_BYTES) - self.written;
        io::copy(&mut io::repeat(0).take(rest), &mut self.output).io_context(cannot_write)?;
        self.output.finish().io_context(cannot_write)?;
        Ok(self.packed)
    }

    fn add(&mut self, mut found: Found) -> Result<()> {
        let kind = &found.metadata;
        if !(kind.is_file() || kind.is_dir() || kind.is_symlink()) {
            let what = platform::describe_special(kind);
            self.events.warning(format!(
                "{} is a {what} and was left out of the archive",
                found.path.display()
            ));
            return Ok(());
        }
        if let Some(first) = self.earlier_name(&found) {
            return self.begin(&self.entry(found, Kind::HardLink(first)));
        }
        match std::mem::replace(&mut found.body, Body::Unread) {
            Body::Names(_) => self.begin(&self.entry(found, Kind::Directory)),
            Body::Target(target) => self.begin(&self.entry(found, Kind::Symlink(target))),
            Body::Content(content, sum) => self.add_small_file(found, &content, sum),
            Body::Unread => self.add_file(found),
        }
    }

    /// The name under which a file with several names is in the archive already.
    fn earlier_name(&mut self, found: &Found) -> Option<ArchivePath> {
        let (identity, names) = platform::identity_if_linked(&found.metadata)?;
        let Some((left, first)) = self.links.get_mut(&identity) else {
            let entry = (names - 1, found.inside.clone());
            self.links.insert(identity, entry);
            return None;
        };
        // A link may not lead from one part of a backup into another: they are restored to different places.
        if first.part() != found.inside.part() {
            return None;
        }
        *left -= 1;
        let first = first.clone();
        if *left == 0 {
            self.links.remove(&identity);
        }
        Some(first)
    }

    /// A file whose content has been read.
    fn add_small_file(&mut self, found: Found, content: &[u8], sum: [u8; 32]) -> Result<()> {
        let length = content.len() as u64;
        let entry = self.entry(found, Kind::File(FileSize::Dense(length)));
        self.begin(&entry)?;
        self.write(content)?;
        self.meter.advance(length);
        self.pad(length)?;
        self.add_sum(sum, &entry.path)
    }

    fn add_file(&mut self, found: Found) -> Result<()> {
        let path = found.path.clone();
        let context = || cannot_read(&path);
        let mut file = platform::open_no_follow(&path).io_context(context)?;
        let before = file.metadata().io_context(context)?;
        let size = file_size(&file, &before).io_context(context)?;
        let entry = self.entry(found, Kind::File(size.clone()));
        self.begin(&entry)?;
        let mut hash = Sha256::new();
        match &size {
            FileSize::Dense(length) => self.copy(&mut file, *length, &mut hash, &path)?,
            FileSize::Sparse(map) => self.copy_sparse(&mut file, map, &mut hash, &path)?,
        }
        let after = file.metadata().io_context(context)?;
        if !is_same(&before, &after) {
            return Err(changed(&path));
        }
        self.pad(size.stored())?;
        self.add_sum(hash.finalize().into(), &entry.path)
    }

    fn copy_sparse(
        &mut self,
        file: &mut File,
        map: &SparseMap,
        hash: &mut Sha256,
        path: &Path,
    ) -> Result<()> {
        let mut at = 0;
        for segment in map.segments() {
            self.hash_zeros(hash, segment.offset - at)?;
            file.seek(SeekFrom::Start(segment.offset))
                .io_context(|| cannot_read(path))?;
            self.copy(file, segment.length, hash, path)?;
            at = segment.offset + segment.length;
        }
        self.hash_zeros(hash, map.size() - at)
    }

    fn hash_zeros(&mut self, hash: &mut Sha256, length: u64) -> Result<()> {
        self.packed.content_bytes += length;
        sums::hash_zeros(hash, length, || self.stop.ensure_running())
    }

    /// Reads exactly `length` bytes.
    fn copy(
        &mut self,
        file: &mut File,
        mut length: u64,
        hash: &mut Sha256,
        path: &Path,
    ) -> Result<()> {
        let mut buffer = std::mem::take(&mut self.buffer);
        while length > 0 {
            self.stop.ensure_running()?;
            let wanted = usize::try_from(length).map_or(buffer.len(), |l| l.min(buffer.len()));
            let read = match file.read(&mut buffer[..wanted]) {
                Ok(0) => return Err(changed(path)),
                Ok(read) => read,
                Err(error) if error.kind() == io::ErrorKind::Interrupted => continue,
                Err(error) => return Err(error).io_context(|| cannot_read(path)),
            };
            hash.update(&buffer[..read]);
            self.write(&buffer[..read])?;
            self.meter.advance(read as u64);
            length -= read as u64;
        }
        self.buffer = buffer;
        Ok(())
    }

    /// The entry of something in the staging folder.
    fn entry(&self, found: Found, kind: Kind) -> Entry {
        let mut metadata = found.kept;
        let attributes = metadata.attributes.iter();
        let bytes: usize = attributes
            .map(|(name, value)| name.len() + value.len())
            .sum();
        if bytes > MAX_ATTRIBUTE_BYTES {
            metadata.attributes.clear();
            self.events.warning(format!(
                "{} has {bytes} bytes of extended attributes, which were left out of the archive",
                found.path.display()
            ));
        }
        Entry {
            path: found.inside,
            kind,
            metadata,
        }
    }

    fn begin(&mut self, entry: &Entry) -> Result<()> {
        self.packed.entries += 1;
        self.write_raw(&format::encode(entry))
    }

    /// Writes content.
    fn write(&mut self, bytes: &[u8]) -> Result<()> {
        self.packed.content_bytes += bytes.len() as u64;
        self.write_raw(bytes)
    }

    fn pad(&mut self, content_bytes: u64) -> Result<()> {
        self.write_raw(&[0; BLOCK][..format::padding(content_bytes)])
    }

    fn write_raw(&mut self, bytes: &[u8]) -> Result<()> {
        self.written += bytes.len() as u64;
        self.output.write_all(bytes).io_context(cannot_write)
    }

    fn add_sum(&mut self, sum: [u8; 32], path: &ArchivePath) -> Result<()> {
        let line = ChecksumLine {
            sha256: sum,
            path: path.as_path().into_owned(),
        };
        self.sums.write_all(&line.encode()).io_context(cannot_spool)
    }
}

fn own_path(name: &str) -> Result<ArchivePath> {
    ArchivePath::parse(name.as_bytes())
        .map_err(|problem| Error::new(ErrorKind::Internal, format!("the entry `{name}` {problem}")))
}

fn own_entry(path: ArchivePath, size: u64, modified: Timestamp) -> Entry {
    Entry {
        path,
        kind: Kind::File(FileSize::Dense(size)),
        metadata: Metadata {
            mode: 0o600,
            modified,
            ..Metadata::default()
        },
    }
}

/// A map where holes take up enough of the file to be worth one.
fn file_size(file: &File, metadata: &fs::Metadata) -> io::Result<FileSize> {
    let size = metadata.len();
    if !platform::may_have_holes(metadata) {
        return Ok(FileSize::Dense(size));
    }
    let segments = platform::data_segments(file, size, MAX_SEGMENTS)?;
    let map = segments.and_then(|segments| SparseMap::new(size, segments).ok());
    Ok(match map {
        Some(map) if map.stored() < size => FileSize::Sparse(map),
        _ => FileSize::Dense(size),
    })
}

fn cannot_write() -> String {
    "cannot write the archive".to_owned()
}

fn cannot_spool() -> String {
    "cannot keep the list of checksums in a temporary file".to_owned()
}
