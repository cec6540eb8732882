use std::path::{Path, PathBuf};
use std::sync::Arc;

use crate::config::{Downtime, InstanceKind};
use crate::control::Control;
use crate::error::Result;
use crate::event::{Events, Silent};
use crate::id::BackupId;
use crate::inventory::Shrink;
use crate::journal::{Journal, JournalRecord, Operation};
use crate::manifest::{Manifest, PartName};
use crate::staging::Staging;
use crate::strategy::{Artifact, DatabaseLocation, HomeCoverage, Leftover, LeftoverOwner};

/// What a check is for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[non_exhaustive]
pub enum Purpose {
    /// A backup is about to be taken.
    Backup,
    /// Everything is to be looked at, also what a restore would need.
    Everything,
}

/// What a check knows of the run it is for.
#[derive(Debug, Clone)]
#[non_exhaustive]
pub struct CheckContext {
    /// What the check is for.
    pub purpose: Purpose,
    /// The staging folder; it need not exist.
    pub staging: Staging,
    /// What kind of instance it is.
    pub kind: InstanceKind,
    /// Whether people are kept out during the capture.
    pub downtime: Downtime,
    /// Where the database's files are.
    pub database: DatabaseLocation,
    /// What travels with the home directory.
    pub home: HomeCoverage,
    /// How the check is told to stop.
    pub control: Control,
}

impl CheckContext {
    /// A check before a backup of a Bitbucket with an external database.
    pub fn new(staging: Staging) -> Self {
        Self {
            purpose: Purpose::Backup,
            staging,
            kind: InstanceKind::Bitbucket,
            downtime: Downtime::Locked,
            database: DatabaseLocation::External,
            home: HomeCoverage::none(),
            control: Control::new(),
        }
    }
}

/// What a strategy knows of the backup it takes part in. Clones are cheap.
#[derive(Debug, Clone)]
pub struct BackupContext {
    inner: Arc<BackupInner>,
}

#[derive(Debug, Clone)]
struct BackupInner {
    id: BackupId,
    owner: Option<LeftoverOwner>,
    staging: Staging,
    kind: InstanceKind,
    downtime: Downtime,
    database: DatabaseLocation,
    home: HomeCoverage,
    control: Control,
    shrink: Shrink,
    events: Events,
    journal: Journal,
}

impl BackupContext {
    /// The context of a locked backup of a Bitbucket with an external database, whose journal is kept in memory.
    /// The core makes its own; this is for the tests of strategies.
    pub fn new(id: BackupId, staging: Staging) -> Self {
        let journal = Journal::in_memory(JournalRecord::new(Operation::Backup, id.clone(), None));
        Self {
            inner: Arc::new(BackupInner {
                id,
                owner: None,
                staging,
                kind: InstanceKind::Bitbucket,
                downtime: Downtime::Locked,
                database: DatabaseLocation::External,
                home: HomeCoverage::none(),
                control: Control::new(),
                shrink: Shrink::Refused,
                events: Events::new(Arc::new(Silent)),
                journal,
            }),
        }
    }

    fn change(mut self, change: impl FnOnce(&mut BackupInner)) -> Self {
        change(Arc::make_mut(&mut self.inner));
        self
    }

    /// The same with another database location.
    #[must_use]
    pub fn with_database(self, database: DatabaseLocation) -> Self {
        self.change(|inner| inner.database = database)
    }

    /// The same with what travels with the home directory.
    #[must_use]
    pub fn with_home(self, home: HomeCoverage) -> Self {
        self.change(|inner| inner.home = home)
    }

    /// The same with another answer to a source that has lost most of itself.
    #[must_use]
    pub fn with_shrink(self, shrink: Shrink) -> Self {
        self.change(|inner| inner.shrink = shrink)
    }

    /// The same with other levers.
    #[must_use]
    pub fn with_control(self, control: Control) -> Self {
        self.change(|inner| inner.control = control)
    }

    /// The same with events that lead elsewhere.
    #[must_use]
    pub fn with_events(self, events: Events) -> Self {
        self.change(|inner| inner.events = events)
    }

    /// The same for an instance of another kind.
    #[must_use]
    pub fn with_kind(self, kind: InstanceKind) -> Self {
        self.change(|inner| inner.kind = kind)
    }

    /// The same for the part with this role: what it records as a leftover is handed to its strategy.
    #[must_use]
    pub fn for_part(self, part: PartName) -> Self {
        self.change(|inner| inner.owner = Some(part.into()))
    }

    /// The same for the archive strategy.
    #[must_use]
    pub(crate) fn for_archive(self) -> Self {
        self.change(|inner| inner.owner = Some(LeftoverOwner::Archive))
    }

    pub(crate) fn with_downtime(self, downtime: Downtime) -> Self {
        self.change(|inner| inner.downtime = downtime)
    }

    pub(crate) fn with_journal(self, journal: Journal) -> Self {
        self.change(|inner| inner.journal = journal)
    }

    /// The backup that is taken.
    pub fn id(&self) -> &BackupId {
        &self.inner.id
    }

    /// The staging folder.
    pub fn staging(&self) -> &Staging {
        &self.inner.staging
    }

    /// What kind of instance it is.
    pub fn kind(&self) -> InstanceKind {
        self.inner.kind
    }

    /// Whether people are kept out during the capture.
    pub fn downtime(&self) -> Downtime {
        self.inner.downtime
    }

    /// Where the database's files are.
    pub fn database(&self) -> DatabaseLocation {
        self.inner.database
    }

    /// What travels with the home directory.
    pub fn home(&self) -> &HomeCoverage {
        &self.inner.home
    }

    /// What is done about a source that has lost most of itself.
    pub fn shrink(&self) -> Shrink {
        self.inner.shrink
    }

    /// How the run is told to stop.
    pub fn control(&self) -> &Control {
        &self.inner.control
    }

    /// Where messages, warnings and progress go.
    pub fn events(&self) -> &Events {
        &self.inner.events
    }

    pub(crate) fn journal(&self) -> &Journal {
        &self.inner.journal
    }

    /// Records durably that something is about to be made that has to be removed if the run dies. Costs an fsync:
    /// not within the lock window.
    ///
    /// # Errors
    /// When the journal cannot be written; then do not make it.
    pub fn record_leftover(&self, leftover: Leftover) -> Result<()> {
        let leftover = leftover.owned_by(self.inner.owner);
        self.inner.journal.add_leftover(leftover)
    }

    /// What is recorded now, oldest first.
    pub fn leftovers(&self) -> Vec<Leftover> {
        self.inner.journal.record().leftovers
    }

    /// Records that it is gone, or that it belongs to a finished backup.
    ///
    /// # Errors
    /// When the journal cannot be written.
    pub fn forget_leftover(&self, leftover: &Leftover) -> Result<()> {
        let leftover = leftover.clone().owned_by(self.inner.owner);
        self.inner.journal.remove_leftover(&leftover)
    }
}

/// What a strategy knows of the restore it takes part in. Clones are cheap.
#[derive(Debug, Clone)]
pub struct RestoreContext {
    inner: Arc<RestoreInner>,
}

#[derive(Debug, Clone)]
struct RestoreInner {
    id: BackupId,
    manifest: Option<Manifest>,
    owner: Option<LeftoverOwner>,
    kind: InstanceKind,
    database: DatabaseLocation,
    home: HomeCoverage,
    work: PathBuf,
    control: Control,
    events: Events,
    journal: Journal,
}

impl RestoreContext {
    /// The context of a restore of `id` that may keep temporary files in the folder `work`, with a journal in
    /// memory. The core makes its own; this is for the tests of strategies.
    pub fn new(id: BackupId, work: impl Into<PathBuf>) -> Self {
        let journal = Journal::in_memory(JournalRecord::new(Operation::Restore, id.clone(), None));
        Self {
            inner: Arc::new(RestoreInner {
                id,
                manifest: None,
                owner: None,
                kind: InstanceKind::Bitbucket,
                database: DatabaseLocation::External,
                home: HomeCoverage::none(),
                work: work.into(),
                control: Control::new(),
                events: Events::new(Arc::new(Silent)),
                journal,
            }),
        }
    }

    fn change(mut self, change: impl FnOnce(&mut RestoreInner)) -> Self {
        change(Arc::make_mut(&mut self.inner));
        self
    }

    /// The same with what the backup says about itself.
    #[must_use]
    pub fn with_manifest(self, manifest: Manifest) -> Self {
        self.change(|inner| inner.manifest = Some(manifest))
    }

    /// The same for the part with this role: what it records as a leftover is handed to its strategy.
    #[must_use]
    pub fn for_part(self, part: PartName) -> Self {
        self.change(|inner| inner.owner = Some(part.into()))
    }

    /// The same for the archive strategy.
    #[must_use]
    pub(crate) fn for_archive(self) -> Self {
        self.change(|inner| inner.owner = Some(LeftoverOwner::Archive))
    }

    /// The same for the run itself.
    #[must_use]
    pub(crate) fn for_core(self) -> Self {
        self.change(|inner| inner.owner = Some(LeftoverOwner::Core))
    }

    /// The same with other levers.
    #[must_use]
    pub fn with_control(self, control: Control) -> Self {
        self.change(|inner| inner.control = control)
    }

    /// The same with events that lead elsewhere.
    #[must_use]
    pub fn with_events(self, events: Events) -> Self {
        self.change(|inner| inner.events = events)
    }

    /// The same with another database location.
    #[must_use]
    pub fn with_database(self, database: DatabaseLocation) -> Self {
        self.change(|inner| inner.database = database)
    }

    /// The same for an instance of another kind.
    #[must_use]
    pub fn with_kind(self, kind: InstanceKind) -> Self {
        self.change(|inner| inner.kind = kind)
    }

    /// The same with what travels with the home directory.
    #[must_use]
    pub fn with_home(self, home: HomeCoverage) -> Self {
        self.change(|inner| inner.home = home)
    }

    pub(crate) fn with_journal(self, journal: Journal) -> Self {
        self.change(|inner| inner.journal = journal)
    }

    /// The backup that is restored.
    pub fn id(&self) -> &BackupId {
        &self.inner.id
    }

    /// What the backup says about itself; none for one made by the shell scripts.
    pub fn manifest(&self) -> Option<&Manifest> {
        self.inner.manifest.as_ref()
    }

    /// What the backup has of this strategy's part; none without a manifest.
    pub fn artifact(&self) -> Option<&Artifact> {
        let part = self.inner.owner?.part()?;
        let record = self.inner.manifest.as_ref()?.part(part)?;
        Some(&record.artifact)
    }

    /// What kind of instance it is.
    pub fn kind(&self) -> InstanceKind {
        self.inner.kind
    }

    /// Where the database's files are.
    pub fn database(&self) -> DatabaseLocation {
        self.inner.database
    }

    /// What travels with the home directory.
    pub fn home(&self) -> &HomeCoverage {
        &self.inner.home
    }

    /// A private folder for temporary files. The core makes it before `intake`, and removes it before `commit`. Where a
    /// backup is only verified, it is not there.
    pub fn work(&self) -> &Path {
        &self.inner.work
    }

    /// How the run is told to stop.
    pub fn control(&self) -> &Control {
        &self.inner.control
    }

    /// Where messages, warnings and progress go.
    pub fn events(&self) -> &Events {
        &self.inner.events
    }

    /// Records durably that something is about to be made that has to be removed if the run dies.
    ///
    /// # Errors
    /// When the journal cannot be written; then do not make it.
    pub fn record_leftover(&self, leftover: Leftover) -> Result<()> {
        let leftover = leftover.owned_by(self.inner.owner);
        self.inner.journal.add_leftover(leftover)
    }

    /// What is recorded now, oldest first.
    pub fn leftovers(&self) -> Vec<Leftover> {
        self.inner.journal.record().leftovers
    }

    /// Records that it is gone, or that it has become what was asked for.
    ///
    /// # Errors
    /// When the journal cannot be written.
    pub fn forget_leftover(&self, leftover: &Leftover) -> Result<()> {
        let leftover = leftover.clone().owned_by(self.inner.owner);
        self.inner.journal.remove_leftover(&leftover)
    }
}
