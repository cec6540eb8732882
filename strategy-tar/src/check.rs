//! What can be known to fail before a backup begins.

use std::fs;
use std::path::Path;

use diy_backup_core::{BackupEntry, BackupState, Findings, Origin};

use crate::config::TarConfig;
use crate::platform;

/// Headers, padding and checksums that one file or folder adds, in bytes, before compression.
const OVERHEAD_BYTES: u64 = 1536;

/// Looks at the folder for archives and at the room that the next one needs. Changes nothing.
pub(crate) fn check(config: &TarConfig, staged: &Findings, earlier: &[BackupEntry]) -> Findings {
    let directory = config.directory.as_path();
    let mut findings = Findings::new();
    look_at(directory, &mut findings);
    // What the scripts have made is not ours to look after, and may be as it is for years.
    let ours = earlier
        .iter()
        .filter(|entry| entry.origin != Origin::ShellScripts);
    for entry in ours {
        let message = match &entry.state {
            BackupState::Damaged(problem) => format!("this backup cannot be restored: {problem}"),
            BackupState::Unproven(problem) => format!("this backup counts as none: {problem}"),
            _ => continue,
        };
        let fix = format!(
            "Look at it with `diy-backup verify {}`, then delete it.",
            entry.id
        );
        findings.warning(entry.location.as_str(), message, fix);
    }
    let bytes = expected_bytes(staged, earlier);
    findings.need_space(directory, bytes, 2, "the archive");
    findings
}

fn look_at(directory: &Path, findings: &mut Findings) {
    let subject = directory.display().to_string();
    let make_it = format!("Make it: `mkdir -p -m 0700 {subject}`, owned by who runs the backup.");
    let metadata = match fs::metadata(directory) {
        Ok(metadata) => metadata,
        Err(error) if error.kind() == std::io::ErrorKind::NotFound => {
            let parent = directory.ancestors().skip(1).find(|path| path.exists());
            if parent.is_none_or(|parent| !parent.is_dir() || !platform::is_writable(parent)) {
                let message = "the folder for archives does not exist and cannot be made";
                findings.error(subject, message, make_it);
            }
            return;
        }
        Err(error) => {
            let message = format!("the folder for archives cannot be looked at: {error}");
            findings.error(subject, message, make_it);
            return;
        }
    };
    if !metadata.is_dir() {
        let fix = "Name another folder as `directory` of [archive].";
        findings.error(subject, "the folder for archives is not a folder", fix);
    } else if !platform::is_writable(directory) {
        let fix = format!("Give it to who runs the backup: `chown USER {subject}`.");
        findings.error(subject, "the folder for archives cannot be written to", fix);
    } else if platform::is_open_to_others(&metadata) {
        let fix = format!("Close it: `chmod 0700 {subject}`.");
        let message = "others may look into the folder for archives";
        findings.warning(subject, message, fix);
    }
}

/// What the next archive will be long, by how well the newest earlier one was compressed; its content as it is when
/// there is none.
fn expected_bytes(staged: &Findings, earlier: &[BackupEntry]) -> u64 {
    let overhead = staged.staged_files.saturating_mul(OVERHEAD_BYTES);
    let raw = staged.staged_bytes.saturating_add(overhead);
    let newest = earlier.iter().rev().filter(|entry| entry.is_proven());
    let ratio = newest
        .filter_map(|entry| entry.manifest.as_ref()?.archive.as_ref())
        .find(|seal| seal.content_bytes > 0)
        .map(|seal| (seal.bytes, seal.content_bytes));
    let Some((bytes, content)) = ratio else {
        return raw;
    };
    let scaled = u128::from(staged.staged_bytes) * u128::from(bytes) / u128::from(content);
    // What has come since may compress less well.
    let with_margin = scaled + scaled / 10 + u128::from(overhead / 8);
    u64::try_from(with_margin).unwrap_or(u64::MAX).min(raw)
}

#[cfg(test)]
mod tests {
    use diy_backup_core::{AbsolutePath, ArchiveSeal, BackupId, Manifest};

    use super::*;

    fn config(path: &Path) -> TarConfig {
        TarConfig::new(AbsolutePath::new(path).unwrap())
    }

    fn staged(bytes: u64) -> Findings {
        let mut staged = Findings::new();
        staged.staged_bytes = bytes;
        staged.staged_files = 8;
        staged
    }

    fn sealed(bytes: u64, content: u64) -> BackupEntry {
        let id = BackupId::at_unix(&"b".parse().unwrap(), 1);
        let seal = ArchiveSeal::new("x", bytes, "", 1, content);
        BackupEntry::ours("x", bytes, Manifest::new(id).sealed(seal))
    }

    #[test]
    fn the_newest_archive_says_how_well_the_content_compresses() {
        let without = expected_bytes(&staged(1_000_000), &[]);
        assert_eq!(without, 1_000_000 + 8 * OVERHEAD_BYTES);
        let with = expected_bytes(&staged(1_000_000), &[sealed(900, 1000), sealed(250, 1000)]);
        assert_eq!(with, 275_000 + OVERHEAD_BYTES);
    }

    #[test]
    fn a_folder_that_can_be_made_is_fine_and_is_not_made() {
        let parent = tempfile::tempdir().unwrap();
        let directory = parent.path().join("a/b");
        let findings = check(&config(&directory), &staged(5), &[]);
        assert!(findings.findings.is_empty(), "{findings:?}");
        assert_eq!(findings.space[0].path, directory);
        assert!(!parent.path().join("a").exists());
    }

    #[test]
    fn a_file_in_place_of_the_folder_is_an_error() {
        let file = tempfile::NamedTempFile::new().unwrap();
        assert!(check(&config(file.path()), &staged(5), &[]).has_errors());
        assert!(check(&config(&file.path().join("a")), &staged(5), &[]).has_errors());
    }

    #[cfg(unix)]
    #[test]
    fn a_folder_that_others_can_look_into_is_a_warning() {
        use std::os::unix::fs::PermissionsExt;
        let directory = tempfile::tempdir().unwrap();
        fs::set_permissions(directory.path(), fs::Permissions::from_mode(0o755)).unwrap();
        let findings = check(&config(directory.path()), &staged(5), &[]);
        assert!(!findings.has_errors());
        assert_eq!(findings.findings.len(), 1);
    }
}
