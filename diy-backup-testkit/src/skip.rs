//! Skipping tests that a machine cannot run, with a reason that is seen.

use std::ffi::OsStr;
use std::fmt::Display;
use std::fs::OpenOptions;
use std::io::{self, Write};

/// The environment variable that names a file for the reasons, one on each line.
const SKIPS: &str = "DIY_BACKUP_SKIPS";

/// Prints `skipped: <reason>` on standard error, past the capture of the test harness.
///
/// A test runner that wants to count names a file in `DIY_BACKUP_SKIPS`: the reason is appended to it as a line.
pub fn report_skipped(reason: &dyn Display) {
    let reason = reason.to_string().replace('\n', " ");
    // Nothing can be done about a closed standard error, and the test is skipped all the same.
    let _ = writeln!(io::stderr(), "skipped: {reason}");
    if let Some(path) = std::env::var_os(SKIPS)
        && let Err(error) = append_line(&path, &reason)
    {
        let _ = writeln!(io::stderr(), "cannot write {}: {error}", path.display());
    }
}

/// One write for the whole line: tests of several processes append to the same file.
fn append_line(path: &OsStr, line: &str) -> io::Result<()> {
    let mut file = OpenOptions::new().create(true).append(true).open(path)?;
    file.write_all(format!("{line}\n").as_bytes())
}

/// Takes the value out of a [`Result`](crate::Result), or skips the test when the machine lacks a part for it.
///
/// An [`ErrorKind::Missing`](crate::ErrorKind::Missing) prints `skipped: …` and returns from the test; any other error
/// panics, because a part that is installed and does not work is a failure.
///
/// ```
/// use diy_backup_testkit::{PrivatePostgres, skip_unless};
///
/// # fn test() {
/// let postgres = skip_unless!(PrivatePostgres::start());
/// assert!(postgres.port() > 0);
/// # }
/// # test();
/// ```
#[macro_export]
macro_rules! skip_unless {
    ($part:expr) => {
        match $part {
            Ok(part) => part,
            Err(error) if $crate::Error::is_missing(&error) => {
                $crate::report_skipped(&error);
                return;
            }
            Err(error) => {
                let cause = ::std::error::Error::source(&error)
                    .map_or_else(String::new, |source| format!(": {source}"));
                panic!("{error}{cause}")
            }
        }
    };
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_reason_becomes_a_line_of_its_own() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("skips");
        append_line(path.as_os_str(), "no rsync").unwrap();
        append_line(path.as_os_str(), "no PostgreSQL").unwrap();
        assert_eq!(
            std::fs::read_to_string(&path).unwrap(),
            "no rsync\nno PostgreSQL\n"
        );
    }
}
