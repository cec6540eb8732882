use std::time::SystemTime;

use chrono::{DateTime, SecondsFormat};
use serde::Serialize;

use super::local_time::{self, Evidence};
use crate::id::BackupId;
use crate::manifest::Manifest;

/// One backup, as [`ArchiveStrategy::list`](crate::ArchiveStrategy::list) shows it.
#[derive(Debug, Clone, Serialize)]
#[non_exhaustive]
pub struct BackupEntry {
    /// Its ID.
    #[serde(rename = "backup_id")]
    pub id: BackupId,
    /// When it began, in seconds since the Unix epoch. The ID of a backup of the shell scripts has it in local time.
    #[serde(skip)]
    pub created_unix: i64,
    /// Where it is: a path, or the ID of a snapshot.
    pub location: String,
    /// Its size in bytes.
    pub bytes: u64,
    /// Who made it.
    pub origin: Origin,
    /// What it says about itself; none for a backup made by the shell scripts.
    #[serde(skip)]
    pub manifest: Option<Manifest>,
    /// How much is known of it without reading it.
    #[serde(flatten)]
    pub state: BackupState,
    /// Whose backup it is. [`list`](fn@crate::list) finds that out; a strategy leaves it as it is.
    #[serde(flatten)]
    pub owner: Owner,
}

/// How much is known of a backup without reading it.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
#[serde(rename_all = "kebab-case", tag = "state", content = "problem")]
#[non_exhaustive]
pub enum BackupState {
    /// Its manifest seals it, and it is as long as the seal says.
    Whole,
    /// The shell scripts made it, which write nothing that it could be compared with. Only reading it tells whether it
    /// is whole.
    Unsealed,
    /// Something that would prove it is not there, and why. A restore that names it reads it to its end and goes by
    /// the checksums inside; nothing else counts on it.
    Unproven(String),
    /// It cannot be restored, and why.
    Damaged(String),
}

/// Whose backup it is. Instances of one name may keep their backups in one place.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
#[serde(rename_all = "kebab-case", tag = "owner", content = "instance")]
#[non_exhaustive]
pub enum Owner {
    /// The instance of this configuration.
    Own,
    /// It does not say: an earlier version made it, or the shell scripts, or its manifest is lost.
    Unmarked,
    /// Another instance, described in the words of its manifest.
    Other(String),
}

/// Who made a backup.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
#[serde(rename_all = "kebab-case")]
#[non_exhaustive]
pub enum Origin {
    /// This program: there is a manifest with checksums.
    DiyBackup,
    /// The shell scripts: there is neither.
    ShellScripts,
}

impl BackupEntry {
    /// Returns a whole backup made by this program, as its manifest describes it.
    pub fn ours(location: impl Into<String>, bytes: u64, manifest: Manifest) -> Self {
        Self {
            created_unix: manifest.backup_id.created_unix(),
            id: manifest.backup_id.clone(),
            location: location.into(),
            bytes,
            origin: Origin::DiyBackup,
            manifest: Some(manifest),
            state: BackupState::Whole,
            owner: Owner::Unmarked,
        }
    }

    /// Returns a backup without a manifest, as the shell scripts make them.
    pub fn from_scripts(id: BackupId, location: impl Into<String>, bytes: u64) -> Self {
        Self {
            created_unix: id.created_unix(),
            id,
            location: location.into(),
            bytes,
            origin: Origin::ShellScripts,
            manifest: None,
            state: BackupState::Unsealed,
            owner: Owner::Unmarked,
        }
    }

    /// Takes the time in the ID for local time. When the archive was `written`, and the last three digits of the seconds
    /// since the epoch, the `ending`, tell in which time zone that was; without them it is that of this machine.
    #[must_use]
    pub fn in_local_time(mut self, written: Option<SystemTime>, ending: Option<u16>) -> Self {
        let evidence = Evidence::new(written, ending);
        self.created_unix = local_time::instant(self.id.created_unix(), evidence);
        self
    }

    /// Returns when the backup began, as RFC 3339 in UTC.
    pub fn created_rfc3339(&self) -> String {
        DateTime::from_timestamp(self.created_unix, 0)
            .unwrap_or_default()
            .to_rfc3339_opts(SecondsFormat::Secs, true)
    }

    /// Sets why the backup cannot be restored.
    #[must_use]
    pub fn with_problem(mut self, problem: impl Into<String>) -> Self {
        self.state = BackupState::Damaged(problem.into());
        self
    }

    /// Sets what is missing that would prove the backup.
    #[must_use]
    pub fn unproven(mut self, reason: impl Into<String>) -> Self {
        self.state = BackupState::Unproven(reason.into());
        self
    }

    /// Returns why the backup cannot be restored, or what is missing that would prove it.
    pub fn problem(&self) -> Option<&str> {
        self.state.problem()
    }

    /// Returns why the backup cannot be restored, as far as can be seen without reading it.
    pub fn damage(&self) -> Option<&str> {
        match &self.state {
            BackupState::Damaged(problem) => Some(problem),
            _ => None,
        }
    }

    /// Returns `true` if nothing that can be seen without reading it speaks against a restore.
    pub fn is_good(&self) -> bool {
        self.problem().is_none()
    }

    /// Returns `true` if the backup is proven as far as that is possible without reading it: it alone counts as one of
    /// those that retention keeps, and as the `latest` of a restore.
    pub fn is_proven(&self) -> bool {
        self.state == BackupState::Whole
    }

    /// Returns `true` unless the backup is known to be another instance's.
    pub fn may_be_own(&self) -> bool {
        !matches!(self.owner, Owner::Other(_))
    }
}

impl BackupState {
    /// Returns the name of the state, as `list` shows it.
    pub fn name(&self) -> &'static str {
        match self {
            Self::Whole => "whole",
            Self::Unsealed => "unsealed",
            Self::Unproven(_) => "unproven",
            Self::Damaged(_) => "damaged",
        }
    }

    /// Returns why it cannot be restored, or what is missing that would prove it.
    pub fn problem(&self) -> Option<&str> {
        match self {
            Self::Whole | Self::Unsealed => None,
            Self::Unproven(problem) | Self::Damaged(problem) => Some(problem),
        }
    }
}
