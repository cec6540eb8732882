//! Counts of what a source holds, which tell a whole one from one that has lost most of itself.

use serde::{Deserialize, Serialize};

/// The number of things in one part of an instance, or of a backup of it. A count is absent where nothing counted it.
///
/// A check counts the source, and the artifact of a backup counts what was taken of it; both count the same things, so
/// that the next backup can be held against the last good one.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case", default)]
#[non_exhaustive]
pub struct Inventory {
    /// Files, directories and links, without what a backup leaves out.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub entries: Option<u64>,
    /// Bytes of content: of files as they are, of a database as it says of itself.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub bytes: Option<u64>,
    /// Repositories, without excluded ones.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub repositories: Option<u64>,
    /// Tables of a database.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub tables: Option<u64>,
}

impl Inventory {
    /// Returns an inventory in which nothing has been counted.
    pub fn new() -> Self {
        Self::default()
    }

    /// Sets the number of files, directories and links, and the bytes of their content.
    #[must_use]
    pub fn with_tree(mut self, entries: u64, bytes: u64) -> Self {
        self.entries = Some(entries);
        self.bytes = Some(bytes);
        self
    }

    /// Sets the number of repositories.
    #[must_use]
    pub fn with_repositories(mut self, repositories: u64) -> Self {
        self.repositories = Some(repositories);
        self
    }

    /// Sets the number of tables.
    #[must_use]
    pub fn with_tables(mut self, tables: u64) -> Self {
        self.tables = Some(tables);
        self
    }

    /// Sets the bytes of content.
    #[must_use]
    pub fn with_bytes(mut self, bytes: u64) -> Self {
        self.bytes = Some(bytes);
        self
    }

    /// Returns `true` if nothing has been counted.
    pub fn is_empty(&self) -> bool {
        *self == Self::default()
    }
}

/// The answer to a source that has lost more than half of what the last backup of it holds.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
#[non_exhaustive]
pub enum Shrink {
    /// The backup fails before a copy of what is gone is deleted.
    #[default]
    Refused,
    /// Somebody has looked, and said that it is meant.
    Accepted,
}
