//! Loops that hurt the program in every way there is, and look whether it keeps its promises.

pub(crate) mod audit;
pub(crate) mod corruption;
pub(crate) mod disk_full;
pub(crate) mod faults;
pub(crate) mod field;
pub(crate) mod kills;
pub(crate) mod lab;
pub(crate) mod probes;
pub(crate) mod program;
pub(crate) mod report;
pub(crate) mod secrets;
pub(crate) mod stage;

use std::error::Error;

/// What fails here is the laboratory, not the program.
pub(crate) type Result<T = ()> = std::result::Result<T, Box<dyn Error + Send + Sync>>;
