//! What an archive holds, noted on disk: what only shows when all entries are known is checked without holding them
//! all in memory.

use std::collections::HashMap;
use std::hash::{BuildHasher, RandomState};
use std::io::{self, Read, Write};
use std::path::Path;

use diy_backup_core::{Damage, Result, ResultExt};

use super::sink::Fault;
use crate::format::{ArchivePath, Entry, Kind};
use crate::spool::{Spool, SpoolReader};
use crate::stop::Stop;

/// How many paths are held in memory at a time.
const PATHS_AT_ONCE: u64 = 500_000;
/// What stands in front of the path of a note, in bytes.
const HEAD_BYTES: usize = 1 + 3 * 16 + 32 + 2;

/// The notes while an archive is read.
#[derive(Debug)]
pub(crate) struct Ledger {
    spool: Spool,
    hasher: Fingerprints,
    count: u64,
}

/// The notes once all is read.
#[derive(Debug)]
pub(crate) struct Notes {
    spool: SpoolReader,
    count: u64,
    read: u64,
}

/// One entry of an archive.
#[derive(Debug)]
pub(crate) struct Note {
    kind: NoteKind,
    own: u128,
    parent: u128,
    target: u128,
    pub(crate) sum: [u8; 32],
    pub(crate) path: ArchivePath,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum NoteKind {
    Directory,
    File,
    Symlink,
    HardLink,
}

/// Keyed, so that nobody can make an archive whose paths have the same.
#[derive(Debug)]
struct Fingerprints(RandomState, RandomState);

impl Fingerprints {
    /// Zero for the root, which is always there.
    fn of(&self, path: &ArchivePath) -> u128 {
        if path.is_root() {
            return 0;
        }
        let high = self.0.hash_one(path.as_bytes());
        let low = self.1.hash_one(path.as_bytes());
        u128::from(high) << 64 | u128::from(low)
    }
}

impl Ledger {
    /// A ledger that keeps its notes in `directory`.
    pub(crate) fn new(directory: &Path) -> Result<Self> {
        Ok(Self {
            spool: Spool::new(directory).io_context(cannot_note)?,
            hasher: Fingerprints(RandomState::new(), RandomState::new()),
            count: 0,
        })
    }

    /// Notes an entry, with the checksum of its content if it is a file.
    pub(crate) fn note(&mut self, entry: &Entry, sum: [u8; 32]) -> Result<()> {
        let Some(parent) = entry.path.parent() else {
            return Ok(());
        };
        let (kind, target) = match &entry.kind {
            Kind::Directory => (NoteKind::Directory, 0),
            Kind::File(_) => (NoteKind::File, 0),
            Kind::Symlink(_) => (NoteKind::Symlink, 0),
            Kind::HardLink(target) => (NoteKind::HardLink, self.hasher.of(target)),
        };
        let path = entry.path.as_bytes();
        let length = u16::try_from(path.len()).unwrap_or(u16::MAX);
        let mut note = Vec::with_capacity(HEAD_BYTES + path.len());
        note.push(kind as u8);
        for fingerprint in [self.hasher.of(&entry.path), self.hasher.of(&parent), target] {
            note.extend(fingerprint.to_le_bytes());
        }
        note.extend(sum);
        note.extend(length.to_le_bytes());
        note.extend_from_slice(path);
        self.count += 1;
        self.spool.write_all(&note).io_context(cannot_note)
    }

    /// Goes to the first note.
    pub(crate) fn read_back(self) -> Result<Notes> {
        Ok(Notes {
            spool: self.spool.read_back().io_context(cannot_note)?,
            count: self.count,
            read: 0,
        })
    }
}

impl Notes {
    /// The next file, in the order of the archive.
    pub(crate) fn next_file(&mut self) -> Result<Option<Note>> {
        while let Some(note) = self.next()? {
            if note.kind == NoteKind::File {
                return Ok(Some(note));
            }
        }
        Ok(None)
    }

    /// Makes sure that every entry has a folder to stand in, that nothing is there twice, and that hard links lead to
    /// something that came before. Folders may be repeated.
    pub(crate) fn check(
        &mut self,
        stop: &Stop,
        mut report: impl FnMut(Damage) -> Result<(), Fault>,
    ) -> Result<(), Fault> {
        let rounds = self.count / PATHS_AT_ONCE + 1;
        for round in 0..u128::from(rounds) {
            self.rewind()?;
            let mut known: HashMap<u128, NoteKind> = HashMap::new();
            let here = |fingerprint: u128| fingerprint % u128::from(rounds) == round;
            while let Some(note) = self.next()? {
                stop.ensure_running()?;
                if here(note.parent)
                    && note.parent != 0
                    && known.get(&note.parent) != Some(&NoteKind::Directory)
                {
                    report(note.damage("there is no folder for it in the archive"))?;
                }
                if note.kind == NoteKind::HardLink
                    && here(note.target)
                    && matches!(known.get(&note.target), None | Some(NoteKind::Directory))
                {
                    report(note.damage("it is a hard link to something that is not there"))?;
                }
                if here(note.own) {
                    let earlier = known.insert(note.own, note.kind);
                    let repeated_folder =
                        note.kind == NoteKind::Directory && earlier == Some(NoteKind::Directory);
                    if earlier.is_some() && !repeated_folder {
                        report(note.damage("it is in the archive twice"))?;
                    }
                }
            }
        }
        Ok(())
    }

    fn rewind(&mut self) -> Result<()> {
        self.read = 0;
        self.spool.rewind().io_context(cannot_note)
    }

    fn next(&mut self) -> Result<Option<Note>> {
        if self.read == self.count {
            return Ok(None);
        }
        self.read += 1;
        self.read_note().map(Some).io_context(cannot_note)
    }

    fn read_note(&mut self) -> io::Result<Note> {
        let mut kind = [0; 1];
        self.spool.read_exact(&mut kind)?;
        let kind = [
            NoteKind::Directory,
            NoteKind::File,
            NoteKind::Symlink,
            NoteKind::HardLink,
        ]
        .into_iter()
        .find(|known| *known as u8 == kind[0])
        .ok_or(io::ErrorKind::InvalidData)?;
        let mut fingerprints = [0; 3];
        for fingerprint in &mut fingerprints {
            let mut bytes = [0; 16];
            self.spool.read_exact(&mut bytes)?;
            *fingerprint = u128::from_le_bytes(bytes);
        }
        let [own, parent, target] = fingerprints;
        let mut sum = [0; 32];
        self.spool.read_exact(&mut sum)?;
        let mut length = [0; 2];
        self.spool.read_exact(&mut length)?;
        let mut path = vec![0; u16::from_le_bytes(length).into()];
        self.spool.read_exact(&mut path)?;
        let path = ArchivePath::parse(&path).map_err(io::Error::other)?;
        Ok(Note {
            kind,
            own,
            parent,
            target,
            sum,
            path,
        })
    }
}

impl Note {
    fn damage(&self, problem: &str) -> Damage {
        Damage::file(self.path.to_string(), problem)
    }
}

fn cannot_note() -> String {
    "cannot keep the list of entries in a temporary file".to_owned()
}
