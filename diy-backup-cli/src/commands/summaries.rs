//! The summary of a backup: its fields are a contract with the programs that read them.

use diy_backup_core::{BackupReport, Error, Phase, PhaseSeconds};
use serde::Serialize;

use crate::exit::Exit;

/// The last line of a backup with `--json`.
#[derive(Debug, Serialize)]
pub(super) struct BackupSummary<'a> {
    backup_id: String,
    archive: &'a str,
    bytes: u64,
    locked_seconds: f64,
    window_seconds: f64,
    drain_seconds: f64,
    capture_seconds: f64,
    total_seconds: f64,
    phases: &'a [PhaseSeconds],
    instance_locked: bool,
    warnings: &'a [String],
}

impl<'a> BackupSummary<'a> {
    pub(super) fn of(report: &'a BackupReport) -> Self {
        Self {
            backup_id: report.id.to_string(),
            archive: &report.archive,
            bytes: report.bytes,
            locked_seconds: report.locked.as_secs_f64(),
            window_seconds: report.window.as_secs_f64(),
            drain_seconds: report.seconds(Phase::Drain),
            capture_seconds: report.seconds(Phase::Capture),
            total_seconds: report.total.as_secs_f64(),
            phases: &report.phases,
            instance_locked: false,
            warnings: &report.warnings,
        }
    }
}

/// The last line of a backup that has failed.
#[derive(Debug, Serialize)]
pub(super) struct FailedBackup {
    backup_id: Option<String>,
    error: String,
    exit_code: u8,
    instance_locked: bool,
}

impl FailedBackup {
    pub(super) fn new(error: &Error, exit: Exit) -> Self {
        Self {
            backup_id: None,
            error: diy_backup_core::error_chain(error),
            exit_code: exit.code(),
            instance_locked: exit == Exit::StillLocked,
        }
    }
}
