//! Backup and restore of Atlassian Bitbucket Server and Data Center with the site's own tools.
//!
//! Three promises, in this order:
//! 1. A backup that says it succeeded can be restored.
//! 2. Bitbucket is never left locked by us.
//! 3. The lock window is as short as the slowest thing that truly must happen inside it.
//!
//! # For callers
//! A [`Site`] is one instance with the strategies that back it up. [`backup`], [`restore`], [`verify`](fn@verify),
//! [`recover`] and [`status`](fn@status) are free functions on it; each takes a [`Control`] to cancel it by and an
//! [`Observer`] that is told how it goes.
//!
//! # For authors of strategies
//! Implement [`HomeStrategy`], [`DbStrategy`], [`ElasticsearchStrategy`] or [`ArchiveStrategy`], and register it with a
//! [`Registry`]. [`Session`] is where the work is: *capture pins, complete copies*. Run tools with [`Tool`], record
//! what a crash would leave as a [`Leftover`], and test it with the contract suites of `diy-backup-testkit`.
//!
//! # What a run leaves on disk
//! In the state folder `run.lock` ([`RunLock`]), `journal.json` while a run goes on or has died ([`Journal`]),
//! `journal-<id>.unfinished.json` of one that could be neither finished nor taken back ([`UnfinishedRun`]),
//! `last-run.json` ([`LastRun`]), `instance.json` ([`InstanceIdentity`]), `last-good.json` with the manifest of the last
//! backup, and `refused.json` with what a verification found damaged; in the [`Staging`] folder the copy of the instance.

mod backup;
mod builtin;
mod by_hand;
mod catalog;
mod check;
pub mod checksums;
mod config;
mod control;
mod driven;
mod durable;
mod error;
mod event;
mod findings;
mod id;
mod instance;
mod inventory;
mod journal;
mod last_good;
mod last_run;
mod maintenance;
mod manifest;
mod moment;
mod patience;
mod phase;
mod platform;
mod properties;
mod reconcile;
mod recover;
mod refused;
mod registry;
mod restore;
mod retention;
mod run;
mod run_lock;
mod shrink;
mod site;
pub mod staging;
mod status;
mod strategy;
mod tool;
mod trust;
mod unfinished;
mod window;

pub use async_trait::async_trait;

pub use backup::{BackupOptions, BackupReport, backup};
pub use builtin::{InternalDatabase, NoDatabase, NoHome, StagingArchive};
pub use by_hand::{cancel, unlock};
pub use catalog::{
    Found, Selector, apply_prune, find_to_restore, find_to_verify, list, plan_prune, verify,
};
pub use check::{CheckReport, check};
pub use config::{
    AbsolutePath, BackupSettings, ConfigSource, Downtime, HumanDuration, InstanceKind,
    InstanceSettings, Proxy, RetentionSettings, Secret, Section,
};
pub use control::{CancelReason, Control};
pub use durable::{remove as remove_durably, sync_directory, write_private};
pub use error::{Error, ErrorKind, Result, ResultExt, chain as error_chain, printable};
pub use event::{Event, Events, Meter, Observer, ProgressSnapshot, Silent};
pub use findings::{Finding, Findings, Severity, SpaceNeed};
pub use id::{BackupId, InstanceName};
pub use instance::InstanceIdentity;
pub use inventory::{Inventory, Shrink};
pub use journal::{Journal, JournalRecord, Operation, Step};
pub use last_run::LastRun;
pub use manifest::{ArchiveSeal, MANIFEST_FORMAT, Manifest, PartName, PartRecord, PhaseSeconds};
pub use patience::Patience;
pub use phase::Phase;
pub use recover::{Recovery, recover};
pub use registry::{Registry, StrategyConfig};
pub use restore::{RestoreReport, restore};
pub use retention::{KeepReason, KeptBackup, PrunePlan, plan as plan_retention};
pub use run_lock::RunLock;
pub use site::Site;
pub use staging::Staging;
pub use status::{InstanceState, Status, status};
pub use strategy::{
    ArchiveStrategy, Artifact, ArtifactKind, BackupContext, BackupEntry, BackupState, CheckContext,
    Committed, Damage, DataStoreDestination, DataStoreMatch, DatabaseAddress, DatabaseKind,
    DatabaseLocation, DbStrategy, Destinations, ElasticsearchStrategy, HomeCoverage, HomeStrategy,
    Leftover, LeftoverOwner, Origin, Owner, Pinning, PruneOutcome, Purpose, Requirement, Restore,
    RestoreContext, RestoreSession, RestoreSource, SearchSession, Session, StoredArchive, Verdict,
    match_data_stores,
};
pub use tool::{Output, OutputLine, Running, Tool};
pub use unfinished::UnfinishedRun;
pub use window::{LockLimits, LockWindow, ReleaseFailed, Released};
