//! The strategies `fs`, `s3` and `amazon-es`: one, over three kinds of repositories.

use diy_backup_core::{
    Artifact, ArtifactKind, BackupContext, CheckContext, Control, ElasticsearchStrategy, Findings,
    Leftover, Requirement, Restore, Result, SearchSession, StrategyConfig, async_trait,
};

use crate::check;
use crate::cluster::{Cluster, InFlight};
use crate::config::{RepositoryKind, SearchConfig};
use crate::repository::{Found, Repository};
use crate::restore::RestoredIndices;
use crate::session;
use crate::snapshot::SnapshotId;

/// Backs up the search index with a snapshot that the cluster takes itself.
#[derive(Debug, Clone)]
pub struct SearchStrategy {
    kind: RepositoryKind,
    config: SearchConfig,
    in_flight: InFlight,
}

impl SearchStrategy {
    /// A strategy of this kind with this configuration.
    pub fn new(kind: RepositoryKind, config: SearchConfig) -> Self {
        Self {
            kind,
            config,
            in_flight: InFlight::default(),
        }
    }

    /// Reads its section of the configuration.
    ///
    /// # Errors
    /// [`ErrorKind::Config`](diy_backup_core::ErrorKind::Config) with file and line.
    pub fn from_config(kind: RepositoryKind, config: &StrategyConfig) -> Result<Self> {
        SearchConfig::from_section(kind, &config.section).map(|config| Self::new(kind, config))
    }

    pub(crate) fn kind(&self) -> RepositoryKind {
        self.kind
    }

    pub(crate) fn config(&self) -> &SearchConfig {
        &self.config
    }

    pub(crate) fn repository(&self) -> Repository {
        Repository::new(self.kind, &self.config)
    }

    pub(crate) async fn cluster(&self) -> Result<Cluster> {
        Cluster::new(self.kind, &self.config, &self.in_flight).await
    }

    async fn delete_snapshot(&self, id: &str) -> Result<()> {
        let id = SnapshotId::parse(id)?;
        let (cluster, control) = (self.cluster().await?, Control::new());
        let repository = self.repository();
        // Without its repository, a snapshot would seem to be gone.
        if id.repository() == repository.name()
            && repository.look(&cluster, &control).await? == Found::Missing
        {
            repository.ensure(&cluster, &control).await?;
        }
        id.delete(&cluster, &control).await
    }
}

#[async_trait]
impl ElasticsearchStrategy for SearchStrategy {
    fn name(&self) -> &str {
        self.kind.name()
    }

    fn requirement(&self) -> Requirement {
        if self.config.required {
            Requirement::Required
        } else {
            Requirement::Optional
        }
    }

    async fn check(&self, cx: &CheckContext) -> Result<Findings> {
        check::check(self, cx).await
    }

    async fn begin(&self, cx: &BackupContext) -> Result<Box<dyn SearchSession>> {
        session::begin(self, cx).await
    }

    fn restore(&self) -> Option<&dyn Restore> {
        Some(self)
    }

    async fn delete(&self, artifact: &Artifact) -> Result<()> {
        if let ArtifactKind::External { ids } = &artifact.kind {
            for id in ids {
                self.delete_snapshot(id).await?;
            }
        }
        Ok(())
    }

    async fn discard(&self, leftover: &Leftover) -> Result<()> {
        if SnapshotId::is_leftover(leftover) {
            SnapshotId::parse(&leftover.id)?.ensure_made_here(self.repository().name())?;
            return self.delete_snapshot(&leftover.id).await;
        }
        let restored = RestoredIndices::from_leftover(leftover)?;
        restored
            .delete(&self.cluster().await?, &Control::new())
            .await
    }
}
