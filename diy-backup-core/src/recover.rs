//! Recovery: putting right what a run that died has left.

use std::sync::Arc;
use std::time::SystemTime;

use bitbucket_maintenance_client::Client;

use crate::control::Control;
use crate::durable;
use crate::error::{Error, ErrorKind, Result};
use crate::event::{Events, Observer};
use crate::journal::{Journal, JournalRecord, Operation, Step};
use crate::last_run::{self, LastRun};
use crate::maintenance;
use crate::manifest::Manifest;
use crate::platform;
use crate::run_lock::RunLock;
use crate::site::Site;
use crate::strategy::{Committed, Leftover, Restore};

/// The name under which the core records its own leftovers.
pub(crate) const CORE: &str = "core";
/// A folder with everything in it.
pub(crate) const WORK_FOLDER: &str = "work-folder";

/// What a recovery has done.
#[derive(Debug, Clone, Default)]
#[non_exhaustive]
pub struct Recovery {
    /// What the dead run was doing; none when there was nothing to put right.
    pub found: Option<JournalRecord>,
    /// Whether a restore that died between its parts was brought to its end, rather than taken back.
    pub restore_finished: bool,
    /// Child processes of the dead run that were still alive.
    pub killed_processes: u32,
}

/// Puts right what a run that died has left: cancels, unlocks, and removes what is partial. Does nothing when there is
/// nothing to do, and can be repeated.
///
/// # Errors
/// [`Busy`](ErrorKind::Busy) while a run is alive; [`StillLocked`](ErrorKind::StillLocked) when the instance could not
/// be unlocked. The journal stays then, for another try.
pub async fn recover(
    site: &Site,
    control: &Control,
    observer: Arc<dyn Observer>,
) -> Result<Recovery> {
    let _lock = RunLock::acquire(site.backup.state.as_path())?;
    after_dead_run(site, control, &Events::new(observer)).await
}

/// Recovers under the run lock of the caller.
pub(crate) async fn after_dead_run(
    site: &Site,
    control: &Control,
    events: &Events,
) -> Result<Recovery> {
    let state = site.backup.state.as_path();
    let found = Journal::read(state)?;
    // A run can die while it writes either.
    durable::discard_temporary(&Journal::path_in(state))?;
    durable::discard_temporary(&last_run::path_in(state))?;
    let Some(record) = found else {
        return Ok(Recovery::default());
    };
    events.message(format!(
        "A {} of {} has died (process {}); putting right what it left",
        match record.operation {
            Operation::Backup => "backup",
            Operation::Restore => "restore",
        },
        record.backup_id,
        record.process
    ));
    let journal = Journal::resume(state, record.clone());
    // Before anything else: a tool that still runs may be writing what is about to be removed.
    let killed_processes = platform::kill_processes_marked(crate::tool::RUN_MARKER, &record.run);
    if record.may_be_locked() {
        free(site, &journal, events, control).await?;
    }
    let restore_finished = put_right(site, &journal).await?;
    let died = (record.step != Step::Stored)
        .then(|| Error::new(ErrorKind::Internal, "it died, and was put right afterwards"));
    if let Err(error) = LastRun::new(
        record.operation,
        Some(record.backup_id.clone()),
        died.as_ref(),
    )
    .write(state)
    {
        events.warning(crate::error::chain(&error));
    }
    journal.finish()?;
    events.message("What the dead run left has been put right");
    Ok(Recovery {
        found: Some(record),
        restore_finished,
        killed_processes,
    })
}

async fn free(site: &Site, journal: &Journal, events: &Events, control: &Control) -> Result<()> {
    let record = journal.record();
    let client = site.required_client().await?;
    if let Some(token) = record.unlock_token() {
        return maintenance::free_instance(
            &client,
            &site.patience,
            &token,
            record.cancel_token(),
            journal,
            events,
            control,
        )
        .await;
    }
    if stays_free(site, &client, journal, events, control).await? {
        return journal.step(Step::Started);
    }
    Err(Error::new(
        ErrorKind::StillLocked,
        "the instance is locked: the dead run may have locked it, but died before it learned the token",
    )
    .with_hint(
        "Look for the unlock token in Bitbucket's application log (atlassian-bitbucket.log), run `diy-backup unlock --token TOKEN`, \
         then `diy-backup recover` again.",
    ))
}

/// Whether an instance is free whose lock a dead run was asking for, and remains so for as long as that may arrive.
async fn stays_free(
    site: &Site,
    client: &Client,
    journal: &Journal,
    events: &Events,
    control: &Control,
) -> Result<bool> {
    let until = journal.written() + site.patience.late_lock;
    let mut told = false;
    loop {
        if !maintenance::is_free(client).await? {
            return Ok(false);
        }
        let left = until.duration_since(SystemTime::now()).unwrap_or_default();
        // A journal from the future says that the clock was set.
        if left.is_zero() || left > site.patience.late_lock {
            return Ok(true);
        }
        if !told {
            told = true;
            events.message(format!(
                "The dead run was just asking for the lock: looking for {} s whether it still arrives",
                left.as_secs() + 1
            ));
        }
        control.ensure_running()?;
        tokio::time::sleep(site.patience.pause.min(left)).await;
    }
}

/// Finishes or takes back what the journal names. Says whether a restore was finished.
pub(crate) async fn put_right(site: &Site, journal: &Journal) -> Result<bool> {
    let record = journal.record();
    let forward = record.step == Step::Committing && any_committed(site, &record).await?;
    if forward {
        for leftover in &record.committing {
            if let Some(restore) = restore_of(site, leftover) {
                restore.resume_commit(leftover).await?;
            }
            journal.remove_leftover(leftover)?;
        }
    }
    discard_leftovers(site, journal).await?;
    Ok(forward)
}

/// The parts of a restore stand or fall together: once one is in place, the others follow.
async fn any_committed(site: &Site, record: &JournalRecord) -> Result<bool> {
    for leftover in &record.committing {
        if let Some(restore) = restore_of(site, leftover)
            && restore.was_committed(leftover).await? == Committed::Yes
        {
            return Ok(true);
        }
    }
    Ok(false)
}

/// Removes what the journal names, and a staging copy that is not whole.
async fn discard_leftovers(site: &Site, journal: &Journal) -> Result<()> {
    let record = journal.record();
    let finished = finished_backup(site, &record).await?;
    let mut first_error = None;
    for leftover in &record.leftovers {
        let belongs = finished
            .as_ref()
            .is_some_and(|manifest| manifest.names(leftover));
        let gone = if belongs {
            Ok(())
        } else {
            discard(site, leftover).await
        };
        match gone {
            Ok(()) => journal.remove_leftover(leftover)?,
            Err(error) => first_error = first_error.or(Some(error)),
        }
    }
    if record.operation == Operation::Backup {
        site.staging().discard_partial()?;
    }
    first_error.map_or(Ok(()), Err)
}

/// The manifest of the backup that the run was taking, if it came so far that it is listed: what that backup consists
/// of is no leftover.
async fn finished_backup(site: &Site, record: &JournalRecord) -> Result<Option<Manifest>> {
    if !matches!(record.step, Step::Archiving | Step::Stored) || record.leftovers.is_empty() {
        return Ok(None);
    }
    let mut entries = site.archive.list().await?.into_iter();
    let entry = entries.find(|entry| entry.id == record.backup_id);
    Ok(entry.and_then(|entry| entry.manifest))
}

async fn discard(site: &Site, leftover: &Leftover) -> Result<()> {
    let name = leftover.strategy.as_str();
    if name == CORE {
        return discard_own(leftover);
    }
    if name == site.home.name() {
        return site.home.discard(leftover).await;
    }
    if name == site.database.name() {
        return site.database.discard(leftover).await;
    }
    if name == site.archive.name() {
        return site.archive.discard(leftover).await;
    }
    match &site.search {
        Some(search) if name == search.name() => search.discard(leftover).await,
        _ => Err(Error::new(
            ErrorKind::Config,
            format!("the dead run left {} `{}`, made by the strategy `{name}`, which the configuration no longer names", leftover.kind, leftover.id),
        )
        .with_hint("Run `diy-backup recover` with the configuration of that run, or remove it by hand together with the journal.")),
    }
}

fn discard_own(leftover: &Leftover) -> Result<()> {
    if leftover.kind != WORK_FOLDER {
        let message = format!(
            "the journal names a leftover of the unknown kind {:?}",
            leftover.kind
        );
        return Err(Error::new(ErrorKind::Damaged, message));
    }
    crate::staging::remove_tree_if_there(leftover.id.as_ref())
        .map_err(|error| Error::io(format!("cannot remove {}", leftover.id), error))
}

fn restore_of<'a>(site: &'a Site, leftover: &Leftover) -> Option<&'a dyn Restore> {
    let name = leftover.strategy.as_str();
    if name == site.home.name() {
        site.home.restore()
    } else if name == site.database.name() {
        site.database.restore()
    } else {
        site.search
            .as_ref()
            .filter(|search| name == search.name())
            .and_then(|search| search.restore())
    }
}
