//! What the testkit promises to those who test with it.

mod live_application;
mod private_postgres;
mod watched_processes;
