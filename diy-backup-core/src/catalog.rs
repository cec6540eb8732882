//! The backups there are: found, verified and pruned.

use std::collections::BTreeSet;
use std::str::FromStr;
use std::sync::Arc;

use crate::config::RetentionSettings;
use crate::control::Control;
use crate::error::{Error, ErrorKind, Result};
use crate::event::{Events, Observer};
use crate::id::BackupId;
use crate::instance::InstanceIdentity;
use crate::manifest::PartName;
use crate::refused::RefusedBackups;
use crate::restore::work_path;
use crate::retention::PrunePlan;
use crate::run_lock::RunLock;
use crate::site::Site;
use crate::strategy::{
    ArtifactKind, BackupEntry, BackupState, Owner, PruneOutcome, RestoreContext, Verdict,
};

/// Which backup is meant. What `latest` is depends on what it is for: see [`find_to_restore`] and [`find_to_verify`].
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

/// A backup to restore, and what speaks against the choice.
#[derive(Debug, Clone)]
#[non_exhaustive]
pub struct Found {
    /// The backup.
    pub entry: BackupEntry,
    /// What the reader should know: a newer backup that is damaged, or that the backup is another instance's.
    pub warnings: Vec<String>,
}

/// Lists everything that is named like a backup of `site`, oldest first: also what is damaged, and what another
/// instance of the same name has made.
///
/// # Errors
/// When they cannot be listed.
pub async fn list(site: &Site) -> Result<Vec<BackupEntry>> {
    let identity = InstanceIdentity::of(site);
    let refused = RefusedBackups::read(site.backup.state.as_path());
    let mut entries = site.archive.list().await?;
    for entry in &mut entries {
        entry.owner = identity.owner_of(entry);
        if let Some(reason) = refused.reason(entry) {
            entry.state = BackupState::Unproven(reason);
        }
    }
    Ok(entries)
}

/// Finds the backup that a restore of `selector` takes. `Latest` is the newest proven backup of this instance.
///
/// Where there is none, it is the newest proven one of the only other instance that there is, as after the loss of a
/// machine; then the newest that the shell scripts made.
///
/// # Errors
/// [`ErrorKind::NotFound`] when there is none, or when it could be one of several instances';
/// [`ErrorKind::Damaged`] when none is proven.
pub async fn find_to_restore(site: &Site, selector: &Selector) -> Result<Found> {
    let entries = list(site).await?;
    match selector {
        Selector::Id(id) => by_id(entries, id).map(Found::without_warning),
        Selector::Latest => {
            let (entries, warning) = of_one_instance(entries)?;
            latest_to_restore(&entries, warning)
        }
    }
}

/// Finds the backup that a verification of `selector` reads. `Latest` is the newest of this instance, damaged or not: a
/// verification that passes it over would bring good news while the last backup is lost.
///
/// # Errors
/// [`ErrorKind::NotFound`] when there is none, or when it could be one of several instances'.
pub async fn find_to_verify(site: &Site, selector: &Selector) -> Result<BackupEntry> {
    let entries = list(site).await?;
    match selector {
        Selector::Id(id) => by_id(entries, id),
        Selector::Latest => {
            let (mut entries, _) = of_one_instance(entries)?;
            entries.pop().ok_or_else(no_backup)
        }
    }
}

impl Found {
    fn without_warning(entry: BackupEntry) -> Self {
        Self {
            entry,
            warnings: Vec::new(),
        }
    }
}

/// Of several files with one ID, the one that is proven best.
fn by_id(entries: Vec<BackupEntry>, id: &BackupId) -> Result<BackupEntry> {
    let doubt = |entry: &BackupEntry| match entry.state {
        BackupState::Whole => 0,
        BackupState::Unsealed => 1,
        BackupState::Unproven(_) => 2,
        BackupState::Damaged(_) => 3,
    };
    entries
        .into_iter()
        .filter(|entry| entry.id == *id)
        .min_by_key(doubt)
        .ok_or_else(|| not_found(format!("there is no backup {id}")))
}

/// Narrows `entries` down to those of this instance, or of the only other one where this one has none.
fn of_one_instance(mut entries: Vec<BackupEntry>) -> Result<(Vec<BackupEntry>, Option<String>)> {
    let others: BTreeSet<String> = entries
        .iter()
        .filter_map(|entry| match &entry.owner {
            Owner::Other(instance) => Some(instance.clone()),
            _ => None,
        })
        .collect();
    let is_marked = |entry: &BackupEntry| entry.owner == Owner::Own;
    let is_ours = |entry: &BackupEntry| {
        is_marked(entry) || (entry.owner == Owner::Unmarked && entry.is_proven())
    };
    if others.is_empty() || entries.iter().any(is_ours) {
        let doubt = !others.is_empty() && !entries.iter().any(is_marked);
        let newer = entries
            .last()
            .filter(|newest| doubt && !newest.may_be_own());
        let warning = newer.map(|newest| {
            format!(
                "the newer backup {} is passed over, as it is another instance's, while an earlier version of this program has made others, which do not say whose they are",
                newest.id
            )
        });
        entries.retain(BackupEntry::may_be_own);
        return Ok((entries, warning));
    }
    if others.len() == 1 {
        // The archives of the scripts are older than what the only instance here has made since.
        let other = others.into_iter().next().unwrap_or_default();
        let warning = format!("there is no backup of this instance: taking those of {other}");
        return Ok((entries, Some(warning)));
    }
    let names: Vec<String> = others.into_iter().collect();
    Err(not_found(format!(
        "there is no backup of this instance, and there are backups of several others: {}",
        names.join("; ")
    ))
    .with_hint("Name one of those that `diy-backup list` shows."))
}

fn latest_to_restore(entries: &[BackupEntry], warning: Option<String>) -> Result<Found> {
    let proven = entries.iter().rposition(BackupEntry::is_proven);
    let unsealed = || {
        let is_unsealed = |entry: &BackupEntry| entry.state == BackupState::Unsealed;
        entries.iter().rposition(is_unsealed)
    };
    let Some(chosen) = proven.or_else(unsealed) else {
        return Err(match entries.last() {
            None => no_backup(),
            Some(newest) => nothing_proven(newest),
        });
    };
    let mut warnings: Vec<String> = warning.into_iter().collect();
    warnings.extend(entries[chosen + 1..].iter().map(passed_over));
    let entry = entries[chosen].clone();
    if entry.state == BackupState::Unsealed {
        warnings.push(format!(
            "nothing proves that {} is whole: the shell scripts made it, which write no checksums",
            entry.id
        ));
    }
    Ok(Found { entry, warnings })
}

fn passed_over(newer: &BackupEntry) -> String {
    let why = newer
        .problem()
        .unwrap_or("the shell scripts made it, and nothing proves that it is whole");
    format!(
        "the newer backup {} ({}) is passed over: {why}",
        newer.id,
        newer.state.name()
    )
}

fn nothing_proven(newest: &BackupEntry) -> Error {
    let why = newest.problem().unwrap_or_default();
    let message = format!(
        "there is no backup that is proven to be whole; the newest, {}, is {}: {why}",
        newest.id,
        newest.state.name()
    );
    Error::new(ErrorKind::Damaged, message).with_hint(format!(
        "`diy-backup restore {}` reads it to its end and goes by the checksums inside.",
        newest.id
    ))
}

fn no_backup() -> Error {
    not_found("there is no backup".to_owned())
}

fn not_found(message: String) -> Error {
    Error::new(ErrorKind::NotFound, message).with_hint("`diy-backup list` shows those there are.")
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
    if let Some(problem) = entry.damage() {
        let mut verdict = Verdict::default();
        verdict.damage.push(crate::strategy::Damage::whole(problem));
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
    let verdict = site.archive.verify(&cx, entry).await?;
    // Retention and `restore latest` go by it; the verdict itself stands without.
    if let Err(error) = RefusedBackups::remember(site.backup.state.as_path(), entry, &verdict) {
        cx.events().warning(format!(
            "the verdict is not remembered for `restore latest` and `prune`: {}",
            crate::error::chain(&error)
        ));
    }
    Ok(verdict)
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
    let entries = list(site).await?;
    let plan = site.archive.plan_prune(entries, &policy).await?;
    Ok(plan.guarded(None))
}

/// Plans what goes after the run that has made `own`, which stays whatever the dates say.
///
/// # Errors
/// [`ErrorKind::Damaged`] when the backup of the run is not among the proven ones: nothing may go for it.
pub(crate) async fn plan_prune_after(
    site: &Site,
    own: &BackupId,
    policy: &RetentionSettings,
) -> Result<PrunePlan> {
    let entries = list(site).await?;
    let of_run = entries.iter().find(|entry| entry.id == *own);
    if !of_run.is_some_and(BackupEntry::is_proven) {
        let why = match of_run {
            None => "it is not listed",
            Some(entry) => entry.problem().unwrap_or("nothing proves it"),
        };
        let message = format!("the backup {own} that was just stored is not whole: {why}");
        return Err(Error::new(ErrorKind::Damaged, message).with_hint(format!(
            "No old backup was deleted. Look at it with `diy-backup verify {own}`."
        )));
    }
    let doubts = of_run.and_then(|entry| entry.manifest.as_ref());
    let doubts = doubts.map_or(String::new(), |manifest| manifest.doubts.join("; "));
    let plan = site.archive.plan_prune(entries, policy).await?;
    let plan = plan.guarded(Some(own));
    // Where a backup is dated later than any clock goes, that of the run is not the newest.
    Ok(if doubts.is_empty() {
        plan
    } else {
        plan.hold(format!("the backup {own} is doubtful: {doubts}"))
    })
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

#[cfg(test)]
mod tests {
    use super::*;
    use crate::Manifest;

    fn entry(second: i64, owner: Owner) -> BackupEntry {
        let id = BackupId::at_unix(&"b".parse().unwrap(), second);
        let mut entry = BackupEntry::ours("x", 1, Manifest::new(id));
        entry.owner = owner;
        entry
    }

    fn other(second: i64, name: &str) -> BackupEntry {
        entry(second, Owner::Other(name.to_owned()))
    }

    fn latest(entries: Vec<BackupEntry>) -> Result<(i64, usize)> {
        let (entries, warning) = of_one_instance(entries)?;
        let found = latest_to_restore(&entries, warning)?;
        Ok((found.entry.id.created_unix(), found.warnings.len()))
    }

    #[test]
    fn the_latest_is_never_another_instance_s_where_there_is_one_of_ours() {
        let own = entry(1, Owner::Own);
        let unmarked = entry(2, Owner::Unmarked);
        assert_eq!(latest(vec![own, other(3, "a")]).unwrap(), (1, 0));
        let mixed = vec![unmarked, other(3, "a"), other(4, "b")];
        assert_eq!(latest(mixed).unwrap(), (2, 1));
        assert_eq!(latest(vec![other(3, "a"), other(4, "a")]).unwrap(), (4, 1));
        let error = latest(vec![other(3, "a"), other(4, "b")]).unwrap_err();
        assert_eq!(error.kind(), ErrorKind::NotFound);
    }

    #[test]
    fn archives_of_the_scripts_are_the_latest_where_nothing_is_proven() {
        let id = BackupId::at_unix(&"b".parse().unwrap(), 5);
        let scripts = BackupEntry::from_scripts(id, "x", 1);
        assert_eq!(latest(vec![scripts.clone()]).unwrap(), (5, 1));
        let own = entry(1, Owner::Own);
        assert_eq!(latest(vec![own, scripts.clone()]).unwrap(), (1, 1));
        assert_eq!(latest(vec![other(2, "a"), scripts]).unwrap(), (2, 2));
    }

    #[test]
    fn nothing_that_is_not_proven_is_the_latest() {
        let bare = entry(2, Owner::Own).unproven("no manifest");
        let cut = entry(3, Owner::Own).with_problem("too short");
        let found = latest(vec![entry(1, Owner::Own), bare.clone(), cut.clone()]);
        assert_eq!(found.unwrap(), (1, 2));
        let error = latest(vec![bare, cut]).unwrap_err();
        assert_eq!(error.kind(), ErrorKind::Damaged);
    }
}
