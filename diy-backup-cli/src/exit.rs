//! Exit codes: a contract with whoever calls the command.

use std::process::ExitCode;

use diy_backup_core::{Error, ErrorKind, Phase};

/// How the command ends.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[non_exhaustive]
pub enum Exit {
    /// 0: everything is good.
    Good,
    /// 1: it failed, and the instance is unlocked.
    Failed,
    /// 2: the command line cannot be understood.
    Usage,
    /// 3: the configuration cannot be used.
    Configuration,
    /// 4: a check failed, and nothing was touched.
    CheckFailed,
    /// 5: the backup is good, and something after it failed.
    AftermathFailed,
    /// 6: a verification found damage.
    Damaged,
    /// 10: it failed, and the instance is still locked.
    StillLocked,
    /// 11: another run is going on.
    Busy,
    /// 130: it was cancelled, and the instance is unlocked.
    Cancelled,
}

impl Exit {
    /// The exit code that an error leads to. What a kind of error means depends on how far the run had come: that nothing
    /// was touched is true only before something was.
    pub fn of(error: &Error) -> Self {
        let untouched = is_before_any_change(error.phase());
        match error.kind() {
            ErrorKind::StillLocked => Self::StillLocked,
            ErrorKind::Cancelled => Self::Cancelled,
            ErrorKind::Busy => Self::Busy,
            ErrorKind::Config if untouched => Self::Configuration,
            ErrorKind::Check | ErrorKind::TargetNotEmpty if untouched => Self::CheckFailed,
            // A commit that finds its part gone says nothing about the backup.
            ErrorKind::Damaged if error.phase() != Some(Phase::Commit) => Self::Damaged,
            _ if error.phase() == Some(Phase::Check) => Self::CheckFailed,
            _ => Self::Failed,
        }
    }

    /// The number.
    pub fn code(self) -> u8 {
        match self {
            Self::Good => 0,
            Self::Failed => 1,
            Self::Usage => 2,
            Self::Configuration => 3,
            Self::CheckFailed => 4,
            Self::AftermathFailed => 5,
            Self::Damaged => 6,
            Self::StillLocked => 10,
            Self::Busy => 11,
            Self::Cancelled => 130,
        }
    }
}

impl From<Exit> for ExitCode {
    fn from(exit: Exit) -> Self {
        Self::from(exit.code())
    }
}

/// Whether nothing had changed yet. Fetching reads the backup, and unpacks it where no target is.
fn is_before_any_change(phase: Option<Phase>) -> bool {
    matches!(phase, None | Some(Phase::Check | Phase::Fetch))
}

#[cfg(test)]
mod tests {
    use super::*;

    const PHASES: [Phase; 13] = [
        Phase::Check,
        Phase::Prepare,
        Phase::Lock,
        Phase::Drain,
        Phase::Capture,
        Phase::Release,
        Phase::Complete,
        Phase::Archive,
        Phase::Retain,
        Phase::Fetch,
        Phase::Apply,
        Phase::Commit,
        Phase::Verify,
    ];

    fn code(kind: ErrorKind, phase: Option<Phase>) -> u8 {
        let error = Error::new(kind, "it failed");
        let error = match phase {
            Some(phase) => error.in_phase(phase),
            None => error,
        };
        Exit::of(&error).code()
    }

    #[test]
    fn that_nothing_was_touched_is_said_only_before_something_was() {
        use ErrorKind as Kind;
        // Before any phase, in the check, while the backup is read, and in every later phase.
        let table = [
            (Kind::Config, [3, 3, 3, 1]),
            (Kind::Check, [4, 4, 4, 1]),
            (Kind::TargetNotEmpty, [4, 4, 4, 1]),
            (Kind::Bitbucket, [1, 4, 1, 1]),
            (Kind::Tool, [1, 4, 1, 1]),
            (Kind::Database, [1, 4, 1, 1]),
            (Kind::Search, [1, 4, 1, 1]),
            (Kind::Io, [1, 4, 1, 1]),
            (Kind::Space, [1, 4, 1, 1]),
            (Kind::NotFound, [1, 4, 1, 1]),
            (Kind::Unsupported, [1, 4, 1, 1]),
            (Kind::Internal, [1, 4, 1, 1]),
            (Kind::Cancelled, [130, 130, 130, 130]),
            (Kind::StillLocked, [10, 10, 10, 10]),
            (Kind::Busy, [11, 11, 11, 11]),
        ];
        for (kind, [none, check, fetch, later]) in table {
            assert_eq!(code(kind, None), none, "{kind:?} before any phase");
            for phase in PHASES {
                let wanted = match phase {
                    Phase::Check => check,
                    Phase::Fetch => fetch,
                    _ => later,
                };
                assert_eq!(code(kind, Some(phase)), wanted, "{kind:?} in {phase}");
            }
        }
    }

    #[test]
    fn damage_is_a_verdict_on_the_backup_but_where_a_part_is_moved_into_place() {
        for phase in PHASES {
            let wanted = if phase == Phase::Commit { 1 } else { 6 };
            assert_eq!(code(ErrorKind::Damaged, Some(phase)), wanted, "{phase}");
        }
    }
}
