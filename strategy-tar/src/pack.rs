//! Writing archives: several threads read ahead, one packs, one compresses, one writes and hashes the whole.

mod ahead;
mod found;
mod packer;
mod pipeline;

pub(crate) use packer::{Packed, Packer};
pub(crate) use pipeline::{Pipe, Pipeline};
