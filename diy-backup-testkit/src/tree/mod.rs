//! Comparing two folders entry by entry: an original home and a restored one.

mod diff;
mod exclusions;
mod snapshot;

pub use diff::{Aspect, Difference, TreeDiff};
pub use exclusions::Exclusions;
pub use snapshot::{Entry, EntryKind, TreeSnapshot, make_removable};

use std::os::unix::ffi::OsStrExt;
use std::path::Path;

/// A name on one line: newlines and the like escaped, bytes that are no UTF-8 as `\xff`.
pub(crate) fn escaped(path: &Path) -> String {
    let bytes = path.as_os_str().as_bytes();
    match std::str::from_utf8(bytes) {
        Ok(text) => text.escape_debug().to_string(),
        Err(_) => bytes.escape_ascii().to_string(),
    }
}
