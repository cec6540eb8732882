//! A private MariaDB: its own data directory, port, socket and password, gone with the value that stands for it.

mod builder;
mod rows;
mod schema;
mod server;

pub use builder::MariaDbBuilder;
pub use rows::MariaDbRows;
pub use server::PrivateMariaDb;
