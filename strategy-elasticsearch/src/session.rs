//! One snapshot of the search index, from its beginning during the drain to its end after the unlock.

use diy_backup_core::{
    Artifact, BackupContext, Control, Error, ErrorKind, Leftover, Released, Result, SearchSession,
    async_trait,
};

use crate::cluster::Cluster;
use crate::counts::Counts;
use crate::indices;
use crate::product::Product;
use crate::snapshot::SnapshotId;
use crate::strategy::SearchStrategy;

/// A snapshot that has begun.
#[derive(Debug)]
struct SnapshotSession {
    strategy: SearchStrategy,
    cx: BackupContext,
    cluster: Cluster,
    product: Product,
    id: SnapshotId,
    leftover: Leftover,
    indices: Vec<String>,
    /// As they were just before the snapshot began.
    before: Option<Counts>,
}

/// Makes sure of the repository and begins a snapshot of the indices there are.
pub(crate) async fn begin(
    strategy: &SearchStrategy,
    cx: &BackupContext,
) -> Result<Box<dyn SearchSession>> {
    let control = cx.control();
    control.ensure_running()?;
    let cluster = strategy.cluster().await?;
    let product = Product::of(&cluster, control).await?;
    let patterns = &strategy.config().indices;
    let found = indices::matching(&cluster, patterns, control).await?;
    let indices: Vec<String> = found.into_keys().collect();
    if indices.is_empty() {
        return Err(no_index(patterns));
    }
    let repository = strategy.repository();
    repository.ensure(&cluster, control).await?;
    let before = Counts::try_take(&cluster, &indices, control).await?;
    let id = SnapshotId::new(repository.name(), cx.id());
    let leftover = id.leftover(strategy.kind().name());
    cx.record_leftover(leftover.clone())?;
    let session = SnapshotSession {
        strategy: strategy.clone(),
        cx: cx.clone(),
        cluster,
        product,
        id,
        leftover,
        indices,
        before,
    };
    match session.begin().await {
        Ok(()) => Ok(Box::new(session)),
        Err(error) => {
            // An answer that got lost may have been a yes.
            if let Err(left) = session.take_back().await {
                tracing::debug!(%left, "the snapshot that failed to begin stays recorded");
            }
            Err(error)
        }
    }
}

/// The error that there is nothing to back up.
pub(crate) fn no_index(patterns: &[String]) -> Error {
    let message = format!(
        "the search cluster has no index that matches {}",
        patterns.join(", ")
    );
    Error::new(ErrorKind::Search, message).with_hint(
        "Name Bitbucket's indices as `indices` in [elasticsearch]; `GET /_cat/indices` lists those there are.",
    )
}

impl SnapshotSession {
    async fn begin(&self) -> Result<()> {
        let control = self.cx.control();
        self.id
            .begin(&self.cluster, &self.product, &self.indices, control)
            .await
    }

    async fn take_back(&self) -> Result<()> {
        let control: Control = self.cx.control().for_cleanup();
        self.id.delete(&self.cluster, &control).await?;
        self.cx.forget_leftover(&self.leftover)
    }

    /// The documents that the snapshot is certain to hold, by index: those of indices that nobody wrote to meanwhile.
    async fn certain_counts(&self) -> Result<Vec<(String, u64)>> {
        let Some(before) = &self.before else {
            return Ok(Vec::new());
        };
        let after = Counts::try_take(&self.cluster, &self.indices, self.cx.control()).await?;
        Ok(after.map_or(Vec::new(), |after| before.unchanged(&after).collect()))
    }
}

#[async_trait]
impl SearchSession for SnapshotSession {
    async fn complete(&mut self, _: &Released) -> Result<Artifact> {
        let control = self.cx.control();
        let limit = self.strategy.config().snapshot_timeout.get();
        let mut taken = self.id.wait(&self.cluster, limit, control).await?;
        taken.indices.sort();
        if taken.indices != self.indices {
            let message = format!(
                "the snapshot {} holds other indices than it was told to: {}",
                self.id,
                taken.indices.join(", ")
            );
            return Err(Error::new(ErrorKind::Search, message));
        }
        let counts = self.certain_counts().await?;
        let mut artifact = Artifact::external([self.id.to_string()])
            .with_detail("server", self.product.to_string())
            .with_detail("uuid", taken.uuid)
            .with_detail("indices", taken.indices.join(","))
            .with_detail("shards", taken.shards.total.to_string());
        for (name, documents) in counts {
            artifact = artifact.with_detail(name, documents.to_string());
        }
        artifact.bytes = self.id.bytes(&self.cluster, control).await?;
        Ok(artifact)
    }

    async fn abort(self: Box<Self>) -> Result<()> {
        self.take_back().await
    }
}
