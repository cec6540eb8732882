//! What a check finds.

use std::path::PathBuf;

use serde::Serialize;

use crate::inventory::Inventory;

/// How bad a finding is.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Serialize)]
#[serde(rename_all = "kebab-case")]
#[non_exhaustive]
pub enum Severity {
    /// Good to know: a version, an address.
    Info,
    /// The run goes on, less well than it could.
    Warning,
    /// The run would fail: it does not begin.
    Error,
}

/// One thing that a check has found.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
#[serde(rename_all = "kebab-case")]
#[non_exhaustive]
pub struct Finding {
    /// How bad it is.
    pub severity: Severity,
    /// What it is about: `database`, `rsync`, `/var/lib/diy-backup`.
    pub subject: String,
    /// What was found.
    pub message: String,
    /// What to do about it: the command, statement or setting.
    pub fix: Option<String>,
}

/// Room that a run needs on the file system of `path`.
#[derive(Debug, Clone, PartialEq, Eq)]
#[non_exhaustive]
pub struct SpaceNeed {
    /// A path on the file system; it need not exist yet.
    pub path: PathBuf,
    /// Bytes beyond what is in use now.
    pub bytes: u64,
    /// Files and folders beyond those there are now.
    pub inodes: u64,
    /// What it is for: `the copy of the home directory`.
    pub purpose: String,
}

/// All that one part's check has found.
#[derive(Debug, Clone, Default)]
#[non_exhaustive]
pub struct Findings {
    /// In the order they were found.
    pub findings: Vec<Finding>,
    /// Room that is needed. The core adds up what falls on one file system and compares it with what is free.
    pub space: Vec<SpaceNeed>,
    /// How many bytes of staging this part will hold, as far as is known: the archive's size follows from it.
    pub staged_bytes: u64,
    /// How many files and folders of staging this part will hold.
    pub staged_files: u64,
    /// What the source of this part holds, as far as it was counted. Findings of several parts have none.
    pub inventory: Inventory,
    /// The data stores of the instance, as its database lists them. The core compares them with the configuration.
    pub data_stores: Vec<PathBuf>,
}

impl Findings {
    /// Nothing found yet.
    pub fn new() -> Self {
        Self::default()
    }

    /// Adds something that is good to know.
    pub fn info(&mut self, subject: impl Into<String>, message: impl Into<String>) {
        self.push(Severity::Info, subject.into(), message.into(), None);
    }

    /// Adds something that makes the run less good.
    pub fn warning(
        &mut self,
        subject: impl Into<String>,
        message: impl Into<String>,
        fix: impl Into<String>,
    ) {
        self.push(
            Severity::Warning,
            subject.into(),
            message.into(),
            Some(fix.into()),
        );
    }

    /// Adds something that makes the run fail, and what to do about it.
    pub fn error(
        &mut self,
        subject: impl Into<String>,
        message: impl Into<String>,
        fix: impl Into<String>,
    ) {
        self.push(
            Severity::Error,
            subject.into(),
            message.into(),
            Some(fix.into()),
        );
    }

    /// Adds an error as a finding: its causes in one line, its hint as the fix.
    pub fn failure(&mut self, subject: impl Into<String>, error: &crate::Error) {
        let message = crate::error::chain(error);
        self.push(
            Severity::Error,
            subject.into(),
            message,
            error.hint().map(str::to_owned),
        );
    }

    /// Adds room that is needed.
    pub fn need_space(
        &mut self,
        path: impl Into<PathBuf>,
        bytes: u64,
        inodes: u64,
        purpose: impl Into<String>,
    ) {
        self.space.push(SpaceNeed {
            path: path.into(),
            bytes,
            inodes,
            purpose: purpose.into(),
        });
    }

    /// Adds what another part has found.
    pub fn merge(&mut self, other: Self) {
        self.findings.extend(other.findings);
        self.space.extend(other.space);
        self.staged_bytes += other.staged_bytes;
        self.staged_files += other.staged_files;
        self.data_stores.extend(other.data_stores);
    }

    /// Whether the run would fail.
    pub fn has_errors(&self) -> bool {
        self.findings
            .iter()
            .any(|finding| finding.severity == Severity::Error)
    }

    fn push(&mut self, severity: Severity, subject: String, message: String, fix: Option<String>) {
        self.findings.push(Finding {
            severity,
            subject,
            message,
            fix,
        });
    }
}
