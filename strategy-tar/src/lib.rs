//! Archive strategy of diy-backup that keeps each backup as one checksummed tar file.
//!
//! A backup is `<directory>/<id>.tar.zst` (or `.tar.gz`, `.tar`) and beside it `<id>.manifest.json`, which seals it
//! with its size and SHA-256. Inside stand `manifest.json`, the folders that the staging folder holds, and last
//! `SHA256SUMS` with the checksum of every file: `tar -xf` and `sha256sum -c SHA256SUMS` are all it takes to get at the
//! content without this program. The other way round, the `.tar.gz` archives of the shell scripts are listed, verified
//! and restored too.
//!
//! ```
//! let mut registry = diy_backup_core::Registry::with_builtins();
//! strategy_tar::register(&mut registry)?;
//! # Ok::<(), diy_backup_core::Error>(())
//! ```

mod catalog;
mod check;
mod config;
mod format;
mod names;
mod pack;
mod platform;
mod read;
mod remove;
mod restore;
mod spool;
mod stop;
mod store;
mod strategy;
mod sums;
mod tail;

use std::sync::Arc;

use diy_backup_core::{Registry, Result};

pub use config::{Compression, TarConfig};
pub use strategy::TarArchive;

/// The name that a configuration chooses the strategy by.
pub const NAME: &str = "tar";

/// Adds the archive strategy `tar` to `registry`.
///
/// # Errors
/// [`ErrorKind::Config`](diy_backup_core::ErrorKind::Config) when there is one of that name.
pub fn register(registry: &mut Registry) -> Result<()> {
    registry.register_archive(NAME, |config| {
        let settings = TarConfig::from_section(&config.section)?;
        Ok(Arc::new(TarArchive::new(
            config.instance.name.clone(),
            settings,
        )))
    })
}
