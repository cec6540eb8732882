use std::path::Path;

use tempfile::TempDir;

/// An empty folder, in memory where the system offers that.
pub(super) fn scratch() -> TempDir {
    let memory = Path::new("/dev/shm");
    let in_memory = memory.is_dir().then(|| tempfile::tempdir_in(memory).ok());
    let folder = in_memory.flatten().map_or_else(tempfile::tempdir, Ok);
    folder.unwrap_or_else(|error| panic!("there is no room for temporary files: {error}"))
}
