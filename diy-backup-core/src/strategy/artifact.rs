use std::collections::BTreeMap;
use std::fmt;

use serde::{Deserialize, Serialize};

use crate::inventory::Inventory;
use crate::manifest::PartName;

/// What one part of a backup consists of, as it stands in the manifest.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
#[non_exhaustive]
pub struct Artifact {
    /// Where it is.
    #[serde(flatten)]
    pub kind: ArtifactKind,
    /// Its size in bytes, as far as is known.
    #[serde(default)]
    pub bytes: u64,
    /// What it holds, as far as it was counted.
    #[serde(default, skip_serializing_if = "Inventory::is_empty")]
    pub inventory: Inventory,
    /// What the same strategy needs to know to restore it: versions, encodings, volume layouts.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    pub details: BTreeMap<String, String>,
}

/// Where an [`Artifact`] is.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case", tag = "kind")]
#[non_exhaustive]
pub enum ArtifactKind {
    /// In the staging folder, under its usual name, and from there in the archive.
    Staged,
    /// Outside: snapshots that the strategy finds by these IDs.
    External {
        /// The IDs, as their owner names them.
        ids: Vec<String>,
    },
    /// There is none: the part is no part of this backup, or travels with another one.
    None,
}

impl Artifact {
    /// An artifact in the staging folder.
    pub fn staged(bytes: u64) -> Self {
        Self {
            kind: ArtifactKind::Staged,
            bytes,
            inventory: Inventory::new(),
            details: BTreeMap::new(),
        }
    }

    /// Artifacts outside the staging folder, by their IDs.
    pub fn external(ids: impl IntoIterator<Item = String>) -> Self {
        let kind = ArtifactKind::External {
            ids: ids.into_iter().collect(),
        };
        Self {
            kind,
            bytes: 0,
            inventory: Inventory::new(),
            details: BTreeMap::new(),
        }
    }

    /// No artifact.
    pub fn none() -> Self {
        Self {
            kind: ArtifactKind::None,
            bytes: 0,
            inventory: Inventory::new(),
            details: BTreeMap::new(),
        }
    }

    /// Sets what it holds.
    #[must_use]
    pub fn with_inventory(mut self, inventory: Inventory) -> Self {
        self.inventory = inventory;
        self
    }

    /// Adds something that a restore needs to know.
    #[must_use]
    pub fn with_detail(mut self, name: impl Into<String>, value: impl Into<String>) -> Self {
        self.details.insert(name.into(), value.into());
        self
    }

    /// Something that was added with [`with_detail`](Self::with_detail).
    pub fn detail(&self, name: &str) -> Option<&str> {
        self.details.get(name).map(String::as_str)
    }
}

/// Something that a run makes and that would stay behind if the run died: a snapshot, a temporary file or database.
///
/// It stands in the journal before it exists, so that a later run can give it to the strategy's `discard`.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
#[non_exhaustive]
pub struct Leftover {
    /// Who made it: two parts may have strategies of one name. None in a journal of an earlier version.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub owner: Option<LeftoverOwner>,
    /// The name of the strategy that made it.
    pub strategy: String,
    /// What it is, in the strategy's own words: `temporary-archive`, `restore-database`.
    pub kind: String,
    /// Its name or path: whatever `discard` needs to find it.
    pub id: String,
}

impl Leftover {
    /// Something of `kind`, called `id`, made by `strategy`.
    pub fn new(
        strategy: impl Into<String>,
        kind: impl Into<String>,
        id: impl Into<String>,
    ) -> Self {
        Self {
            owner: None,
            strategy: strategy.into(),
            kind: kind.into(),
            id: id.into(),
        }
    }

    /// The same, made by `owner` unless it names another one.
    #[must_use]
    pub(crate) fn owned_by(mut self, owner: Option<LeftoverOwner>) -> Self {
        self.owner = self.owner.or(owner);
        self
    }
}

/// Who makes a [`Leftover`]. The context that records it knows.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
#[non_exhaustive]
pub enum LeftoverOwner {
    /// The run itself.
    Core,
    /// The strategy of the home directory.
    Home,
    /// The strategy of the database.
    Database,
    /// The strategy of the search index.
    Elasticsearch,
    /// The archive strategy.
    Archive,
}

impl LeftoverOwner {
    /// The part of a backup that it is; none for the run itself and the archive.
    pub fn part(self) -> Option<PartName> {
        match self {
            Self::Home => Some(PartName::Home),
            Self::Database => Some(PartName::Database),
            Self::Elasticsearch => Some(PartName::Elasticsearch),
            Self::Core | Self::Archive => None,
        }
    }
}

impl From<PartName> for LeftoverOwner {
    fn from(part: PartName) -> Self {
        match part {
            PartName::Home => Self::Home,
            PartName::Database => Self::Database,
            PartName::Elasticsearch => Self::Elasticsearch,
        }
    }
}

impl fmt::Display for LeftoverOwner {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.part() {
            Some(part) => write!(f, "the {part} part"),
            None if *self == Self::Archive => f.write_str("the archive"),
            None => f.write_str("the run"),
        }
    }
}
