//! The command, run as users run it: a simulated Bitbucket with people who push, a real PostgreSQL, real tools.
#![expect(clippy::unwrap_used, reason = "a test that cannot go on has failed")]

mod catalog;
mod failures;
mod hostile_input;
mod job;
#[cfg(unix)]
mod mssql;
mod mysql;
mod preflight;
mod search;
mod shell_archives;
#[cfg(unix)]
mod signals;
mod site;
#[cfg(unix)]
mod surroundings;
