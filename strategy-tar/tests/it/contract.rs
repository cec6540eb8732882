//! The strategy `tar`, held to the promises of an archive strategy.

use std::path::PathBuf;
use std::sync::Arc;

use diy_backup_core::{ArchiveStrategy, BackupEntry, Staging, async_trait};
use diy_backup_testkit::contract::{self, ArchiveHarness};
use strategy_tar::Compression;

use crate::site::Site;

struct Environment(Site);

#[async_trait]
impl ArchiveHarness for Environment {
    fn strategy(&self) -> Arc<dyn ArchiveStrategy> {
        Arc::clone(&self.0.archive) as Arc<dyn ArchiveStrategy>
    }

    fn staging(&self) -> Staging {
        self.0.staging()
    }

    /// Not the manifest beside: an archive has one inside, and is whole without the other.
    fn files(&self, entry: &BackupEntry) -> Vec<PathBuf> {
        vec![PathBuf::from(&entry.location)]
    }

    async fn remains(&self) -> Vec<String> {
        let listed = self.0.archive.list().await.unwrap();
        let is_of_a_backup = |name: &String| {
            let mut ids = listed.iter().map(|entry| entry.id.to_string());
            ids.any(|id| name.starts_with(&id))
        };
        let entries = std::fs::read_dir(self.0.archives()).into_iter().flatten();
        let names = entries.map(|entry| entry.unwrap().file_name().into_string().unwrap());
        names.filter(|name| !is_of_a_backup(name)).collect()
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn it_keeps_its_promises_with_zstd() {
    contract::archive(async || Environment(Site::with(Compression::Zstd)))
        .await
        .unwrap();
}

#[tokio::test(flavor = "multi_thread")]
async fn it_keeps_its_promises_uncompressed() {
    contract::archive(async || Environment(Site::with(Compression::None)))
        .await
        .unwrap();
}
