//! Bitbucket-like homes, as awkward as real ones and the same again from the same seed.

mod awkward;
mod builder;
mod git;
mod layout;

pub use builder::{GeneratedHome, HomeBuilder, Names};
pub use layout::{DATABASE_EXCLUSIONS, EXCLUSIONS};
