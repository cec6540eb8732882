//! What the core promises, against a strict Bitbucket and strategies that fail on demand.

#![expect(clippy::unwrap_used, reason = "a test that cannot go on has failed")]

mod archive;
mod backup;
mod cancelling;
mod check;
mod compile_time;
mod crash;
mod fakes;
mod faults;
mod gateway;
mod hanging;
mod instance_files;
mod journals;
mod properties;
mod recovery;
mod restore;
mod shrink;
mod slow_steps;
mod support;
