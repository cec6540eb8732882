//! Recovery: putting right what a run that died has left.

use std::path::Path;
use std::sync::Arc;

use bitbucket_maintenance_client::Client;

use crate::control::Control;
use crate::durable;
use crate::error::{Error, ErrorKind, Result};
use crate::event::{Events, Observer};
use crate::id::BackupId;
use crate::journal::{Found, Journal, JournalRecord, Operation, Step};
use crate::last_run::{self, LastRun};
use crate::maintenance;
use crate::moment::Moment;
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
    let found = Found::in_directory(state)?;
    match found.record() {
        Ok(Some(record)) => record.ensure_about(&site.instance)?,
        Ok(None) => {}
        Err(damaged) => free_by_damaged(site, &found, damaged, events, control).await?,
    }
    let (found, kept) = found.settle()?;
    for path in kept {
        events.warning(format!(
            "a damaged journal was kept as {}; what it names beside the lock was not put right",
            path.display()
        ));
    }
    // A run can die while it writes that, too.
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
    if !record.other_tokens.is_empty() {
        // They came from files that do not stand under this name.
        journal.update(|_| {})?;
    }
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

/// Unlocks with what looks like a token in a damaged journal. Fails with `damaged` if there is none.
async fn free_by_damaged(
    site: &Site,
    found: &Found,
    damaged: Error,
    events: &Events,
    control: &Control,
) -> Result<()> {
    let tokens = found.tokens_of_damaged();
    if tokens.is_empty() {
        return Err(damaged);
    }
    events.warning(format!(
        "{}: unlocking with what looks like a token in it",
        crate::error::chain(&damaged)
    ));
    let client = control.unless_cancelled(site.required_client()).await?;
    let scratch = JournalRecord::new(Operation::Backup, BackupId::now(&site.instance.name), None);
    let journal = Journal::in_memory(JournalRecord {
        other_tokens: tokens,
        ..scratch
    });
    free_by_tokens(site, &client, &journal, events, control).await
}

async fn free(site: &Site, journal: &Journal, events: &Events, control: &Control) -> Result<()> {
    let client = control.unless_cancelled(site.required_client()).await?;
    control.note_locked(true);
    let record = journal.record();
    if !record.unlock_tokens().is_empty() {
        return free_by_tokens(site, &client, journal, events, control).await;
    }
    // Measured from the request where that can be done: the clock may have been set since, and after a restart of the
    // machine nobody can tell how long ago it was.
    let waited = record.asked.as_ref().and_then(Moment::elapsed);
    let left = site
        .patience
        .late_lock
        .saturating_sub(waited.unwrap_or_default());
    let looked = maintenance::stays_free(&client, &site.patience, left, events);
    match control.unless_cancelled(looked).await {
        Ok(true) => {
            control.note_locked(false);
            return journal.step(Step::Started);
        }
        Ok(false) => {}
        // Not known to be free is as bad as locked: somebody has to look.
        Err(error) => {
            return Err(Error::new(
                ErrorKind::StillLocked,
                "the dead run was asking for the lock, and nothing proves yet that the instance is not locked",
            )
            .with_source(error)
            .with_hint("Run `diy-backup recover` again as soon as Bitbucket answers."));
        }
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

/// Unlocks with the first token that does.
async fn free_by_tokens(
    site: &Site,
    client: &Client,
    journal: &Journal,
    events: &Events,
    control: &Control,
) -> Result<()> {
    let record = journal.record();
    let mut last = Ok(());
    for token in record.unlock_tokens() {
        let cancel = record.cancel_token();
        let patience = &site.patience;
        last =
            maintenance::free_instance(client, patience, &token, cancel, journal, events, control)
                .await;
        if last.is_ok() {
            break;
        }
    }
    last
}
