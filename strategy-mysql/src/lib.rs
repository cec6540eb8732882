//! Database strategy of diy-backup for MySQL and MariaDB.

use diy_backup_core::{Registry, Result};

/// Adds what this crate has.
///
/// # Errors
/// [`ErrorKind::Config`](diy_backup_core::ErrorKind::Config) when there is one of that name.
pub fn register(_registry: &mut Registry) -> Result<()> {
    Ok(())
}
