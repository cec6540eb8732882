//! The archive strategy `none`: the staging folder is the one backup there is.

mod contents;

use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use async_trait::async_trait;
use serde::Deserialize;

use crate::control::Control;
use crate::durable;
use crate::error::{Error, ErrorKind, Result};
use crate::findings::Findings;
use crate::id::{BackupId, InstanceName};
use crate::manifest::Manifest;
use crate::phase::Phase;
use crate::registry::StrategyConfig;
use crate::staging::Staging;
use crate::strategy::{
    ArchiveStrategy, BackupContext, BackupEntry, CheckContext, Destinations, Leftover,
    RestoreContext, RestoreSource, StoredArchive, Verdict,
};

/// The archive strategy `none`: the staging folder itself, as long as its last copy is whole. The next backup changes
/// it, so there is none while that runs, and none after it has failed.
#[derive(Debug)]
#[non_exhaustive]
pub struct StagingArchive {
    instance: InstanceName,
    staging: Staging,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct NoKeys {}

impl StagingArchive {
    /// Reads its section of the configuration.
    ///
    /// # Errors
    /// [`ErrorKind::Config`] when there is any key.
    pub fn from_config(config: &StrategyConfig) -> Result<Self> {
        config.section.parse::<NoKeys>()?;
        Ok(Self {
            instance: config.instance.name.clone(),
            staging: Staging::new(config.backup.staging.as_path()),
        })
    }

    /// The ID of a backup whose manifest cannot be read, by the time at which that was written.
    fn id_by_age(&self, manifest: &Path) -> BackupId {
        let written = std::fs::metadata(manifest).and_then(|metadata| metadata.modified());
        let since = written
            .ok()
            .and_then(|time| time.duration_since(std::time::UNIX_EPOCH).ok());
        let seconds = since.and_then(|since| i64::try_from(since.as_secs()).ok());
        BackupId::at_unix(&self.instance, seconds.unwrap_or_default())
    }
}

#[async_trait]
impl ArchiveStrategy for StagingArchive {
    fn name(&self) -> &'static str {
        "none"
    }

    async fn check(&self, _: &CheckContext, _: &Findings) -> Result<Findings> {
        let mut findings = Findings::new();
        findings.info(
            "archive",
            "no archive is made: the staging folder is the one backup (strategy `none`)",
        );
        Ok(findings)
    }

    async fn store(&self, cx: &BackupContext, manifest: &Manifest) -> Result<StoredArchive> {
        let staging = self.staging.clone();
        let meter = cx.events().meter(Phase::Archive);
        let work = move |stop: &Stop| contents::list(&staging, stop, &meter);
        let bytes = blocking(cx.control(), work).await?;
        // What makes the folder a backup comes last.
        self.staging.seal(manifest)?;
        Ok(StoredArchive::new(
            self.staging.root().display().to_string(),
            bytes,
        ))
    }

    async fn list(&self) -> Result<Vec<BackupEntry>> {
        let path = self.staging.manifest_path();
        if !path.exists() {
            return Ok(Vec::new());
        }
        let location = self.staging.root().display().to_string();
        let manifest = match Manifest::read(&path) {
            Ok(manifest) => manifest,
            Err(error) => {
                let manifest = Manifest::new(self.id_by_age(&path));
                let entry = BackupEntry::ours(location, 0, manifest);
                return Ok(vec![entry.with_problem(crate::error::chain(&error))]);
            }
        };
        let bytes = manifest
            .parts
            .values()
            .map(|part| part.artifact.bytes)
            .sum();
        Ok(vec![BackupEntry::ours(location, bytes, manifest)])
    }

    async fn fetch(
        &self,
        cx: &RestoreContext,
        entry: &BackupEntry,
        destinations: &Destinations,
    ) -> Result<RestoreSource> {
        let verdict = self.verify(cx, entry).await?;
        if let Some(damage) = verdict.damage.first() {
            let path = damage.path.as_deref().unwrap_or("the staging folder");
            return Err(Error::new(
                ErrorKind::Damaged,
                format!("{path}: {}", damage.problem),
            ));
        }
        let there = |path: PathBuf| path.is_dir().then_some(path);
        let mut source = RestoreSource::new();
        source.database = there(self.staging.database());
        source.home = there(self.staging.home());
        source.data_stores = (0..destinations.data_stores.len())
            .map_while(|number| there(self.staging.data_store(number)))
            .collect();
        Ok(source)
    }

    async fn verify(&self, cx: &RestoreContext, _: &BackupEntry) -> Result<Verdict> {
        let staging = self.staging.clone();
        let meter = cx.events().meter(Phase::Verify);
        let work = move |stop: &Stop| contents::compare(&staging, stop, &meter);
        blocking(cx.control(), work).await
    }

    async fn delete(&self, _: &BackupEntry) -> Result<()> {
        durable::remove(&self.staging.manifest_path())
    }

    async fn discard(&self, _: &Leftover) -> Result<()> {
        Ok(())
    }
}

/// How work on another thread learns that the run is cancelled, or that nobody waits for it any more.
#[derive(Debug)]
struct Stop {
    control: Control,
    abandoned: Arc<AtomicBool>,
}

/// Held by the future that waits.
struct Waiting(Arc<AtomicBool>);

impl Drop for Waiting {
    fn drop(&mut self) {
        self.0.store(true, Ordering::Relaxed);
    }
}

impl Stop {
    fn ensure_running(&self) -> Result<()> {
        if self.abandoned.load(Ordering::Relaxed) {
            let message = "nobody waits for the staging folder any more";
            return Err(Error::new(ErrorKind::Cancelled, message));
        }
        self.control.ensure_running()
    }
}

async fn blocking<T: Send + 'static>(
    control: &Control,
    work: impl FnOnce(&Stop) -> Result<T> + Send + 'static,
) -> Result<T> {
    let waiting = Waiting(Arc::default());
    let stop = Stop {
        control: control.clone(),
        abandoned: waiting.0.clone(),
    };
    let ended = tokio::task::spawn_blocking(move || {
        // It may have waited for its turn for longer than anybody waited for it.
        stop.ensure_running()?;
        work(&stop)
    });
    let ended = ended.await;
    ended.map_err(|error| {
        Error::new(
            ErrorKind::Internal,
            "the reading of the staging folder broke off",
        )
        .with_source(error)
    })?
}
