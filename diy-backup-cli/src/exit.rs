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
    /// The exit code that an error leads to.
    pub fn of(error: &Error) -> Self {
        match error.kind() {
            ErrorKind::StillLocked => Self::StillLocked,
            ErrorKind::Config => Self::Configuration,
            ErrorKind::Busy => Self::Busy,
            ErrorKind::Cancelled => Self::Cancelled,
            ErrorKind::Damaged => Self::Damaged,
            ErrorKind::Check | ErrorKind::TargetNotEmpty => Self::CheckFailed,
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
