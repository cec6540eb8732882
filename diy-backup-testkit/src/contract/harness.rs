use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use async_trait::async_trait;
use diy_backup_core::{
    ArchiveStrategy, Artifact, BackupEntry, DbStrategy, ElasticsearchStrategy, HomeStrategy,
    Staging,
};

/// What a restore finds where it restores to.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Target {
    /// Nothing.
    Absent,
    /// An empty folder or database.
    Empty,
}

/// The environment of a home or a database strategy: data that can be changed, read, and lost.
///
/// What a method cannot do is a defect of the test, so it may panic.
#[async_trait]
pub trait Harness: Send + Sync {
    /// All that a restore must bring back: rows, or the entries of a tree.
    type State: Send + Sync;

    /// Changes the data as people at work do: adds, changes and removes. Different for each `round`, so that no two
    /// states are the same, and destructive from time to time: a truncated table, a removed repository.
    async fn change(&self, round: u32);

    /// Reads the data.
    async fn state(&self) -> Self::State;

    /// What `found` does not have in common with `wanted`, in words; `None` when they are the same.
    fn difference(&self, wanted: &Self::State, found: &Self::State) -> Option<String>;

    /// Loses all data, as a disaster does, and makes the target of the restore what it should be.
    async fn lose(&self, target: Target);

    /// Whether the target is `target` now.
    async fn target_is(&self, target: Target) -> bool;

    /// What is there that should not be, outside of staging and of the data itself: processes, connections,
    /// snapshots, temporary databases, folders beside the target. Empty when all is clean.
    async fn remains(&self) -> Vec<String>;

    /// Takes note of a backup: the snapshots that `artifact` names do not remain, they belong to it.
    fn keeps(&self, artifact: &Artifact) {
        let _ = artifact;
    }

    /// How long a step may take after the run was cancelled, and what was dropped may take to end.
    fn patience(&self) -> Duration {
        Duration::from_secs(30)
    }
}

/// The environment of a home strategy.
pub trait HomeHarness: Harness {
    /// The strategy over this environment; the same one each time, or an equal one.
    fn strategy(&self) -> Arc<dyn HomeStrategy>;
}

/// The environment of a database strategy.
pub trait DatabaseHarness: Harness {
    /// The strategy over this environment; the same one each time, or an equal one.
    fn strategy(&self) -> Arc<dyn DbStrategy>;
}

/// The environment of a search strategy. Its data are the indices; a target that is [`Empty`](Target::Empty) has none,
/// as an absent one.
pub trait SearchHarness: Harness {
    /// The strategy over this environment; the same one each time, or an equal one.
    fn strategy(&self) -> Arc<dyn ElasticsearchStrategy>;
}

/// How many backups an archive strategy can hold.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Capacity {
    /// Any number.
    Many,
    /// The latest only: a new one takes its place from the moment it begins.
    One,
}

/// The environment of an archive strategy: a staging folder, and a place for backups with none in it.
#[async_trait]
pub trait ArchiveHarness: Send + Sync {
    /// The strategy over this environment.
    fn strategy(&self) -> Arc<dyn ArchiveStrategy>;

    /// The staging folder that the strategy was configured with. The suite fills it.
    fn staging(&self) -> Staging;

    /// The name of the instance that the strategy was configured with.
    fn instance(&self) -> String {
        "bitbucket".to_owned()
    }

    /// How many backups there can be.
    fn capacity(&self) -> Capacity {
        Capacity::Many
    }

    /// The files of a stored backup in which every byte matters. The suite damages each of them in turn.
    fn files(&self, entry: &BackupEntry) -> Vec<PathBuf>;

    /// What is there that should not be, outside of staging and of listed backups: temporary files, processes.
    async fn remains(&self) -> Vec<String>;

    /// How long a step may take after the run was cancelled, and what was dropped may take to end.
    fn patience(&self) -> Duration {
        Duration::from_secs(30)
    }
}
