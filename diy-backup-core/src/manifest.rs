//! The manifest: what a backup says about itself.

mod checksum;

use std::collections::BTreeMap;
use std::path::Path;
use std::time::Duration;

use serde::{Deserialize, Serialize};

use self::checksum::Checksum;
use crate::durable;
use crate::error::{Error, ErrorKind, Result, ResultExt, printable};
use crate::id::BackupId;
use crate::instance::InstanceIdentity;
use crate::phase::Phase;
use crate::strategy::{Artifact, ArtifactKind, Leftover, LeftoverOwner};

/// The manifest format that this version writes, and the newest that it reads.
pub const MANIFEST_FORMAT: u32 = 1;

const MAX_BYTES: u64 = 16 * 1024 * 1024;

/// What a backup says about itself. It stands inside the archive, and beside it with the archive's own checksum.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[non_exhaustive]
pub struct Manifest {
    /// The version of this format.
    pub format: u32,
    /// The backup's ID.
    pub backup_id: BackupId,
    /// The version of `diy-backup` that made it.
    pub tool_version: String,
    /// The version of Bitbucket, where it said.
    pub bitbucket_version: Option<String>,
    /// Which instance it is a backup of; manifests of earlier versions do not say.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub instance: Option<InstanceIdentity>,
    /// What made its run doubtful: a loss that was accepted by hand. While the newest backup has one, retention deletes
    /// nothing.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub doubts: Vec<String>,
    /// The parts, by their role.
    pub parts: BTreeMap<PartName, PartRecord>,
    /// The phases up to the writing of this manifest, in order.
    pub phases: Vec<PhaseSeconds>,
    /// For how long the instance was locked, in seconds.
    pub locked_seconds: f64,
    /// The archive's own record; only in the manifest that stands beside it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub archive: Option<ArchiveSeal>,
}

/// The role of a part of a backup.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
#[non_exhaustive]
pub enum PartName {
    /// The home directory and the data stores.
    Home,
    /// The database.
    Database,
    /// The search index.
    Elasticsearch,
}

impl std::fmt::Display for PartName {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(match self {
            Self::Home => "home",
            Self::Database => "database",
            Self::Elasticsearch => "elasticsearch",
        })
    }
}

/// One part of a backup.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[non_exhaustive]
pub struct PartRecord {
    /// The strategy that made it, and that restores it.
    pub strategy: String,
    /// What it consists of.
    pub artifact: Artifact,
}

impl PartRecord {
    /// What `strategy` made.
    pub fn new(strategy: impl Into<String>, artifact: Artifact) -> Self {
        Self {
            strategy: strategy.into(),
            artifact,
        }
    }
}

/// How long a phase took.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[non_exhaustive]
pub struct PhaseSeconds {
    /// The phase.
    pub name: Phase,
    /// Its duration in seconds.
    pub seconds: f64,
}

impl PhaseSeconds {
    /// `phase` took `elapsed`.
    pub fn new(phase: Phase, elapsed: Duration) -> Self {
        Self {
            name: phase,
            seconds: elapsed.as_secs_f64(),
        }
    }
}

/// The checksums of an archive.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[non_exhaustive]
pub struct ArchiveSeal {
    /// Its file name, without folder.
    pub file: String,
    /// Its size in bytes.
    pub bytes: u64,
    /// The SHA-256 of the whole file, in 64 hex digits.
    pub sha256: String,
    /// How many entries (files, folders, links) it holds.
    pub entries: u64,
    /// How many bytes of file content it holds.
    pub content_bytes: u64,
}

impl ArchiveSeal {
    /// The seal of an archive `file` of `bytes` with this checksum, which holds `entries` with `content_bytes`.
    pub fn new(
        file: impl Into<String>,
        bytes: u64,
        sha256: impl Into<String>,
        entries: u64,
        content_bytes: u64,
    ) -> Self {
        Self {
            file: file.into(),
            bytes,
            sha256: sha256.into(),
            entries,
            content_bytes,
        }
    }
}

impl Manifest {
    /// A manifest of `backup_id` with no parts yet.
    pub fn new(backup_id: BackupId) -> Self {
        Self {
            format: MANIFEST_FORMAT,
            backup_id,
            tool_version: env!("CARGO_PKG_VERSION").to_owned(),
            bitbucket_version: None,
            instance: None,
            doubts: Vec::new(),
            parts: BTreeMap::new(),
            phases: Vec::new(),
            locked_seconds: 0.0,
            archive: None,
        }
    }

    /// The same manifest with the record of its archive, to stand beside it.
    #[must_use]
    pub fn sealed(&self, seal: ArchiveSeal) -> Self {
        Self {
            archive: Some(seal),
            ..self.clone()
        }
    }

    /// The part with this role.
    pub fn part(&self, name: PartName) -> Option<&PartRecord> {
        self.parts.get(&name)
    }

    /// Whether `leftover` is what a part of this backup consists of, outside the staging folder.
    pub(crate) fn names(&self, leftover: &Leftover) -> bool {
        self.parts
            .iter()
            .filter(|(name, part)| {
                let made_it = |owner| LeftoverOwner::from(**name) == owner;
                part.strategy == leftover.strategy && leftover.owner.is_none_or(made_it)
            })
            .any(|(_, part)| match &part.artifact.kind {
                ArtifactKind::External { ids } => ids.contains(&leftover.id),
                ArtifactKind::Staged | ArtifactKind::None => false,
            })
    }

    /// Returns the manifest as JSON text, whose last member is the checksum of what comes before it.
    ///
    /// # Errors
    /// [`ErrorKind::Internal`] when it cannot be written as JSON.
    pub fn to_json(&self) -> Result<String> {
        let text = serde_json::to_string_pretty(self).map_err(|error| {
            Error::new(ErrorKind::Internal, "cannot write a manifest as JSON").with_source(error)
        })?;
        let body = text.strip_suffix("\n}").unwrap_or(&text);
        Ok(format!("{body}{}", checksum::tail(body.as_bytes())))
    }

    /// Reads a manifest from JSON text.
    ///
    /// # Errors
    /// [`ErrorKind::Damaged`] when it is not one; [`ErrorKind::Unsupported`] when a newer version has written it.
    pub fn from_json(text: &[u8]) -> Result<Self> {
        #[derive(Deserialize)]
        struct Version {
            format: u32,
        }
        let damaged = |error: serde_json::Error| {
            // The words of the parser quote the text.
            Error::new(ErrorKind::Damaged, "this is not a manifest")
                .with_source(printable(&error.to_string()))
        };
        let version: Version = serde_json::from_slice(text).map_err(damaged)?;
        if version.format > MANIFEST_FORMAT {
            let message = format!(
                "the manifest has format {}, and this version reads up to {MANIFEST_FORMAT}",
                version.format
            );
            return Err(Error::new(ErrorKind::Unsupported, message)
                .with_hint("A newer diy-backup has made this backup: restore it with that version or a newer one."));
        }
        let manifest: Self = serde_json::from_slice(text).map_err(damaged)?;
        match checksum::judge(text) {
            Checksum::Right => Ok(manifest),
            // Versions that did not say whose a backup is wrote no checksum either.
            Checksum::Absent if manifest.instance.is_none() => Ok(manifest),
            Checksum::Absent => Err(Error::new(
                ErrorKind::Damaged,
                "the manifest has lost its checksum",
            )),
            Checksum::Wrong => Err(Error::new(
                ErrorKind::Damaged,
                "the manifest is not what was written: its checksum is another one",
            )),
        }
    }

    /// Writes the manifest to `path`, wholly or not at all.
    ///
    /// # Errors
    /// [`ErrorKind::Io`] or [`ErrorKind::Space`].
    pub fn write(&self, path: &Path) -> Result<()> {
        durable::write_private(path, self.to_json()?.as_bytes())
    }

    /// Reads the manifest at `path`.
    ///
    /// # Errors
    /// [`ErrorKind::Io`] when it cannot be read; else like [`from_json`](Self::from_json).
    pub fn read(path: &Path) -> Result<Self> {
        let shown = path.display();
        let length = std::fs::metadata(path)
            .io_context(|| format!("cannot read {shown}"))?
            .len();
        if length > MAX_BYTES {
            return Err(Error::new(
                ErrorKind::Damaged,
                format!("{shown} is too long for a manifest: {length} bytes"),
            ));
        }
        let text = std::fs::read(path).io_context(|| format!("cannot read {shown}"))?;
        // As it was written: what was cut off or added may still be JSON.
        if !text.starts_with(b"{") || !text.ends_with(b"}\n") {
            let message = format!("{shown} is not a whole manifest");
            return Err(Error::new(ErrorKind::Damaged, message));
        }
        Self::from_json(&text).map_err(|error| {
            let kind = error.kind();
            Error::new(kind, format!("cannot use the manifest {shown}")).with_source(error)
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn manifest() -> Manifest {
        let name = "bitbucket".parse().unwrap();
        let mut manifest = Manifest::new(BackupId::at_unix(&name, 1_769_903_999));
        let dump = Artifact::staged(7).with_detail("encoding", "UTF8");
        manifest
            .parts
            .insert(PartName::Database, PartRecord::new("postgresql", dump));
        manifest
            .phases
            .push(PhaseSeconds::new(Phase::Check, Duration::from_millis(1500)));
        manifest
    }

    #[test]
    fn a_manifest_that_lost_or_got_a_byte_is_damaged() {
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().join("manifest.json");
        let text = manifest().to_json().unwrap();
        for changed in [
            &text[..text.len() - 1],
            &format!("{text}\n"),
            &format!(" {text}"),
        ] {
            std::fs::write(&path, changed).unwrap();
            let error = Manifest::read(&path).unwrap_err();
            assert_eq!(error.kind(), ErrorKind::Damaged, "{changed:?}");
        }
    }

    #[test]
    fn a_manifest_survives_being_written_and_read() {
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().join("manifest.json");
        let sealed = manifest().sealed(ArchiveSeal::new("x.tar.zst", 9, "00", 3, 4));
        sealed.write(&path).unwrap();
        assert_eq!(Manifest::read(&path).unwrap(), sealed);
    }

    #[test]
    fn a_manifest_that_says_something_else_than_was_written_is_damaged() {
        let mut manifest = manifest();
        manifest.instance = Some(InstanceIdentity::default());
        let text = manifest.to_json().unwrap();
        assert_eq!(Manifest::from_json(text.as_bytes()).unwrap(), manifest);
        for at in 0..text.len() {
            let mut bytes = text.clone().into_bytes();
            bytes[at] ^= 1;
            let error = Manifest::from_json(&bytes).unwrap_err();
            let kinds = [ErrorKind::Damaged, ErrorKind::Unsupported];
            assert!(kinds.contains(&error.kind()), "byte {at}: {error}");
        }
    }

    #[test]
    fn a_manifest_of_a_version_without_checksums_is_read() {
        let manifest = manifest();
        let text = manifest.to_json().unwrap();
        let (body, _) = text.split_once(",\n  \"checksum\"").unwrap();
        let text = format!("{body}\n}}\n");
        assert_eq!(Manifest::from_json(text.as_bytes()).unwrap(), manifest);
    }

    #[test]
    fn a_manifest_of_a_newer_format_is_refused_with_what_to_do() {
        let text = manifest()
            .to_json()
            .unwrap()
            .replace("\"format\": 1", "\"format\": 2");
        let error = Manifest::from_json(text.as_bytes()).unwrap_err();
        assert_eq!(error.kind(), ErrorKind::Unsupported);
        assert!(error.hint().unwrap().contains("newer"));
    }

    #[test]
    fn text_that_is_no_manifest_is_damage() {
        for text in ["", "{}", "[1]", "{\"format\":1}", "\u{0}"] {
            assert_eq!(
                Manifest::from_json(text.as_bytes()).unwrap_err().kind(),
                ErrorKind::Damaged,
                "{text:?}"
            );
        }
    }
}
