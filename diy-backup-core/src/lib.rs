//! Backup and restore of Atlassian Bitbucket Server and Data Center with the site's own tools.
mod builtin;
mod config;
mod control;
mod driven;
mod durable;
mod error;
mod event;
mod findings;
mod id;
mod journal;
mod maintenance;
mod manifest;
mod phase;
mod platform;
mod registry;
mod retention;
pub mod staging;
mod strategy;
mod tool;
mod window;

pub use async_trait::async_trait;

pub use builtin::{InternalDatabase, NoDatabase, NoHome};
pub use config::{
    AbsolutePath, BackupSettings, ConfigSource, Downtime, HumanDuration, InstanceKind,
    InstanceSettings, RetentionSettings, Secret, Section,
};
pub use control::{CancelReason, Control};
pub use durable::{remove as remove_durably, sync_directory, write_private};
pub use error::{Error, ErrorKind, Result, ResultExt, chain as error_chain};
pub use event::{Event, Events, Meter, Observer, ProgressSnapshot, Silent};
pub use findings::{Finding, Findings, Severity, SpaceNeed};
pub use id::{BackupId, InstanceName};
pub use journal::{Journal, JournalRecord, Operation, Step};
pub use manifest::{ArchiveSeal, MANIFEST_FORMAT, Manifest, PartName, PartRecord, PhaseSeconds};
pub use phase::Phase;
pub use registry::{Registry, StrategyConfig};
pub use retention::plan as plan_retention;
pub use staging::Staging;
pub use strategy::{
    ArchiveStrategy, Artifact, ArtifactKind, BackupContext, BackupEntry, CheckContext, Committed,
    Damage, DatabaseLocation, DbStrategy, Destinations, ElasticsearchStrategy, HomeStrategy,
    Leftover, Origin, Pinning, PruneOutcome, PrunePlan, Purpose, Requirement, Restore,
    RestoreContext, RestoreSession, RestoreSource, SearchSession, Session, StoredArchive, Verdict,
};
pub use tool::{Output, OutputLine, Running, Tool};
pub use window::{LockLimits, LockWindow, ReleaseFailed, Released};
