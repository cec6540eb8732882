//! A private OpenSearch: one node with its own folders and port, gone with the value that stands for it.
//!
//! Its parts are Maven artifacts, which `cargo xtask setup` fetches into the build folder. Without them, or without
//! Java, there is none.

mod http;
mod install;
mod server;

pub use server::PrivateOpenSearch;
