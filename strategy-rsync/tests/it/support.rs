//! A home, a staging folder and a Bitbucket to lock, for one test.

use std::path::{Path, PathBuf};
use std::time::Duration;

use bitbucket_maintenance_client::{Client, Credentials};
use diy_backup_core::{
    Artifact, BackupContext, BackupId, HomeStrategy, InstanceKind, LockLimits, LockWindow,
    Manifest, PartName, PartRecord, RestoreContext, Result, Section, Staging,
};
use diy_backup_testkit::home::Names;
use diy_backup_testkit::tree::{Exclusions, make_removable};
use diy_backup_testkit::{GeneratedHome, HomeBuilder, Simulator, TreeSnapshot};
use strategy_rsync::{RsyncConfig, RsyncHome};

pub(crate) struct Bench {
    pub(crate) folder: tempfile::TempDir,
    pub(crate) home: GeneratedHome,
    simulator: Simulator,
}

impl Drop for Bench {
    fn drop(&mut self) {
        let _ = make_removable(self.folder.path());
    }
}

impl Bench {
    /// A small home with awkward names and `stores` data stores; `None` where there is no rsync.
    pub(crate) fn new(stores: usize) -> Option<Self> {
        Self::with(stores, Names::Awkward, "home")
    }

    pub(crate) fn with(stores: usize, names: Names, home: &str) -> Option<Self> {
        let version = std::process::Command::new("rsync")
            .arg("--version")
            .output();
        if !version.is_ok_and(|output| output.status.success()) {
            diy_backup_testkit::report_skipped(&"rsync is not installed");
            return None;
        }
        let folder = tempfile::tempdir().unwrap();
        let mut builder = HomeBuilder::new(folder.path().join(home))
            .repositories(4)
            .real_repositories(1)
            .files(60)
            .names(names);
        for number in 0..stores {
            builder = builder.data_store(folder.path().join(format!("ds{number}")));
        }
        let home = builder.build().unwrap();
        let simulator = Simulator::builder().start_blocking().unwrap();
        Some(Self {
            folder,
            home,
            simulator,
        })
    }

    pub(crate) fn path(&self, name: &str) -> PathBuf {
        self.folder.path().join(name)
    }

    /// How many repositories home and data stores have.
    pub(crate) fn repositories(&self) -> u64 {
        let in_home = std::fs::read_dir(self.home.path.join("shared/data/repositories"));
        let mut count = in_home.unwrap().count();
        for store in &self.home.data_stores {
            let level = |path: PathBuf| {
                let entries = std::fs::read_dir(path).unwrap();
                entries.map(|entry| entry.unwrap().path())
            };
            let deep = level(store.join("repositories")).flat_map(level);
            count += deep.flat_map(level).count();
        }
        count as u64
    }

    pub(crate) fn staging(&self) -> Staging {
        Staging::new(self.path("staging"))
    }

    pub(crate) fn strategy(&self, more: &str) -> RsyncHome {
        let stores: Vec<&Path> = self.home.data_stores.iter().map(PathBuf::as_path).collect();
        strategy_for(&self.home.path, &stores, more)
    }

    pub(crate) fn context(&self) -> BackupContext {
        BackupContext::new(id(), self.staging())
    }

    pub(crate) async fn back_up(&self, more: &str) -> Artifact {
        self.try_back_up(&self.strategy(more), &self.context(), || {})
            .await
            .unwrap()
    }

    /// A whole backup, with something that happens between the live pass and the lock.
    pub(crate) async fn try_back_up(
        &self,
        strategy: &RsyncHome,
        cx: &BackupContext,
        between: impl FnOnce(),
    ) -> Result<Artifact> {
        let mut session = strategy.prepare(cx).await?;
        between();
        let window = self.lock(cx).await;
        if let Err(error) = session.capture(&window).await {
            window.abandon(cx.control()).await?;
            session.abort().await?;
            return Err(error);
        }
        let released = window.release(cx.control()).await.unwrap();
        session.complete(&released).await
    }

    /// Locks and drains the instance.
    pub(crate) async fn lock(&self, cx: &BackupContext) -> LockWindow {
        let password = self.simulator.password().to_owned().into();
        let client = Client::builder(&self.simulator.base_url())
            .credentials(Credentials::basic(self.simulator.username(), password))
            .build()
            .unwrap();
        let limits = LockLimits {
            drain: Duration::from_mins(1),
            locked: Duration::from_mins(1),
        };
        LockWindow::lock(&client, cx, limits).await.unwrap()
    }

    /// Fails unless the staged home is the home without what belongs into no backup.
    pub(crate) fn assert_staged(&self) {
        let exclusions = self.home.exclusions();
        assert_same(&self.home.path, &exclusions, &self.staging().home());
        for (number, store) in self.home.data_stores.iter().enumerate() {
            assert_same(
                store,
                &Exclusions::none(),
                &self.staging().data_store(number),
            );
        }
    }
}

pub(crate) fn assert_same(original: &Path, exclusions: &Exclusions, copy: &Path) {
    let original = TreeSnapshot::of(original, exclusions).unwrap();
    let copy = TreeSnapshot::of(copy, &Exclusions::none()).unwrap();
    let diff = original.diff(&copy);
    assert!(diff.is_empty(), "{diff}");
}

pub(crate) fn id() -> BackupId {
    BackupId::at_unix(&"bitbucket".parse().unwrap(), 1_700_000_000)
}

pub(crate) fn strategy_for(home: &Path, stores: &[&Path], more: &str) -> RsyncHome {
    RsyncHome::new(config_for(home, stores, more), InstanceKind::Bitbucket)
}

pub(crate) fn config_for(home: &Path, stores: &[&Path], more: &str) -> RsyncConfig {
    // Debug prints a path as TOML wants a basic string.
    let text = format!("path = {home:?}\ndata-stores = {stores:?}\n{more}\n");
    Section::from_text("home", &text).unwrap().parse().unwrap()
}

pub(crate) fn restore_context(bench: &Bench, artifact: &Artifact) -> RestoreContext {
    let mut manifest = Manifest::new(id());
    let record = PartRecord::new("rsync", artifact.clone());
    manifest.parts.insert(PartName::Home, record);
    RestoreContext::new(id(), bench.path("work"))
        .with_manifest(manifest)
        .for_part(PartName::Home)
}

pub(crate) fn is_root() -> bool {
    rustix::process::geteuid().is_root()
}
