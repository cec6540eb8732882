//! The command, run as users run it: a simulated Bitbucket with people who push, a real PostgreSQL, real tools.

mod failures;
mod hostile_input;
mod job;
mod preflight;
mod site;
