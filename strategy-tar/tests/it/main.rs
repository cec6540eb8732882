//! The archive strategy with real files and real tools.
#![expect(clippy::unwrap_used, reason = "a test that cannot go on has failed")]

mod bounds;
mod contract;
mod corruption;
mod crafted;
mod failures;
mod fuzz;
mod hostile;
mod listing;
mod round_trip;
mod scripts;
mod site;
mod tools;
