use std::fmt;

/// A promise of the strategy traits.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub enum Promise {
    /// `check` finds no error in a sound environment, and changes nothing.
    Check,
    /// `prepare` succeeds after a good check, while people work.
    Prepare,
    /// `capture` pins one instant.
    Capture,
    /// `complete` copies out what was pinned.
    Complete,
    /// A staging folder that an earlier run has used does no harm.
    UsedStaging,
    /// A restore brings back the state that was captured.
    Restore,
    /// `apply` builds beside the target.
    Apply,
    /// A target that is not empty is refused and stays as it is.
    NotEmpty,
    /// A commit that was interrupted can be told and resumed.
    Resume,
    /// `abort` takes everything back, whatever the state of the session.
    Abort,
    /// A cancelled run stops soon, and says that it was cancelled.
    Cancel,
    /// A future that is dropped leaves nothing running, and nothing that is not recorded.
    Drop,
    /// `discard` removes what was recorded, also twice.
    Discard,
    /// `store` shows a backup as its very last step.
    Store,
    /// `list` shows what there is.
    List,
    /// `fetch` gives back what was stored.
    Fetch,
    /// `verify` and `fetch` find the same damage.
    Damage,
    /// `delete` removes a backup, also twice.
    Delete,
    /// `plan_prune` and `apply_prune` remove the oldest, and no others.
    Prune,
    /// The harness itself did not do what it was asked.
    Harness,
}

impl Promise {
    fn words(self) -> &'static str {
        match self {
            Self::Check => "of `check`: it finds no error where there is none, and changes nothing",
            Self::Prepare => "of `prepare`: it succeeds after a good check, while people work",
            Self::Capture => {
                "of `capture`: whatever happens to the instance afterwards, `complete` yields the state of a moment inside the call"
            }
            Self::Complete => "of `complete`: it copies out what was captured",
            Self::UsedStaging => {
                "of a second backup: what an earlier run has left in the staging folder does no harm"
            }
            Self::Restore => "of a restore: it brings back the state that was captured",
            Self::Apply => "of `apply`: the part is built beside its target, which does not change",
            Self::NotEmpty => {
                "of `prepare_restore`: a target that is not empty is refused with `TargetNotEmpty`, and stays as it is"
            }
            Self::Resume => {
                "of `was_committed` and `resume_commit`: a commit that was interrupted is told, finished, and finished again"
            }
            Self::Abort => "of `abort`: nothing is left behind",
            Self::Cancel => {
                "of a cancelled run: the step ends soon, and as `Cancelled` if it fails"
            }
            Self::Drop => {
                "of a dropped future: nothing runs on, and what is left behind was recorded as a leftover"
            }
            Self::Discard => "of `discard`: the leftover is gone, also if it was gone already",
            Self::Store => {
                "of `store`: a backup is listed when all of it is there, and never before or after an error"
            }
            Self::List => "of `list`: it shows the backups there are, oldest first",
            Self::Fetch => "of `fetch`: it gives back what was stored",
            Self::Damage => "of `verify` and `fetch`: both find every damage",
            Self::Delete => "of `delete`: the backup is gone, also if it was gone already",
            Self::Prune => "of `plan_prune` and `apply_prune`: the oldest go, and the newest stay",
            Self::Harness => "of the harness",
        }
    }
}

impl fmt::Display for Promise {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.words())
    }
}

/// A promise of a trait that a strategy has broken, and how. `Debug` shows it like `Display`.
#[derive(Clone, PartialEq, Eq)]
pub struct BrokenPromise {
    promise: Promise,
    how: String,
}

impl BrokenPromise {
    pub(super) fn new(promise: Promise, how: impl Into<String>) -> Self {
        Self {
            promise,
            how: how.into(),
        }
    }

    /// Which promise.
    pub fn promise(&self) -> Promise {
        self.promise
    }

    /// What happened instead.
    pub fn how(&self) -> &str {
        &self.how
    }
}

impl fmt::Display for BrokenPromise {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "broken promise {}\n  {}", self.promise, self.how)
    }
}

impl fmt::Debug for BrokenPromise {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(self, f)
    }
}

impl std::error::Error for BrokenPromise {}

/// Says which promise an error breaks.
pub(super) trait Breaks<T> {
    fn breaks(self, promise: Promise, what: &str) -> Result<T, BrokenPromise>;
}

impl<T, E: std::error::Error + 'static> Breaks<T> for Result<T, E> {
    fn breaks(self, promise: Promise, what: &str) -> Result<T, BrokenPromise> {
        self.map_err(|error| {
            let why = diy_backup_core::error_chain(&error);
            BrokenPromise::new(promise, format!("{what}: {why}"))
        })
    }
}

/// A condition that a promise makes.
pub(super) fn ensure(
    holds: bool,
    promise: Promise,
    how: impl FnOnce() -> String,
) -> Result<(), BrokenPromise> {
    if holds {
        Ok(())
    } else {
        Err(BrokenPromise::new(promise, how()))
    }
}
