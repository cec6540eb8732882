#![doc = include_str!("../README.md")]

mod application;
mod command;
pub mod contract;
mod error;
pub mod home;
mod mariadb;
#[cfg(unix)]
pub mod mssql;
mod opensearch;
mod postgres;
pub mod process;
mod shell_archive;
pub mod simulator;
mod skip;
pub mod tree;

pub use application::{
    Application, ApplicationBuilder, Comparison, Latch, MemoryRows, PushPermit, Pushes, RowSink,
};
pub use error::{Error, ErrorKind, Result};
pub use home::{GeneratedHome, HomeBuilder};
pub use mariadb::{MariaDbBuilder, MariaDbRows, PrivateMariaDb};
pub use opensearch::PrivateOpenSearch;
pub use postgres::{PostgresBuilder, PostgresRows, PrivatePostgres, RoleKind};
pub use shell_archive::{Generation, Packing, ShellArchive, Sources};
pub use simulator::Simulator;
pub use skip::report_skipped;
pub use tree::{TreeDiff, TreeSnapshot};
