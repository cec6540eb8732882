//! A search cluster that is a folder: indices in one place, snapshots in another, with faults on demand.

use std::collections::BTreeSet;
use std::fs;
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use async_trait::async_trait;
use diy_backup_core::{
    Artifact, ArtifactKind, BackupContext, CheckContext, Committed, Control, ElasticsearchStrategy,
    Error, ErrorKind, Findings, Leftover, Released, Requirement, Restore, RestoreContext,
    RestoreSession, RestoreSource, Result, ResultExt, SearchSession,
};
use diy_backup_testkit::contract::{Harness, SearchHarness, Target};

use super::parts::{Environment, PartFault, copy, remove};

/// How the strategy breaks its promises.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum SearchFault {
    None,
    DeletesNothing,
    DeletesAll,
    LeavesASnapshotOnAbort,
    RecordsNothing,
    AcceptsAnyTarget,
    RestoresNothing,
    ForgetsItsMark,
}

pub(super) struct SearchEnvironment {
    inner: Environment,
    kept: Mutex<BTreeSet<String>>,
    fault: SearchFault,
}

impl SearchEnvironment {
    pub(super) fn new(fault: SearchFault) -> Self {
        Self {
            inner: Environment::new(PartFault::None),
            kept: Mutex::default(),
            fault,
        }
    }

    fn cluster(&self) -> Cluster {
        let folder = self.inner.data();
        Cluster {
            snapshots: folder.with_file_name("snapshots"),
            mark: folder.with_file_name("uncommitted"),
            indices: folder,
            fault: self.fault,
        }
    }
}

#[async_trait]
impl Harness for SearchEnvironment {
    type State = <Environment as Harness>::State;

    async fn change(&self, round: u32) {
        self.inner.change(round).await;
    }

    async fn state(&self) -> Self::State {
        self.inner.state().await
    }

    fn difference(&self, wanted: &Self::State, found: &Self::State) -> Option<String> {
        self.inner.difference(wanted, found)
    }

    async fn lose(&self, _: Target) {
        self.inner.lose(Target::Absent).await;
    }

    async fn target_is(&self, _: Target) -> bool {
        self.inner.target_is(Target::Absent).await
    }

    async fn remains(&self) -> Vec<String> {
        let cluster = self.cluster();
        let entries = fs::read_dir(&cluster.snapshots).into_iter().flatten();
        let names = entries.map(|entry| entry.unwrap().path().display().to_string());
        let kept = self.kept.lock().unwrap();
        let mut remains: Vec<String> = names.filter(|name| !kept.contains(name)).collect();
        if cluster.mark.exists() {
            remains.push("uncommitted indices".to_owned());
        }
        remains
    }

    fn keeps(&self, artifact: &Artifact) {
        if let ArtifactKind::External { ids } = &artifact.kind {
            self.kept.lock().unwrap().extend(ids.iter().cloned());
        }
    }

    fn patience(&self) -> Duration {
        self.inner.patience()
    }
}

impl SearchHarness for SearchEnvironment {
    fn strategy(&self) -> Arc<dyn ElasticsearchStrategy> {
        Arc::new(self.cluster())
    }
}

#[derive(Debug, Clone)]
struct Cluster {
    indices: PathBuf,
    snapshots: PathBuf,
    /// There while the indices are those of a restore that is not committed.
    mark: PathBuf,
    fault: SearchFault,
}

const NAME: &str = "folder";
const SNAPSHOT: &str = "snapshot";

/// Something that takes a while and stops when it is told to.
async fn work(control: &Control) -> Result<()> {
    for _ in 0..10 {
        control.ensure_running()?;
        tokio::time::sleep(Duration::from_millis(1)).await;
    }
    Ok(())
}

#[async_trait]
impl ElasticsearchStrategy for Cluster {
    fn name(&self) -> &'static str {
        NAME
    }

    fn requirement(&self) -> Requirement {
        Requirement::Required
    }

    async fn check(&self, _: &CheckContext) -> Result<Findings> {
        Ok(Findings::new())
    }

    async fn begin(&self, cx: &BackupContext) -> Result<Box<dyn SearchSession>> {
        cx.control().ensure_running()?;
        let snapshot = self.snapshots.join(cx.id().to_string());
        let leftover = Leftover::new(NAME, SNAPSHOT, snapshot.display().to_string());
        if self.fault != SearchFault::RecordsNothing {
            cx.record_leftover(leftover.clone())?;
        }
        copy(&self.indices, &snapshot).io_context(|| "cannot copy".to_owned())?;
        Ok(Box::new(SnapshotSession {
            cluster: self.clone(),
            cx: cx.clone(),
            leftover,
        }))
    }

    fn restore(&self) -> Option<&dyn Restore> {
        Some(self)
    }

    async fn delete(&self, artifact: &Artifact) -> Result<()> {
        let ArtifactKind::External { ids } = &artifact.kind else {
            return Ok(());
        };
        match self.fault {
            SearchFault::DeletesNothing => Ok(()),
            SearchFault::DeletesAll => remove(&self.snapshots),
            _ => ids.iter().try_for_each(|id| remove(Path::new(id))),
        }
    }

    async fn discard(&self, leftover: &Leftover) -> Result<()> {
        if leftover.kind == SNAPSHOT {
            return remove(Path::new(&leftover.id));
        }
        if self.mark.exists() {
            remove(&self.indices)?;
        }
        remove(&self.mark)
    }
}

#[derive(Debug)]
struct SnapshotSession {
    cluster: Cluster,
    cx: BackupContext,
    leftover: Leftover,
}

#[async_trait]
impl SearchSession for SnapshotSession {
    async fn complete(&mut self, _: &Released) -> Result<Artifact> {
        work(self.cx.control()).await?;
        Ok(Artifact::external([self.leftover.id.clone()]))
    }

    async fn abort(self: Box<Self>) -> Result<()> {
        if self.cluster.fault != SearchFault::LeavesASnapshotOnAbort {
            remove(Path::new(&self.leftover.id))?;
        }
        self.cx.forget_leftover(&self.leftover)
    }
}

#[derive(Debug)]
struct IndexRestore {
    cluster: Cluster,
    cx: RestoreContext,
    snapshot: PathBuf,
}

#[async_trait]
impl Restore for Cluster {
    async fn prepare_restore(&self, cx: &RestoreContext) -> Result<Box<dyn RestoreSession>> {
        let kind = cx.artifact().map(|artifact| artifact.kind.clone());
        let Some(ArtifactKind::External { ids }) = kind else {
            return Err(Error::new(ErrorKind::Damaged, "there is no snapshot"));
        };
        if self.indices.exists() && self.fault != SearchFault::AcceptsAnyTarget {
            return Err(Error::new(ErrorKind::TargetNotEmpty, "there are indices"));
        }
        let snapshot = PathBuf::from(&ids[0]);
        if !snapshot.exists() {
            return Err(Error::new(ErrorKind::Check, "the snapshot is gone"));
        }
        Ok(Box::new(IndexRestore {
            cluster: self.clone(),
            cx: cx.clone(),
            snapshot,
        }))
    }

    async fn was_committed(&self, _: &Leftover) -> Result<Committed> {
        let there = self.indices.exists() && !self.mark.exists();
        Ok(if there { Committed::Yes } else { Committed::No })
    }

    async fn resume_commit(&self, _: &Leftover) -> Result<()> {
        remove(&self.mark)
    }
}

impl IndexRestore {
    fn leftover() -> Leftover {
        Leftover::new(NAME, "indices", "all")
    }
}

#[async_trait]
impl RestoreSession for IndexRestore {
    async fn apply(&mut self, _: &RestoreSource) -> Result<()> {
        self.cx.record_leftover(Self::leftover())?;
        if self.cluster.fault != SearchFault::ForgetsItsMark {
            fs::write(&self.cluster.mark, "").io_context(|| "cannot write".to_owned())?;
        }
        if self.cluster.fault != SearchFault::RestoresNothing {
            copy(&self.snapshot, &self.cluster.indices).io_context(|| "cannot copy".to_owned())?;
        }
        work(self.cx.control()).await
    }

    async fn commit(&mut self) -> Result<()> {
        remove(&self.cluster.mark)
    }

    async fn abort(self: Box<Self>) -> Result<()> {
        self.cluster.discard(&Self::leftover()).await?;
        self.cx.forget_leftover(&Self::leftover())
    }
}
