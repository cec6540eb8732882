//! What the testkit promises to those who test with it.

mod http;
mod live_application;
mod private_postgres;
mod simulator_drain;
mod simulator_faults;
mod simulator_strictness;
mod watched_processes;
