//! Home strategy of diy-backup that copies the Bitbucket home directory with rsync.
//!
//! The strategy `rsync` copies the home directory and the data stores twice: once while people work, and once more
//! while the instance is locked and drained, when only what has changed since is left to copy. A plain file system
//! cannot be pinned, so the second pass is all inside the lock window. Plain files are copied without rsync (`plain`),
//! and the very first copy is begun by several threads (`head_start`), as rsync takes one file after the other.
//!
//! On Linux the kernel tells what has changed (module `track`), so that the lock window does not grow with the number
//! of files; a comparison after the unlock proves the copy (`verify`). Elsewhere the second pass looks at every file;
//! what makes that exact, and why size and modification time alone would not, stands in the module `scan`.
//!
//! A restore builds everything beside its target and moves it into place at the end, see [`RsyncHome`].
//!
//! ```
//! use diy_backup_core::Registry;
//!
//! let mut registry = Registry::with_builtins();
//! strategy_rsync::register(&mut registry)?;
//! # Ok::<(), diy_backup_core::Error>(())
//! ```

#[cfg(unix)]
mod beneath;
mod census;
mod changes;
mod check;
mod compare;
mod config;
mod copier;
mod decay;
mod exclude;
mod folder;
mod head_start;
mod layout;
mod links;
mod mend;
mod owner;
mod plain;
mod platform;
mod proven;
mod remove;
mod repositories;
mod restore;
mod rsync;
mod scan;
mod session;
mod source;
mod strategy;
mod surplus;
mod survey;
mod sync;
mod times;
mod track;
mod tracked;
mod unsynced;
mod verify;
mod walk;

use std::sync::Arc;

use diy_backup_core::{Registry, Result};

pub use config::{RepositoryId, RsyncConfig, TrackChanges};
pub use owner::OwnerName;
pub use strategy::RsyncHome;

/// Adds the home strategy `rsync` to `registry`.
///
/// # Errors
/// [`ErrorKind::Config`](diy_backup_core::ErrorKind::Config) when it has one of that name already.
pub fn register(registry: &mut Registry) -> Result<()> {
    registry.register_home(strategy::NAME, |config| {
        Ok(Arc::new(RsyncHome::from_config(config)?))
    })
}
