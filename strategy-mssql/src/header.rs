//! What a backup file says about itself.

use diy_backup_core::{Error, ErrorKind, Result};

use crate::failure::Failure;
use crate::sql;
use crate::sqlcmd::Server;

const FULL: u64 = 1;
const DIFFERENTIAL: u64 = 5;

/// The one backup in a file.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(crate) struct Header {
    kind: u64,
    /// Its own identity.
    pub(crate) id: String,
    /// The identity of the full backup that a differential one is based on.
    pub(crate) base: Option<String>,
    copy_only: bool,
    damaged: bool,
    checksums: bool,
}

impl Header {
    /// Lets the server read the header of a file.
    pub(crate) async fn of(server: &Server, path: &str) -> Result<Self, Failure> {
        let statement = format!("RESTORE HEADERONLY FROM DISK = {};", sql::literal(path));
        let row = server.one(&statement).await?;
        Ok(Self {
            kind: row.number("BackupType")?.unwrap_or_default(),
            id: row.text("BackupSetGUID")?.unwrap_or_default().to_owned(),
            base: row.text("DifferentialBaseGUID")?.map(str::to_owned),
            copy_only: row.is_one("IsCopyOnly")?,
            damaged: row.is_one("IsDamaged")?,
            checksums: row.is_one("HasBackupChecksums")?,
        })
    }

    /// That it is a full backup without a flaw.
    pub(crate) fn ensure_full(&self) -> Result<()> {
        self.ensure_sound()?;
        if self.kind == FULL {
            Ok(())
        } else {
            Err(damaged("what should be a full backup is another one"))
        }
    }

    /// That it is a full backup which differential ones are based upon.
    pub(crate) fn ensure_base(&self) -> Result<()> {
        self.ensure_full()?;
        if self.copy_only {
            let message = "the server has made a copy-only backup in place of a full one, which no differential one can be based on";
            return Err(Error::new(ErrorKind::Database, message));
        }
        Ok(())
    }

    /// Whether it is a differential backup based on `full`.
    pub(crate) fn is_based_on(&self, full: &Self) -> bool {
        self.kind == DIFFERENTIAL
            && self.base.as_deref() == Some(full.id.as_str())
            && !full.id.is_empty()
    }

    /// That it is a differential backup without a flaw, and based on `full`.
    pub(crate) fn ensure_based_on(&self, full: &Self) -> Result<()> {
        self.ensure_sound()?;
        if self.is_based_on(full) {
            return Ok(());
        }
        Err(damaged(
            "the differential backup is not based on the full one beside it: somebody else has made a full backup in between",
        ))
    }

    fn ensure_sound(&self) -> Result<()> {
        if self.damaged {
            return Err(damaged(
                "the server has met damaged pages while it made the backup",
            ));
        }
        if !self.checksums {
            return Err(damaged("the backup has no checksums"));
        }
        Ok(())
    }
}

fn damaged(message: &str) -> Error {
    Error::new(ErrorKind::Damaged, message)
}

/// One file of a database, as its backup lists it.
#[derive(Debug, Clone)]
pub(crate) struct DatabaseFile {
    pub(crate) logical: String,
    pub(crate) sort: FileSort,
}

/// What a file of a database is for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum FileSort {
    Data,
    Log,
    /// A folder of FILESTREAM or memory-optimized data.
    Folder,
}

/// Lets the server list the files of the database in a backup.
pub(crate) async fn files_in(server: &Server, path: &str) -> Result<Vec<DatabaseFile>, Failure> {
    let statement = format!("RESTORE FILELISTONLY FROM DISK = {};", sql::literal(path));
    let rows = server.query(&statement).await?;
    let mut files = Vec::new();
    for row in rows {
        let sort = match row.text("Type")? {
            Some("D") => FileSort::Data,
            Some("L") => FileSort::Log,
            Some("S") => FileSort::Folder,
            other => {
                let message = format!(
                    "the database has a file of the sort {other:?}, which this strategy cannot restore"
                );
                return Err(Error::new(ErrorKind::Unsupported, message).into());
            }
        };
        let logical = row.text("LogicalName")?.unwrap_or_default().to_owned();
        files.push(DatabaseFile { logical, sort });
    }
    Ok(files)
}
