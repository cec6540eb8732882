//! Finding the dump in a backup, whoever has made it.

use std::fs::File;
use std::io::Read;
use std::path::{Path, PathBuf};

use diy_backup_core::{Error, ErrorKind, Result, ResultExt};

/// The table of contents of a dump in directory format.
const CONTENTS: &str = "toc.dat";

/// A dump that `pg_restore` reads.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct FoundDump {
    pub(crate) path: PathBuf,
    pub(crate) format: Format,
}

/// The formats of dumps, by what they take to restore.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Format {
    /// A directory, or a file in custom format: several connections read it at once.
    Seekable,
    /// A tar file, which one connection reads.
    Tar,
}

impl FoundDump {
    /// Looks for it in `database`: a directory in directory format, as this strategy and the shell scripts make it, a
    /// directory with one dump in it, or a dump itself.
    pub(crate) fn within(database: &Path) -> Result<Self> {
        if !database.is_dir() {
            return Self::of_file(database);
        }
        if database.join(CONTENTS).is_file() {
            return Ok(Self {
                path: database.to_owned(),
                format: Format::Seekable,
            });
        }
        let unreadable = || format!("cannot list {}", database.display());
        let mut files = Vec::new();
        for entry in std::fs::read_dir(database).io_context(unreadable)? {
            files.push(entry.io_context(unreadable)?.path());
        }
        match files.as_slice() {
            [one] if one.is_dir() => Self::within(one),
            [one] => Self::of_file(one),
            _ => {
                let message = format!(
                    "the backup has {} files where a dump of the database should be, and no {CONTENTS} among them",
                    files.len()
                );
                Err(Error::new(ErrorKind::Damaged, message))
            }
        }
    }

    fn of_file(path: &Path) -> Result<Self> {
        const CUSTOM: &[u8] = b"PGDMP";
        /// Where a tar file says that it is one.
        const TAR: (usize, &[u8]) = (257, b"ustar");
        const GZIP: &[u8] = b"\x1f\x8b";

        let mut head = Vec::new();
        File::open(path)
            .and_then(|file| file.take(512).read_to_end(&mut head))
            .io_context(|| format!("cannot read {}", path.display()))?;
        let found = |format| {
            Ok(Self {
                path: path.to_owned(),
                format,
            })
        };
        if head.starts_with(CUSTOM) {
            return found(Format::Seekable);
        }
        if head
            .get(TAR.0..)
            .is_some_and(|rest| rest.starts_with(TAR.1))
        {
            return found(Format::Tar);
        }
        let name = path.file_name().unwrap_or_default().display();
        let (what, way) = if head.starts_with(GZIP) {
            ("compressed as a whole", "gunzip --stdout")
        } else if head.is_empty() {
            let message = format!("the dump of the database, {name}, is empty");
            return Err(Error::new(ErrorKind::Damaged, message));
        } else {
            ("a plain script", "cat")
        };
        let message =
            format!("the dump of the database, {name}, is {what}, which pg_restore does not read");
        Err(Error::new(ErrorKind::Unsupported, message).with_hint(format!(
            "Restore the rest with `strategy = \"none\"` in the section [database], and the dump by hand into an empty database: `{way} {name} | psql --single-transaction -v ON_ERROR_STOP=1 -d NAME`."
        )))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn dumps_are_told_apart_by_what_they_hold() {
        let folder = tempfile::tempdir().unwrap();
        let database = folder.path().join("bitbucket-db");
        std::fs::create_dir(&database).unwrap();
        let kind = |found: Result<FoundDump>| found.map_err(|error| error.kind());
        assert_eq!(kind(FoundDump::within(&database)), Err(ErrorKind::Damaged));
        let file = database.join("bitbucket.dump");
        let mut tar = vec![b'x'; 257];
        tar.extend_from_slice(b"ustar\0rest");
        let cases: [(&[u8], std::result::Result<Format, ErrorKind>); 5] = [
            (b"PGDMP\x01\x0e", Ok(Format::Seekable)),
            (&tar, Ok(Format::Tar)),
            (
                b"--\n-- PostgreSQL database dump\n",
                Err(ErrorKind::Unsupported),
            ),
            (b"\x1f\x8b\x08", Err(ErrorKind::Unsupported)),
            (b"", Err(ErrorKind::Damaged)),
        ];
        for (content, wanted) in cases {
            std::fs::write(&file, content).unwrap();
            for place in [&database, &file] {
                let found = kind(FoundDump::within(place));
                assert_eq!(found.map(|found| found.format), wanted);
            }
        }
        std::fs::write(database.join(CONTENTS), "").unwrap();
        assert_eq!(FoundDump::within(&database).unwrap().path, database);
    }
}
