//! How a run is told to stop.

use std::fmt;
use std::sync::{Arc, Mutex, MutexGuard, OnceLock, PoisonError};
use std::time::Duration;

use tokio_util::sync::CancellationToken;

use crate::error::{Error, ErrorKind, Result};

/// Why a run was told to stop.
#[derive(Debug, Clone, PartialEq, Eq)]
#[non_exhaustive]
pub enum CancelReason {
    /// The user or the system asked: the name of the signal.
    Signal(&'static str),
    /// Somebody cancelled the backup in Bitbucket's maintenance page, or unlocked the instance.
    CancelledInBitbucket,
    /// The instance was locked for as long as `max-locked` allows.
    LockedTooLong(Duration),
    /// Another part of the same run has failed.
    PartFailed,
    /// The program that embeds this crate asked.
    Requested,
}

impl fmt::Display for CancelReason {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Signal(name) => write!(f, "cancelled by {name}"),
            Self::CancelledInBitbucket => f.write_str("the backup was cancelled in Bitbucket"),
            Self::LockedTooLong(limit) => {
                write!(
                    f,
                    "the instance was locked for longer than max-locked allows ({})",
                    humantime::format_duration(*limit)
                )
            }
            Self::PartFailed => f.write_str("another part of the run has failed"),
            Self::Requested => f.write_str("cancelled"),
        }
    }
}

/// The two levers of a run: cancel it in order, or kill the child processes it waits for.
///
/// Clones share both levers. Cancelling ends the work, then the run cleans up after itself: it cancels the task in
/// Bitbucket, unlocks and aborts its sessions. Killing ends the child processes of that clean-up too.
#[derive(Debug, Clone)]
pub struct Control {
    cancel: CancellationToken,
    kill: CancellationToken,
    reason: Arc<OnceLock<CancelReason>>,
    run_marker: Arc<OnceLock<String>>,
    may_be_locked: Arc<Mutex<bool>>,
}

impl Default for Control {
    fn default() -> Self {
        Self::new()
    }
}

impl Control {
    /// Levers that nobody has pulled.
    pub fn new() -> Self {
        let kill = CancellationToken::new();
        Self {
            cancel: kill.child_token(),
            kill,
            reason: Arc::default(),
            run_marker: Arc::default(),
            may_be_locked: Arc::default(),
        }
    }

    /// Whether this run may have left the instance locked: true from just before the lock request is sent until the
    /// instance is proven to be free. Answered from memory, so that a disk that hangs does not hold the answer back.
    pub fn instance_may_be_locked(&self) -> bool {
        *self.lock_state()
    }

    /// Does `work` unless the instance may be locked; says whether it was done. No lock request is sent meanwhile, so
    /// that a process which stops in `work` does not stop with the instance locked.
    pub fn unless_locked(&self, work: impl FnOnce()) -> bool {
        let locked = self.lock_state();
        if *locked {
            return false;
        }
        work();
        true
    }

    pub(crate) fn note_locked(&self, may_be_locked: bool) {
        *self.lock_state() = may_be_locked;
    }

    fn lock_state(&self) -> MutexGuard<'_, bool> {
        self.may_be_locked
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
    }

    /// Cancels the run. The first reason counts.
    pub fn cancel(&self, reason: CancelReason) {
        let _ = self.reason.set(reason);
        self.cancel.cancel();
    }

    /// Cancels the run and kills every child process at once, those of the clean-up too.
    pub fn kill_children(&self) {
        let _ = self.reason.set(CancelReason::Requested);
        self.kill.cancel();
    }

    /// Levers for cleaning up after a cancelled run: they are not cancelled, and killing still reaches them.
    #[must_use]
    pub fn for_cleanup(&self) -> Self {
        Self {
            cancel: self.kill.child_token(),
            kill: self.kill.clone(),
            reason: Arc::default(),
            run_marker: self.run_marker.clone(),
            may_be_locked: self.may_be_locked.clone(),
        }
    }

    /// Waits until the run is cancelled; for ever if it never is.
    pub async fn cancelled(&self) {
        self.cancel.cancelled().await;
    }

    /// Whether the run has been cancelled.
    pub fn is_cancelled(&self) -> bool {
        self.cancel.is_cancelled()
    }

    /// Why the run was cancelled, once it was.
    pub fn reason(&self) -> Option<&CancelReason> {
        self.reason.get()
    }

    /// An error that says why if the run has been cancelled: for loops that do work of their own.
    pub fn ensure_running(&self) -> Result<()> {
        if self.is_cancelled() {
            Err(self.error())
        } else {
            Ok(())
        }
    }

    /// Runs `work` until it is done or the run is cancelled, whichever comes first; `work` is dropped then.
    pub async fn unless_cancelled<T>(&self, work: impl Future<Output = Result<T>>) -> Result<T> {
        tokio::select! {
            biased;
            () = self.cancelled() => Err(self.error()),
            result = work => result,
        }
    }

    /// Names the run in the environment of its child processes.
    pub(crate) fn mark_children(&self, run: &str) {
        let _ = self.run_marker.set(run.to_owned());
    }

    pub(crate) fn run_marker(&self) -> Option<&str> {
        self.run_marker.get().map(String::as_str)
    }

    pub(crate) fn killed(&self) -> impl Future<Output = ()> + '_ {
        self.kill.cancelled()
    }

    pub(crate) fn error(&self) -> Error {
        let reason = self.reason().unwrap_or(&CancelReason::Requested);
        let kind = match reason {
            CancelReason::Signal(_) | CancelReason::Requested => ErrorKind::Cancelled,
            CancelReason::CancelledInBitbucket | CancelReason::LockedTooLong(_) => {
                ErrorKind::Bitbucket
            }
            CancelReason::PartFailed => ErrorKind::Internal,
        };
        Error::new(kind, reason.to_string()).into_interruption()
    }
}
