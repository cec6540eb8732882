//! One snapshot: named, begun, waited for, deleted.

use std::time::{Duration, Instant};

use diy_backup_core::{BackupId, Control, Error, ErrorKind, Leftover, Result, printable};
use serde::Deserialize;
use serde_json::json;

use crate::cluster::{Call, Cluster};
use crate::product::Product;
use crate::reply::{self, Reply};

/// The kind under which a snapshot stands in the journal.
const SNAPSHOT: &str = "search-snapshot";
/// What a snapshot of ours says about its maker.
const TAKEN_BY: &str = "diy-backup";
/// How many reasons of a failure are told.
const REASONS: usize = 5;

/// The pauses between two looks at something that goes on in the cluster.
#[derive(Debug)]
pub(crate) struct Pauses {
    started: Instant,
    limit: Duration,
    next: Duration,
}

impl Pauses {
    pub(crate) fn new(limit: Duration) -> Self {
        Self {
            started: Instant::now(),
            limit,
            next: Duration::from_millis(50),
        }
    }

    /// Waits, longer each time. Says whether there is time left.
    pub(crate) async fn rest(&mut self, control: &Control) -> Result<bool> {
        if self.started.elapsed() >= self.limit {
            return Ok(false);
        }
        let pause = self.next;
        self.next = (pause * 2).min(Duration::from_secs(5));
        control
            .unless_cancelled(async {
                tokio::time::sleep(pause).await;
                Ok(())
            })
            .await?;
        Ok(true)
    }
}

/// The name of a snapshot: the repository, and the snapshot in it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct SnapshotId {
    repository: String,
    snapshot: String,
}

impl SnapshotId {
    /// A name for the snapshot of a backup. The end is random: whatever has that name is what this run has made.
    pub(crate) fn new(repository: &str, backup: &BackupId) -> Self {
        let name = format!("{backup}-{:08x}", fastrand::u32(..));
        Self {
            repository: repository.to_owned(),
            snapshot: name.to_lowercase(),
        }
    }

    pub(crate) fn parse(id: &str) -> Result<Self> {
        let parts = id.split_once('/');
        let (repository, snapshot) = parts
            .filter(|(repository, snapshot)| {
                !repository.is_empty()
                    && !snapshot.is_empty()
                    && !snapshot.contains(['/', '*', ','])
            })
            .ok_or_else(|| {
                let message = format!("{id:?} does not name a snapshot");
                Error::new(ErrorKind::Damaged, message)
            })?;
        Ok(Self {
            repository: repository.to_owned(),
            snapshot: snapshot.to_owned(),
        })
    }

    /// Refuses what a backup by way of the repository `configured` would not have made.
    pub(crate) fn ensure_made_here(&self, configured: &str) -> Result<()> {
        let made = self.snapshot.rsplit_once('-').is_some_and(|(backup, end)| {
            end.len() == 8
                && end.bytes().all(|byte| byte.is_ascii_hexdigit())
                && backup.parse::<BackupId>().is_ok()
        });
        if !made {
            let message = format!("{self} is no leftover of a backup");
            return Err(Error::new(ErrorKind::Damaged, message));
        }
        if self.repository == configured {
            return Ok(());
        }
        let message = format!(
            "the snapshot {self} was begun in another repository than the configured `{configured}`"
        );
        Err(Error::new(ErrorKind::Config, message).with_hint(
            "Run `diy-backup recover` with the configuration of that run, or delete the snapshot by hand.",
        ))
    }

    pub(crate) fn leftover(&self, strategy: &str) -> Leftover {
        Leftover::new(strategy, SNAPSHOT, self.to_string())
    }

    pub(crate) fn is_leftover(leftover: &Leftover) -> bool {
        leftover.kind == SNAPSHOT
    }

    pub(crate) fn repository(&self) -> &str {
        &self.repository
    }

    pub(crate) fn path(&self) -> [&str; 3] {
        ["_snapshot", &self.repository, &self.snapshot]
    }

    /// Begins it; the cluster goes on by itself.
    pub(crate) async fn begin(
        &self,
        cluster: &Cluster,
        product: &Product,
        indices: &[String],
        control: &Control,
    ) -> Result<()> {
        let mut request = json!({
            "indices": indices.join(","),
            "ignore_unavailable": false,
            "include_global_state": false,
            "partial": false,
        });
        if product.keeps_metadata() {
            request["metadata"] = json!({"taken-by": TAKEN_BY, "snapshot": self.snapshot});
        }
        let call = Call::put(&self.path())
            .query("wait_for_completion", "false")
            .json(request);
        let reply = cluster.tell(call, control).await?;
        // The answer to the first attempt was lost, and it was accepted: nobody else has this name.
        if reply.repeated && reply.reason().contains("already exists") {
            return Ok(());
        }
        reply.accepted("begin a snapshot")?;
        Ok(())
    }

    /// What the cluster knows of it; `None` when there is none of this name.
    pub(crate) async fn look(
        &self,
        cluster: &Cluster,
        control: &Control,
    ) -> Result<Option<Snapshot>> {
        let reply = cluster.ask(&Call::get(&self.path()), control).await?;
        if is_gone(&reply) {
            return Ok(None);
        }
        let document = reply.accepted(&format!("show the snapshot {self}"))?;
        let mut list: List = reply::read(document, "a snapshot")?;
        let found = list.snapshots.pop();
        Ok(found.filter(|found| found.name == self.snapshot))
    }

    /// Waits until it has ended, and lets only a whole one pass.
    pub(crate) async fn wait(
        &self,
        cluster: &Cluster,
        limit: Duration,
        control: &Control,
    ) -> Result<Snapshot> {
        let mut pauses = Pauses::new(limit);
        loop {
            let found = self.look(cluster, control).await?.ok_or_else(|| {
                let message = format!(
                    "the snapshot {self} has ended and is not there: the cluster could not write it, or somebody has deleted it"
                );
                Error::new(ErrorKind::Search, message).with_hint(format!(
                    "The log of the elected master node says why; `POST /_snapshot/{}/_verify` shows whether all nodes can write to the repository.",
                    self.repository
                ))
            })?;
            if found.state != "IN_PROGRESS" && found.state != "STARTED" {
                found.ensure_whole(self)?;
                return Ok(found);
            }
            if !pauses.rest(control).await? {
                let message = format!("the snapshot {self} has not ended in time");
                return Err(Error::new(ErrorKind::Search, message).with_hint(format!(
                    "`GET /_snapshot/{self}/_status` shows how far it is; `snapshot-timeout` in [elasticsearch] allows it more."
                )));
            }
        }
    }

    /// How large it is in all, in bytes; 0 where the cluster does not say.
    pub(crate) async fn bytes(&self, cluster: &Cluster, control: &Control) -> Result<u64> {
        let [first, repository, snapshot] = self.path();
        let call = Call::get(&[first, repository, snapshot, "_status"]);
        match cluster.ask(&call, control).await {
            Ok(reply) => {
                let size = &reply.body["snapshots"][0]["stats"]["total"]["size_in_bytes"];
                Ok(size.as_u64().unwrap_or(0))
            }
            Err(error) if error.kind() == ErrorKind::Search => Ok(0),
            Err(error) => Err(error),
        }
    }

    /// Deletes it, in progress or not. One that is gone is gone; one that somebody else has made stays.
    pub(crate) async fn delete(&self, cluster: &Cluster, control: &Control) -> Result<()> {
        cluster.settled().await;
        let Some(found) = self.look(cluster, control).await? else {
            return Ok(());
        };
        if !found.may_be_ours(self) {
            let message = format!("the snapshot {self} was made by somebody else, and stays");
            return Err(Error::new(ErrorKind::Search, message));
        }
        let reply = cluster.tell(Call::delete(&self.path()), control).await?;
        if is_gone(&reply) {
            return Ok(());
        }
        reply.accepted(&format!("delete the snapshot {self}"))?;
        Ok(())
    }
}

impl std::fmt::Display for SnapshotId {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "{}/{}", self.repository, self.snapshot)
    }
}

/// A snapshot is gone when the repository says so. A 404 of something else, such as a proxy, says nothing.
fn is_gone(reply: &Reply) -> bool {
    reply.is_missing() && reply.is_of_type("snapshot_missing_exception")
}

#[derive(Deserialize)]
struct List {
    snapshots: Vec<Snapshot>,
}

/// What a cluster knows of a snapshot.
#[derive(Debug, Deserialize)]
pub(crate) struct Snapshot {
    #[serde(rename = "snapshot")]
    name: String,
    pub(crate) uuid: String,
    pub(crate) state: String,
    #[serde(default)]
    pub(crate) version: String,
    #[serde(default)]
    pub(crate) indices: Vec<String>,
    #[serde(default)]
    metadata: Option<Metadata>,
    #[serde(default)]
    reason: Option<String>,
    #[serde(default)]
    failures: Vec<Failure>,
    #[serde(default)]
    pub(crate) shards: Shards,
}

#[derive(Debug, Deserialize)]
struct Metadata {
    #[serde(default, rename = "taken-by")]
    taken_by: Option<String>,
}

#[derive(Debug, Deserialize)]
struct Failure {
    #[serde(default)]
    index: String,
    #[serde(default)]
    shard_id: Option<u64>,
    #[serde(default)]
    reason: String,
}

#[derive(Debug, Default, Deserialize)]
pub(crate) struct Shards {
    pub(crate) total: u64,
    #[serde(default)]
    pub(crate) failed: u64,
    pub(crate) successful: u64,
}

impl Snapshot {
    /// Servers that keep no metadata leave the name, which is random enough.
    fn may_be_ours(&self, id: &SnapshotId) -> bool {
        let maker = self
            .metadata
            .as_ref()
            .map(|metadata| metadata.taken_by.as_deref());
        self.name == id.snapshot && maker.is_none_or(|maker| maker == Some(TAKEN_BY))
    }

    /// Lets a snapshot pass that has every shard.
    pub(crate) fn ensure_whole(&self, id: &SnapshotId) -> Result<()> {
        let shards = &self.shards;
        let whole =
            shards.failed == 0 && shards.successful == shards.total && self.failures.is_empty();
        if self.state == "SUCCESS" && whole {
            return Ok(());
        }
        let message = format!(
            "the snapshot {id} is {}, with {} of {} shards: {}",
            printable(&self.state),
            shards.successful,
            shards.total,
            self.reasons()
        );
        Err(Error::new(ErrorKind::Search, message).with_hint(
            "`GET /_cluster/health` and `GET /_cluster/allocation/explain` show what is wrong with the shards, \
             `POST /_snapshot/REPOSITORY/_verify` whether all nodes can write to the repository.",
        ))
    }

    fn reasons(&self) -> String {
        let overall = self.reason.iter().cloned();
        let of_shards = self.failures.iter().map(|failure| {
            let shard = failure
                .shard_id
                .map(|id| format!("[{id}]"))
                .unwrap_or_default();
            format!("{}{shard}: {}", failure.index, failure.reason)
        });
        let all: Vec<String> = overall.chain(of_shards).collect();
        if all.is_empty() {
            return "the cluster gives no reason".to_owned();
        }
        let mut told: Vec<String> = all
            .iter()
            .take(REASONS)
            .map(|reason| printable(&reason.chars().take(300).collect::<String>()))
            .collect();
        if all.len() > REASONS {
            told.push(format!("and {} more", all.len() - REASONS));
        }
        told.join("; ")
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn snapshot(document: serde_json::Value) -> Snapshot {
        serde_json::from_value(document).unwrap()
    }

    #[test]
    fn names_are_in_lower_case_unique_and_can_be_read_back() {
        let backup: BackupId = "Bit.Bucket_1-20260131-235959".parse().unwrap();
        let id = SnapshotId::new("r", &backup);
        let text = id.to_string();
        assert!(
            text.starts_with("r/bit.bucket_1-20260131-235959-"),
            "{text}"
        );
        assert_eq!(SnapshotId::parse(&text).unwrap(), id);
        assert_ne!(SnapshotId::new("r", &backup), id);
        for bad in ["", "r", "r/", "/s", "r/*", "r/a,b"] {
            assert!(SnapshotId::parse(bad).is_err(), "{bad}");
        }
    }

    #[test]
    fn only_a_snapshot_with_every_shard_passes_and_others_say_why() {
        let id = SnapshotId::parse("r/s").unwrap();
        let whole = json!({"snapshot": "s", "uuid": "u", "state": "SUCCESS", "shards": {"total": 2, "failed": 0, "successful": 2}});
        assert!(snapshot(whole.clone()).ensure_whole(&id).is_ok());
        let mut partial = whole.clone();
        partial["state"] = "PARTIAL".into();
        partial["shards"] = json!({"total": 2, "failed": 1, "successful": 1});
        partial["failures"] = json!([{"index": "bitbucket-project", "shard_id": 0, "reason": "primary shard is not allocated"}]);
        let error = snapshot(partial).ensure_whole(&id).unwrap_err();
        assert_eq!(
            error.to_string(),
            "the snapshot r/s is PARTIAL, with 1 of 2 shards: bitbucket-project[0]: primary shard is not allocated"
        );
        let mut failed = whole;
        failed["state"] = "FAILED".into();
        failed["reason"] = "Indices don't have primary shards".into();
        let error = snapshot(failed).ensure_whole(&id).unwrap_err();
        assert!(error.to_string().contains("primary shards"), "{error}");
    }

    #[test]
    fn a_snapshot_of_somebody_else_is_told_apart() {
        let id = SnapshotId::parse("r/s").unwrap();
        let by = |metadata: serde_json::Value| {
            snapshot(
                json!({"snapshot": "s", "uuid": "u", "state": "SUCCESS", "metadata": metadata}),
            )
            .may_be_ours(&id)
        };
        assert!(by(json!({"taken-by": "diy-backup"})) && by(serde_json::Value::Null));
        assert!(!by(json!({"taken-by": "curator"})) && !by(json!({"policy": "nightly"})));
    }
}
