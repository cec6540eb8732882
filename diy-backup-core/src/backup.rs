//! A backup, phase by phase. Nothing else decides the order of phases.

mod capture;
mod lock;
mod record;

use std::sync::Arc;
use std::time::Duration;

use bitbucket_maintenance_client::Client;

use crate::check;
use crate::control::Control;
use crate::driven::{Aborting, Captured, Driven, Prepared, first_cause, guarded};
use crate::error::{Error, ErrorKind, Result};
use crate::event::Observer;
use crate::findings::Severity;
use crate::id::BackupId;
use crate::inventory::Shrink;
use crate::journal::{Journal, Operation, Step};
use crate::manifest::{Manifest, PartName, PhaseSeconds};
use crate::phase::Phase;
use crate::run::{Run, SearchTask, Undo};
use crate::site::Site;
use crate::staging::claim;
use crate::strategy::{Artifact, BackupContext, HomeCoverage, Purpose, Requirement, StoredArchive};
use crate::window::{ReleaseFailed, Released};
use record::Provenance;

/// How a backup is taken.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
#[non_exhaustive]
pub struct BackupOptions {
    /// What becomes of a backup whose source has lost more than half of what the last good one has.
    pub shrink: Shrink,
}

impl BackupOptions {
    /// Returns the options of a backup that is taken every night.
    pub fn new() -> Self {
        Self::default()
    }

    /// Sets what becomes of a backup whose source has lost most of what was there.
    #[must_use]
    pub fn with_shrink(mut self, shrink: Shrink) -> Self {
        self.shrink = shrink;
        self
    }
}

/// A backup that was taken.
#[derive(Debug)]
#[non_exhaustive]
pub struct BackupReport {
    /// Its ID.
    pub id: BackupId,
    /// Where it is.
    pub archive: String,
    /// Its size in bytes.
    pub bytes: u64,
    /// For how long the instance was locked.
    pub locked: Duration,
    /// For how long the window was open: from the drain to the proof of the unlock.
    pub window: Duration,
    /// The phases, in order.
    pub phases: Vec<PhaseSeconds>,
    /// The whole run.
    pub total: Duration,
    /// What was not as it should be.
    pub warnings: Vec<String>,
    /// What failed after the backup was stored. The backup is good all the same.
    pub aftermath: Option<Error>,
}

impl BackupReport {
    /// How long `phase` took, in seconds.
    pub fn seconds(&self, phase: Phase) -> f64 {
        self.phases
            .iter()
            .filter(|entry| entry.name == phase)
            .map(|entry| entry.seconds)
            .sum()
    }
}

/// Takes a backup of `site`.
///
/// What a run that died has left is put right first. `control` cancels the run, which then unlocks and cleans up
/// before this returns; do not drop the future instead. `observer` is told how it goes.
///
/// # Errors
/// The backup has failed: nothing of it is listed, and the instance is unlocked, except with the kind
/// [`StillLocked`](ErrorKind::StillLocked), whose hint says what to do. With [`Busy`](ErrorKind::Busy),
/// [`Config`](ErrorKind::Config) and [`Check`](ErrorKind::Check) nothing was touched.
pub async fn backup(
    site: &Site,
    options: &BackupOptions,
    control: &Control,
    observer: Arc<dyn Observer>,
) -> Result<BackupReport> {
    let mut run = Run::begin(site, Operation::Backup, control, observer).await?;
    let checked = ready(&mut run, options).await;
    let (client, checked) = run.recording(Operation::Backup, checked)?;
    for warning in checked.of(Severity::Warning) {
        run.events
            .warning(format!("{}: {}", warning.subject, warning.message));
    }
    run.events.announce_work(checked.work_bytes());
    let provenance = Provenance::of(&run, checked, options);
    let provenance = run.recording(Operation::Backup, provenance)?;
    let id = record::free_id(site, &run.events).await;
    let id = run.recording(Operation::Backup, id)?;
    let journal = run.journal(Operation::Backup, &id);
    let journal = run.recording(Operation::Backup, journal)?;
    let cx = BackupContext::new(id, site.staging())
        .with_kind(site.instance.kind)
        .with_downtime(site.backup.downtime)
        .with_database(site.database.location())
        .with_home(HomeCoverage::of(&*site.home))
        .with_control(control.clone())
        .with_shrink(options.shrink)
        .with_events(run.events.clone())
        .with_journal(journal.clone());

    let taken = take(&mut run, client.as_ref(), &cx, &provenance).await;
    let mut report = run.end(&journal, taken).await?;
    if let Some(retention) = site.retention {
        let events = run.events.clone();
        let pruned = record::prune(site, cx.id(), &retention, &events);
        report.aftermath = run.phase(Phase::Retain, pruned).await.err();
    }
    report.phases = run.phases().to_vec();
    report.total = run.started.elapsed();
    report.warnings = run.events.warnings();
    Ok(report)
}

/// The phases that change something, in their order. Whatever fails, what came before it is unwound.
async fn take(
    run: &mut Run<'_>,
    client: Option<&Client>,
    cx: &BackupContext,
    provenance: &Provenance,
) -> Result<BackupReport> {
    let parts = run.phase(Phase::Prepare, prepare(run.site, cx)).await?;

    let (window, search) = match lock::enter(run, client, cx).await {
        Ok(entered) => entered,
        Err(error) => {
            return Err(run
                .unwind(error, None, Undo::sessions(parts.give_up()))
                .await);
        }
    };
    let (window, parts) = match capture::capture(run, window, parts).await {
        Ok(captured) => captured,
        Err(failed) => {
            let undo = Undo::sessions(failed.rest)
                .and_search(search)
                .and_stuck(failed.stuck);
            return Err(run.unwind(failed.error, Some(failed.window), undo).await);
        }
    };
    let released = match lock::leave(run, window).await {
        Ok(released) => released,
        Err(ReleaseFailed { window, error }) => {
            let undo = Undo::sessions(parts.give_up()).and_search(search);
            return Err(run.unwind(error, Some(window), undo).await);
        }
    };
    let artifacts = complete(run, parts, search, &released).await?;

    let manifest = provenance.describe(run, cx, &released, artifacts)?;
    let stored = archive(run, cx, &manifest, provenance).await?;
    run.events.message(format!(
        "Backup {} is complete: {}",
        cx.id(),
        stored.location
    ));
    Ok(BackupReport {
        id: cx.id().clone(),
        archive: stored.location,
        bytes: stored.bytes,
        locked: released.locked_for(),
        window: released.open_for(),
        phases: Vec::new(),
        total: Duration::ZERO,
        warnings: Vec::new(),
        aftermath: None,
    })
}

/// Home and database in the same state of their sessions.
#[derive(Debug)]
struct Parts<S> {
    home: Driven<S>,
    database: Driven<S>,
}

impl<S> Parts<S> {
    fn give_up(self) -> Vec<Aborting> {
        vec![self.home.give_up(), self.database.give_up()]
    }
}

/// A client, and a check that lets a backup begin.
async fn ready(
    run: &mut Run<'_>,
    options: &BackupOptions,
) -> Result<(Option<Client>, check::CheckReport)> {
    let (site, control) = (run.site, run.control.clone());
    run.hold_staging()?;
    claim::claim(site)?;
    let client = control.unless_cancelled(site.client()).await?;
    let checked = control.unless_cancelled(check::check_with(
        site,
        Purpose::Backup,
        options.shrink,
        &control,
    ));
    let checked = run.phase(Phase::Check, async {
        let report = checked.await?;
        report.require_good()?;
        Ok(report)
    });
    Ok((client, checked.await?))
}

async fn prepare(site: &Site, cx: &BackupContext) -> Result<Parts<Prepared>> {
    cx.staging().begin()?;
    let home_cx = cx.clone().for_part(PartName::Home);
    let database_cx = cx.clone().for_part(PartName::Database);
    let (home, database) = tokio::join!(
        cancelling_the_other(
            cx.control(),
            guarded(PartName::Home, site.home.prepare(&home_cx))
        ),
        cancelling_the_other(
            cx.control(),
            guarded(PartName::Database, site.database.prepare(&database_cx))
        ),
    );
    let home = home.map(|session| Driven::new(PartName::Home, session));
    let database = database.map(|session| Driven::new(PartName::Database, session));
    match (home, database) {
        (Ok(home), Ok(database)) => Ok(Parts { home, database }),
        (Err(error), Ok(other)) | (Ok(other), Err(error)) => {
            if let Some(problem) = other.give_up().abort().await {
                cx.events().warning(problem);
            }
            Err(error)
        }
        (Err(home), Err(database)) => Err(first_cause(home, database, cx.events())),
    }
}

/// One part's work. When it fails, the run is over: the other part need not go on.
async fn cancelling_the_other<T>(
    control: &Control,
    work: impl Future<Output = Result<T>>,
) -> Result<T> {
    let result = work.await;
    if result.is_err() {
        control.cancel(crate::control::CancelReason::PartFailed);
    }
    result
}

/// Copies out what was pinned, all parts at once. People work again.
async fn complete(
    run: &mut Run<'_>,
    parts: Parts<Captured>,
    search: Option<SearchTask>,
    released: &Released,
) -> Result<Vec<(PartName, Artifact)>> {
    let site = run.site;
    let control = run.control.clone();
    let events = run.events.clone();
    let mut unfinished = Vec::new();
    let mut artifacts = Vec::new();
    let mut first_error: Option<Error> = None;
    let work = async {
        let drive = |part: Driven<Captured>| async {
            let result = part.complete(released).await;
            if result.is_err() {
                control.cancel(crate::control::CancelReason::PartFailed);
            }
            result
        };
        let (home, database, index) = tokio::join!(
            drive(parts.home),
            drive(parts.database),
            complete_search(site, search, released, &events)
        );
        for result in [home, database] {
            match result {
                Ok(artifact) => artifacts.push(artifact),
                Err(failed) => {
                    unfinished.push(failed.rest);
                    first_error = Some(match first_error.take() {
                        Some(earlier) => first_cause(earlier, failed.error, &events),
                        None => failed.error,
                    });
                }
            }
        }
        match index {
            Ok(artifact) => {
                artifacts.extend(artifact.map(|artifact| (PartName::Elasticsearch, artifact)));
            }
            Err(error) => {
                first_error = Some(match first_error.take() {
                    Some(earlier) => first_cause(earlier, error, &events),
                    None => error,
                });
            }
        }
        first_error.map_or(Ok(()), Err)
    };
    match run.phase(Phase::Complete, work).await {
        Ok(()) => Ok(artifacts),
        Err(error) => Err(run.unwind(error, None, Undo::sessions(unfinished)).await),
    }
}

async fn complete_search(
    site: &Site,
    search: Option<SearchTask>,
    released: &Released,
    events: &crate::event::Events,
) -> Result<Option<Artifact>> {
    let (Some(task), Some(strategy)) = (search, &site.search) else {
        return Ok(None);
    };
    let result = async {
        let mut session = task.await.map_err(|error| {
            Error::new(
                ErrorKind::Internal,
                "the start of the search snapshot broke off",
            )
            .with_source(error)
        })??;
        match session.complete(released).await {
            Ok(artifact) => Ok(artifact),
            Err(error) => {
                if let Err(left) = session.abort().await {
                    events.warning(crate::error::chain(&left));
                }
                Err(error)
            }
        }
    };
    match result.await {
        Ok(artifact) => Ok(Some(artifact)),
        Err(error) if strategy.requirement() == Requirement::Optional => {
            events.warning(format!(
                "the search index is not in this backup: {}",
                crate::error::chain(&error)
            ));
            Ok(None)
        }
        Err(error) => Err(error),
    }
}

async fn archive(
    run: &mut Run<'_>,
    cx: &BackupContext,
    manifest: &Manifest,
    provenance: &Provenance,
) -> Result<StoredArchive> {
    let site = run.site;
    let journal: Journal = cx.journal().clone();
    let (run_on, events) = (run.control.clone(), run.events.clone());
    run.phase(Phase::Archive, async {
        run_on.ensure_running()?;
        provenance.source.ensure_directory(site).await?;
        journal.step(Step::Archiving)?;
        let archive_cx = cx.clone().for_archive();
        let stored = site.archive.store(&archive_cx, manifest).await?;
        // From here on there is a backup, whatever happens to its journal.
        if let Err(error) = journal.step(Step::Stored) {
            events.warning(crate::error::chain(&error));
        }
        record::remember(site, manifest, &events);
        Ok(stored)
    })
    .await
}
