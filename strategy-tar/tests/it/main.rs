//! The archive strategy with real files and real tools.

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
