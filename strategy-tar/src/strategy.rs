use std::path::{Path, PathBuf};

use diy_backup_core::{
    ArchiveStrategy, BackupContext, BackupEntry, CheckContext, Destinations, Error, ErrorKind,
    Findings, InstanceName, Leftover, Manifest, RestoreContext, RestoreSource, Result,
    StoredArchive, Verdict, async_trait,
};

use crate::config::TarConfig;
use crate::stop::Stop;
use crate::{catalog, check, remove, restore, store};

/// The archive strategy `tar`: each backup is one compressed tar file with its manifest beside it.
#[derive(Debug, Clone)]
pub struct TarArchive {
    instance: InstanceName,
    config: TarConfig,
}

impl TarArchive {
    /// The archives of `instance`, kept as `config` says.
    pub fn new(instance: InstanceName, config: TarConfig) -> Self {
        Self { instance, config }
    }

    fn folder(&self) -> PathBuf {
        self.config.directory.as_path().to_owned()
    }
}

#[async_trait]
impl ArchiveStrategy for TarArchive {
    fn name(&self) -> &'static str {
        crate::NAME
    }

    fn directory(&self) -> Option<&Path> {
        Some(self.config.directory.as_path())
    }

    async fn check(&self, _: &CheckContext, staged: &Findings) -> Result<Findings> {
        let (config, staged) = (self.config.clone(), staged.clone());
        // A folder that cannot be listed is a finding of the check itself.
        let earlier = self.list().await.unwrap_or_default();
        blocking(move || Ok(check::check(&config, &staged, &earlier))).await
    }

    async fn store(&self, cx: &BackupContext, manifest: &Manifest) -> Result<StoredArchive> {
        let (config, cx, manifest) = (self.config.clone(), cx.clone(), manifest.clone());
        let (stop, _guard) = Stop::new(cx.control().clone());
        blocking(move || store::store(&config, &cx, &manifest, &stop)).await
    }

    async fn list(&self) -> Result<Vec<BackupEntry>> {
        let (folder, instance) = (self.folder(), self.instance.clone());
        blocking(move || catalog::list(&folder, &instance)).await
    }

    async fn fetch(
        &self,
        cx: &RestoreContext,
        entry: &BackupEntry,
        destinations: &Destinations,
    ) -> Result<RestoreSource> {
        let (cx, entry, destinations) = (cx.clone(), entry.clone(), destinations.clone());
        let (stop, _guard) = Stop::new(cx.control().clone());
        blocking(move || restore::fetch(&cx, &entry, &destinations, &stop)).await
    }

    async fn verify(&self, cx: &RestoreContext, entry: &BackupEntry) -> Result<Verdict> {
        let (cx, entry) = (cx.clone(), entry.clone());
        let (stop, _guard) = Stop::new(cx.control().clone());
        blocking(move || restore::verify(&cx, &entry, &stop)).await
    }

    async fn delete(&self, entry: &BackupEntry) -> Result<()> {
        let (folder, entry) = (self.folder(), entry.clone());
        blocking(move || remove::delete(&folder, &entry)).await
    }

    async fn discard(&self, leftover: &Leftover) -> Result<()> {
        let (folder, leftover) = (self.folder(), leftover.clone());
        blocking(move || remove::discard(&folder, &leftover)).await
    }
}

async fn blocking<T: Send + 'static>(
    work: impl FnOnce() -> Result<T> + Send + 'static,
) -> Result<T> {
    tokio::task::spawn_blocking(work).await.map_err(|error| {
        Error::new(ErrorKind::Internal, "the work on an archive ended abruptly").with_source(error)
    })?
}
