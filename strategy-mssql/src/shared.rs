//! The folder that the server and we share: files that one writes and the other reads.

use std::fs::{self, File, OpenOptions};
use std::io::{self, Read, Write};
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use diy_backup_core::{
    BackupId, Control, Error, ErrorKind, Leftover, Meter, Result, ResultExt, remove_durably,
    sync_directory,
};

use crate::config::MssqlConfig;
use crate::strategy::NAME;

const KIND: &str = "backup-files";
const PREFIX: &str = "diy-backup-";
const CHUNK_BYTES: usize = 1 << 20;

/// The files that one run may have in the shared folder.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct SharedFiles {
    directory: PathBuf,
    server_directory: String,
    /// What their names begin with; nobody else's do.
    stem: String,
}

/// One of them.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Part {
    Full,
    Differential,
    /// A full one that was made inside the lock window.
    Window,
}

impl Part {
    const ALL: [Self; 3] = [Self::Full, Self::Differential, Self::Window];

    fn suffix(self) -> &'static str {
        match self {
            Self::Full => "-full.bak",
            Self::Differential => "-differential.bak",
            Self::Window => "-window.bak",
        }
    }

    /// What it is called in the staging folder and in archives.
    pub(crate) fn staged_name(self) -> &'static str {
        match self {
            Self::Full | Self::Window => "full.bak",
            Self::Differential => "differential.bak",
        }
    }
}

impl SharedFiles {
    /// Names that nobody has.
    pub(crate) fn new(config: &MssqlConfig, id: &BackupId) -> Self {
        Self::with_stem(config, format!("{PREFIX}{id}-{:08x}", fastrand::u32(..)))
    }

    fn with_stem(config: &MssqlConfig, stem: String) -> Self {
        Self {
            directory: config.directory.as_path().to_owned(),
            server_directory: config.server_directory.clone(),
            stem,
        }
    }

    /// What is recorded before any of them is made.
    pub(crate) fn leftover(&self) -> Leftover {
        Leftover::new(NAME, KIND, &self.stem)
    }

    /// Reads what was recorded; `None` when it is of another kind. A stem that we would not have made is refused.
    pub(crate) fn of(config: &MssqlConfig, leftover: &Leftover) -> Result<Option<Self>> {
        if leftover.kind != KIND {
            return Ok(None);
        }
        let stem = &leftover.id;
        let plain = |c: char| c.is_ascii_alphanumeric() || matches!(c, '.' | '_' | '-');
        if !stem.starts_with(PREFIX) || !stem.chars().all(plain) {
            let message = format!("{stem:?} is no leftover of a backup with {NAME}");
            return Err(Error::new(ErrorKind::Damaged, message));
        }
        Ok(Some(Self::with_stem(config, stem.clone())))
    }

    /// A file as this machine names it.
    pub(crate) fn ours(&self, part: Part) -> PathBuf {
        self.directory
            .join(format!("{}{}", self.stem, part.suffix()))
    }

    /// The same file as the server names it.
    pub(crate) fn servers(&self, part: Part) -> String {
        join(
            &self.server_directory,
            &format!("{}{}", self.stem, part.suffix()),
        )
    }

    /// The size of a file that the server has written, which we must be able to read.
    pub(crate) fn readable_bytes(&self, part: Part) -> Result<u64> {
        let path = self.ours(part);
        let opened = File::open(&path).and_then(|file| file.metadata());
        opened.map(|metadata| metadata.len()).map_err(|source| {
            let message = format!(
                "the server has written {:?}, and it cannot be read here as {}",
                self.servers(part),
                path.display()
            );
            Error::new(ErrorKind::Check, message).with_source(source).with_hint(
                "`server-directory` and `directory` in the section [database] must be the same folder, and the account of \
                 this program must be able to read what the server writes there (on Linux: make it a member of the group \
                 `mssql`, and the folder `chmod 2770` with that group).",
            )
        })
    }

    /// Removes one file; that there is none is no error.
    pub(crate) fn remove_one(&self, part: Part) -> Result<()> {
        let path = self.ours(part);
        match fs::symlink_metadata(&path) {
            Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(()),
            _ => remove_durably(&path),
        }
    }

    /// Removes all of them.
    pub(crate) fn remove(&self) -> Result<()> {
        if !self.directory.is_dir() {
            let message = format!(
                "the shared folder {} is not there",
                self.directory.display()
            );
            return Err(Error::new(ErrorKind::Io, message).with_hint("Is it mounted?"));
        }
        let results = Part::ALL.map(|part| self.remove_one(part));
        results.into_iter().collect()
    }
}

/// A name in a folder of the server, whichever system that runs on.
pub(crate) fn join(directory: &str, name: &str) -> String {
    let separator = if directory.contains('\\') { '\\' } else { '/' };
    format!("{}{separator}{name}", directory.trim_end_matches(separator))
}

/// Who may read a copy.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Reader {
    /// We alone.
    Us,
    /// The server too: the owner and the group of the folder.
    Server,
}

/// Copies a file durably, and stops when the run is cancelled or nobody waits for it any more.
pub(crate) async fn copy(
    from: PathBuf,
    to: PathBuf,
    reader: Reader,
    meter: Meter,
    control: &Control,
) -> Result<u64> {
    let abandoned = Arc::new(AtomicBool::new(false));
    let _guard = SetOnDrop(Arc::clone(&abandoned));
    let control = control.clone();
    blocking(move || {
        let go_on = || {
            control.ensure_running()?;
            if abandoned.load(Ordering::Relaxed) {
                return Err(Error::new(
                    ErrorKind::Internal,
                    "nobody waits for the copy any more",
                ));
            }
            Ok(())
        };
        copy_now(&from, &to, reader, &meter, go_on)
    })
    .await?
}

struct SetOnDrop(Arc<AtomicBool>);

impl Drop for SetOnDrop {
    fn drop(&mut self) {
        self.0.store(true, Ordering::Relaxed);
    }
}

fn copy_now(
    from: &Path,
    to: &Path,
    reader: Reader,
    meter: &Meter,
    go_on: impl Fn() -> Result<()>,
) -> Result<u64> {
    let reading = || format!("cannot read {}", from.display());
    let writing = || format!("cannot write {}", to.display());
    go_on()?;
    let mut source = File::open(from).io_context(reading)?;
    let mut target = create_private(to).io_context(writing)?;
    let mut chunk = vec![0; CHUNK_BYTES];
    let mut bytes = 0;
    loop {
        go_on()?;
        let count = source.read(&mut chunk).io_context(reading)?;
        if count == 0 {
            break;
        }
        target.write_all(&chunk[..count]).io_context(writing)?;
        bytes += count as u64;
        meter.advance(count as u64);
    }
    target.sync_all().io_context(writing)?;
    let directory = to.parent().unwrap_or(to);
    if reader == Reader::Server {
        show_to_owner_of(directory, to);
    }
    sync_directory(directory)?;
    Ok(bytes)
}

pub(crate) fn create_private(path: &Path) -> io::Result<File> {
    let mut options = OpenOptions::new();
    options.write(true).create_new(true);
    #[cfg(unix)]
    {
        use std::os::unix::fs::OpenOptionsExt;
        options.mode(0o600);
    }
    options.open(path)
}

/// Lets the server read a file of ours: its account owns the shared folder, or has its group. Where that cannot be
/// done, a network file system may not need it; the server says so if it does.
#[cfg(unix)]
fn show_to_owner_of(directory: &Path, file: &Path) {
    use std::os::unix::fs::{MetadataExt, PermissionsExt, chown};
    let Ok(folder) = fs::metadata(directory) else {
        return;
    };
    let given = chown(file, Some(folder.uid()), Some(folder.gid()))
        .or_else(|_| chown(file, None, Some(folder.gid())));
    let shown = given.and_then(|()| fs::set_permissions(file, fs::Permissions::from_mode(0o640)));
    if let Err(error) = shown {
        tracing::debug!(%error, "the file could not be shown to the server");
    }
}

#[cfg(not(unix))]
fn show_to_owner_of(_: &Path, _: &Path) {}

/// Runs file work where it does not hold up anything else.
pub(crate) async fn blocking<T: Send + 'static>(
    work: impl FnOnce() -> T + Send + 'static,
) -> Result<T> {
    tokio::task::spawn_blocking(work).await.map_err(|error| {
        Error::new(ErrorKind::Internal, "work on files ended unexpectedly").with_source(error)
    })
}

/// A file that shows in `check` whether both sides see the same folder. It goes when this value does.
#[derive(Debug)]
pub(crate) struct Probe {
    path: PathBuf,
    servers: String,
}

impl Probe {
    const NAME: &'static str = "diy-backup-probe.bak";

    pub(crate) fn put(config: &MssqlConfig) -> io::Result<Self> {
        let directory = config.directory.as_path();
        let path = directory.join(Self::NAME);
        // Of a check that was killed.
        let _ = fs::remove_file(&path);
        let mut file = create_private(&path)?;
        let probe = Self {
            path,
            servers: join(&config.server_directory, Self::NAME),
        };
        file.write_all(
            b"This is no backup, but a file that diy-backup looks for through the server.\n",
        )?;
        show_to_owner_of(directory, &probe.path);
        Ok(probe)
    }

    pub(crate) fn servers(&self) -> &str {
        &self.servers
    }
}

impl Drop for Probe {
    fn drop(&mut self) {
        let _ = fs::remove_file(&self.path);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn config() -> MssqlConfig {
        let text = "name = 'b'\nserver-directory = 'D:\\b\\'\ndirectory = '/mnt/b'";
        let section = diy_backup_core::Section::from_text("database", text).unwrap();
        MssqlConfig::from_section(&section).unwrap()
    }

    #[test]
    fn a_file_has_a_name_for_each_side() {
        let files = SharedFiles::with_stem(&config(), "diy-backup-x".into());
        assert_eq!(files.servers(Part::Full), "D:\\b\\diy-backup-x-full.bak");
        assert_eq!(
            files.ours(Part::Full),
            Path::new("/mnt/b/diy-backup-x-full.bak")
        );
        assert_eq!(join("/var/opt/b", "x"), "/var/opt/b/x");
    }

    #[test]
    fn what_was_recorded_names_the_same_files_and_nothing_else() {
        let config = config();
        let files = SharedFiles::new(&config, &"bitbucket-20260101-000000".parse().unwrap());
        assert_eq!(
            SharedFiles::of(&config, &files.leftover()).unwrap(),
            Some(files)
        );
        for id in ["diy-backup-/../x", "other", "diy-backup-\\x"] {
            assert!(SharedFiles::of(&config, &Leftover::new(NAME, KIND, id)).is_err());
        }
        assert_eq!(
            SharedFiles::of(&config, &Leftover::new(NAME, "x", "y")).unwrap(),
            None
        );
    }
}
