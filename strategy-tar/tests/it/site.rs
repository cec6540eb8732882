//! A staging folder, a folder for archives and a place to restore to.

use std::path::{Path, PathBuf};
use std::sync::Arc;

use diy_backup_core::{
    AbsolutePath, ArchiveStrategy, BackupContext, BackupEntry, BackupId, Destinations, Error,
    Manifest, RestoreContext, RestoreSource, Result, Staging, Verdict,
};
use diy_backup_testkit::tree::{Exclusions, make_removable};
use diy_backup_testkit::{HomeBuilder, TreeSnapshot};
use strategy_tar::{Compression, TarArchive, TarConfig};
use tempfile::TempDir;

pub(crate) struct Site {
    root: TempDir,
    pub(crate) archive: Arc<TarArchive>,
}

/// A restore of one backup.
pub(crate) struct Restored {
    pub(crate) folder: PathBuf,
    pub(crate) source: RestoreSource,
}

impl Site {
    pub(crate) fn new() -> Self {
        Self::with(Compression::Zstd)
    }

    pub(crate) fn with(compression: Compression) -> Self {
        let root = tempfile::tempdir().unwrap();
        let archive = strategy(&root.path().join("archives"), compression);
        Self { root, archive }
    }

    /// A site whose staging folder holds an awkward home with two data stores, and a dump.
    pub(crate) fn with_home(compression: Compression) -> Self {
        let site = Self::with(compression);
        let staging = site.staging();
        HomeBuilder::new(staging.home())
            .real_repositories(0)
            .files(60)
            .data_store(staging.data_store(0))
            .data_store(staging.data_store(1))
            .build()
            .unwrap();
        std::fs::create_dir_all(staging.database()).unwrap();
        std::fs::write(staging.database().join("toc.dat"), b"PGDMP").unwrap();
        site
    }

    /// A site with a few files of known names: fast enough to be stored and read a hundred times.
    pub(crate) fn small(compression: Compression) -> Self {
        let site = Self::with(compression);
        let home = site.staging().home();
        std::fs::create_dir_all(home.join("shared/data")).unwrap();
        std::fs::create_dir_all(site.staging().database()).unwrap();
        for number in 0..8_usize {
            let mut content = vec![0; 700 * number];
            fastrand::Rng::with_seed(number as u64).fill(&mut content);
            std::fs::write(home.join(format!("shared/data/{number}")), content).unwrap();
        }
        std::os::unix::fs::symlink("nowhere", home.join("link")).unwrap();
        std::fs::write(site.staging().database().join("toc.dat"), b"PGDMP").unwrap();
        site
    }

    pub(crate) fn path(&self) -> &Path {
        self.root.path()
    }

    pub(crate) fn staging(&self) -> Staging {
        Staging::new(self.path().join("staging"))
    }

    pub(crate) fn archives(&self) -> PathBuf {
        self.path().join("archives")
    }

    pub(crate) fn context(&self, second: i64) -> BackupContext {
        BackupContext::new(id(second), self.staging())
    }

    pub(crate) async fn store(&self, second: i64) -> Result<BackupEntry> {
        let cx = self.context(second);
        self.archive.store(&cx, &Manifest::new(id(second))).await?;
        let mut listed = self.archive.list().await?;
        Ok(listed.pop().expect("what was stored is listed"))
    }

    pub(crate) async fn only_entry(&self) -> BackupEntry {
        let mut listed = self.archive.list().await.unwrap();
        assert_eq!(listed.len(), 1, "{listed:?}");
        listed.remove(0)
    }

    pub(crate) async fn verify(&self, entry: &BackupEntry) -> Verdict {
        let work = tempfile::tempdir().unwrap();
        let cx = RestoreContext::new(entry.id.clone(), work.path());
        self.archive.verify(&cx, entry).await.unwrap()
    }

    pub(crate) async fn fetch(&self, entry: &BackupEntry) -> Result<Restored> {
        let folder = self.path().join("restored");
        if folder.exists() {
            make_removable(&folder).unwrap();
            std::fs::remove_dir_all(&folder).unwrap();
        }
        let destinations = Destinations::new(folder.join("db"))
            .with_home(folder.join("home"))
            .with_data_store(Path::new("/data/first"), folder.join("stores/0"))
            .with_data_store(Path::new("/data/second"), folder.join("stores/1"));
        let work = tempfile::tempdir().unwrap();
        let cx = RestoreContext::new(entry.id.clone(), work.path());
        let source = self.archive.fetch(&cx, entry, &destinations).await?;
        Ok(Restored { folder, source })
    }

    /// The verdict of a verification and that of a restore, which must be the same.
    pub(crate) async fn judge(&self, entry: &BackupEntry) -> (Verdict, Option<Error>) {
        let verdict = self.verify(entry).await;
        let error = self.fetch(entry).await.err();
        assert_eq!(
            verdict.is_good(),
            error.is_none(),
            "{verdict:?} against {error:?}"
        );
        if let Some(error) = &error {
            assert_eq!(
                error.kind(),
                diy_backup_core::ErrorKind::Damaged,
                "{error:?} with {verdict:?}"
            );
        }
        (verdict, error)
    }
}

impl Drop for Site {
    fn drop(&mut self) {
        let _ = make_removable(self.root.path());
    }
}

pub(crate) fn strategy(directory: &Path, compression: Compression) -> Arc<TarArchive> {
    let directory = AbsolutePath::new(directory).unwrap();
    let config = TarConfig::new(directory).with_compression(compression);
    Arc::new(TarArchive::new("bitbucket".parse().unwrap(), config))
}

pub(crate) fn id(second: i64) -> BackupId {
    BackupId::at_unix(&"bitbucket".parse().unwrap(), second)
}

pub(crate) fn snapshot(path: &Path) -> TreeSnapshot {
    TreeSnapshot::of(path, &Exclusions::none()).unwrap()
}

pub(crate) fn assert_same(original: &Path, copy: &Path) {
    let diff = snapshot(original).diff(&snapshot(copy));
    assert!(diff.is_empty(), "{diff}");
}

/// The names in a folder, sorted.
pub(crate) fn names(path: &Path) -> Vec<String> {
    let files = std::fs::read_dir(path).unwrap();
    let mut names: Vec<String> = files
        .map(|file| file.unwrap().file_name().into_string().unwrap())
        .collect();
    names.sort();
    names
}

pub(crate) fn is_root() -> bool {
    rustix::process::geteuid().is_root()
}
