//! Learning from the kernel which files change, so that the lock window does not grow with their number.
//!
//! A [`Tracker`] watches the file systems of all folders from before the live pass to the end of the backup. Whenever
//! it is asked, it tells which paths have changed since it was asked last, as a [`Dirty`] set for each folder. The
//! kernel queues an event before the call that caused it returns: whatever ended before the question is in the answer.
//!
//! A tracker never guesses. When more has changed than it can hold, when an event cannot be understood, or when what
//! it watches is not what it was, it has [`Lost`] track, and every file has to be looked at. Where there can be no tracker, change times tell as much,
//! more slowly: see [`times`](crate::times).

mod dirty;
#[cfg(target_os = "linux")]
mod event;
#[cfg(target_os = "linux")]
mod mounts;
#[cfg(not(target_os = "linux"))]
mod other;
#[cfg(target_os = "linux")]
mod place;
#[cfg(target_os = "linux")]
mod queue;
#[cfg(target_os = "linux")]
mod sys;
#[cfg(target_os = "linux")]
#[cfg(test)]
mod tests;
#[cfg(target_os = "linux")]
mod tracker;
#[cfg(target_os = "linux")]
mod watch;

pub(crate) use dirty::{Change, Dirty, Full};
#[cfg(not(target_os = "linux"))]
pub(crate) use other::{Tracker, ensure_local, mounts_around};
#[cfg(target_os = "linux")]
pub(crate) use tracker::Tracker;
#[cfg(target_os = "linux")]
pub(crate) use watch::{ensure_local, mounts_around};

/// Why changes cannot be tracked on this machine, by this user or in these folders.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Unavailable {
    /// In words that follow "because".
    pub(crate) reason: String,
    /// What to do about it.
    pub(crate) fix: String,
}

impl Unavailable {
    fn new(reason: impl Into<String>, fix: impl Into<String>) -> Self {
        Self {
            reason: reason.into(),
            fix: fix.into(),
        }
    }
}

/// Why a tracker does not know any more what has changed.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Lost(pub(crate) String);

impl Lost {
    #[cfg(target_os = "linux")]
    fn because(reason: impl Into<String>) -> Self {
        Self(reason.into())
    }
}

impl std::fmt::Display for Lost {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(&self.0)
    }
}
