//! Database strategy of diy-backup for MySQL (8.0 and newer) and MariaDB (10.6 and newer): `mysql`.
//!
//! While the instance is locked, the site's own dump program begins a transaction with a consistent snapshot. It says
//! so itself as soon as the server has answered, which is the proof that the state is *pinned*: the snapshot is then of
//! a moment between the drain and the unlock. That takes a fraction of a second, however many rows and tables there
//! are, and the rows are read when people work again.
//!
//! No `FLUSH TABLES WITH READ LOCK` is taken: the snapshot of `InnoDB` is of one instant by itself, nobody writes while the
//! instance is locked, and waiting for that lock would stop every other database of the server. So neither `RELOAD` nor
//! `PROCESS` is needed.
//!
//! What a snapshot does not hold:
//! - Rows of tables that are not `InnoDB`. With such a table the whole dump is made inside the window, under table locks.
//! - Definitions. A dump reads them when it comes to a table, and some changes (a dropped column, swapped names) make
//!   neither flavour complain. So the definitions before the snapshot and after the dump are compared, and a difference
//!   fails the backup. Not seen is one change: MySQL tells nothing of two tables that swap their names if they have the
//!   same columns and were created in the same second.
//! - MariaDB's sequences: the dump carries the pinned value or a later one, never an earlier one.
//!
//! A restore fills a database beside the target and moves the tables from there with one statement.
//!
//! ```
//! use diy_backup_core::Registry;
//!
//! let mut registry = Registry::with_builtins();
//! strategy_mysql::register(&mut registry)?;
//! # Ok::<(), diy_backup_core::Error>(())
//! ```

mod check;
mod client;
mod config;
mod dump;
mod facts;
mod failure;
mod grants;
mod instance;
mod option_file;
mod restore;
mod scan;
mod server;
mod session;
mod sql;
mod strategy;
mod tools;

use std::sync::Arc;

use diy_backup_core::{Registry, Result};

pub use config::{MysqlConfig, SslMode};
pub use strategy::MysqlStrategy;

/// Adds the database strategy `mysql`.
///
/// # Errors
/// [`ErrorKind::Config`](diy_backup_core::ErrorKind::Config) when there is one of that name.
pub fn register(registry: &mut Registry) -> Result<()> {
    registry.register_database(strategy::NAME, |config| {
        Ok(Arc::new(MysqlStrategy::from_config(config)?))
    })
}
