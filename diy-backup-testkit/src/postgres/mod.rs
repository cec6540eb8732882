//! A private PostgreSQL: its own data directory, port, socket and password, gone with the value that stands for it.

mod account;
mod builder;
mod rows;
mod schema;
mod server;

pub(crate) use account::Account;
pub use builder::PostgresBuilder;
pub use rows::PostgresRows;
pub use server::{PrivatePostgres, RoleKind};
