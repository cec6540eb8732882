//! The strategies against a real OpenSearch, and against servers that only exist on paper here.
#![expect(clippy::unwrap_used, reason = "a test that cannot go on has failed")]

mod answers;
mod check;
mod contract;
mod double;
mod failures;
mod login;
mod node;
mod round_trip;
mod signed;
mod support;
