//! Archives as the shell scripts made them, for those who restore them.

use std::ffi::OsString;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::SystemTime;

use chrono::{DateTime, Utc};

use crate::command;
use crate::error::{Error, ErrorKind, IoContext, Result};
use crate::home::{DATABASE_EXCLUSIONS, EXCLUSIONS};
use crate::postgres::PrivatePostgres;

/// What goes into an archive of the shell scripts: `<instance>-YYYYMMDD-HHMMSS.tar.gz` with the folders `bitbucket-db`
/// (of `pg_dump -Fd`), `bitbucket-home` and `bitbucket-data-stores/<name>`, and no manifest.
#[derive(Debug)]
pub struct ShellArchive<'a> {
    instance: String,
    home: PathBuf,
    data_stores: Vec<PathBuf>,
    database: Option<(&'a PrivatePostgres, String)>,
    taken_at: SystemTime,
}

impl<'a> ShellArchive<'a> {
    /// An archive of a home, taken now.
    pub fn new(instance: impl Into<String>, home: impl Into<PathBuf>) -> Self {
        Self {
            instance: instance.into(),
            home: home.into(),
            data_stores: Vec::new(),
            database: None,
            taken_at: SystemTime::now(),
        }
    }

    /// One more data store; it is named by the last part of its path.
    #[must_use]
    pub fn data_store(mut self, path: impl Into<PathBuf>) -> Self {
        self.data_stores.push(path.into());
        self
    }

    /// The database.
    #[must_use]
    pub fn database(mut self, server: &'a PrivatePostgres, name: impl Into<String>) -> Self {
        self.database = Some((server, name.into()));
        self
    }

    /// The time in the name of the archive.
    #[must_use]
    pub fn taken_at(mut self, time: SystemTime) -> Self {
        self.taken_at = time;
        self
    }

    /// Writes the archive into a folder and returns its path.
    ///
    /// # Errors
    /// [`ErrorKind::Missing`] without rsync or tar, [`ErrorKind::Command`] when one of the tools fails,
    /// [`ErrorKind::Invalid`] for a data store without a name.
    pub fn create(&self, folder: &Path) -> Result<PathBuf> {
        let rsync = command::require("rsync", "rsync")?;
        let tar = command::require("tar", "tar")?;
        let staging = tempfile::tempdir().doing("make a folder in", &std::env::temp_dir())?;
        let home = staging.path().join("bitbucket-home");
        copy(
            &rsync,
            &self.home,
            &home,
            &[EXCLUSIONS, DATABASE_EXCLUSIONS].concat(),
        )?;
        for store in &self.data_stores {
            let name = store.file_name().ok_or_else(|| {
                Error::new(
                    ErrorKind::Invalid,
                    "the data store is the root of the file system",
                )
            })?;
            let target = staging.path().join("bitbucket-data-stores").join(name);
            copy(&rsync, store, &target, &[])?;
        }
        if let Some((server, database)) = &self.database {
            let mut dump = server.tool("pg_dump");
            dump.args(["-Fd", "-j2", "--no-password", "-f"])
                .arg(staging.path().join("bitbucket-db"))
                .arg("--dbname")
                .arg(database);
            command::run(&mut dump)?;
        }
        let time = DateTime::<Utc>::from(self.taken_at).format("%Y%m%d-%H%M%S");
        let archive = folder.join(format!("{}-{time}.tar.gz", self.instance));
        let mut pack = Command::new(tar);
        pack.arg("-czf")
            .arg(&archive)
            .arg("-C")
            .arg(staging.path())
            .arg(".");
        command::run(&mut pack)?;
        crate::tree::make_removable(staging.path())?;
        Ok(archive)
    }
}

fn copy(rsync: &Path, from: &Path, to: &Path, exclusions: &[&str]) -> Result<()> {
    std::fs::create_dir_all(to).doing("create", to)?;
    // A slash at the end: the contents, not the folder.
    let mut source = OsString::from(from);
    source.push("/");
    let mut copy = Command::new(rsync);
    copy.arg("-aH").args(
        exclusions
            .iter()
            .map(|pattern| format!("--exclude={pattern}")),
    );
    copy.arg("--").arg(source).arg(to);
    command::run(&mut copy).map(drop)
}
