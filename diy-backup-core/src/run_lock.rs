//! One run per instance: a lock that the operating system gives back when its holder dies.

use std::fs::{File, TryLockError};
use std::path::{Path, PathBuf};
use std::time::Duration;

use crate::error::{Error, ErrorKind, Result, ResultExt};
use crate::platform;
use crate::trust::Directory;

/// How often the lock is tried again, and after what pause.
const LOOKS: u32 = 5;
const LOOK: Duration = Duration::from_millis(10);

/// The right to run on an instance; given back when dropped, also by a kill or a power cut.
#[derive(Debug)]
pub struct RunLock {
    _file: File,
}

impl RunLock {
    /// Takes the lock in the state folder, which is made if it is not there.
    ///
    /// # Errors
    /// [`ErrorKind::Busy`] when another run holds it, [`ErrorKind::Check`] when somebody else can write to the directory.
    pub fn acquire(state: &Path) -> Result<Self> {
        // Before it is made, so that nothing is made where a link of somebody else leads; and after, for what was there.
        Directory::State.ensure_trusted(state)?;
        platform::create_private_directory(state)
            .io_context(|| format!("cannot make the state directory {}", state.display()))?;
        Directory::State.ensure_trusted(state)?;
        platform::make_private(state)
            .io_context(|| format!("cannot make {} private", state.display()))?;
        Self::of_file(&path_in(state), || {
            let message = "another run is going on for this instance";
            Error::new(ErrorKind::Busy, message)
                .with_hint("Wait until it has ended; `diy-backup status` shows how far it is.")
        })
    }

    /// Takes the lock in a staging directory, against the runs of other configurations.
    pub(crate) fn acquire_in_staging(staging: &Path) -> Result<Self> {
        Self::of_file(&path_in(staging), || {
            let staging = staging.display();
            let message = format!("the run of another configuration works in {staging}");
            Error::new(ErrorKind::Busy, message).with_hint(
                "Wait until it has ended, and set a `staging` of its own in the section [backup] of each configuration.",
            )
        })
    }

    fn of_file(path: &Path, busy: impl FnOnce() -> Error) -> Result<Self> {
        let file = platform::open_private_file(path)
            .io_context(|| format!("cannot open the run lock {}", path.display()))?;
        match patiently(|| file.try_lock()) {
            Ok(()) => Ok(Self { _file: file }),
            Err(TryLockError::WouldBlock) => Err(busy()),
            Err(TryLockError::Error(error)) => Err(Error::io(
                format!("cannot take the run lock {}", path.display()),
                error,
            )),
        }
    }

    /// Whether a run holds the lock in the state folder.
    ///
    /// # Errors
    /// [`ErrorKind::Io`] when that cannot be found out.
    pub fn is_held(state: &Path) -> Result<bool> {
        let path = path_in(state);
        let shown = || format!("cannot look at the run lock {}", path.display());
        let file = match platform::open_own_file(&path) {
            Ok(file) => file,
            Err(error) if error.kind() == std::io::ErrorKind::NotFound => return Ok(false),
            Err(error) => return Err(Error::io(shown(), error)),
        };
        // Shared, so that two that look do not see each other.
        match patiently(|| file.try_lock_shared()) {
            Ok(()) => Ok(false),
            Err(TryLockError::WouldBlock) => Ok(true),
            Err(TryLockError::Error(error)) => Err(Error::io(shown(), error)),
        }
    }
}

/// Tries for a moment: whoever looks whether a run is alive holds the lock while looking, and a child process of the
/// run that has just ended may hold it until it has become the program that it was started for.
fn patiently(try_lock: impl Fn() -> Result<(), TryLockError>) -> Result<(), TryLockError> {
    for _ in 0..LOOKS {
        match try_lock() {
            Err(TryLockError::WouldBlock) => std::thread::sleep(LOOK),
            other => return other,
        }
    }
    try_lock()
}

fn path_in(state: &Path) -> PathBuf {
    state.join("run.lock")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_second_run_is_refused_until_the_first_has_ended() {
        let state = tempfile::tempdir().unwrap();
        assert!(!RunLock::is_held(state.path()).unwrap());
        let first = RunLock::acquire(state.path()).unwrap();
        assert!(RunLock::is_held(state.path()).unwrap());
        assert_eq!(
            RunLock::acquire(state.path()).unwrap_err().kind(),
            ErrorKind::Busy
        );
        drop(first);
        assert!(!RunLock::is_held(state.path()).unwrap());
        RunLock::acquire(state.path()).unwrap();
    }
}
