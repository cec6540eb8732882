//! Database strategies of diy-backup for PostgreSQL: `postgresql`, and `postgresql-fslevel` for a server whose files
//! travel with an atomic snapshot of the home directory.
//!
//! # `postgresql`
//!
//! While the instance is locked, a transaction *pins* the state of that instant: it locks every table against being
//! truncated, rewritten or dropped, and exports its snapshot, which takes milliseconds. `pg_dump` reads from that
//! snapshot when people work again. Where a state cannot be pinned, the whole dump is made inside the window.
//!
//! What a snapshot does not hold: sequences. The dump carries the value that a sequence has when it is read, which is
//! the pinned one or a later one, never an earlier one.
//!
//! A restore builds a new database beside the target and renames it into place; or, for a role that may not create
//! databases, fills the empty target in one transaction. Either way the target is empty or whole at every moment.
//!
//! ```
//! use diy_backup_core::Registry;
//!
//! let mut registry = Registry::with_builtins();
//! strategy_postgres::register(&mut registry)?;
//! # Ok::<(), diy_backup_core::Error>(())
//! ```

mod check;
mod config;
mod dump;
mod facts;
mod failure;
mod files;
mod found;
mod fslevel;
mod instance;
mod original;
mod pin;
mod psql;
mod release;
mod restore;
mod script;
mod server;
mod session;
mod sql;
mod statement;
mod strategy;
mod toc;

use std::sync::Arc;

use diy_backup_core::{Registry, Result};

pub use config::{PostgresConfig, SslMode};
pub use fslevel::{FslevelConfig, FslevelStrategy};
pub use strategy::PostgresStrategy;

/// Adds the database strategies `postgresql` and `postgresql-fslevel`.
///
/// # Errors
/// [`ErrorKind::Config`](diy_backup_core::ErrorKind::Config) when there is one of that name.
pub fn register(registry: &mut Registry) -> Result<()> {
    registry.register_database(strategy::NAME, |config| {
        Ok(Arc::new(PostgresStrategy::from_config(config)?))
    })?;
    registry.register_database(fslevel::NAME, |config| {
        Ok(Arc::new(FslevelStrategy::from_config(config)?))
    })
}
