//! What strategy authors of diy-backup test with: a Bitbucket simulator, private servers, contract suites.

mod application;
mod command;
mod error;
mod postgres;
pub mod process;
pub mod simulator;
mod skip;

pub use application::{
    Application, ApplicationBuilder, Comparison, Latch, MemoryRows, PushPermit, Pushes, RowSink,
};
pub use error::{Error, ErrorKind, Result};
pub use postgres::{PostgresBuilder, PostgresRows, PrivatePostgres, RoleKind};
pub use simulator::Simulator;
pub use skip::report_skipped;
