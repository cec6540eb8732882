//! Recovery: putting right what a run that died has left.

use std::path::Path;
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
use crate::platform;
use crate::reconcile::{self, Reconciled};
use crate::run_lock::RunLock;
use crate::site::Site;
use crate::unfinished::{self, UnfinishedRun};

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
    /// Dead runs, this one and earlier ones, that could be neither finished nor taken back. They keep no other run from
    /// beginning; their journals stay for another try.
    pub unfinished: Vec<UnfinishedRun>,
}

/// Who asks for a recovery.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Occasion {
    /// Somebody who looks at the result: what failed before is tried again.
    ByHand,
    /// A run that is about to begin, and that nothing but a locked instance must keep from it.
    NextRun,
}

/// Puts right what a run that died has left: cancels, unlocks, and removes what is partial. Does nothing when there is
/// nothing to do, and can be repeated.
///
/// # Errors
/// [`Busy`](ErrorKind::Busy) while a run is alive; [`StillLocked`](ErrorKind::StillLocked) when the instance could not
/// be unlocked; the first leftover of a backup that could not be removed. The journal stays then, for another try. A
/// restore that can be neither finished nor taken back is no error but [`Recovery::unfinished`].
pub async fn recover(
    site: &Site,
    control: &Control,
    observer: Arc<dyn Observer>,
) -> Result<Recovery> {
    let state = site.backup.state.as_path();
    let _lock = RunLock::acquire(state)?;
    let events = Events::new(observer);
    let mut recovery = after_dead_run(site, control, &events, Occasion::ByHand).await?;
    for file in unfinished::files(state)? {
        retry(site, &file, &events).await?;
    }
    recovery.unfinished = unfinished::list(state)?;
    Ok(recovery)
}

/// Tries once more to put right what an earlier recovery could not.
async fn retry(site: &Site, file: &Path, events: &Events) -> Result<()> {
    // One that cannot be read is reported with the others.
    let Ok(Some(record)) = Journal::read_file(file) else {
        return Ok(());
    };
    let journal = Journal::resume_file(file, record);
    let id = journal.record().backup_id;
    let reconciled = reconcile::reconcile(site, &journal).await?;
    if reconciled.unfinished.is_empty() {
        journal.finish()?;
        events.message(format!("What was unfinished of {id} is settled"));
        return Ok(());
    }
    journal.update(|record| record.unfinished = reconciled.problems())
}

/// Recovers under the run lock of the caller.
pub(crate) async fn after_dead_run(
    site: &Site,
    control: &Control,
    events: &Events,
    occasion: Occasion,
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
    let killed_processes = platform::kill_processes_marked(
        crate::tool::RUN_MARKER,
        &record.run,
        record.born.as_deref(),
    );
    if record.may_be_locked() {
        free(site, &journal, events, control).await?;
    }
    let reconciled = reconcile::reconcile(site, &journal).await?;
    let restore_finished = reconciled.finished_restore();
    conclude(site, &journal, reconciled, events, occasion)?;
    Ok(Recovery {
        found: Some(record),
        restore_finished,
        killed_processes,
        unfinished: unfinished::list(state)?,
    })
}

/// Ends the journal of a dead run, and keeps for `status` how it has ended.
fn conclude(
    site: &Site,
    journal: &Journal,
    reconciled: Reconciled,
    events: &Events,
    occasion: Occasion,
) -> Result<()> {
    let state = site.backup.state.as_path();
    let record = journal.record();
    let problems = reconciled.problems();
    let died = (record.step != Step::Stored).then(|| died(&reconciled));
    let last = LastRun::new(
        record.operation,
        Some(record.backup_id.clone()),
        died.as_ref(),
    );
    if let Err(error) = last.write(state) {
        events.warning(crate::error::chain(&error));
    }
    if problems.is_empty() {
        journal.finish()?;
        events.message("What the dead run left has been put right");
        return Ok(());
    }
    let tries_again = occasion == Occasion::ByHand && record.operation == Operation::Backup;
    if tries_again {
        let mut unfinished = reconciled.unfinished.into_iter();
        let first = unfinished.next();
        for other in unfinished {
            events.warning(crate::error::chain(&other.error));
        }
        return first.map_or(Ok(()), |first| Err(after_a_change(first.error)));
    }
    journal.set_aside(problems)
}

/// The error of a recovery that has changed things already: it is not that of a check before anything.
fn after_a_change(error: Error) -> Error {
    match error.kind() {
        ErrorKind::Check | ErrorKind::TargetNotEmpty => error.with_kind(ErrorKind::Io),
        _ => error,
    }
}

/// What `status` says of a run that died.
fn died(reconciled: &Reconciled) -> Error {
    let message = if reconciled.unfinished.is_empty() {
        "it died, and was put right afterwards".to_owned()
    } else {
        format!(
            "it died, and could not be put right wholly: {}",
            reconciled.problems().join("; ")
        )
    };
    Error::new(ErrorKind::Internal, message)
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
