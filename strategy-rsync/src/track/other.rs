//! Systems whose kernel does not tell what changes in a whole file system.

use std::collections::BTreeMap;
use std::path::PathBuf;

use super::{Dirty, Lost, Unavailable};
use crate::folder::Folder;

/// Never there: it cannot be started.
#[derive(Debug)]
pub(crate) enum Tracker {}

impl Tracker {
    pub(crate) fn start(_: &[Folder]) -> Result<Self, Unavailable> {
        Err(Unavailable::new(
            "only the Linux kernel tells what changes in a file system",
            "Write `track-changes = \"auto\"` or `\"never\"` in the section [home].",
        ))
    }

    pub(crate) fn take(&self) -> Result<Vec<Dirty>, Lost> {
        match *self {}
    }

    pub(crate) fn give_back(&self, _: usize, _: Dirty) {
        match *self {}
    }

    pub(crate) fn end(&self) {
        match *self {}
    }

    pub(crate) fn start_again(&self) {
        match *self {}
    }

    pub(crate) fn ask<T>(&self, _: usize, _: impl FnOnce(&Dirty) -> T) -> Result<T, Lost> {
        match *self {}
    }
}

/// What is mounted is not known.
pub(crate) fn mounts_around(_: &Folder) -> Option<BTreeMap<PathBuf, String>> {
    None
}

/// What times mean is known of Linux alone.
pub(crate) fn ensure_local(_: &[Folder]) -> Result<(), Unavailable> {
    Err(Unavailable::new(
        "only on Linux it is known which file systems are local",
        "Nothing: every file is looked at on both sides.",
    ))
}
