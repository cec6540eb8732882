//! Counting what a folder holds.

use std::collections::HashSet;
use std::fs::Metadata;
use std::path::Path;
use std::sync::Mutex;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::SystemTime;

use crate::links::{FileId, Links, look_begins};
use crate::platform::Facts;
use crate::sync::{into_inner, lock};

/// What a folder holds.
#[derive(Debug, Default)]
pub(crate) struct Census {
    /// Files, folders and links, without the folder itself.
    pub(crate) entries: u64,
    /// Bytes on disk, hard links counted once.
    pub(crate) bytes: u64,
    /// Bytes of content, of files as long as they are, hard links counted once.
    pub(crate) content_bytes: u64,
    /// The names of originals that have several.
    pub(crate) links: Links,
}

/// A [`Census`] that several threads take.
#[derive(Debug)]
pub(crate) struct Count {
    began: SystemTime,
    entries: AtomicU64,
    bytes: AtomicU64,
    content_bytes: AtomicU64,
    linked: Mutex<HashSet<FileId>>,
    links: Mutex<Links>,
}

impl Default for Count {
    fn default() -> Self {
        Self {
            began: look_begins(),
            entries: AtomicU64::default(),
            bytes: AtomicU64::default(),
            content_bytes: AtomicU64::default(),
            linked: Mutex::default(),
            links: Mutex::default(),
        }
    }
}

impl Count {
    /// Counts an entry.
    pub(crate) fn add(&self, entry: &Metadata) {
        let facts = Facts::of(entry);
        self.entries.fetch_add(1, Ordering::Relaxed);
        if entry.is_dir() || facts.links == 1 || lock(&self.linked).insert(facts.id) {
            self.bytes
                .fetch_add(facts.allocated_bytes, Ordering::Relaxed);
            if entry.is_file() {
                self.content_bytes.fetch_add(entry.len(), Ordering::Relaxed);
            }
        }
    }

    /// Remembers the name of an original that has others.
    pub(crate) fn note_name(&self, name: &Path, original: &Metadata) {
        let facts = Facts::of(original);
        if facts.links > 1 && !original.is_dir() {
            lock(&self.links).note(&facts, name, self.began);
        }
    }

    pub(crate) fn into_census(self) -> Census {
        Census {
            entries: self.entries.into_inner(),
            bytes: self.bytes.into_inner(),
            content_bytes: self.content_bytes.into_inner(),
            links: into_inner(self.links),
        }
    }
}
