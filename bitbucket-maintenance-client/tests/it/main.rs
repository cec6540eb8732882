//! The client against servers on the loopback interface.

#![expect(
    clippy::unwrap_used,
    reason = "helpers of tests fail like the tests themselves"
)]

mod answers;
mod arbitrary;
mod connection;
mod errors;
mod repeating;
mod requests;
mod secrets;
mod setup;
mod support;
mod tls;
