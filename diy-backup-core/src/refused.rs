//! Backups that a verification found damaged, remembered until one finds them whole: what a list cannot see.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};

use serde::{Deserialize, Serialize};

use crate::durable;
use crate::error::{Error, ErrorKind, Result, printable};
use crate::id::BackupId;
use crate::strategy::{BackupEntry, BackupState, Verdict};

/// The backups of a site that cannot be relied upon although nothing can be seen from outside.
#[derive(Debug, Default, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case", default)]
pub(crate) struct RefusedBackups {
    backups: BTreeMap<BackupId, Refusal>,
}

#[derive(Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
struct Refusal {
    location: String,
    bytes: u64,
    found: String,
    damage: String,
}

impl RefusedBackups {
    /// Reads what is remembered. What cannot be read is as if nothing was: the next verification tells again.
    pub(crate) fn read(state: &Path) -> Self {
        std::fs::read(path_in(state))
            .ok()
            .and_then(|text| serde_json::from_slice(&text).ok())
            .unwrap_or_default()
    }

    /// Returns why the backup cannot be relied upon, if it looks whole and a verification found it damaged.
    pub(crate) fn reason(&self, entry: &BackupEntry) -> Option<String> {
        let refusal = self.backups.get(&entry.id)?;
        // The same file, and not another one that was put in its place since.
        let is_same = refusal.location == entry.location && refusal.bytes == entry.bytes;
        if !is_same || entry.state != BackupState::Whole {
            return None;
        }
        Some(format!(
            "a verification at {} found damage: {}",
            refusal.found, refusal.damage
        ))
    }

    /// Takes note of what a verification of `entry` has found.
    ///
    /// # Errors
    /// When it cannot be written.
    pub(crate) fn remember(state: &Path, entry: &BackupEntry, verdict: &Verdict) -> Result<()> {
        // Without a state directory there is nothing yet that would go by it.
        if !state.is_dir() {
            return Ok(());
        }
        let mut all = Self::read(state);
        let changed = match verdict.damage.first() {
            None => all.backups.remove(&entry.id).is_some(),
            Some(damage) => {
                let path = damage.path.as_deref();
                let place = path.map_or(String::new(), |path| format!("{}: ", printable(path)));
                let refusal = Refusal {
                    location: entry.location.clone(),
                    bytes: entry.bytes,
                    found: chrono::Utc::now().to_rfc3339_opts(chrono::SecondsFormat::Secs, true),
                    damage: format!("{place}{}", damage.problem),
                };
                all.backups.insert(entry.id.clone(), refusal);
                true
            }
        };
        if !changed {
            return Ok(());
        }
        let text = serde_json::to_vec_pretty(&all).map_err(|error| {
            Error::new(
                ErrorKind::Internal,
                "cannot write the list of refused backups",
            )
            .with_source(error)
        })?;
        durable::write_private(&path_in(state), &text)
    }
}

fn path_in(state: &Path) -> PathBuf {
    state.join("refused.json")
}
