//! Reconciling what a run has left: a restore of which a part is in place goes forward, everything else is removed.
//!
//! One thing that can be neither finished nor removed does not keep the others from it, and no later run either: it is
//! reported, and kept for another try.

use std::path::Path;

use crate::error::{Error, ErrorKind, Result};
use crate::journal::{Journal, JournalRecord, Operation, Step};
use crate::manifest::Manifest;
use crate::restore::work_path;
use crate::site::Site;
use crate::staging::claim;
use crate::strategy::{Committed, Leftover, LeftoverOwner, Restore};
use crate::trust::Directory;

/// The name under which the core records its own leftovers.
pub(crate) const CORE: &str = "core";
/// A directory with everything in it.
pub(crate) const WORK_FOLDER: &str = "work-folder";

/// What reconciling has come to.
#[derive(Debug, Default)]
pub(crate) struct Reconciled {
    /// Whether a restore had a part in its place, so that the others were to follow.
    pub(crate) went_forward: bool,
    /// What could be neither finished nor removed.
    pub(crate) unfinished: Vec<Unfinished>,
}

/// One leftover that could be neither finished nor removed.
#[derive(Debug)]
pub(crate) struct Unfinished {
    leftover: Leftover,
    pub(crate) error: Error,
}

impl Reconciled {
    /// Whether a restore is in its place with all its parts.
    pub(crate) fn finished_restore(&self) -> bool {
        self.went_forward && self.unfinished.is_empty()
    }

    /// One line for each leftover that is still there.
    pub(crate) fn problems(&self) -> Vec<String> {
        self.unfinished.iter().map(Unfinished::describe).collect()
    }

    fn add(&mut self, leftover: &Leftover, error: Error) {
        self.unfinished.push(Unfinished {
            leftover: leftover.clone(),
            error,
        });
    }
}

impl Unfinished {
    fn describe(&self) -> String {
        let Leftover {
            owner,
            strategy,
            kind,
            id,
        } = &self.leftover;
        let of = owner.map_or(String::new(), |owner| format!("{owner}, "));
        let why = crate::error::chain(&self.error);
        crate::error::printable(&format!("{of}strategy `{strategy}`, {kind} `{id}`: {why}"))
    }
}

/// Where a restore that was cut off while it committed goes.
enum Direction {
    Forward,
    Back,
    /// Nobody can tell whether a part is in place: whatever was done could destroy the one copy there is.
    Unknown(Reconciled),
}

/// Finishes or removes what `journal` names.
///
/// # Errors
/// When the journal cannot be written, or the staging directory cannot be cleaned. What a strategy could not finish or
/// remove is part of the result.
pub(crate) async fn reconcile(site: &Site, journal: &Journal) -> Result<Reconciled> {
    let record = journal.record();
    let mut result = Reconciled::default();
    if record.step == Step::Committing {
        match direction(site, &record).await {
            Direction::Unknown(unknown) => return Ok(unknown),
            Direction::Forward => go_forward(site, journal, &record, &mut result).await?,
            Direction::Back => {}
        }
    }
    discard_leftovers(site, journal, &mut result).await?;
    Ok(result)
}

/// The parts of a restore stand or fall together: once one is in place, the others follow.
async fn direction(site: &Site, record: &JournalRecord) -> Direction {
    let mut unknown = Reconciled::default();
    for leftover in &record.committing {
        let committed = match restore_of(site, leftover) {
            Ok(Some(restore)) => restore.was_committed(leftover).await,
            Ok(None) => Ok(Committed::No),
            Err(error) => Err(error),
        };
        match committed {
            Ok(Committed::Yes) => return Direction::Forward,
            Ok(Committed::No) => {}
            Err(error) => unknown.add(leftover, error),
        }
    }
    if unknown.unfinished.is_empty() {
        Direction::Back
    } else {
        Direction::Unknown(unknown)
    }
}

/// Commits what is not committed yet. What fails keeps the others from nothing.
async fn go_forward(
    site: &Site,
    journal: &Journal,
    record: &JournalRecord,
    result: &mut Reconciled,
) -> Result<()> {
    result.went_forward = true;
    let mut parts: Vec<&Leftover> = record.committing.iter().collect();
    parts.sort_by_key(|leftover| commit_order(leftover));
    for leftover in parts {
        let committed = match restore_of(site, leftover) {
            Ok(Some(restore)) => restore.resume_commit(leftover).await,
            Ok(None) => continue,
            Err(error) => Err(error),
        };
        match committed {
            Ok(()) => journal.remove_leftover(leftover)?,
            Err(error) => result.add(leftover, error),
        }
    }
    Ok(())
}

/// The order in which parts are committed: the search index can be built anew, so it comes last.
fn commit_order(leftover: &Leftover) -> u8 {
    match leftover.owner {
        Some(LeftoverOwner::Database) => 0,
        Some(LeftoverOwner::Home) => 1,
        Some(LeftoverOwner::Elasticsearch) => 2,
        _ => 3,
    }
}

/// Removes what the journal names, and a staging copy that is not whole.
async fn discard_leftovers(site: &Site, journal: &Journal, result: &mut Reconciled) -> Result<()> {
    let record = journal.record();
    let finished = finished_backup(site, &record).await;
    for leftover in &record.leftovers {
        // What was to go forward is the one copy of its part.
        if result.went_forward && record.committing.contains(leftover) && !is_core(leftover) {
            continue;
        }
        let gone = match &finished {
            Ok(Some(manifest)) if manifest.names(leftover) => Ok(()),
            Ok(_) => discard(site, &record, leftover).await,
            Err(why) => Err(Error::new(
                ErrorKind::Io,
                format!("the backups cannot be listed, of which it may be a part: {why}"),
            )),
        };
        match gone {
            Ok(()) => journal.remove_leftover(leftover)?,
            Err(error) => result.add(leftover, error),
        }
    }
    if record.operation == Operation::Backup && !claim::is_anothers(site) {
        site.staging().discard_partial()?;
    }
    Ok(())
}

/// The manifest of the backup that the run was taking, if it came so far that it is listed: what that backup consists
/// of is no leftover.
async fn finished_backup(site: &Site, record: &JournalRecord) -> Result<Option<Manifest>, String> {
    if !matches!(record.step, Step::Archiving | Step::Stored) || record.leftovers.is_empty() {
        return Ok(None);
    }
    let entries = site.archive.list().await;
    let entries = entries.map_err(|error| crate::error::chain(&error))?;
    let entry = entries
        .into_iter()
        .find(|entry| entry.id == record.backup_id);
    Ok(entry.and_then(|entry| entry.manifest))
}

async fn discard(site: &Site, record: &JournalRecord, leftover: &Leftover) -> Result<()> {
    match owner_of(site, leftover)? {
        LeftoverOwner::Core => discard_own(site, record, leftover),
        LeftoverOwner::Home => site.home.discard(leftover).await,
        LeftoverOwner::Database => site.database.discard(leftover).await,
        LeftoverOwner::Archive => site.archive.discard(leftover).await,
        LeftoverOwner::Elasticsearch => match &site.search {
            Some(search) => search.discard(leftover).await,
            None => Err(not_configured(leftover)),
        },
    }
}

/// Removes a work directory of ours: the one that this run would have made, and no other.
fn discard_own(site: &Site, record: &JournalRecord, leftover: &Leftover) -> Result<()> {
    let path = Path::new(&leftover.id);
    let expected = work_path(site, &record.backup_id);
    if leftover.kind != WORK_FOLDER || path != expected {
        let message = format!(
            "it is not the work directory that this configuration uses for {}, which is {}",
            record.backup_id,
            expected.display()
        );
        return Err(Error::new(ErrorKind::Damaged, message).with_hint(format!(
            "If a restore has made {}, remove it by hand.",
            path.display()
        )));
    }
    Directory::Staging.ensure_trusted(site.backup.staging.as_path())?;
    // By descriptors, without following links.
    crate::staging::remove_tree_if_there(path)
        .map_err(|error| Error::io(format!("cannot remove {}", leftover.id), error))
}

fn is_core(leftover: &Leftover) -> bool {
    match leftover.owner {
        Some(owner) => owner == LeftoverOwner::Core,
        None => leftover.strategy == CORE,
    }
}

/// Whose strategy has made `leftover`, as the site is configured now.
fn owner_of(site: &Site, leftover: &Leftover) -> Result<LeftoverOwner> {
    if is_core(leftover) {
        return Ok(LeftoverOwner::Core);
    }
    let strategies = [
        (LeftoverOwner::Home, Some(site.home.name())),
        (LeftoverOwner::Database, Some(site.database.name())),
        (LeftoverOwner::Archive, Some(site.archive.name())),
        (
            LeftoverOwner::Elasticsearch,
            site.search.as_ref().map(|search| search.name()),
        ),
    ];
    let makes_it = |(owner, name): &(LeftoverOwner, Option<&str>)| {
        *name == Some(leftover.strategy.as_str()) && leftover.owner.is_none_or(|is| is == *owner)
    };
    let mut owners = strategies.into_iter().filter(makes_it);
    match (owners.next(), owners.next()) {
        (Some((owner, _)), None) => Ok(owner),
        (None, _) => Err(not_configured(leftover)),
        (Some((one, _)), Some((other, _))) => Err(Error::new(
            ErrorKind::Config,
            format!(
                "the dead run left {} `{}`, made by the strategy `{}`, which {one} and {other} use alike",
                leftover.kind, leftover.id, leftover.strategy
            ),
        )
        .with_hint("Remove it by hand together with the journal.")),
    }
}

fn not_configured(leftover: &Leftover) -> Error {
    let Leftover {
        strategy, kind, id, ..
    } = leftover;
    let message = format!(
        "the dead run left {kind} `{id}`, made by the strategy `{strategy}`, which the configuration no longer names"
    );
    Error::new(ErrorKind::Config, message).with_hint(
        "Run `diy-backup recover` with the configuration of that run, or remove it by hand together with the journal.",
    )
}

/// The way back of the strategy that has made `leftover`; none for what the run itself has made.
fn restore_of<'a>(site: &'a Site, leftover: &Leftover) -> Result<Option<&'a dyn Restore>> {
    Ok(match owner_of(site, leftover)? {
        LeftoverOwner::Core | LeftoverOwner::Archive => None,
        LeftoverOwner::Home => site.home.restore(),
        LeftoverOwner::Database => site.database.restore(),
        LeftoverOwner::Elasticsearch => site.search.as_ref().and_then(|search| search.restore()),
    })
}
