//! Archives as the shell scripts made them, for those who restore them.
//!
//! Seen in the scripts of Atlassian, from 2014 to 2024: the names of archives and directories of each [`Generation`], in
//! local time; `rsync -a` of sources with a slash at their end and without; the whole path of a data store in its
//! destination; `mysqldump` into a file `bitbucket-db`; exclude lists that missed, as [`ShellArchive::with_junk`] does.
//! Guessed from what sites do with archives: every [`Packing`] but the first, and dumps of other names.

use std::ffi::OsString;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::SystemTime;

use chrono::{DateTime, FixedOffset, Local};

use crate::command;
use crate::error::{Error, ErrorKind, IoContext, Result};
use crate::home::{DATABASE_EXCLUSIONS, EXCLUSIONS};
use crate::postgres::PrivatePostgres;

/// What goes into an archive of the shell scripts: `<instance>-YYYYMMDD-HHMMSS.tar.gz` with the directories
/// `bitbucket-db` (of `pg_dump -Fd`), `bitbucket-home` and `bitbucket-data-stores/<path>`, and no manifest.
#[derive(Debug)]
pub struct ShellArchive<'a> {
    instance: String,
    home: PathBuf,
    data_stores: Vec<PathBuf>,
    database: Option<(&'a PrivatePostgres, String)>,
    files: Vec<(String, Vec<u8>)>,
    taken_at: SystemTime,
    offset: Option<FixedOffset>,
    sources: Sources,
    generation: Generation,
    packing: Packing,
    suffix: String,
    exclusions: Vec<&'static str>,
}

/// How home and data stores stand in the configuration of the scripts.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[non_exhaustive]
pub enum Sources {
    /// With a slash at their end, as the example says: their content is copied.
    WithSlash,
    /// Without: a directory of their name is copied, and everything lies one level deeper.
    WithoutSlash,
}

/// Which scripts made an archive.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[non_exhaustive]
pub enum Generation {
    /// Those of 2014 and 2015, for Stash: `stash-YYYYMMDD-HHMMSS-NNN.tar.gz` with `stash-home` and `stash-db`.
    Stash,
    /// Those until 2017: the name ends in the last three digits of the seconds since the epoch.
    WithEpoch,
    /// Those since.
    Current,
}

/// What was given to tar.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[non_exhaustive]
pub enum Packing {
    /// `-C DIRECTORY .`, as the scripts do: names begin with `./`.
    Content,
    /// `-C DIRECTORY bitbucket-home …`: each directory by its name.
    Names,
    /// `-C PARENT DIRECTORY`: everything lies in one directory more.
    Directory,
    /// `-P /PATH/OF/DIRECTORY`: all names are absolute.
    Absolute,
}

impl<'a> ShellArchive<'a> {
    /// An archive of a home, taken now.
    pub fn new(instance: impl Into<String>, home: impl Into<PathBuf>) -> Self {
        Self {
            instance: instance.into(),
            home: home.into(),
            data_stores: Vec::new(),
            database: None,
            files: Vec::new(),
            taken_at: SystemTime::now(),
            offset: None,
            sources: Sources::WithSlash,
            generation: Generation::Current,
            packing: Packing::Content,
            suffix: ".tar.gz".to_owned(),
            exclusions: [EXCLUSIONS, DATABASE_EXCLUSIONS].concat(),
        }
    }

    /// One more data store; it lies under its whole path in the archive.
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

    /// One more file, such as a dump: `bitbucket-db` or `bitbucket-db/backup-db.sql`.
    #[must_use]
    pub fn file(mut self, path: impl Into<String>, content: impl Into<Vec<u8>>) -> Self {
        self.files.push((path.into(), content.into()));
        self
    }

    /// The time in the name of the archive, and of its last change.
    #[must_use]
    pub fn taken_at(mut self, time: SystemTime) -> Self {
        self.taken_at = time;
        self
    }

    /// How far east the clock of the machine was, in seconds; without it, that of this machine counts.
    #[must_use]
    pub fn east(mut self, seconds: i32) -> Self {
        self.offset = FixedOffset::east_opt(seconds);
        self
    }

    /// How home and data stores are configured.
    #[must_use]
    pub fn sources(mut self, sources: Sources) -> Self {
        self.sources = sources;
        self
    }

    /// Which scripts make it.
    #[must_use]
    pub fn generation(mut self, generation: Generation) -> Self {
        self.generation = generation;
        self
    }

    /// How it is packed.
    #[must_use]
    pub fn packing(mut self, packing: Packing) -> Self {
        self.packing = packing;
        self
    }

    /// What the name of the archive ends in: `.tar`, or anything else for one that is compressed.
    #[must_use]
    pub fn suffix(mut self, suffix: impl Into<String>) -> Self {
        self.suffix = suffix.into();
        self
    }

    /// Leaves nothing out, as exclude lists that did not fit did.
    #[must_use]
    pub fn with_junk(mut self) -> Self {
        self.exclusions.clear();
        self
    }

    /// Writes the archive into a directory and returns its path.
    ///
    /// # Errors
    /// [`ErrorKind::Missing`] without rsync or tar, [`ErrorKind::Command`] when one of the tools fails,
    /// [`ErrorKind::Invalid`] for a data store whose path is not absolute.
    pub fn create(&self, directory: &Path) -> Result<PathBuf> {
        let rsync = command::require("rsync", "rsync")?;
        let tar = command::require("tar", "tar")?;
        let staging = tempfile::tempdir().doing("make a directory in", &std::env::temp_dir())?;
        let root = staging.path().join("backup");
        std::fs::create_dir(&root).doing("create", &root)?;
        self.fill(&root, &rsync)?;
        let archive = directory.join(self.file_name());
        let mut pack = Command::new(tar);
        pack.arg(if self.suffix == ".tar" { "-cf" } else { "-czf" })
            .arg(&archive);
        match self.packing {
            Packing::Content => pack.arg("-C").arg(&root).arg("."),
            Packing::Names => pack.arg("-C").arg(&root).args(names_in(&root)?),
            Packing::Directory => pack.arg("-C").arg(staging.path()).arg("backup"),
            Packing::Absolute => pack.arg("-P").arg(&root),
        };
        command::run(&mut pack)?;
        crate::tree::make_removable(staging.path())?;
        let file = std::fs::File::options()
            .write(true)
            .open(&archive)
            .doing("open", &archive)?;
        file.set_modified(self.taken_at)
            .doing("set the time of", &archive)?;
        Ok(archive)
    }

    fn fill(&self, root: &Path, rsync: &Path) -> Result<()> {
        let product = match self.generation {
            Generation::Stash => "stash",
            Generation::WithEpoch | Generation::Current => "bitbucket",
        };
        let home = root.join(format!("{product}-home"));
        self.copy(rsync, &self.home, &home, &self.exclusions)?;
        for store in &self.data_stores {
            let path = store.strip_prefix("/").map_err(|_| {
                Error::new(
                    ErrorKind::Invalid,
                    "the path of the data store is not absolute",
                )
            })?;
            let target = root.join("bitbucket-data-stores").join(path);
            self.copy(rsync, store, &target, &[])?;
        }
        if let Some((server, database)) = &self.database {
            let mut dump = server.tool("pg_dump");
            dump.args(["-Fd", "-j2", "--no-password", "-f"])
                .arg(root.join(format!("{product}-db")))
                .arg("--dbname")
                .arg(database);
            command::run(&mut dump)?;
        }
        for (path, content) in &self.files {
            let path = root.join(path);
            if let Some(parent) = path.parent() {
                std::fs::create_dir_all(parent).doing("create", parent)?;
            }
            std::fs::write(&path, content).doing("write", &path)?;
        }
        Ok(())
    }

    fn copy(&self, rsync: &Path, from: &Path, to: &Path, exclusions: &[&str]) -> Result<()> {
        std::fs::create_dir_all(to).doing("create", to)?;
        let mut source = OsString::from(from);
        if self.sources == Sources::WithSlash {
            source.push("/");
        }
        let mut copy = Command::new(rsync);
        copy.arg("-aH").args(
            exclusions
                .iter()
                .map(|pattern| format!("--exclude={pattern}")),
        );
        copy.arg("--").arg(source).arg(to);
        command::run(&mut copy).map(drop)
    }

    fn file_name(&self) -> String {
        let taken_at = DateTime::<Local>::from(self.taken_at);
        let offset = self.offset.unwrap_or(*taken_at.offset());
        let time = taken_at.with_timezone(&offset).format("%Y%m%d-%H%M%S");
        let instance = match self.generation {
            Generation::Stash => "stash",
            Generation::WithEpoch | Generation::Current => &self.instance,
        };
        let epoch = match self.generation {
            Generation::Stash | Generation::WithEpoch => {
                format!("-{:03}", taken_at.timestamp().rem_euclid(1000))
            }
            Generation::Current => String::new(),
        };
        format!("{instance}-{time}{epoch}{}", self.suffix)
    }
}

fn names_in(directory: &Path) -> Result<Vec<OsString>> {
    let entries = std::fs::read_dir(directory).doing("read", directory)?;
    let mut names = entries
        .map(|entry| entry.map(|entry| entry.file_name()))
        .collect::<std::io::Result<Vec<_>>>()
        .doing("read", directory)?;
    names.sort();
    Ok(names)
}
