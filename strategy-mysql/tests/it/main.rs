//! The strategy `mysql` on private servers.
#![cfg(unix)]
#![expect(clippy::unwrap_used, reason = "a test that cannot go on has failed")]

mod backup;
mod check;
mod contract;
mod instance;
mod login;
mod pinning;
mod restore;
mod support;
