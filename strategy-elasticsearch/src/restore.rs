//! The way back: the indices of a snapshot, restored under their own names.
//!
//! An index cannot be renamed, so a restore makes it where it belongs. It bears a mark from its first moment, which the
//! commit takes away: what bears it can be deleted without a doubt, and what does not is never touched.

use diy_backup_core::{
    Artifact, ArtifactKind, Committed, Control, Error, ErrorKind, Leftover, Restore,
    RestoreContext, RestoreSession, RestoreSource, Result, async_trait,
};
use serde_json::{Value, json};

use crate::cluster::{Call, Cluster};
use crate::counts::{self, Counts};
use crate::indices::{self, Mark};
use crate::product::Product;
use crate::repository::Found;
use crate::snapshot::{Pauses, Snapshot, SnapshotId};
use crate::strategy::SearchStrategy;

/// The kind under which indices that are being restored stand in the journal.
const RESTORED: &str = "restored-indices";
/// So many looks in a row at a shard that could not be restored and is not tried again are enough.
const HOPELESS: u32 = 5;

/// The indices of one restore, and their mark.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct RestoredIndices {
    mark: Mark,
    names: Vec<String>,
}

impl RestoredIndices {
    pub(crate) fn from_leftover(leftover: &Leftover) -> Result<Self> {
        let parts = leftover.id.split_once(':');
        let (mark, names) = parts
            .filter(|(mark, names)| {
                leftover.kind == RESTORED && !mark.is_empty() && !names.is_empty()
            })
            .ok_or_else(|| {
                let message = format!(
                    "the journal names {:?} of kind {:?}",
                    leftover.id, leftover.kind
                );
                Error::new(ErrorKind::Damaged, message)
            })?;
        Ok(Self {
            mark: Mark::from_text(mark),
            names: names.split(',').map(str::to_owned).collect(),
        })
    }

    fn leftover(&self, strategy: &str) -> Leftover {
        let id = format!("{}:{}", self.mark.as_str(), self.names.join(","));
        Leftover::new(strategy, RESTORED, id)
    }

    /// Deletes those that bear the mark.
    pub(crate) async fn delete(&self, cluster: &Cluster, control: &Control) -> Result<()> {
        cluster.settled().await;
        indices::delete_marked(cluster, &self.names, &self.mark, control).await
    }

    async fn commit(&self, cluster: &Cluster, control: &Control) -> Result<()> {
        let found = indices::matching(cluster, &self.names, control).await?;
        let gone = self.names.iter().find(|&name| !found.contains_key(name));
        if let Some(gone) = gone {
            let message = format!("the restored index {gone} is gone");
            return Err(Error::new(ErrorKind::Search, message));
        }
        let ours = found
            .into_iter()
            .filter(|(_, mark)| mark.as_ref() == Some(&self.mark))
            .map(|(name, _)| name)
            .collect::<Vec<_>>();
        indices::unmark(cluster, &ours, control).await
    }
}

#[async_trait]
impl Restore for SearchStrategy {
    async fn prepare_restore(&self, cx: &RestoreContext) -> Result<Box<dyn RestoreSession>> {
        let control = cx.control();
        control.ensure_running()?;
        let (id, artifact) = snapshot_of(cx)?;
        let cluster = self.cluster().await?;
        let product = Product::of(&cluster, control).await?;
        self.refuse_existing(&cluster, &artifact, cx).await?;
        let repository = self.repository();
        let found = repository.look(&cluster, control).await?;
        let session = IndexRestore {
            restored: RestoredIndices {
                mark: Mark::new(),
                names: names_in(&artifact).map(str::to_owned).collect(),
            },
            strategy: self.clone(),
            cx: cx.clone(),
            cluster,
            product,
            id,
            artifact,
        };
        match found {
            Found::Same => session.examine_snapshot().await?,
            Found::Other(differences) => return Err(repository.other(&differences)),
            // A new cluster does not know it yet, and learns of it when everything may change.
            Found::Missing => {}
        }
        Ok(Box::new(session))
    }

    async fn was_committed(&self, leftover: &Leftover) -> Result<Committed> {
        if leftover.kind != RESTORED {
            return Ok(Committed::No);
        }
        let restored = RestoredIndices::from_leftover(leftover)?;
        let control = Control::new();
        let cluster = self.cluster().await?;
        let found = indices::matching(&cluster, &restored.names, &control).await?;
        let all = restored.names.iter().all(|name| found.contains_key(name));
        let none_marked = found
            .values()
            .all(|mark| mark.as_ref() != Some(&restored.mark));
        Ok(if all && none_marked {
            Committed::Yes
        } else {
            Committed::No
        })
    }

    async fn resume_commit(&self, leftover: &Leftover) -> Result<()> {
        if leftover.kind != RESTORED {
            return Ok(());
        }
        let restored = RestoredIndices::from_leftover(leftover)?;
        let cluster = self.cluster().await?;
        restored.commit(&cluster, &Control::new()).await
    }
}

impl SearchStrategy {
    /// Refuses when there is one of the backup's indices, or any other that Bitbucket would take for its own: two
    /// generations of its search index side by side keep it from starting.
    async fn refuse_existing(
        &self,
        cluster: &Cluster,
        artifact: &Artifact,
        cx: &RestoreContext,
    ) -> Result<()> {
        let mut found = indices::matching(cluster, &self.config().indices, cx.control()).await?;
        let names: Vec<String> = names_in(artifact).map(str::to_owned).collect();
        found.extend(indices::matching(cluster, &names, cx.control()).await?);
        if found.is_empty() {
            return Ok(());
        }
        let names = found.into_keys().collect::<Vec<_>>().join(",");
        let message = format!("the search cluster has indices already: {names}");
        Err(
            Error::new(ErrorKind::TargetNotEmpty, message).with_hint(format!(
                "If nobody needs them, delete them: `DELETE /{names}`."
            )),
        )
    }
}

/// The snapshot that a backup consists of.
fn snapshot_of(cx: &RestoreContext) -> Result<(SnapshotId, Artifact)> {
    let artifact = cx.artifact().cloned().unwrap_or_else(Artifact::none);
    match &artifact.kind {
        ArtifactKind::External { ids } if ids.len() == 1 => {
            let id = SnapshotId::parse(&ids[0])?;
            Ok((id, artifact))
        }
        _ => {
            let message = format!(
                "the backup {} names no snapshot of the search index",
                cx.id()
            );
            Err(Error::new(ErrorKind::Damaged, message))
        }
    }
}

fn names_in(artifact: &Artifact) -> impl Iterator<Item = &str> {
    let names = artifact.detail("indices").unwrap_or_default().split(',');
    names.filter(|name| !name.is_empty())
}

/// The snapshot of that name must be the one that was made.
fn same_snapshot(snapshot: &Snapshot, id: &SnapshotId, artifact: &Artifact) -> Result<()> {
    let mut found: Vec<&str> = snapshot.indices.iter().map(String::as_str).collect();
    found.sort_unstable();
    let same_uuid = artifact
        .detail("uuid")
        .is_none_or(|uuid| uuid == snapshot.uuid);
    if same_uuid && names_in(artifact).eq(found.iter().copied()) {
        return Ok(());
    }
    let message = format!("the snapshot {id} is not the one that the backup was made with");
    Err(Error::new(ErrorKind::Damaged, message))
}

/// A restore of the indices of one snapshot.
#[derive(Debug)]
struct IndexRestore {
    strategy: SearchStrategy,
    cx: RestoreContext,
    cluster: Cluster,
    product: Product,
    id: SnapshotId,
    artifact: Artifact,
    restored: RestoredIndices,
}

impl IndexRestore {
    /// Makes sure that the snapshot is whole, the one of the backup, and of a release that this cluster reads.
    async fn examine_snapshot(&self) -> Result<()> {
        let (id, product) = (&self.id, &self.product);
        let found = id.look(&self.cluster, self.cx.control()).await?;
        let snapshot = found.ok_or_else(|| {
            let message = format!("the cluster has no snapshot {id}");
            Error::new(ErrorKind::Check, message).with_hint(format!(
                "Does the repository lead to where the backup was made? {}",
                self.strategy.repository().call()
            ))
        })?;
        snapshot
            .ensure_whole(id)
            .map_err(|error| error.with_kind(ErrorKind::Damaged))?;
        same_snapshot(&snapshot, id, &self.artifact)?;
        if product.is_older_than(&snapshot.version) {
            let message = format!(
                "the snapshot {id} was made by release {}, and the cluster is {product}",
                snapshot.version
            );
            return Err(Error::new(ErrorKind::Check, message)
                .with_hint("Restore into a cluster of that release or a newer one."));
        }
        Ok(())
    }

    async fn begin(&self) -> Result<()> {
        let [first, repository, snapshot] = self.id.path();
        let names = &self.restored.names;
        let call = Call::post(&[first, repository, snapshot, "_restore"])
            .query("wait_for_completion", "false")
            .json(json!({
                "indices": names.join(","),
                "ignore_unavailable": false,
                "include_global_state": false,
                "partial": false,
                "index_settings": { Mark::setting(): self.restored.mark.as_str() },
            }));
        let control = self.cx.control();
        let reply = self.cluster.tell(call, control).await?;
        if reply.is_success() {
            return Ok(());
        }
        let exists = reply.reason().contains("already exists");
        if exists && reply.repeated {
            let ours = indices::marked(&self.cluster, names, &self.restored.mark, control).await?;
            if ours.len() == names.len() {
                return Ok(());
            }
        }
        let error = reply.refused("restore the indices");
        Err(if exists {
            error.with_kind(ErrorKind::TargetNotEmpty)
        } else {
            error
        })
    }

    /// Waits until every primary shard serves; replicas come by themselves.
    async fn wait(&self) -> Result<()> {
        let mut pauses = Pauses::new(self.strategy.config().restore_timeout.get());
        let mut hopeless = 0;
        loop {
            if self.is_available().await? {
                return Ok(());
            }
            let broken = self.broken_shards().await?;
            hopeless = if broken.is_empty() { 0 } else { hopeless + 1 };
            if hopeless >= HOPELESS || !pauses.rest(self.cx.control()).await? {
                let why = if broken.is_empty() {
                    "they did not become available in time".to_owned()
                } else {
                    broken.join("; ")
                };
                let message = format!("the indices of {} could not be restored: {why}", self.id);
                return Err(Error::new(ErrorKind::Search, message).with_hint(
                    "`GET /_cluster/allocation/explain` says more; `restore-timeout` in [elasticsearch] allows more time.",
                ));
            }
        }
    }

    /// Whether every primary shard serves. The colour does not tell: a shard that waits to be restored is yellow.
    async fn is_available(&self) -> Result<bool> {
        let mut serving = 0;
        for part in indices::in_parts(&self.restored.names) {
            let call = Call::get(&["_cluster", "health", &part])
                .query("level", "indices")
                .query("timeout", "1s");
            let reply = self.cluster.ask(&call, self.cx.control()).await?;
            // Told with a 408 when the indices are not known yet.
            if reply.status == 408 {
                return Ok(false);
            }
            let health = reply.accepted("show the health of the restored indices")?;
            let indices = health["indices"].as_object().into_iter().flatten();
            let serves = |index: &Value| {
                let shards = index["number_of_shards"].as_u64();
                shards.is_some() && index["active_primary_shards"].as_u64() == shards
            };
            serving += indices.filter(|(_, index)| serves(index)).count();
        }
        Ok(serving == self.restored.names.len())
    }

    /// Primary shards that could not be restored and that nobody is trying now, with the reasons.
    async fn broken_shards(&self) -> Result<Vec<String>> {
        let mut broken = Vec::new();
        for part in indices::in_parts(&self.restored.names) {
            let call = Call::get(&["_cat", "shards", &part])
                .query("format", "json")
                .query(
                    "h",
                    "index,shard,prirep,state,unassigned.reason,unassigned.details",
                );
            let reply = self.cluster.ask(&call, self.cx.control()).await?;
            if !reply.is_success() {
                return Ok(Vec::new());
            }
            let shards = reply.body.as_array().into_iter().flatten();
            let primaries = shards.filter(|shard| shard["prirep"] == "p");
            for shard in primaries {
                let text = |name: &str| shard[name].as_str().unwrap_or_default();
                if text("state") == "INITIALIZING" {
                    return Ok(Vec::new());
                }
                if text("unassigned.reason") == "ALLOCATION_FAILED" {
                    let details: String = text("unassigned.details").chars().take(300).collect();
                    let details = diy_backup_core::printable(&details);
                    broken.push(format!("{}[{}]: {details}", text("index"), text("shard")));
                }
            }
        }
        broken.truncate(5);
        Ok(broken)
    }

    /// Compares with what the backup is certain of.
    async fn compare_counts(&self) -> Result<()> {
        let control = self.cx.control();
        let counts = Counts::take(&self.cluster, &self.restored.names, control).await?;
        for name in &self.restored.names {
            let wanted = self.artifact.detail(&counts::detail_of(name));
            let wanted: Option<u64> = wanted.and_then(|number| number.parse().ok());
            let found = counts.as_ref().and_then(|counts| counts.documents(name));
            match (wanted, found) {
                (Some(wanted), Some(found)) if wanted != found => {
                    let message = format!(
                        "the restored index {name} has {found} documents, and had {wanted} in the backup"
                    );
                    return Err(Error::new(ErrorKind::Damaged, message));
                }
                (Some(_), None) => self.cx.events().warning(format!(
                    "the documents of the restored index {name} could not be counted and compared"
                )),
                _ => {}
            }
        }
        Ok(())
    }
}

#[async_trait]
impl RestoreSession for IndexRestore {
    async fn apply(&mut self, _: &RestoreSource) -> Result<()> {
        let (repository, control) = (self.strategy.repository(), self.cx.control());
        if repository.look(&self.cluster, control).await? == Found::Missing {
            // It is what is read from, not what is restored to: it stays whatever becomes of the restore.
            repository.ensure(&self.cluster, control).await?;
            self.examine_snapshot().await?;
        }
        let leftover = self.restored.leftover(self.strategy.kind().name());
        self.cx.record_leftover(leftover)?;
        self.begin().await?;
        self.wait().await?;
        self.compare_counts().await
    }

    async fn commit(&mut self) -> Result<()> {
        // From the first commit on a restore only goes forward, cancelled or not.
        let control = self.cx.control().for_cleanup();
        self.restored.commit(&self.cluster, &control).await
    }

    async fn verify(&mut self) -> Result<()> {
        if self.is_available().await? {
            return Ok(());
        }
        let message = format!("the indices of {} are not available any more", self.id);
        Err(Error::new(ErrorKind::Search, message))
    }

    async fn abort(self: Box<Self>) -> Result<()> {
        let control = self.cx.control().for_cleanup();
        self.restored.delete(&self.cluster, &control).await?;
        let leftover = self.restored.leftover(self.strategy.kind().name());
        self.cx.forget_leftover(&leftover)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_recorded_can_be_read_back() {
        let restored = RestoredIndices {
            mark: Mark::new(),
            names: vec![
                "bitbucket-project".to_owned(),
                "bitbucket-search".to_owned(),
            ],
        };
        let leftover = restored.leftover("fs");
        assert_eq!(RestoredIndices::from_leftover(&leftover).unwrap(), restored);
        for (kind, id) in [
            ("x", "m:a"),
            (RESTORED, "m:"),
            (RESTORED, ":a"),
            (RESTORED, "a"),
        ] {
            let damaged = RestoredIndices::from_leftover(&Leftover::new("fs", kind, id));
            assert_eq!(damaged.unwrap_err().kind(), ErrorKind::Damaged);
        }
    }
}
