use std::fs::Metadata;
use std::path::Path;

/// Whether this process may make files in the folder at `path`, as far as can be seen.
pub(crate) fn is_writable(path: &Path) -> bool {
    std::fs::metadata(path).is_ok_and(|metadata| !metadata.permissions().readonly())
}

/// Permissions of others are not looked at here.
pub(crate) fn is_open_to_others(_: &Metadata) -> bool {
    false
}
