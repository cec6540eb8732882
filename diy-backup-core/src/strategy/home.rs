use std::fmt::Debug;
use std::path::{Path, PathBuf};

use async_trait::async_trait;

use crate::check::folders::resolve;
use crate::error::Result;
use crate::findings::Findings;
use crate::strategy::{BackupContext, CheckContext, Leftover, Restore, Session};

/// How the home directory and the data stores of an instance are backed up and restored.
#[async_trait]
pub trait HomeStrategy: Debug + Send + Sync + 'static {
    /// The name that the configuration chooses it by.
    fn name(&self) -> &str;

    /// How the state of one instant is held; only [`Pinning::Atomic`] allows backups without downtime.
    fn pinning(&self) -> Pinning {
        Pinning::None
    }

    /// The home directory, where it is one on this machine. The core keeps staging, state and archives out of it.
    fn home(&self) -> Option<&Path>;

    /// The data stores, in the order of their numbers in the staging folder.
    fn data_stores(&self) -> &[PathBuf] {
        &[]
    }

    /// The folders of which everything travels with the home directory, also what is not Bitbucket's: for a strategy
    /// that takes snapshots of volumes, where these are mounted.
    fn covered(&self) -> Vec<PathBuf> {
        let stores = self.data_stores().iter().cloned();
        self.home()
            .map(Path::to_owned)
            .into_iter()
            .chain(stores)
            .collect()
    }

    /// Finds everything that can be known to fail. Changes nothing.
    ///
    /// # Errors
    /// When the check itself could not be done; what it finds wrong is a finding.
    async fn check(&self, cx: &CheckContext) -> Result<Findings>;

    /// Copies what it can while people work, so that `capture` has as little left to do as there can be. What an
    /// earlier run has left in the staging folder for the home may be built upon.
    ///
    /// # Errors
    /// Any: the backup fails before anything is locked.
    async fn prepare(&self, cx: &BackupContext) -> Result<Box<dyn Session>>;

    /// The way back, for strategies that have one.
    fn restore(&self) -> Option<&dyn Restore> {
        None
    }

    /// Removes what a run that died left outside the staging folder. Called again if it fails, and also for what is gone already.
    ///
    /// # Errors
    /// When it is still there.
    async fn discard(&self, leftover: &Leftover) -> Result<()> {
        let _ = leftover;
        Ok(())
    }
}

/// How a home strategy holds the state of one instant.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[non_exhaustive]
pub enum Pinning {
    /// It copies file by file: nothing may write meanwhile.
    None,
    /// It takes a snapshot of all blocks at one instant, also while things are written.
    Atomic,
}

/// What travels with the home directory, and how: for a database whose files lie on its volumes.
#[derive(Debug, Clone, PartialEq, Eq)]
#[non_exhaustive]
pub struct HomeCoverage {
    /// The name of the home strategy.
    pub strategy: String,
    /// How it holds the state of one instant.
    pub pinning: Pinning,
    /// The folders of which everything travels along.
    pub folders: Vec<PathBuf>,
}

impl HomeCoverage {
    /// What travels with `home`.
    pub fn of(home: &dyn HomeStrategy) -> Self {
        Self {
            strategy: home.name().to_owned(),
            pinning: home.pinning(),
            folders: home.covered(),
        }
    }

    /// Nothing.
    pub fn none() -> Self {
        Self {
            strategy: "none".to_owned(),
            pinning: Pinning::None,
            folders: Vec::new(),
        }
    }

    /// Whether `path`, with its links resolved, lies in one of the folders.
    pub fn covers(&self, path: &Path) -> bool {
        let path = resolve(path);
        self.folders
            .iter()
            .any(|folder| path.starts_with(resolve(folder)))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_a_link_leads_out_of_the_home_does_not_travel_with_it() {
        let folder = tempfile::tempdir().unwrap();
        let (home, outside) = (folder.path().join("home"), folder.path().join("outside"));
        std::fs::create_dir_all(home.join("data")).unwrap();
        std::fs::create_dir(&outside).unwrap();
        #[cfg(unix)]
        std::os::unix::fs::symlink(&outside, home.join("link")).unwrap();
        let mut coverage = HomeCoverage::none();
        assert!(!coverage.covers(&home));
        coverage.folders.push(home.clone());
        assert!(
            coverage.covers(&home.join("data")) && coverage.covers(&home.join("not/there/yet"))
        );
        assert!(!coverage.covers(&outside));
        #[cfg(unix)]
        assert!(!coverage.covers(&home.join("link/x")));
    }
}
