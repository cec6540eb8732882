//! What the testkit promises to those who test with it.

mod contract;
mod generated_home;
mod http;
mod live_application;
mod private_mariadb;
mod private_opensearch;
mod private_postgres;
mod shell_archives;
mod simulator_drain;
mod simulator_faults;
mod simulator_strictness;
mod tree_comparison;
mod watched_processes;
