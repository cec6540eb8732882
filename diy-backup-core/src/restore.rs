//! A restore, phase by phase: read and check, build beside the targets, then move into place.

mod scripts;

use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use crate::catalog::{self, Selector};
use crate::control::Control;
use crate::driven::{first_cause, guarded};
use crate::error::{Error, ErrorKind, Result, ResultExt};
use crate::event::{Events, Observer};
use crate::id::BackupId;
use crate::journal::{Journal, Operation, Step};
use crate::manifest::{PartName, PhaseSeconds};
use crate::phase::Phase;
use crate::platform;
use crate::properties;
use crate::reconcile::{CORE, WORK_FOLDER};
use crate::run::Run;
use crate::site::Site;
use crate::strategy::{
    BackupEntry, Destinations, HomeCoverage, Leftover, Origin, Restore, RestoreContext,
    RestoreSession, RestoreSource,
};

/// A restore that has succeeded.
#[derive(Debug)]
#[non_exhaustive]
pub struct RestoreReport {
    /// The backup that was restored.
    pub id: BackupId,
    /// The phases, in order.
    pub phases: Vec<PhaseSeconds>,
    /// The whole run.
    pub total: Duration,
    /// What was not as it should be.
    pub warnings: Vec<String>,
}

/// Restores a backup into an absent or empty home directory and an absent or empty database.
///
/// The backup is read and checked to its last byte before any target changes. `control` cancels the run, which then
/// cleans up before this returns; do not drop the future instead.
///
/// # Errors
/// The targets are as they were. [`TargetNotEmpty`](ErrorKind::TargetNotEmpty) and [`Check`](ErrorKind::Check) before
/// anything was read; [`Damaged`](ErrorKind::Damaged) when the backup is not what it was.
pub async fn restore(
    site: &Site,
    selector: &Selector,
    control: &Control,
    observer: Arc<dyn Observer>,
) -> Result<RestoreReport> {
    let mut run = Run::begin(site, Operation::Restore, control, observer).await?;
    let found = catalog::find_to_restore(site, selector).await;
    let found = run.recording(Operation::Restore, found)?;
    for warning in found.warnings {
        run.events.warning(warning);
    }
    let entry = found.entry;
    run.events
        .message(format!("Restoring {} from {}", entry.id, entry.location));
    run.events.announce_work(work_bytes(&entry));
    let journal = run.journal(Operation::Restore, &entry.id);
    let journal = run.recording(Operation::Restore, journal)?;
    let cx = context(&run, &entry, &journal);
    let restored = restore_entry(&mut run, &entry, &cx, &journal).await;
    run.end(&journal, restored).await?;
    for warning in properties::warnings_after_restore(site).await {
        run.events.warning(warning);
    }
    run.events.message(format!("{} is restored", entry.id));
    Ok(RestoreReport {
        id: entry.id,
        phases: run.phases().to_vec(),
        total: run.started.elapsed(),
        warnings: run.events.warnings(),
    })
}

/// The phases in their order. Whatever fails before the commit, all parts are taken back.
async fn restore_entry(
    run: &mut Run<'_>,
    entry: &BackupEntry,
    cx: &RestoreContext,
    journal: &Journal,
) -> Result<()> {
    let control = run.control.clone();
    let site = run.site;
    let mut parts = run
        .phase(
            Phase::Check,
            control.unless_cancelled(validate(site, entry, cx)),
        )
        .await?;
    if let Err(error) = build(run, entry, cx, journal, &mut parts).await {
        parts.abort(&run.events).await;
        return Err(error);
    }
    if let Err(error) = run.phase(Phase::Commit, parts.commit(journal)).await {
        run.finish_commit(journal, error).await?;
    }
    run.phase(Phase::Verify, parts.verify()).await
}

/// Unpacks and builds everything beside its target.
async fn build(
    run: &mut Run<'_>,
    entry: &BackupEntry,
    cx: &RestoreContext,
    journal: &Journal,
    parts: &mut Parts,
) -> Result<()> {
    let site = run.site;
    let control = run.control.clone();
    run.hold_staging()?;
    journal.step(Step::Building)?;
    let source = run
        .phase(Phase::Fetch, fetch(site, entry, cx, parts))
        .await?;
    let events = run.events.clone();
    let apply = control.unless_cancelled(parts.apply(&source, &events));
    run.phase(Phase::Apply, apply).await?;
    remove_work_folder(&cx.clone().for_core())
}

/// The sessions of a restore, in the order of their commits.
#[derive(Debug)]
struct Parts {
    sessions: Vec<(PartName, Box<dyn RestoreSession>)>,
}

/// Validates every part before any part changes anything.
async fn validate(site: &Site, entry: &BackupEntry, cx: &RestoreContext) -> Result<Parts> {
    if let Some(problem) = entry.damage() {
        let message = format!("the backup {} cannot be restored: {problem}", entry.id);
        return Err(Error::new(ErrorKind::Damaged, message));
    }
    same_strategy(entry, PartName::Home, site.home.name())?;
    same_strategy(entry, PartName::Database, site.database.name())?;
    let home = way_back(site.home.restore(), site.home.name())?;
    let database = way_back(site.database.restore(), site.database.name())?;
    let search = restorable_search(site, entry)?;
    let home_cx = cx.clone().for_part(PartName::Home);
    let database_cx = cx.clone().for_part(PartName::Database);
    let search_cx = cx.clone().for_part(PartName::Elasticsearch);
    let (home, database, search) = tokio::join!(
        guarded(PartName::Home, home.prepare_restore(&home_cx)),
        guarded(PartName::Database, database.prepare_restore(&database_cx)),
        async {
            match search {
                Some(search) => {
                    let part = PartName::Elasticsearch;
                    guarded(part, search.prepare_restore(&search_cx))
                        .await
                        .map(Some)
                }
                None => Ok(None),
            }
        },
    );
    // The home after the database: it is what tells that an instance is there. The search index last: it can be built
    // anew, so whatever has become of the others does not hang on it.
    let mut sessions = vec![(PartName::Database, database?), (PartName::Home, home?)];
    sessions.extend(search?.map(|search| (PartName::Elasticsearch, search)));
    Ok(Parts { sessions })
}

/// The search index has a way back only if this backup has it.
fn restorable_search<'a>(site: &'a Site, entry: &BackupEntry) -> Result<Option<&'a dyn Restore>> {
    let has_index = entry
        .manifest
        .as_ref()
        .is_some_and(|manifest| manifest.part(PartName::Elasticsearch).is_some());
    match &site.search {
        Some(search) if has_index => {
            same_strategy(entry, PartName::Elasticsearch, search.name())?;
            way_back(search.restore(), search.name()).map(Some)
        }
        _ => Ok(None),
    }
}

fn way_back<'a>(restore: Option<&'a dyn Restore>, name: &str) -> Result<&'a dyn Restore> {
    restore.ok_or_else(|| {
        Error::new(
            ErrorKind::Unsupported,
            format!("the strategy `{name}` cannot restore"),
        )
    })
}

/// A dump of one kind of database does not go into another, nor a snapshot into a folder.
fn same_strategy(entry: &BackupEntry, part: PartName, configured: &str) -> Result<()> {
    let record = entry
        .manifest
        .as_ref()
        .and_then(|manifest| manifest.part(part));
    match record {
        Some(record) if record.strategy != configured => Err(Error::new(
            ErrorKind::Check,
            format!(
                "the {part} part of {} was made by the strategy `{}`, and the configuration says `{configured}`",
                entry.id, record.strategy
            ),
        )
        .with_hint(format!("Set `strategy = \"{}\"` for it.", record.strategy))),
        _ => Ok(()),
    }
}

async fn fetch(
    site: &Site,
    entry: &BackupEntry,
    cx: &RestoreContext,
    parts: &mut Parts,
) -> Result<RestoreSource> {
    let work = make_work_folder(&cx.clone().for_core())?;
    let cx = &cx.clone().for_archive();
    let mut destinations = Destinations::new(work.join(crate::staging::DATABASE));
    let mut folders = parts.intake().await?.into_iter();
    if let Some(home) = folders.next() {
        destinations = destinations.with_home(home);
    }
    for (data_store, folder) in site.home.data_stores().iter().zip(folders) {
        destinations = destinations.with_data_store(data_store, folder);
    }
    if entry.origin != Origin::ShellScripts {
        return site.archive.fetch(cx, entry, &destinations).await;
    }
    let unnamed = work.join(crate::staging::DATA_STORES);
    let destinations = destinations.with_unnamed_stores(&unnamed);
    let mut source = site.archive.fetch(cx, entry, &destinations).await?;
    scripts::settle(&mut source, &destinations, &unnamed, cx.events())?;
    Ok(source)
}

fn make_work_folder(cx: &RestoreContext) -> Result<PathBuf> {
    let work = cx.work().to_owned();
    cx.record_leftover(work_folder(cx))?;
    platform::create_private_directory(&work)
        .io_context(|| format!("cannot make the folder {}", work.display()))?;
    Ok(work)
}

fn remove_work_folder(cx: &RestoreContext) -> Result<()> {
    crate::staging::remove_tree_if_there(cx.work())
        .io_context(|| format!("cannot remove the folder {}", cx.work().display()))?;
    cx.forget_leftover(&work_folder(cx))
}

fn work_folder(cx: &RestoreContext) -> Leftover {
    Leftover::new(CORE, WORK_FOLDER, cx.work().display().to_string())
}

/// There are up to three sessions.
async fn apply_next(
    session: Option<&mut (PartName, Box<dyn RestoreSession>)>,
    source: &RestoreSource,
) -> Result<()> {
    match session {
        Some((part, session)) => guarded(*part, session.apply(source)).await,
        None => Ok(()),
    }
}

impl Parts {
    /// Where the home directory and the data stores are unpacked to.
    async fn intake(&mut self) -> Result<Vec<PathBuf>> {
        for (part, session) in &mut self.sessions {
            if *part == PartName::Home {
                return session.intake().await;
            }
        }
        Ok(Vec::new())
    }

    async fn apply(&mut self, source: &RestoreSource, events: &Events) -> Result<()> {
        let mut sessions = self.sessions.iter_mut();
        let mut next = || apply_next(sessions.next(), source);
        let (one, two, three) = tokio::join!(next(), next(), next());
        let failed = [one, two, three].into_iter().filter_map(Result::err);
        let cause = failed.reduce(|earlier, later| first_cause(earlier, later, events));
        cause.map_or(Ok(()), Err)
    }

    /// Moves all parts into place. From the first on, only forward: what fails then is finished by recovery.
    async fn commit(&mut self, journal: &Journal) -> Result<()> {
        journal.update(|record| {
            record.step = Step::Committing;
            record.committing.clone_from(&record.leftovers);
        })?;
        for index in 0..self.sessions.len() {
            let (part, session) = &mut self.sessions[index];
            if let Err(error) = guarded(*part, session.commit()).await {
                // Recovery decides what becomes of this part; nothing that the session holds open may be in its way.
                drop(self.sessions.remove(index));
                return Err(error);
            }
        }
        Ok(())
    }

    async fn verify(&mut self) -> Result<()> {
        for (part, session) in &mut self.sessions {
            guarded(*part, session.verify()).await?;
        }
        Ok(())
    }

    async fn abort(self, events: &Events) {
        for (part, session) in self.sessions {
            if let Err(error) = guarded(part, session.abort()).await {
                events.warning(crate::error::chain(&error));
            }
        }
    }
}

/// The folder for temporary files of a restore.
pub(crate) fn work_path(site: &Site, id: &BackupId) -> PathBuf {
    let staging = site.backup.staging.as_path();
    staging.join(format!(".restore-{id}"))
}

fn context(run: &Run<'_>, entry: &BackupEntry, journal: &Journal) -> RestoreContext {
    let site = run.site;
    let cx = RestoreContext::new(entry.id.clone(), work_path(site, &entry.id))
        .with_control(run.control.clone())
        .with_events(run.events.clone())
        .with_kind(site.instance.kind)
        .with_database(site.database.location())
        .with_home(HomeCoverage::of(&*site.home))
        .with_journal(journal.clone());
    match &entry.manifest {
        Some(manifest) => cx.with_manifest(manifest.clone()),
        None => cx,
    }
}

/// The bytes that a restore will move: out of the archive, and the dump once more into the database.
fn work_bytes(entry: &BackupEntry) -> u64 {
    let manifest = entry.manifest.as_ref();
    let content = manifest
        .and_then(|manifest| manifest.archive.as_ref())
        .map_or(entry.bytes, |seal| seal.content_bytes);
    let dump = manifest
        .and_then(|manifest| manifest.part(PartName::Database))
        .map_or(0, |part| part.artifact.bytes);
    content.saturating_add(dump)
}
