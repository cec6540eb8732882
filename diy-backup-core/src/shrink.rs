//! Losses: what a source holds now, against what the last good backup has of it.

use std::collections::{BTreeMap, BTreeSet};
use std::fmt::Write;
use std::path::PathBuf;

use crate::catalog;
use crate::error::{Error, ErrorKind, Result};
use crate::findings::Findings;
use crate::id::BackupId;
use crate::instance::InstanceIdentity;
use crate::inventory::{Inventory, Shrink};
use crate::last_good::{KnownDirectory, LastGood};
use crate::manifest::{Manifest, PartName, PartRecord};
use crate::site::Site;
use crate::strategy::{BackupEntry, Owner};

const ACCEPT: &str = "Look whether everything is mounted and in its place. If it is meant, `diy-backup backup --accept-shrink` lets it through once.";

/// What earlier backups and the check of a run know of the source, and of the place for archives.
#[derive(Debug, Clone, Default)]
pub(crate) struct SourceRecord {
    /// The newest good backup of this instance.
    baseline: Option<Manifest>,
    /// What the check has counted.
    counted: BTreeMap<PartName, Inventory>,
    /// The parts whose loss is accepted.
    accepted: BTreeSet<PartName>,
    /// The directory for archives as the check has seen it.
    directory: Option<KnownDirectory>,
    /// What makes the run doubtful, although it goes on.
    pub(crate) doubts: Vec<String>,
}

impl SourceRecord {
    /// Compares the source with the newest good backup, and the directory for archives with the one that backup was
    /// stored in. What has been lost is an error among `findings`, or a warning where it is accepted.
    pub(crate) async fn check(
        site: &Site,
        counted: BTreeMap<PartName, Inventory>,
        shrink: Shrink,
        findings: &mut Findings,
    ) -> Self {
        let last = read_last_good(site, findings);
        // A list that cannot be read is a finding of the archive's own check.
        let listed = catalog::list(site).await.ok();
        let directory = match site.archive.directory() {
            Some(path) => KnownDirectory::look(path).await,
            None => None,
        };
        let mut record = Self {
            baseline: newest(last.as_ref(), listed.as_deref()),
            counted,
            directory,
            ..Self::default()
        };
        record.compare_source(shrink, findings);
        record.compare_data_stores(site, findings);
        if let (Some(last), Some(listed)) = (last, listed) {
            record.compare_directory(site, &last, &listed, shrink, findings);
        }
        record
    }

    fn compare_source(&mut self, shrink: Shrink, findings: &mut Findings) {
        let Some(baseline) = &self.baseline else {
            return;
        };
        for (part, now) in &self.counted {
            let Some(before) = inventory_of(&baseline.parts, *part) else {
                continue;
            };
            let Some(counts) = loss(&before, now) else {
                continue;
            };
            let message = shrunk(*part, &baseline.backup_id, &counts);
            report(
                shrink,
                &part.to_string(),
                message,
                &mut self.doubts,
                findings,
            );
            self.accepted.insert(*part);
        }
    }

    fn compare_data_stores(&mut self, site: &Site, findings: &mut Findings) {
        let Some(baseline) = &self.baseline else {
            return;
        };
        for path in missing_data_stores(baseline, site.home.data_stores()) {
            let message = format!(
                "the backup {} has the data store {path}, which is not configured any more",
                baseline.backup_id
            );
            let fix = format!("If repositories are still there, add {path} to `data-stores`.");
            self.doubts.push(message.clone());
            findings.warning("home", message, fix);
        }
    }

    fn compare_directory(
        &mut self,
        site: &Site,
        last: &LastGood,
        listed: &[BackupEntry],
        shrink: Shrink,
        findings: &mut Findings,
    ) {
        let known = last.directory.as_ref();
        let Some((known, path)) = known.zip(site.archive.directory()) else {
            return;
        };
        if known.path != path || listed.iter().any(BackupEntry::may_be_own) {
            return;
        }
        let subject = path.display().to_string();
        let id = &last.manifest.backup_id;
        match &self.directory {
            None => {
                let message = format!(
                    "the directory for archives does not exist, although the backup {id} was stored there: is its file system not mounted?"
                );
                report(shrink, &subject, message, &mut self.doubts, findings);
            }
            Some(now) if !now.is_same(known) => {
                let message = format!(
                    "another directory is in the place of the one for archives that the backup {id} was stored in, and holds no backup of this instance: is its file system not mounted?"
                );
                report(shrink, &subject, message, &mut self.doubts, findings);
            }
            Some(_) => findings.warning(
                subject,
                format!(
                    "no backup of this instance is here any more, although {id} was stored here"
                ),
                "Look where they went, unless something moves them away on purpose.",
            ),
        }
    }

    /// Compares what was taken with what the check has counted and with the newest good backup. Returns what makes the
    /// run doubtful.
    ///
    /// # Errors
    /// [`ErrorKind::Incomplete`] when more than half of something is gone.
    pub(crate) fn judge(
        &self,
        parts: &BTreeMap<PartName, PartRecord>,
        shrink: Shrink,
    ) -> Result<Vec<String>> {
        let mut doubts = self.doubts.clone();
        for (part, record) in parts {
            let taken = &record.artifact.inventory;
            let counted = self.counted.get(part);
            if let Some(counts) = counted.and_then(|counted| loss(counted, taken)) {
                let message = format!(
                    "{part}: more than half of what the check had counted was not there any more when it was copied: {counts}"
                );
                return Err(Error::new(ErrorKind::Incomplete, message).with_hint(
                    "Look whether something was unmounted meanwhile, and back up again. Nothing was archived.",
                ));
            }
            let baseline = self.baseline.as_ref();
            let before = baseline.and_then(|manifest| {
                inventory_of(&manifest.parts, *part).map(|before| (&manifest.backup_id, before))
            });
            let Some((id, before)) = before else { continue };
            let Some(counts) = loss(&before, taken) else {
                continue;
            };
            if shrink == Shrink::Refused {
                let message = format!("{part}: {}", shrunk(*part, id, &counts));
                return Err(Error::new(ErrorKind::Incomplete, message).with_hint(ACCEPT));
            }
            if !self.accepted.contains(part) {
                doubts.push(shrunk(*part, id, &counts));
            }
        }
        Ok(doubts)
    }

    /// Makes sure that the directory for archives is still the one that the check has seen.
    ///
    /// # Errors
    /// [`ErrorKind::Incomplete`] when it is gone, or another one in its place is empty.
    pub(crate) async fn ensure_directory(&self, site: &Site) -> Result<()> {
        let Some(seen) = &self.directory else {
            return Ok(());
        };
        let now = KnownDirectory::look(&seen.path).await;
        if now.as_ref().is_some_and(|now| now.is_same(seen)) {
            return Ok(());
        }
        // A file system that was mounted again meanwhile may have another number.
        if now.is_some() && !site.archive.list().await?.is_empty() {
            return Ok(());
        }
        let message = format!(
            "the directory for archives {} is not the one that the check has seen: was its file system unmounted?",
            seen.path.display()
        );
        Err(Error::new(ErrorKind::Incomplete, message)
            .with_hint("Mount it, and back up again. Nothing was archived."))
    }
}

/// Adds a loss: an error, or a warning and a doubt where it is accepted.
fn report(
    shrink: Shrink,
    subject: &str,
    message: String,
    doubts: &mut Vec<String>,
    findings: &mut Findings,
) {
    match shrink {
        Shrink::Refused => findings.error(subject, message, ACCEPT),
        Shrink::Accepted => {
            doubts.push(message.clone());
            findings.warning(
                subject,
                format!("{message} (accepted)"),
                "No old backup is deleted in this run.",
            );
        }
    }
}

fn read_last_good(site: &Site, findings: &mut Findings) -> Option<LastGood> {
    let identity = InstanceIdentity::of(site);
    match LastGood::read(site.backup.state.as_path()) {
        // Another instance may have used this state directory.
        Ok(last) => last.filter(|last| {
            let recorded = last.manifest.instance.as_ref();
            recorded.is_none_or(|recorded| identity.is_same(recorded))
        }),
        Err(error) => {
            findings.warning(
                "state",
                format!(
                    "the last good backup is not known, so that less can be compared with it: {}",
                    crate::error::chain(&error)
                ),
                "The next backup that succeeds writes it anew.",
            );
            None
        }
    }
}

/// The manifest of the newest good backup: of those that are listed, or the last one that was taken, wherever it is now.
fn newest(last: Option<&LastGood>, listed: Option<&[BackupEntry]>) -> Option<Manifest> {
    let entries = listed.unwrap_or_default();
    let shared = entries
        .iter()
        .any(|entry| matches!(entry.owner, Owner::Other(_)));
    let own = entries.iter().filter(|entry| match entry.owner {
        Owner::Own => true,
        Owner::Unmarked => !shared,
        Owner::Other(_) => false,
    });
    own.filter(|entry| entry.is_proven())
        .filter_map(|entry| entry.manifest.as_ref())
        .chain(last.map(|last| &last.manifest))
        .max_by(|one, other| one.backup_id.cmp(&other.backup_id))
        .cloned()
}

fn inventory_of(parts: &BTreeMap<PartName, PartRecord>, part: PartName) -> Option<Inventory> {
    parts.get(&part).map(|record| record.artifact.inventory)
}

/// The paths of data stores that the backup has and the configuration has not. A configuration with as many has moved
/// one, and lost none.
fn missing_data_stores(manifest: &Manifest, configured: &[PathBuf]) -> Vec<String> {
    let Some(home) = manifest.part(PartName::Home) else {
        return Vec::new();
    };
    let recorded: Vec<&str> = (0..)
        .map_while(|number| home.artifact.detail(&format!("data-store-{number}")))
        .collect();
    if recorded.len() <= configured.len() {
        return Vec::new();
    }
    let is_configured = |path: &&str| {
        let known = |configured: &PathBuf| configured.display().to_string() == **path;
        configured.iter().any(known)
    };
    recorded
        .into_iter()
        .filter(|path| !is_configured(path))
        .map(crate::error::printable)
        .collect()
}

fn shrunk(part: PartName, id: &BackupId, counts: &str) -> String {
    format!("more than half of what the backup {id} has of the {part} is gone: {counts}")
}

/// All counts before and now, if more than half of any is gone: of 2 one may go, of 1 none.
fn loss(before: &Inventory, now: &Inventory) -> Option<String> {
    let counts = [
        ("entries", before.entries, now.entries),
        ("bytes", before.bytes, now.bytes),
        ("repositories", before.repositories, now.repositories),
        ("tables", before.tables, now.tables),
    ];
    let mut text = String::new();
    let mut is_loss = false;
    for (what, before, now) in counts {
        let Some((before, now)) = before.zip(now) else {
            continue;
        };
        // More than half is gone: twice what is left is less than what there was.
        is_loss |= now < before.div_ceil(2);
        let separator = if text.is_empty() { "" } else { "; " };
        let _ = write!(text, "{separator}{what} {before} before, {now} now");
    }
    is_loss.then_some(text)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::strategy::Artifact;

    #[test]
    fn more_than_half_is_a_loss_and_half_is_none() {
        let repositories = |count| Inventory::new().with_repositories(count);
        for (before, now, lost) in [
            (2, 1, false),
            (1, 0, true),
            (2, 0, true),
            (3, 2, false),
            (3, 1, true),
            (4, 2, false),
            (5, 2, true),
            (5, 3, false),
            (0, 0, false),
            (1, 9, false),
            (u64::MAX, 1, true),
        ] {
            let counts = loss(&repositories(before), &repositories(now));
            assert_eq!(counts.is_some(), lost, "{before} to {now}: {counts:?}");
        }
    }

    #[test]
    fn a_count_that_is_absent_compares_with_nothing() {
        let whole = Inventory::new().with_tree(10, 1000).with_repositories(5);
        assert_eq!(loss(&whole, &Inventory::new()), None);
        assert_eq!(loss(&Inventory::new(), &whole), None);
        let counts = loss(&whole, &Inventory::new().with_tree(9, 1)).unwrap();
        assert_eq!(counts, "entries 10 before, 9 now; bytes 1000 before, 1 now");
    }

    #[test]
    fn a_data_store_that_is_not_configured_any_more_is_named() {
        let mut manifest = Manifest::new(BackupId::at_unix(&"b".parse().unwrap(), 1));
        let home = Artifact::staged(1)
            .with_detail("data-store-0", "/mnt/a")
            .with_detail("data-store-1", "/mnt/b");
        let record = PartRecord::new("rsync", home);
        manifest.parts.insert(PartName::Home, record);
        let missing = |configured: &[&str]| {
            let configured: Vec<_> = configured.iter().map(PathBuf::from).collect();
            missing_data_stores(&manifest, &configured)
        };
        assert_eq!(missing(&["/mnt/b"]), ["/mnt/a"]);
        assert_eq!(missing(&[]), ["/mnt/a", "/mnt/b"]);
        assert!(missing(&["/mnt/b", "/mnt/a"]).is_empty());
        assert!(missing(&["/mnt/b", "/mnt/c"]).is_empty());
    }
}
