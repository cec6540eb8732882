use std::fmt::Debug;
use std::path::{Component, Path, PathBuf};

use async_trait::async_trait;
use serde::Serialize;

use crate::config::RetentionSettings;
use crate::error::Result;
use crate::findings::Findings;
use crate::id::BackupId;
use crate::manifest::Manifest;
use crate::retention::PrunePlan;
use crate::staging;
use crate::strategy::{
    BackupContext, BackupEntry, CheckContext, Leftover, RestoreContext, RestoreSource,
};

/// How finished backups are kept: stored, listed, read back, checked and deleted.
#[async_trait]
pub trait ArchiveStrategy: Debug + Send + Sync + 'static {
    /// The name that the configuration chooses it by.
    fn name(&self) -> &str;

    /// The folder that backups are kept in, where it is one on this machine.
    fn directory(&self) -> Option<&Path> {
        None
    }

    /// Finds everything that can be known to fail. `staged` is what the other parts expect to hold: the archive's
    /// size follows from it. Changes nothing.
    ///
    /// # Errors
    /// When the check itself could not be done; what it finds wrong is a finding.
    async fn check(&self, cx: &CheckContext, staged: &Findings) -> Result<Findings>;

    /// Keeps what lies in the staging folder as the backup that `manifest` describes. The backup shows in
    /// [`list`](Self::list) as the very last step, when all of it is durable; before that, and after an error, never.
    ///
    /// # Errors
    /// Any. The backup fails; earlier ones are as they were.
    async fn store(&self, cx: &BackupContext, manifest: &Manifest) -> Result<StoredArchive>;

    /// Lists everything that is named like a backup of an instance of this name, oldest first. Reads names and
    /// manifests alone, not the content.
    ///
    /// A backup whose manifest lies inside what it describes, or is lost, is [`Unproven`](crate::BackupState::Unproven);
    /// one that cannot be restored is [`Damaged`](crate::BackupState::Damaged). Neither is left out of the list.
    ///
    /// # Errors
    /// When they cannot be listed. One backup that cannot be read is an entry with a problem, not an error.
    async fn list(&self) -> Result<Vec<BackupEntry>>;

    /// Reads a backup, checks every byte of it and unpacks it to `destinations`, none of which is the final target. It
    /// need not be durable yet: [`apply`](crate::RestoreSession::apply) sees to that.
    ///
    /// # Errors
    /// [`Damaged`](crate::ErrorKind::Damaged) when it is not what its manifest says, or would write outside of
    /// `destinations`. What was unpacked by then is the caller's to remove.
    async fn fetch(
        &self,
        cx: &RestoreContext,
        entry: &BackupEntry,
        destinations: &Destinations,
    ) -> Result<RestoreSource>;

    /// Reads a backup and checks every byte of it: the same verdict that [`fetch`](Self::fetch) would give.
    ///
    /// # Errors
    /// When it cannot be read at all for reasons that say nothing about it; damage is a [`Verdict`].
    async fn verify(&self, cx: &RestoreContext, entry: &BackupEntry) -> Result<Verdict>;

    /// Deletes a backup: first so that it is no longer listed, then the rest.
    ///
    /// # Errors
    /// When something of it is still there.
    async fn delete(&self, entry: &BackupEntry) -> Result<()>;

    /// Plans which of `entries`, which are all that there are, go under `policy`. Changes nothing. The core keeps the
    /// backups of other instances and the last proven one, whatever the plan says.
    ///
    /// # Errors
    /// Any: nothing is deleted.
    async fn plan_prune(
        &self,
        entries: Vec<BackupEntry>,
        policy: &RetentionSettings,
    ) -> Result<PrunePlan> {
        Ok(crate::retention::plan(entries, policy))
    }

    /// Deletes what `plan` says.
    ///
    /// # Errors
    /// The first that occurs; the rest of the plan is tried all the same.
    async fn apply_prune(&self, plan: &PrunePlan) -> Result<PruneOutcome> {
        let mut outcome = PruneOutcome::default();
        let mut first_error = None;
        for entry in &plan.delete {
            match self.delete(entry).await {
                Ok(()) => outcome.deleted.push(entry.id.clone()),
                Err(error) => first_error = first_error.or(Some(error)),
            }
        }
        first_error.map_or(Ok(outcome), Err)
    }

    /// Removes what a run that died left. Called again if it fails, and also for what is gone already.
    ///
    /// # Errors
    /// When it is still there.
    async fn discard(&self, leftover: &Leftover) -> Result<()>;
}

/// A backup that has just been stored.
#[derive(Debug, Clone)]
#[non_exhaustive]
pub struct StoredArchive {
    /// Where it is.
    pub location: String,
    /// Its size in bytes.
    pub bytes: u64,
}

impl StoredArchive {
    /// A backup at `location`, of `bytes`.
    pub fn new(location: impl Into<String>, bytes: u64) -> Self {
        Self {
            location: location.into(),
            bytes,
        }
    }
}

/// What reading a whole backup has shown.
#[derive(Debug, Clone, Default, Serialize)]
#[non_exhaustive]
pub struct Verdict {
    /// Files that were read and compared.
    pub files: u64,
    /// Bytes of content that were read and compared.
    pub content_bytes: u64,
    /// What is wrong; empty when a restore would work.
    pub damage: Vec<Damage>,
    /// Whether there were checksums to compare with. A backup made by the shell scripts has none.
    pub has_checksums: bool,
}

impl Verdict {
    /// Whether a restore would work.
    pub fn is_good(&self) -> bool {
        self.damage.is_empty()
    }
}

/// One thing that is wrong with a backup.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
#[non_exhaustive]
pub struct Damage {
    /// The file inside the backup that it touches, where that is known.
    pub path: Option<String>,
    /// What is wrong.
    pub problem: String,
}

impl Damage {
    /// Something wrong with the backup as a whole.
    pub fn whole(problem: impl Into<String>) -> Self {
        Self {
            path: None,
            problem: problem.into(),
        }
    }

    /// Something wrong with one file inside.
    pub fn file(path: impl Into<String>, problem: impl Into<String>) -> Self {
        Self {
            path: Some(path.into()),
            problem: problem.into(),
        }
    }
}

/// What a prune has done.
#[derive(Debug, Clone, Default, Serialize)]
#[non_exhaustive]
pub struct PruneOutcome {
    /// The backups that are gone.
    pub deleted: Vec<BackupId>,
}

/// Where the parts of a backup are unpacked to. None of these folders exists yet.
#[derive(Debug, Clone)]
#[non_exhaustive]
pub struct Destinations {
    /// For the dump of the database.
    pub database: PathBuf,
    /// For the home directory; without it, that part is read and checked, but not written.
    pub home: Option<PathBuf>,
    /// For the data stores, in the order of their numbers in the backup.
    pub data_stores: Vec<DataStoreDestination>,
    folders: StoreFolders,
    unnamed_stores: Option<PathBuf>,
}

/// What tells the data stores in a backup apart.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum StoreFolders {
    Numbers,
    Paths,
}

/// Where one data store is unpacked to.
#[derive(Debug, Clone)]
#[non_exhaustive]
pub struct DataStoreDestination {
    /// The path of the data store itself: archives of the shell scripts name its directory by it, not by its number.
    pub store: PathBuf,
    /// The last part of that path.
    pub name: std::ffi::OsString,
    /// Where it goes.
    pub path: PathBuf,
}

impl Destinations {
    /// The database goes to `database`, and nothing else is written.
    pub fn new(database: impl Into<PathBuf>) -> Self {
        Self {
            database: database.into(),
            home: None,
            data_stores: Vec::new(),
            folders: StoreFolders::Numbers,
            unnamed_stores: None,
        }
    }

    /// Sets a directory for the data stores of the shell scripts that the configuration does not name: each goes to its
    /// own path below it.
    #[must_use]
    pub fn with_unnamed_stores(mut self, path: impl Into<PathBuf>) -> Self {
        self.unnamed_stores = Some(path.into());
        self
    }

    /// Takes the backup for one of the shell scripts, in which a data store has its whole path: the directory `mnt/1`
    /// in it is the data store `/mnt/1`, wherever that stands in the configuration.
    #[must_use]
    pub fn of_scripts(mut self) -> Self {
        self.folders = StoreFolders::Paths;
        self
    }

    /// Writes the home directory to `path`.
    #[must_use]
    pub fn with_home(mut self, path: impl Into<PathBuf>) -> Self {
        self.home = Some(path.into());
        self
    }

    /// Writes the next data store, whose own path is `data_store`, to `path`.
    #[must_use]
    pub fn with_data_store(mut self, data_store: &Path, path: impl Into<PathBuf>) -> Self {
        let name = data_store
            .file_name()
            .unwrap_or(data_store.as_os_str())
            .to_owned();
        self.data_stores.push(DataStoreDestination {
            store: data_store.to_owned(),
            name,
            path: path.into(),
        });
        self
    }

    /// Which part the entry `path` of an archive belongs to, and where it goes: the root of that part and the path
    /// below it. `None` for what no part wants.
    ///
    /// `path` must have been found harmless: relative, without `..`.
    pub fn route(&self, path: &Path) -> Option<(&Path, PathBuf)> {
        let mut parts = path.components().filter(|part| *part != Component::CurDir);
        let first = parts.next()?.as_os_str();
        let root = if first == staging::DATABASE {
            self.database.as_path()
        } else if first == staging::HOME {
            self.home.as_deref()?
        } else if first == staging::DATA_STORES {
            if self.folders == StoreFolders::Paths {
                return self.store_by_path(parts.collect());
            }
            self.store_by_number(parts.next()?.as_os_str())?
        } else {
            return None;
        };
        Some((root, parts.collect()))
    }

    /// Of nested data stores, an entry belongs to the innermost.
    fn store_by_path(&self, path: PathBuf) -> Option<(&Path, PathBuf)> {
        let below = |store: &DataStoreDestination| {
            let own: PathBuf = store.store.components().skip(1).collect();
            Some(path.strip_prefix(own).ok()?.to_owned())
        };
        let stores = self.data_stores.iter();
        let inside = stores.filter_map(|store| Some((store.path.as_path(), below(store)?)));
        inside
            .min_by_key(|(_, below)| below.components().count())
            .or_else(|| Some((self.unnamed_stores.as_deref()?, path)))
    }

    fn store_by_number(&self, folder: &std::ffi::OsStr) -> Option<&Path> {
        let mut by_number = self.data_stores.iter().enumerate();
        let numbered = by_number.find(|(number, _)| folder == number.to_string().as_str());
        let named = || self.data_stores.iter().find(|store| store.name == folder);
        let store = numbered.map(|(_, store)| store).or_else(named);
        store.map(|store| store.path.as_path())
    }
}
