//! What commands found or did, as text for people and as a summary for programs.

use std::fmt::Write;

use diy_backup_core::{
    BackupEntry, BackupReport, BackupState, CheckReport, InstanceState, Origin, Owner, PrunePlan,
    Recovery, RestoreReport, Severity, Status, UnfinishedRun, Verdict,
};
use serde_json::{Value, json};

use super::summaries::BackupSummary;
use crate::exit::Exit;
use crate::output::Format;

/// The result of a command that did not fail.
#[derive(Debug)]
pub(super) struct Outcome {
    text: String,
    summary: Value,
    exit: Exit,
}

impl Outcome {
    fn new(text: impl Into<String>, summary: Value) -> Self {
        Self {
            text: text.into(),
            summary,
            exit: Exit::Good,
        }
    }

    fn with_exit(mut self, exit: Exit) -> Self {
        self.exit = exit;
        self
    }

    /// Prints the result and gives the exit code.
    pub(super) fn print(self, format: Format) -> Exit {
        if format == Format::Json || !self.text.is_empty() {
            format.result(self.text.trim_end(), self.summary);
        }
        self.exit
    }
}

/// A command that has said what it did on the way.
pub(super) fn done(what: &str) -> Outcome {
    Outcome::new("", json!({ "done": what }))
}

pub(super) fn check(report: &CheckReport) -> Outcome {
    let mut text = String::new();
    for finding in &report.findings {
        let mark = match finding.severity {
            Severity::Error => "ERROR  ",
            Severity::Warning => "warning",
            _ => "ok     ",
        };
        let _ = writeln!(text, "{mark}  {}: {}", finding.subject, finding.message);
        if let Some(fix) = &finding.fix {
            let _ = writeln!(text, "         fix: {fix}");
        }
    }
    let errors = report.of(Severity::Error).count();
    let warnings = report.of(Severity::Warning).count();
    let verdict = if errors == 0 {
        "a backup can be taken"
    } else {
        "a backup would fail"
    };
    let _ = write!(text, "{verdict}: {errors} errors, {warnings} warnings");
    let summary = json!({ "findings": report.findings, "errors": errors, "warnings": warnings });
    Outcome::new(text, summary).with_exit(if report.is_good() {
        Exit::Good
    } else {
        Exit::CheckFailed
    })
}

pub(super) fn backup(report: &BackupReport, format: Format) -> Outcome {
    let exit = if let Some(error) = &report.aftermath {
        format.error(error, Exit::AftermathFailed.code());
        Exit::AftermathFailed
    } else {
        Exit::Good
    };
    let text = format!(
        "backup {}: {} bytes in {}, locked for {:.2} s, {:.1} s in all",
        report.id,
        report.bytes,
        report.archive,
        report.locked.as_secs_f64(),
        report.total.as_secs_f64()
    );
    let summary = serde_json::to_value(BackupSummary::of(report)).unwrap_or_default();
    Outcome::new(text, summary).with_exit(exit)
}

pub(super) fn list(entries: &[BackupEntry]) -> Outcome {
    let mut text = String::new();
    for entry in entries {
        let mut remark = match &entry.state {
            BackupState::Damaged(problem) => format!("  NOT RESTORABLE: {problem}"),
            BackupState::Unproven(problem) => format!("  NOT PROVEN: {problem}"),
            _ if entry.origin == Origin::ShellScripts => "  (made by the shell scripts)".to_owned(),
            _ => String::new(),
        };
        if let Owner::Other(instance) = &entry.owner {
            let _ = write!(remark, "  (of another instance: {instance})");
        }
        let _ = writeln!(
            text,
            "{}  {}  {:>14}  {:<8}  {}{remark}",
            entry.id,
            entry.created_rfc3339(),
            entry.bytes,
            entry.state.name(),
            entry.location
        );
    }
    if entries.is_empty() {
        text.push_str("there are no backups");
    }
    let backups: Vec<Value> = entries.iter().map(list_entry).collect();
    Outcome::new(text, json!({ "backups": backups }))
}

fn list_entry(entry: &BackupEntry) -> Value {
    json!({
        "backup_id": entry.id,
        "created": entry.created_rfc3339(),
        "archive": entry.location,
        "bytes": entry.bytes,
        "origin": entry.origin,
        "state": entry.state.name(),
        "problem": entry.problem(),
        "owner": match &entry.owner {
            Owner::Own => "own",
            Owner::Other(_) => "other",
            _ => "unmarked",
        },
        "instance": entry.manifest.as_ref().and_then(|manifest| manifest.instance.as_ref()),
        "locked_seconds": entry.manifest.as_ref().map(|manifest| manifest.locked_seconds),
        "bitbucket_version": entry.manifest.as_ref().and_then(|manifest| manifest.bitbucket_version.as_deref()),
    })
}

pub(super) fn verify(verdicts: &[(BackupEntry, Verdict)]) -> Outcome {
    let mut text = String::new();
    let mut results = Vec::new();
    for (entry, verdict) in verdicts {
        let how = match (verdict.is_good(), verdict.has_checksums) {
            (true, true) => "good: every byte is as it was backed up",
            (true, false) => "readable to its end; it has no checksums to compare with",
            (false, _) => "DAMAGED",
        };
        let _ = writeln!(
            text,
            "{}: {how} ({} files, {} bytes)",
            entry.id, verdict.files, verdict.content_bytes
        );
        for damage in &verdict.damage {
            let path = damage
                .path
                .as_deref()
                .map(|path| format!("{path:?}: "))
                .unwrap_or_default();
            let _ = writeln!(text, "  {path}{}", damage.problem);
        }
        results.push(json!({
            "backup_id": entry.id,
            "good": verdict.is_good(),
            "has_checksums": verdict.has_checksums,
            "files": verdict.files,
            "bytes": verdict.content_bytes,
            "damage": verdict.damage,
        }));
    }
    if verdicts.is_empty() {
        text.push_str("there are no backups");
    }
    let good = verdicts.iter().all(|(_, verdict)| verdict.is_good());
    let exit = if good { Exit::Good } else { Exit::Damaged };
    Outcome::new(text, json!({ "good": good, "backups": results })).with_exit(exit)
}

pub(super) fn restore(report: &RestoreReport) -> Outcome {
    let seconds = report.total.as_secs_f64();
    let text = format!("restored {} in {seconds:.1} s", report.id);
    let summary = json!({
        "backup_id": report.id,
        "total_seconds": seconds,
        "phases": report.phases,
        "warnings": report.warnings,
    });
    Outcome::new(text, summary)
}

pub(super) fn prune(plan: &PrunePlan, dry_run: bool) -> Outcome {
    let verb = if dry_run { "would delete" } else { "deleted" };
    let mut text: String = plan.delete.iter().fold(String::new(), |mut text, entry| {
        let _ = writeln!(text, "{verb} {} ({} bytes)", entry.id, entry.bytes);
        text
    });
    for kept in &plan.keep {
        let _ = writeln!(text, "keep {}: {}", kept.entry.id, kept.reason);
    }
    if let Some(why) = &plan.held {
        let _ = writeln!(text, "nothing is deleted: {why}");
    }
    let _ = write!(
        text,
        "{} backups go, {} stay",
        plan.delete.len(),
        plan.keep.len()
    );
    let deleted: Vec<_> = plan.delete.iter().map(|entry| &entry.id).collect();
    let kept: Vec<_> = plan.keep.iter().map(|kept| &kept.entry.id).collect();
    let reasons: Vec<_> = plan
        .keep
        .iter()
        .map(|kept| kept.reason.to_string())
        .collect();
    let summary = json!({
        "dry_run": dry_run,
        "deleted": deleted,
        "kept": kept,
        "kept_because": reasons,
        "held": plan.held,
    });
    Outcome::new(text, summary)
}

pub(super) fn recovery(recovery: &Recovery) -> Outcome {
    let mut text = match &recovery.found {
        None if recovery.unfinished.is_empty() => "there is nothing to put right".to_owned(),
        None => "no run has died since".to_owned(),
        Some(record) if recovery.restore_finished => {
            format!("the restore of {} is finished", record.backup_id)
        }
        Some(_) if !recovery.unfinished.is_empty() => {
            "the dead run could not be put right wholly".to_owned()
        }
        Some(record) => format!("what the run of {} left has been removed", record.backup_id),
    };
    text.push('\n');
    tell_unfinished(&mut text, &recovery.unfinished);
    let summary = json!({
        "recovered": recovery.found.is_some(),
        "backup_id": recovery.found.as_ref().map(|record| &record.backup_id),
        "restore_finished": recovery.restore_finished,
        "killed_processes": recovery.killed_processes,
        "unfinished": recovery.unfinished,
        "instance_locked": false,
    });
    Outcome::new(text, summary).with_exit(if recovery.unfinished.is_empty() {
        Exit::Good
    } else {
        Exit::Failed
    })
}

fn tell_unfinished(text: &mut String, runs: &[UnfinishedRun]) {
    for run in runs {
        let _ = writeln!(text, "unfinished: {}", run.describe());
    }
}

pub(super) fn status(status: &Status) -> Outcome {
    let (locked, instance) = match &status.instance {
        InstanceState::Locked => (Some(true), "LOCKED".to_owned()),
        InstanceState::Free => (Some(false), "not locked".to_owned()),
        InstanceState::NotLockable => {
            (Some(false), "a Mesh node, which is never locked".to_owned())
        }
        InstanceState::Unknown(error) => (
            None,
            format!("unknown: {}", diy_backup_core::error_chain(error)),
        ),
        _ => (None, "unknown".to_owned()),
    };
    let mut text = format!("instance: {instance}\n");
    match (&status.journal, status.run_is_alive) {
        (Some(record), true) => {
            let _ = writeln!(
                text,
                "run: a {} of {} is going on",
                word(record.operation),
                record.backup_id
            );
        }
        (None, true) => text.push_str("run: one is going on\n"),
        (Some(record), false) => {
            let _ = writeln!(
                text,
                "run: a {} of {} has died; `diy-backup recover` puts right what it left",
                word(record.operation),
                record.backup_id
            );
        }
        (None, false) => text.push_str("run: none\n"),
    }
    let problem = status.journal_problem.as_ref();
    let problem = problem.map(|error| diy_backup_core::error_chain(error));
    if let Some(problem) = &problem {
        let _ = writeln!(text, "journal: {problem}");
    }
    match &status.last {
        Some(last) => {
            let of = last
                .backup_id
                .as_ref()
                .map(|id| format!(" of {id}"))
                .unwrap_or_default();
            let how = last
                .error
                .as_deref()
                .map_or("succeeded".to_owned(), |error| format!("FAILED: {error}"));
            let _ = writeln!(
                text,
                "last run: {}{of}, ended {}, {how}",
                word(last.operation),
                last.ended
            );
        }
        None => text.push_str("last run: none\n"),
    }
    tell_unfinished(&mut text, &status.unfinished);
    let run = if status.run_is_alive {
        "alive"
    } else if status.journal.is_some() || problem.is_some() {
        "dead"
    } else {
        "none"
    };
    let summary = json!({
        "instance_locked": locked,
        "run": run,
        "operation": status.journal.as_ref().map(|record| record.operation),
        "backup_id": status.journal.as_ref().map(|record| &record.backup_id),
        "step": status.journal.as_ref().map(|record| record.step),
        "needs_recovery": status.needs_recovery(),
        "journal_problem": problem,
        "last": status.last,
        "unfinished": status.unfinished,
    });
    Outcome::new(text, summary).with_exit(status_exit(status))
}

fn status_exit(status: &Status) -> Exit {
    let failed = status
        .last
        .as_ref()
        .is_some_and(|last| last.error.is_some());
    match status.instance {
        _ if status.run_is_alive => Exit::Good,
        InstanceState::Locked => Exit::StillLocked,
        InstanceState::Unknown(_) => Exit::Failed,
        _ if status.needs_recovery() || failed || !status.unfinished.is_empty() => Exit::Failed,
        _ => Exit::Good,
    }
}

fn word(operation: diy_backup_core::Operation) -> &'static str {
    match operation {
        diy_backup_core::Operation::Backup => "backup",
        diy_backup_core::Operation::Restore => "restore",
        _ => "run",
    }
}
