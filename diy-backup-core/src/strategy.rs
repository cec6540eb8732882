//! The traits that strategy crates implement.
//!
//! A backup has up to four parts: the home directory, the database, the search index and the archive. Each is the
//! work of a *strategy*, chosen by its name in the configuration. Home and database give a [`Session`] per backup,
//! which pins the state of one instant in [`capture`](Session::capture) and copies it out in
//! [`complete`](Session::complete): see there for what must be true when.

mod archive;
mod artifact;
mod context;
mod data_stores;
mod database;
mod entry;
mod home;
mod local_time;
mod restore;
mod search;
mod session;

pub use archive::{
    ArchiveStrategy, Damage, DataStoreDestination, Destinations, PruneOutcome, StoredArchive,
    Verdict,
};
pub use artifact::{Artifact, ArtifactKind, Leftover, LeftoverOwner};
pub use context::{BackupContext, CheckContext, Purpose, RestoreContext};
pub use data_stores::{DataStoreMatch, match_data_stores};
pub use database::{DatabaseAddress, DatabaseKind, DatabaseLocation, DbStrategy};
pub use entry::{BackupEntry, BackupState, Origin, Owner};
pub use home::{HomeCoverage, HomeStrategy, Pinning};
pub use restore::{Committed, Restore, RestoreSession, RestoreSource};
pub use search::{ElasticsearchStrategy, Requirement, SearchSession};
pub use session::Session;
