use std::fmt::Debug;

use async_trait::async_trait;

use crate::error::Result;
use crate::findings::Findings;
use crate::strategy::{Artifact, BackupContext, CheckContext, Leftover, Restore};
use crate::window::Released;

/// How the search index of an instance is backed up and restored: Elasticsearch or OpenSearch.
///
/// The index can be built anew from the repositories, so it is not captured with home and database: its snapshot
/// begins with the drain and ends when it ends.
#[async_trait]
pub trait ElasticsearchStrategy: Debug + Send + Sync + 'static {
    /// The name that the configuration chooses it by.
    fn name(&self) -> &str;

    /// Whether a backup without the index is a failure.
    fn requirement(&self) -> Requirement;

    /// Finds everything that can be known to fail. Changes nothing.
    ///
    /// # Errors
    /// When the check itself could not be done; what it finds wrong is a finding.
    async fn check(&self, cx: &CheckContext) -> Result<Findings>;

    /// Starts a snapshot and returns at once. Bitbucket is draining.
    ///
    /// # Errors
    /// Any; [`requirement`](Self::requirement) decides whether the backup fails or goes on with a warning.
    async fn begin(&self, cx: &BackupContext) -> Result<Box<dyn SearchSession>>;

    /// The way back, for strategies that have one.
    fn restore(&self) -> Option<&dyn Restore> {
        None
    }

    /// Deletes the snapshot with which `artifact` was made, when its backup goes.
    ///
    /// # Errors
    /// When it is still there.
    async fn delete(&self, artifact: &Artifact) -> Result<()>;

    /// Removes what a run that died left. Called again if it fails, and also for what is gone already.
    ///
    /// # Errors
    /// When it is still there.
    async fn discard(&self, leftover: &Leftover) -> Result<()>;
}

/// What it means that the search index could not be backed up.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[non_exhaustive]
pub enum Requirement {
    /// The backup fails.
    Required,
    /// The backup is good without it; there is a warning.
    Optional,
}

/// A snapshot of the search index that has begun.
#[async_trait]
pub trait SearchSession: Debug + Send {
    /// Waits until the snapshot has succeeded.
    ///
    /// # Errors
    /// When it fails or is partial, with the reasons that the cluster gives.
    async fn complete(&mut self, released: &Released) -> Result<Artifact>;

    /// Takes the snapshot back.
    ///
    /// # Errors
    /// When it is still there.
    async fn abort(self: Box<Self>) -> Result<()>;
}
