//! The backups there are: found, verified and pruned.

use std::str::FromStr;
use std::sync::Arc;

use crate::control::Control;
use crate::error::{Error, ErrorKind, Result};
use crate::event::{Events, Observer};
use crate::id::BackupId;
use crate::manifest::PartName;
use crate::restore::work_path;
use crate::run_lock::RunLock;
use crate::site::Site;
use crate::strategy::{
    ArtifactKind, BackupEntry, PruneOutcome, PrunePlan, RestoreContext, Verdict,
};

/// Which backup is meant.
#[derive(Debug, Clone, PartialEq, Eq)]
#[non_exhaustive]
pub enum Selector {
    /// The newest.
    Latest,
    /// The one with this ID.
    Id(BackupId),
}

impl FromStr for Selector {
    type Err = Error;

    fn from_str(text: &str) -> Result<Self> {
        if text == "latest" {
            Ok(Self::Latest)
        } else {
            text.parse().map(Self::Id)
        }
    }
}

/// All backups of `site`, oldest first.
///
/// # Errors
/// When they cannot be listed.
pub async fn list(site: &Site) -> Result<Vec<BackupEntry>> {
    site.archive.list().await
}

/// Finds the backup that is meant. The newest is the newest that nothing speaks against.
///
/// # Errors
/// [`ErrorKind::NotFound`] when there is none.
pub async fn find(site: &Site, selector: &Selector) -> Result<BackupEntry> {
    let entries = list(site).await?;
    let (found, what) = match selector {
        Selector::Latest => (
            entries.into_iter().rfind(BackupEntry::is_good),
            "there is no backup".to_owned(),
        ),
        Selector::Id(id) => (
            entries.into_iter().find(|entry| entry.id == *id),
            format!("there is no backup {id}"),
        ),
    };
    found.ok_or_else(|| {
        Error::new(ErrorKind::NotFound, what).with_hint("`diy-backup list` shows those there are.")
    })
}

/// Reads `entry` from end to end and compares every byte with its checksums: the verdict that a restore would give.
///
/// # Errors
/// When it cannot be read for reasons that say nothing about it; damage is a [`Verdict`].
pub async fn verify(
    site: &Site,
    entry: &BackupEntry,
    control: &Control,
    observer: Arc<dyn Observer>,
) -> Result<Verdict> {
    if let Some(problem) = &entry.problem {
        let mut verdict = Verdict::default();
        verdict
            .damage
            .push(crate::strategy::Damage::whole(problem.clone()));
        return Ok(verdict);
    }
    let events = Events::new(observer);
    events.announce_work(
        entry
            .manifest
            .as_ref()
            .and_then(|manifest| manifest.archive.as_ref())
            .map_or(entry.bytes, |seal| seal.content_bytes),
    );
    // Nothing is written: the work folder is named as a restore would name it, and never made.
    let mut cx = RestoreContext::new(entry.id.clone(), work_path(site, &entry.id))
        .with_control(control.clone())
        .with_events(events);
    if let Some(manifest) = &entry.manifest {
        cx = cx.with_manifest(manifest.clone());
    }
    site.archive.verify(&cx, entry).await
}

/// Plans which backups go under the site's retention policy.
///
/// # Errors
/// [`ErrorKind::Config`] when there is no policy.
pub async fn plan_prune(site: &Site) -> Result<PrunePlan> {
    let policy = site.retention.ok_or_else(|| {
        Error::new(
            ErrorKind::Config,
            "there is no retention policy, so nothing is ever deleted",
        )
        .with_hint("Add a section [retention] with `keep-last = 7`.")
    })?;
    site.archive.plan_prune(&policy).await
}

/// Deletes what `plan` says, while no other run is going on.
///
/// # Errors
/// [`ErrorKind::Busy`], or the first deletion that failed.
pub async fn apply_prune(site: &Site, plan: &PrunePlan) -> Result<PruneOutcome> {
    let _lock = RunLock::acquire(site.backup.state.as_path())?;
    prune(site, plan).await
}

/// Deletes what `plan` says under the run lock of the caller: each backup, then the search snapshot that belongs to it.
///
/// A backup is out of the list before its snapshot goes, so that none is listed without its parts. The snapshot of a
/// backup that could not be deleted stays.
pub(crate) async fn prune(site: &Site, plan: &PrunePlan) -> Result<PruneOutcome> {
    let pruned = site.archive.apply_prune(plan).await;
    let left = match &pruned {
        Ok(_) => Vec::new(),
        Err(_) => site.archive.list().await?,
    };
    let is_left = |entry: &BackupEntry| left.iter().any(|other| other.id == entry.id);
    let mut snapshots = Ok(());
    for entry in plan.delete.iter().filter(|entry| !is_left(entry)) {
        snapshots = snapshots.and(delete_search_snapshot(site, entry).await);
    }
    let outcome = pruned?;
    snapshots.map(|()| outcome)
}

async fn delete_search_snapshot(site: &Site, entry: &BackupEntry) -> Result<()> {
    let manifest = entry.manifest.as_ref();
    let Some(part) = manifest.and_then(|manifest| manifest.part(PartName::Elasticsearch)) else {
        return Ok(());
    };
    let ArtifactKind::External { ids } = &part.artifact.kind else {
        return Ok(());
    };
    let stays = |error: Error| {
        let snapshots = ids.join(", ");
        let kind = error.kind();
        Error::new(
            kind,
            format!(
                "the backup {} is deleted, and its search snapshot stays: {snapshots}",
                entry.id
            ),
        )
        .with_source(error)
        .with_hint(format!(
            "Delete it by hand: `DELETE /_snapshot/{snapshots}`."
        ))
    };
    let search = site
        .search
        .as_ref()
        .filter(|search| search.name() == part.strategy);
    let deleted = match search {
        Some(search) => search.delete(&part.artifact).await,
        None => Err(Error::new(
            ErrorKind::Config,
            format!(
                "[elasticsearch] does not name the strategy `{}`",
                part.strategy
            ),
        )),
    };
    deleted.map_err(stays)
}
