//! What is fuzzed: one function for each kind of input from outside, which panics when a promise about it is broken.
//!
//! The same functions are run by libFuzzer (`fuzz_targets/`) and, for a bounded time, by the tests of `diy-backup-cli`,
//! which include this file.

mod answers;
mod archive;
mod records;
mod repair;
mod scratch;
mod text;

use std::any::Any;

pub use answers::answers;
pub use archive::archive;
pub use records::{checksums, journal, manifest};
pub use text::{configuration, names, paths};

/// What takes an input of any bytes.
pub type Target = fn(&[u8]);

/// Every target by its name, which is also that of its folder in `corpus/`.
pub const TARGETS: [(&str, Target); 8] = [
    ("answers", answers),
    ("archive", archive),
    ("checksums", checksums),
    ("configuration", configuration),
    ("journal", journal),
    ("manifest", manifest),
    ("names", names),
    ("paths", paths),
];

/// Fails unless an error says what it has to say in one printable line.
fn check_message(error: &(dyn std::error::Error + 'static)) {
    check_line(&diy_backup_core::error_chain(error));
}

/// Fails unless `text` is one printable line: a terminal shows it, and a log has it as one entry.
fn check_line(text: &str) {
    assert!(!text.is_empty(), "an error says nothing");
    assert!(!text.contains(char::is_control), "not printable: {text:?}");
}

/// What somebody has to have to use a result, whatever it is.
fn check_debug(value: &(impl std::fmt::Debug + Any)) {
    assert!(!format!("{value:?}").is_empty());
}
