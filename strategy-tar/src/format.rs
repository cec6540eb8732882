//! The tar format: POSIX pax as it is written, and all that GNU tar makes as it is read.

mod acl;
mod extensions;
mod header;
mod number;
mod path;
mod pax;
mod reader;
mod roots;
mod sparse;

pub(crate) use header::{encode, padding};
pub(crate) use path::{ArchivePath, Part};
pub(crate) use reader::{Content, TarReader};
pub(crate) use roots::Roots;
pub(crate) use sparse::{Segment, SparseMap};

/// The unit that archives are made of, in bytes.
pub(crate) const BLOCK: usize = 512;

/// The longest extended headers and names that are read in front of one entry, in bytes: they are held in memory.
const MAX_EXTENSION_BYTES: u64 = 1024 * 1024;

/// The longest extended headers for all entries that are read, in bytes: every entry takes them up anew.
const MAX_GLOBAL_BYTES: u64 = 64 * 1024;

/// One entry of an archive, without its content.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Entry {
    pub(crate) path: ArchivePath,
    pub(crate) kind: Kind,
    pub(crate) metadata: Metadata,
}

/// What an entry is.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Kind {
    Directory,
    File(FileSize),
    /// The target is content: it may dangle or point anywhere, and is never followed.
    Symlink(Vec<u8>),
    /// Another name of a file that came before.
    HardLink(ArchivePath),
}

/// How long a file is.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum FileSize {
    /// Every byte is stored.
    Dense(u64),
    /// Only what lies between the holes is stored.
    Sparse(SparseMap),
}

impl FileSize {
    /// The length of the file in bytes, holes and all.
    pub(crate) fn logical(&self) -> u64 {
        match self {
            Self::Dense(size) => *size,
            Self::Sparse(map) => map.size(),
        }
    }

    /// How many bytes of content are stored.
    pub(crate) fn stored(&self) -> u64 {
        match self {
            Self::Dense(size) => *size,
            Self::Sparse(map) => map.stored(),
        }
    }
}

/// What an entry says about owner, permissions and time.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub(crate) struct Metadata {
    /// The permission bits, with set-user-ID, set-group-ID and sticky: 12 bits.
    pub(crate) mode: u32,
    pub(crate) uid: u64,
    pub(crate) gid: u64,
    pub(crate) modified: Timestamp,
    /// Extended attributes by name; access control lists as the kernel keeps them.
    pub(crate) attributes: Vec<(Vec<u8>, Vec<u8>)>,
}

/// A point in time: seconds since the epoch, which may be negative, and nanoseconds after that.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub(crate) struct Timestamp {
    pub(crate) seconds: i64,
    pub(crate) nanoseconds: u32,
}

/// Why an archive cannot be read on.
#[derive(Debug)]
pub(crate) enum ReadError {
    /// It is not a well-formed archive.
    Malformed(String),
    /// It could not be read, which says nothing about it.
    Io(std::io::Error),
}

impl ReadError {
    pub(crate) fn malformed(problem: impl Into<String>) -> Self {
        Self::Malformed(problem.into())
    }
}

impl From<std::io::Error> for ReadError {
    /// What decompresses says `InvalidData`; what ends too early, `UnexpectedEof`.
    fn from(error: std::io::Error) -> Self {
        match error.kind() {
            std::io::ErrorKind::InvalidData => Self::Malformed(error.to_string()),
            std::io::ErrorKind::UnexpectedEof => Self::malformed("the archive ends too early"),
            _ => Self::Io(error),
        }
    }
}
