//! The files that the server writes as backups.

use std::fs;
use std::path::Path;

use serde::{Deserialize, Serialize};

use super::refusal::Refusal;
use super::select::{Table, Value, unicode};
use super::state::{Base, DatabaseFile, Store};

/// What a backup says about itself.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub(super) struct Header {
    pub(super) name: String,
    /// 1 for a full one, 5 for a differential one.
    pub(super) kind: i64,
    pub(super) id: String,
    pub(super) database: String,
    pub(super) version: String,
    pub(super) copy_only: bool,
    pub(super) checksums: bool,
    /// Of a differential one: what it is based on.
    pub(super) base: Option<Base>,
    pub(super) files: Vec<DatabaseFile>,
    pub(super) length: u64,
    sum: u64,
}

#[derive(Debug)]
pub(super) struct Media {
    pub(super) header: Header,
    pub(super) content: Vec<u8>,
}

impl Header {
    /// Fills in what follows from the content.
    pub(super) fn sealed(mut self, content: &[u8]) -> Self {
        self.sum = sum(content);
        self
    }

    pub(super) fn unsealed(name: &str, database: &str, id: String, version: &str) -> Self {
        Self {
            name: name.to_owned(),
            kind: 1,
            id,
            database: database.to_owned(),
            version: version.to_owned(),
            copy_only: false,
            checksums: false,
            base: None,
            files: Vec::new(),
            length: 0,
            sum: 0,
        }
    }
}

fn sum(content: &[u8]) -> u64 {
    content.iter().fold(0xcbf2_9ce4_8422_2325, |sum, &byte| {
        (sum ^ u64::from(byte)).wrapping_mul(0x0100_0000_01b3)
    })
}

pub(super) fn write(store: &Store, path: &str, media: &Media) -> Result<(), Refusal> {
    let cannot = |why: &str| {
        let message = format!("Cannot open backup device '{path}'. Operating system error {why}.");
        Refusal::new(3201, message).ends("BACKUP")
    };
    let local = store
        .local(path)
        .ok_or_else(|| cannot("3(The system cannot find the path specified.)"))?;
    let mut bytes = serde_json::to_vec(&media.header).map_err(|error| Refusal::internal(&error))?;
    bytes.push(b'\n');
    bytes.extend_from_slice(&media.content);
    fs::write(&local, bytes).map_err(|error| cannot(&format!("5({error})")))?;
    show(&local);
    Ok(())
}

/// A server's files are for itself and its group.
fn show(path: &Path) {
    use std::os::unix::fs::PermissionsExt;
    let _ = fs::set_permissions(path, fs::Permissions::from_mode(0o660));
}

/// Reads a backup as far as any statement has to.
pub(super) fn read(store: &Store, path: &str) -> Result<Media, Refusal> {
    let cannot = |why: &str| {
        let message = format!("Cannot open backup device '{path}'. Operating system error {why}.");
        Refusal::new(3201, message).ends("RESTORE")
    };
    let local = store
        .local(path)
        .ok_or_else(|| cannot("3(The system cannot find the path specified.)"))?;
    let bytes =
        fs::read(&local).map_err(|_| cannot("2(The system cannot find the file specified.)"))?;
    let ill = || {
        let message = format!(
            "The media family on device '{path}' is incorrectly formed. SQL Server cannot process this media family."
        );
        Refusal::new(3241, message).ends("RESTORE")
    };
    let end = bytes
        .iter()
        .position(|&byte| byte == b'\n')
        .ok_or_else(ill)?;
    let header: Header = serde_json::from_slice(&bytes[..end]).map_err(|_| ill())?;
    let content = bytes[end + 1..].to_vec();
    Ok(Media { header, content })
}

impl Media {
    /// What VERIFYONLY and a restore find out; checksums are compared only when there are any and they are asked for.
    pub(super) fn verify(&self, with_checksums: bool) -> Result<(), Refusal> {
        if with_checksums && !self.header.checksums {
            let message = "RESTORE WITH CHECKSUM cannot be specified because the backup set does not contain checksum information.";
            return Err(Refusal::new(3187, message).ends("RESTORE"));
        }
        let length =
            self.content.len() as u64 + self.header.base.as_ref().map_or(0, |base| base.length);
        if length != self.header.length {
            return Err(
                Refusal::new(3203, "Read failed: 38(Reached the end of the file.)").ends("RESTORE"),
            );
        }
        if with_checksums && sum(&self.content) != self.header.sum {
            return Err(Refusal::new(3189, "Damage to the backup set was detected.").ends("VERIFY"));
        }
        Ok(())
    }
}

/// What RESTORE HEADERONLY shows.
pub(super) fn header_table(media: &Media) -> Table {
    let header = &media.header;
    let flag = |value: bool| Value::Number(i64::from(value));
    let number = |value: u64| Value::Number(i64::try_from(value).unwrap_or(i64::MAX));
    let base = header.base.as_ref();
    let columns = [
        ("BackupName", unicode(&header.name)),
        ("BackupDescription", Value::Null),
        ("BackupType", Value::Number(header.kind)),
        ("DatabaseName", unicode(&header.database)),
        ("CheckpointLSN", number(header.length)),
        (
            "DatabaseBackupLSN",
            base.map_or(Value::Number(0), |base| number(base.length)),
        ),
        ("HasBackupChecksums", flag(header.checksums)),
        ("IsDamaged", flag(false)),
        ("IsCopyOnly", flag(header.copy_only)),
        (
            "DifferentialBaseLSN",
            base.map_or(Value::Null, |base| number(base.length)),
        ),
        (
            "DifferentialBaseGUID",
            base.map_or(Value::Null, |base| unicode(&base.id)),
        ),
        ("BackupSetGUID", unicode(&header.id)),
    ];
    let (names, row) = columns
        .map(|(name, value)| (name.to_owned(), value))
        .into_iter()
        .unzip();
    Table {
        names,
        rows: vec![row],
    }
}

/// What RESTORE FILELISTONLY shows.
pub(super) fn file_table(media: &Media) -> Table {
    let names = [
        "LogicalName",
        "PhysicalName",
        "Type",
        "FileGroupName",
        "Size",
    ]
    .map(str::to_owned)
    .to_vec();
    let row_of = |file: &DatabaseFile| {
        let group = if file.sort == "D" {
            unicode("PRIMARY")
        } else {
            Value::Null
        };
        vec![
            unicode(&file.logical),
            unicode(&file.physical),
            unicode(&file.sort),
            group,
            Value::Number(8_388_608),
        ]
    };
    let rows = media.header.files.iter().map(row_of).collect();
    Table { names, rows }
}
