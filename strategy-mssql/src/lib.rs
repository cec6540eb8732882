//! Database strategy of diy-backup for Microsoft SQL Server 2016 and newer: `mssql`.
//!
//! The server writes a full backup while people work, and a differential one, with what has changed since, while the
//! instance is locked. Where the differential cannot be based on that full backup, because somebody else has made
//! another one in between, the window has a full backup in its place. Both files are verified by the server and moved
//! into the staging folder when people work again.
//!
//! A restore builds a new database beside the target, from the full and the differential backup, and renames it into
//! place: the target is absent, empty or whole at every moment.
//!
//! Everything goes through the site's own `sqlcmd`, the one of the ODBC driver or the one written in Go.
//!
//! ```
//! use diy_backup_core::Registry;
//!
//! let mut registry = Registry::with_builtins();
//! strategy_mssql::register(&mut registry)?;
//! # Ok::<(), diy_backup_core::Error>(())
//! ```

mod backup;
mod check;
mod config;
mod facts;
mod failure;
mod flavour;
mod header;
mod restore;
mod rows;
mod session;
mod shared;
mod sql;
mod sqlcmd;
mod strategy;

use std::sync::Arc;

use diy_backup_core::{Registry, Result};

pub use config::{Compression, Encryption, MssqlConfig};
pub use strategy::MssqlStrategy;

/// Adds the database strategy `mssql`.
///
/// # Errors
/// [`ErrorKind::Config`](diy_backup_core::ErrorKind::Config) when there is one of that name.
pub fn register(registry: &mut Registry) -> Result<()> {
    registry.register_database(strategy::NAME, |config| {
        Ok(Arc::new(MssqlStrategy::from_config(config)?))
    })
}
