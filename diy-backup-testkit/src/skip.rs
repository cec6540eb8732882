//! Skipping tests that a machine cannot run, with a reason that is seen.

use std::fmt::Display;
use std::io::{self, Write};

/// Prints `skipped: <reason>` on standard error, past the capture of the test harness.
///
/// The line stands at the start of a line so that a test runner can count it.
pub fn report_skipped(reason: &dyn Display) {
    // Nothing can be done about a closed standard error, and the test is skipped all the same.
    let _ = writeln!(io::stderr(), "skipped: {reason}");
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
