//! Writing archives: one thread walks, reads and hashes, one compresses, one writes and hashes the whole.

mod packer;
mod pipeline;
mod walk;

pub(crate) use packer::{Packed, Packer};
pub(crate) use pipeline::{Pipe, Pipeline};
