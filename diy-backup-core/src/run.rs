//! What backups and restores have in common: the run lock, the journal, phases with their times, and the unwinding.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

use tokio::runtime::Handle;

use crate::control::Control;
use crate::driven::{Aborting, Captured, Driven};
use crate::error::{Error, ErrorKind, Result};
use crate::event::{Event, Events, Observer};
use crate::id::BackupId;
use crate::journal::{Journal, JournalRecord, Operation};
use crate::last_run::LastRun;
use crate::manifest::PhaseSeconds;
use crate::phase::Phase;
use crate::reconcile::reconcile;
use crate::recover::{self, Occasion};
use crate::run_lock::RunLock;
use crate::site::Site;
use crate::strategy::SearchSession;
use crate::unfinished;
use crate::window::LockWindow;

/// A run that holds the run lock. What an earlier one left has been put right.
#[derive(Debug)]
pub(crate) struct Run<'a> {
    pub(crate) site: &'a Site,
    pub(crate) control: Control,
    pub(crate) events: Events,
    pub(crate) started: Instant,
    phases: Vec<PhaseSeconds>,
    /// Whether a part of this run hangs in a call of the operating system.
    hangs: AtomicBool,
    _lock: RunLock,
    /// Held from the moment at which it changes.
    staging: Option<RunLock>,
}

impl<'a> Run<'a> {
    pub(crate) async fn begin(
        site: &'a Site,
        operation: Operation,
        control: &Control,
        observer: Arc<dyn Observer>,
    ) -> Result<Self> {
        let state = site.backup.state.as_path();
        let lock = RunLock::acquire(state)?;
        let run = Self {
            site,
            control: control.clone(),
            events: Events::new(observer),
            started: Instant::now(),
            phases: Vec::new(),
            hangs: AtomicBool::new(false),
            _lock: lock,
            staging: None,
        };
        let recovered = async {
            recover::after_dead_run(site, control, &run.events, Occasion::NextRun).await?;
            unfinished::list(state)
        };
        for unfinished in run.recording(operation, recovered.await)? {
            run.events.warning(unfinished.describe());
        }
        Ok(run)
    }

    /// Keeps the runs of other configurations out of the staging directory, which is made if it is not there.
    pub(crate) fn hold_staging(&mut self) -> Result<()> {
        let staging = self.site.staging();
        staging.make()?;
        self.staging = Some(RunLock::acquire_in_staging(staging.root())?);
        Ok(())
    }

    /// Keeps for `status` that the run has failed before it had a journal.
    pub(crate) fn recording<T>(&self, operation: Operation, result: Result<T>) -> Result<T> {
        if let Err(error) = &result {
            self.keep(&LastRun::new(operation, None, Some(error)));
        }
        result
    }

    /// Begins the journal: from here on a crash leaves traces that recovery understands.
    pub(crate) fn journal(&self, operation: Operation, id: &BackupId) -> Result<Journal> {
        let url = self.site.instance.url.as_ref().map(ToString::to_string);
        let record = JournalRecord::new(operation, id.clone(), url);
        self.control.mark_children(&record.run);
        Journal::create(self.site.backup.state.as_path(), record)
    }

    /// Does the work of a phase: tells that it begins and ends, takes its time, and puts its name into errors.
    pub(crate) async fn phase<T>(
        &mut self,
        phase: Phase,
        work: impl Future<Output = Result<T>>,
    ) -> Result<T> {
        self.starts(phase);
        let started = Instant::now();
        let result = work.await;
        self.ended(phase, started.elapsed(), result)
    }

    /// Tells that a phase begins whose work is timed elsewhere.
    pub(crate) fn starts(&self, phase: Phase) {
        self.events.send(&Event::PhaseStarted { phase });
    }

    /// Takes note of a phase whose work was timed elsewhere.
    pub(crate) fn ended<T>(
        &mut self,
        phase: Phase,
        elapsed: Duration,
        result: Result<T>,
    ) -> Result<T> {
        let value = result.map_err(|error| error.in_phase(phase))?;
        self.phases.push(PhaseSeconds::new(phase, elapsed));
        self.events.send(&Event::PhaseFinished { phase, elapsed });
        Ok(value)
    }

    pub(crate) fn phases(&self) -> &[PhaseSeconds] {
        &self.phases
    }

    /// Ends a run that has changed things: what is left over goes, then the journal, then the outcome is kept.
    pub(crate) async fn end<T>(&self, journal: &Journal, result: Result<T>) -> Result<T> {
        let record = journal.record();
        let result = match result {
            Ok(value) => {
                // What was asked for is done; the next run finds nothing to put right.
                if let Err(error) = journal.finish() {
                    self.events.warning(crate::error::chain(&error));
                }
                Ok(value)
            }
            Err(error) if self.hangs.load(Ordering::SeqCst) => {
                let last = LastRun::new(record.operation, Some(record.backup_id), Some(&error));
                self.leave_to_recovery(last).await;
                return Err(error);
            }
            Err(error) => Err(self.clean_up(journal, error).await),
        };
        let last = LastRun::new(
            record.operation,
            Some(record.backup_id),
            result.as_ref().err(),
        );
        self.keep(&last);
        result
    }

    /// Keeps how the run ended, for `status`.
    pub(crate) fn keep(&self, last: &LastRun) {
        if let Err(error) = last.write(self.site.backup.state.as_path()) {
            self.events.warning(format!(
                "the outcome could not be kept for `status`: {}",
                crate::error::chain(&error)
            ));
        }
    }

    /// Ends a run of which a part hangs: what would be removed may lie on the file system that does not answer, and
    /// would hang this thread too.
    async fn leave_to_recovery(&self, last: LastRun) {
        self.events.warning(
            "a part of the run hangs in a call of the operating system: what it left stays for `diy-backup recover`, \
             once the file system answers again",
        );
        let state = self.site.backup.state.clone();
        let kept = tokio::task::spawn_blocking(move || last.write(state.as_path()));
        if !matches!(
            tokio::time::timeout(self.site.patience.stop, kept).await,
            Ok(Ok(Ok(())))
        ) {
            self.events
                .warning("the outcome could not be kept for `status`");
        }
    }

    /// Brings a restore to its end whose commit has failed with `error`, if a part of it is in its place.
    ///
    /// # Errors
    /// `error`, when it was taken back, or could not be finished.
    pub(crate) async fn finish_commit(&self, journal: &Journal, error: Error) -> Result<()> {
        match reconcile(self.site, journal).await {
            Ok(reconciled) if reconciled.finished_restore() => {
                self.events.warning(format!(
                    "the restore had begun to move its parts into place when it failed ({}): it was finished all the same",
                    crate::error::chain(&error)
                ));
                Ok(())
            }
            // The end of the run tries once more, and tells what is left.
            _ => Err(error),
        }
    }

    /// Removes what a failed run has made. What cannot be removed now stays in the journal, for recovery.
    async fn clean_up(&self, journal: &Journal, error: Error) -> Error {
        let still_locked = error.kind() == ErrorKind::StillLocked;
        let (problems, went_forward) = match reconcile(self.site, journal).await {
            Ok(reconciled) => (reconciled.problems(), reconciled.went_forward),
            Err(error) => (vec![crate::error::chain(&error)], false),
        };
        for problem in &problems {
            self.events
                .warning(format!("{problem}; `diy-backup recover` tries again"));
        }
        let is_settled = problems.is_empty() && !still_locked && !journal.record().may_be_locked();
        if is_settled && let Err(error) = journal.finish() {
            self.events.warning(crate::error::chain(&error));
        }
        if went_forward && !problems.is_empty() {
            return error.with_hint(
                "Parts of the restore stand in their places already. `diy-backup recover` tries to bring in the rest, and names what it cannot; \
                 to restore again, empty the targets first.",
            );
        }
        error
    }

    /// Gives the instance back after `error`, then takes back what the sessions have made.
    ///
    /// The error is `error`, unless the instance stays locked, which matters more.
    pub(crate) async fn unwind(
        &self,
        error: Error,
        window: Option<LockWindow>,
        undo: Undo,
    ) -> Error {
        self.events.message(format!(
            "The run failed, cleaning up: {}",
            crate::error::chain(&error)
        ));
        let control = self.control.for_cleanup();
        // Whatever still works for this run must not hold the clean-up back.
        self.control
            .cancel(crate::control::CancelReason::PartFailed);
        let unlock = async {
            match window {
                // Giving it back has failed for as long as it was worth trying.
                Some(_) | None if error.kind() == ErrorKind::StillLocked => Ok(()),
                Some(window) => window.abandon(&control).await,
                None => Ok(()),
            }
        };
        let (unlocked, undone) = tokio::join!(unlock, self.undo(undo));
        if undone == Undone::Hangs {
            self.hangs.store(true, Ordering::SeqCst);
        }
        match unlocked {
            Ok(()) => error,
            Err(stuck) => {
                let why = crate::error::chain(&error);
                self.events
                    .warning(format!("the run had failed before: {why}"));
                stuck
            }
        }
    }

    /// Takes back on another thread, so that what hangs there does not keep the instance locked.
    async fn undo(&self, undo: Undo) -> Undone {
        let (events, stop) = (self.events.clone(), self.site.patience.stop);
        let runtime = Handle::current();
        let mut undoing =
            tokio::task::spawn_blocking(move || runtime.block_on(undo.apply(&events, stop)));
        let killed = async {
            self.control.killed().await;
            tokio::time::sleep(stop).await;
        };
        tokio::select! {
            biased;
            undone = &mut undoing => undone.unwrap_or(Undone::Hangs),
            () = killed => Undone::Hangs,
        }
    }
}

/// Whether everything was taken back that can be.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Undone {
    /// It was, or what is left over is in the journal.
    Whole,
    /// Something hangs, and may go on when it does no longer.
    Hangs,
}

/// How one part's capture ended. A part that failed leaves a session that can be aborted.
pub(crate) type Ended = Result<Driven<Captured>, (Error, Aborting)>;

/// A capture that was cut off: it ends by itself as soon as its thread is given back.
pub(crate) type Stuck = tokio::task::JoinHandle<Option<Ended>>;

/// What has to be taken back when a backup fails.
#[derive(Debug, Default)]
pub(crate) struct Undo {
    sessions: Vec<Aborting>,
    search: Option<SearchTask>,
    stuck: Vec<Stuck>,
}

/// A search snapshot that was begun, or that is being begun.
pub(crate) type SearchTask = tokio::task::JoinHandle<Result<Box<dyn SearchSession>>>;

impl Undo {
    pub(crate) fn sessions(sessions: impl IntoIterator<Item = Aborting>) -> Self {
        Self {
            sessions: sessions.into_iter().collect(),
            ..Self::default()
        }
    }

    pub(crate) fn and_search(mut self, search: Option<SearchTask>) -> Self {
        self.search = search;
        self
    }

    pub(crate) fn and_stuck(mut self, stuck: Vec<Stuck>) -> Self {
        self.stuck = stuck;
        self
    }

    async fn apply(mut self, events: &Events, stop: Duration) -> Undone {
        let mut undone = Undone::Whole;
        for task in self.stuck {
            match tokio::time::timeout(stop, task).await {
                Ok(Ok(Some(Ok(captured)))) => self.sessions.push(captured.give_up()),
                Ok(Ok(Some(Err((_, aborting))))) => self.sessions.push(aborting),
                Ok(Ok(None) | Err(_)) => {}
                Err(_) => undone = Undone::Hangs,
            }
        }
        for session in self.sessions {
            if let Some(problem) = session.abort().await {
                events.warning(problem);
            }
        }
        let begun = match self.search {
            Some(task) => task.await,
            None => return undone,
        };
        if let Ok(Ok(session)) = begun
            && let Err(error) = session.abort().await
        {
            events.warning(format!(
                "the search snapshot could not be taken back: {}",
                crate::error::chain(&error)
            ));
        }
        undone
    }
}
