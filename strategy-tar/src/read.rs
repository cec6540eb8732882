//! Reading archives: one thread reads, hashes the whole and decompresses, one takes the content apart.

mod comparison;
mod deferred;
mod first;
mod inspection;
mod layout;
mod ledger;
mod sink;
mod stream;
mod unpack;

pub(crate) use first::{FirstEntry, first_entry};
pub(crate) use inspection::{Inspection, OnDamage, Subject};
pub(crate) use sink::Discard;
pub(crate) use unpack::{Bounded, Unpack};
