//! The check: everything that can be known to fail is found here, before anything is touched.

mod bitbucket;
pub(crate) mod folders;
mod space;
mod stores;

use std::collections::BTreeMap;

use crate::config::Downtime;
use crate::control::Control;
use crate::error::{Error, ErrorKind, Result};
use crate::findings::{Finding, Findings, Severity};
use crate::inventory::Shrink;
use crate::manifest::PartName;
use crate::properties;
use crate::shrink::SourceRecord;
use crate::site::Site;
use crate::strategy::{CheckContext, HomeCoverage, Pinning, Purpose};

/// What a check has found.
#[derive(Debug)]
#[non_exhaustive]
pub struct CheckReport {
    /// All findings, of all parts.
    pub findings: Vec<Finding>,
    /// The version of Bitbucket, where it said.
    pub bitbucket_version: Option<String>,
    /// How many bytes the staging folder will hold, as far as is known.
    pub staged_bytes: u64,
    /// What the check has counted, and what earlier backups had.
    pub(crate) source: SourceRecord,
}

impl CheckReport {
    /// The findings of this severity.
    pub fn of(&self, severity: Severity) -> impl Iterator<Item = &Finding> {
        self.findings
            .iter()
            .filter(move |finding| finding.severity == severity)
    }

    /// Whether a backup would begin.
    pub fn is_good(&self) -> bool {
        self.of(Severity::Error).next().is_none()
    }

    /// An error with the first finding that keeps a backup from beginning, and how many more there are.
    ///
    /// # Errors
    /// [`ErrorKind::Check`] unless the report is [good](Self::is_good).
    pub fn require_good(&self) -> Result<()> {
        let mut errors = self.of(Severity::Error);
        let Some(first) = errors.next() else {
            return Ok(());
        };
        let more = match errors.count() {
            0 => String::new(),
            count => format!(" (and {count} more: `diy-backup check` shows all)"),
        };
        let error = Error::new(
            ErrorKind::Check,
            format!("{}: {}{more}", first.subject, first.message),
        );
        Err(match &first.fix {
            Some(fix) => error.with_hint(fix.clone()),
            None => error,
        })
    }

    /// The bytes that a backup will move: into the staging folder, and from there into the archive.
    pub(crate) fn work_bytes(&self) -> u64 {
        self.staged_bytes.saturating_mul(2)
    }
}

/// Checks everything that a backup of `site` needs, and for [`Purpose::Everything`] what a restore needs too.
/// Locks nothing and changes nothing.
///
/// # Errors
/// When the check could not be done; what it finds wrong stands in the report.
pub async fn check(site: &Site, purpose: Purpose, control: &Control) -> Result<CheckReport> {
    check_with(site, purpose, Shrink::Refused, control).await
}

/// Checks what [`check`] does. A loss is reported as `shrink` says.
pub(crate) async fn check_with(
    site: &Site,
    purpose: Purpose,
    shrink: Shrink,
    control: &Control,
) -> Result<CheckReport> {
    let mut cx = CheckContext::new(site.staging());
    cx.purpose = purpose;
    cx.kind = site.instance.kind;
    cx.downtime = site.backup.downtime;
    cx.database = site.database.location();
    cx.home = HomeCoverage::of(&*site.home);
    cx.control = control.clone();

    let mut findings = folders::check(site);
    // A folder inside another one makes every further finding doubtful, and some checks would walk in circles.
    let folders_are_sound = !findings.has_errors();
    let mut bitbucket_version = None;
    let mut source = SourceRecord::default();
    if folders_are_sound {
        let (bitbucket, home, database, properties) = tokio::join!(
            bitbucket::check(site),
            site.home.check(&cx),
            site.database.check(&cx),
            properties::check(site)
        );
        findings.merge(bitbucket.findings);
        findings.merge(properties);
        bitbucket_version = bitbucket.version;
        let mut staged = Findings::new();
        let mut counted = BTreeMap::new();
        for (part, result) in [(PartName::Home, home), (PartName::Database, database)] {
            if let Ok(found) = &result {
                counted.insert(part, found.inventory);
            }
            take(&mut staged, &part.to_string(), result);
        }
        if let Some(search) = &site.search {
            take(&mut staged, "elasticsearch", search.check(&cx).await);
        }
        stores::check(site, &staged.data_stores, &mut findings);
        let archive = site.archive.check(&cx, &staged).await;
        findings.merge(staged);
        take(&mut findings, "archive", archive);
        check_downtime(site, &mut findings);
        source = SourceRecord::check(site, counted, shrink, &mut findings).await;
    }
    space::check(&mut findings);
    Ok(CheckReport {
        staged_bytes: findings.staged_bytes,
        findings: findings.findings,
        bitbucket_version,
        source,
    })
}

fn take(into: &mut Findings, subject: &str, result: Result<Findings>) {
    match result {
        Ok(findings) => into.merge(findings),
        Err(error) => into.failure(subject, &error),
    }
}

fn check_downtime(site: &Site, findings: &mut Findings) {
    if site.backup.downtime == Downtime::Zero && site.home.pinning() != Pinning::Atomic {
        findings.error(
            "backup",
            format!("`downtime = \"zero\"` does not go with the home strategy `{}`, which copies file by file", site.home.name()),
            "Set `downtime = \"locked\"`, or use a home strategy that takes atomic snapshots.",
        );
    }
}
