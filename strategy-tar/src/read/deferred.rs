//! Folders whose metadata is set once their content is there, noted on disk.

use std::ffi::OsStr;
use std::fs::File;
use std::io::{self, Read, Seek, SeekFrom, Write};
use std::path::Path;

use crate::format::{Metadata, Timestamp};
use crate::spool::Spool;

/// The notes, while an archive is unpacked.
#[derive(Debug)]
pub(super) struct Deferred(Spool);

/// A folder: the number of its root, the path below that, and what to set.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct DeferredFolder {
    pub(super) root: u32,
    pub(super) path: Vec<u8>,
    pub(super) metadata: Metadata,
}

/// The notes, from the last to the first: a folder comes before the one that holds it.
#[derive(Debug)]
pub(super) struct Backwards {
    file: File,
    at: u64,
}

impl Deferred {
    pub(super) fn new(directory: &Path) -> io::Result<Self> {
        Spool::new(directory).map(Self)
    }

    pub(super) fn push(&mut self, root: u32, path: &Path, metadata: &Metadata) -> io::Result<()> {
        let mut note = Vec::new();
        note.extend(root.to_le_bytes());
        push_bytes(&mut note, path.as_os_str().as_encoded_bytes())?;
        note.extend(metadata.mode.to_le_bytes());
        note.extend(metadata.uid.to_le_bytes());
        note.extend(metadata.gid.to_le_bytes());
        note.extend(metadata.modified.seconds.to_le_bytes());
        note.extend(metadata.modified.nanoseconds.to_le_bytes());
        for (name, value) in &metadata.attributes {
            push_bytes(&mut note, name)?;
            push_bytes(&mut note, value)?;
        }
        let length = length_of(&note)?;
        note.extend(length.to_le_bytes());
        self.0.write_all(&note)
    }

    pub(super) fn backwards(self) -> io::Result<Backwards> {
        let mut file = self.0.into_file()?;
        let at = file.stream_position()?;
        Ok(Backwards { file, at })
    }
}

impl Backwards {
    fn read(&mut self) -> io::Result<DeferredFolder> {
        let mut length = [0; 4];
        self.file.seek(SeekFrom::Start(self.at - 4))?;
        self.file.read_exact(&mut length)?;
        let length = u32::from_le_bytes(length);
        self.at -= 4 + u64::from(length);
        self.file.seek(SeekFrom::Start(self.at))?;
        let mut note = vec![0; usize::try_from(length).map_err(io::Error::other)?];
        self.file.read_exact(&mut note)?;
        parse(&note).ok_or_else(|| io::ErrorKind::InvalidData.into())
    }
}

impl Iterator for Backwards {
    type Item = io::Result<DeferredFolder>;

    fn next(&mut self) -> Option<Self::Item> {
        (self.at > 0).then(|| self.read())
    }
}

impl DeferredFolder {
    #[cfg(unix)]
    pub(super) fn path(&self) -> &Path {
        use std::os::unix::ffi::OsStrExt;
        Path::new(OsStr::from_bytes(&self.path))
    }

    #[cfg(not(unix))]
    pub(super) fn path(&self) -> &Path {
        Path::new(OsStr::new(std::str::from_utf8(&self.path).unwrap_or("")))
    }
}

fn push_bytes(note: &mut Vec<u8>, bytes: &[u8]) -> io::Result<()> {
    note.extend(length_of(bytes)?.to_le_bytes());
    note.extend_from_slice(bytes);
    Ok(())
}

fn length_of(bytes: &[u8]) -> io::Result<u32> {
    u32::try_from(bytes.len()).map_err(io::Error::other)
}

fn parse(mut note: &[u8]) -> Option<DeferredFolder> {
    let root = u32::from_le_bytes(take(&mut note)?);
    let path = take_bytes(&mut note)?;
    let mut metadata = Metadata {
        mode: u32::from_le_bytes(take(&mut note)?),
        uid: u64::from_le_bytes(take(&mut note)?),
        gid: u64::from_le_bytes(take(&mut note)?),
        modified: Timestamp {
            seconds: i64::from_le_bytes(take(&mut note)?),
            nanoseconds: u32::from_le_bytes(take(&mut note)?),
        },
        attributes: Vec::new(),
    };
    while !note.is_empty() {
        let name = take_bytes(&mut note)?;
        metadata.attributes.push((name, take_bytes(&mut note)?));
    }
    Some(DeferredFolder {
        root,
        path,
        metadata,
    })
}

fn take<const N: usize>(note: &mut &[u8]) -> Option<[u8; N]> {
    let (head, rest) = note.split_first_chunk::<N>()?;
    *note = rest;
    Some(*head)
}

fn take_bytes(note: &mut &[u8]) -> Option<Vec<u8>> {
    let length = usize::try_from(u32::from_le_bytes(take(note)?)).ok()?;
    let (head, rest) = note.split_at_checked(length)?;
    *note = rest;
    Some(head.to_vec())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_last_folder_comes_back_first() {
        let work = tempfile::tempdir().unwrap();
        let mut deferred = Deferred::new(work.path()).unwrap();
        let metadata = Metadata {
            mode: 0o2750,
            uid: 7,
            gid: 8,
            modified: Timestamp {
                seconds: -1,
                nanoseconds: 5,
            },
            attributes: vec![
                (b"user.a".to_vec(), vec![0, 1]),
                (b"user.b".to_vec(), vec![]),
            ],
        };
        for path in ["", "a", "a/b"] {
            deferred.push(3, Path::new(path), &metadata).unwrap();
        }
        let back: Vec<_> = deferred.backwards().unwrap().map(Result::unwrap).collect();
        let paths: Vec<_> = back.iter().map(DeferredFolder::path).collect();
        assert_eq!(paths, [Path::new("a/b"), Path::new("a"), Path::new("")]);
        assert!(
            back.iter()
                .all(|folder| folder.metadata == metadata && folder.root == 3)
        );
    }
}
