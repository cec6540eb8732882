//! The strategy `mssql` on the testkit's double of SQL Server, which refuses what a server refuses.
#![cfg(unix)]
#![expect(clippy::unwrap_used, reason = "a test that cannot go on has failed")]

mod backup;
mod check;
mod contract;
mod double;
mod restore;
mod support;
