//! What a backup says about itself, and what becomes of the earlier ones.

use chrono::{Datelike, TimeDelta, Utc};

use super::BackupOptions;
use crate::catalog;
use crate::check::CheckReport;
use crate::config::RetentionSettings;
use crate::error::{ErrorKind, Result};
use crate::event::Events;
use crate::id::BackupId;
use crate::instance::InstanceIdentity;
use crate::inventory::Shrink;
use crate::last_good::LastGood;
use crate::manifest::{Manifest, PartName, PartRecord};
use crate::phase::Phase;
use crate::run::Run;
use crate::shrink::SourceRecord;
use crate::site::Site;
use crate::strategy::{Artifact, BackupContext, BackupEntry, Origin};
use crate::window::Released;

/// For how many seconds a backup may be ahead of the clock without a warning.
const CLOCK_TOLERANCE: i64 = 60;

/// Where a backup comes from.
#[derive(Debug)]
pub(super) struct Provenance {
    instance: InstanceIdentity,
    pub(super) source: SourceRecord,
    bitbucket_version: Option<String>,
    shrink: Shrink,
}

impl Provenance {
    /// Takes what the check has found, and the identity of the instance.
    ///
    /// # Errors
    /// When the ID of the instance can be neither read nor minted.
    pub(super) fn of(run: &Run<'_>, checked: CheckReport, options: &BackupOptions) -> Result<Self> {
        Ok(Self {
            instance: identity(run.site, &run.events)?,
            source: checked.source,
            bitbucket_version: checked.bitbucket_version,
            shrink: options.shrink,
        })
    }

    /// Describes what was taken.
    ///
    /// # Errors
    /// [`ErrorKind::Incomplete`] when it has lost more than half of something: it must not become a backup.
    pub(super) fn describe(
        &self,
        run: &Run<'_>,
        cx: &BackupContext,
        released: &Released,
        artifacts: Vec<(PartName, Artifact)>,
    ) -> Result<Manifest> {
        let site = run.site;
        let mut manifest = Manifest::new(cx.id().clone());
        manifest
            .bitbucket_version
            .clone_from(&self.bitbucket_version);
        manifest.instance = Some(self.instance.clone());
        manifest.locked_seconds = released.locked_for().as_secs_f64();
        manifest.phases = run.phases().to_vec();
        for (part, artifact) in artifacts {
            let strategy = match part {
                PartName::Home => site.home.name(),
                PartName::Database => site.database.name(),
                PartName::Elasticsearch => {
                    site.search.as_ref().map_or("none", |search| search.name())
                }
            };
            let record = PartRecord::new(strategy, artifact);
            manifest.parts.insert(part, record);
        }
        let judged = self.source.judge(&manifest.parts, self.shrink);
        manifest.doubts = judged.map_err(|error| error.in_phase(Phase::Complete))?;
        Ok(manifest)
    }
}

/// Returns the identity of the instance, for the manifest.
fn identity(site: &Site, events: &Events) -> Result<InstanceIdentity> {
    match InstanceIdentity::minted(site) {
        // Its URL tells whose the backup is; without one nothing would.
        Err(error) if error.kind() == ErrorKind::Damaged && site.instance.url.is_some() => {
            events.warning(crate::error::chain(&error));
            Ok(InstanceIdentity::of(site))
        }
        other => other,
    }
}

/// Returns the ID of a new backup: the time, or the second after the newest backup of this instance where that is
/// later.
///
/// Retention and `latest` go by the order of IDs: a backup that was taken while the clock was ahead must not make the
/// next ones older than itself.
pub(super) async fn free_id(site: &Site, events: &Events) -> Result<BackupId> {
    let listed = catalog::list(site).await?;
    let last = LastGood::read(site.backup.state.as_path()).unwrap_or_default();
    let name = &site.instance.name;
    let now = BackupId::now(name);
    // The names of the scripts' archives are in local time, which says nothing about the clock.
    let own = listed
        .iter()
        .filter(|entry| entry.may_be_own() && entry.origin == Origin::DiyBackup)
        .map(|entry| &entry.id)
        .chain(last.as_ref().map(|last| &last.manifest.backup_id))
        .filter(|id| id.name() == name);
    let (representable, endless): (Vec<_>, Vec<_>) = own.partition(|id| has_room_after(id));
    for id in endless {
        events.warning(format!(
            "the backup {id} is dated later than any other can be: it is taken for older than this one"
        ));
    }
    let newest = representable.into_iter().max().filter(|id| **id >= now);
    let mut id = match newest {
        None => now,
        Some(newest) => {
            let ahead = newest.created_unix() - now.created_unix();
            // Backups that follow each other within a second are dated by later ones.
            if ahead > CLOCK_TOLERANCE {
                events.warning(format!(
                    "the newest backup {newest} is {} ahead of the clock of this machine: this backup is dated after it, to stay the newest; look at the clock, and whether it was wrong before",
                    span(ahead)
                ));
            }
            newest.next_second()
        }
    };
    // Another instance of this name may have one of this very second.
    while listed.iter().any(|entry: &BackupEntry| entry.id == id) {
        id = id.next_second();
    }
    Ok(id)
}

/// Four digits are all that an ID has for the year: a century of backups has to fit after `id`.
fn has_room_after(id: &BackupId) -> bool {
    chrono::DateTime::<Utc>::from_timestamp(id.created_unix(), 0)
        .is_some_and(|created| created.year() < 9900)
}

/// A span of time as people say it: the two largest units.
fn span(seconds: i64) -> String {
    let span = TimeDelta::seconds(seconds);
    let parts = [
        (span.num_days(), "days"),
        (span.num_hours() % 24, "hours"),
        (span.num_minutes() % 60, "minutes"),
        (span.num_seconds() % 60, "seconds"),
    ];
    let shown: Vec<String> = parts
        .iter()
        .skip_while(|(count, _)| *count == 0)
        .take(2)
        .filter(|(count, _)| *count > 0)
        .map(|(count, unit)| format!("{count} {unit}"))
        .collect();
    shown.join(" and ")
}

/// Remembers a backup that was stored: what the next one is compared with, wherever this one is moved to.
pub(super) fn remember(site: &Site, manifest: &Manifest, events: &Events) {
    let last = LastGood::new(manifest.clone(), site.archive.directory());
    if let Err(error) = last.write(site.backup.state.as_path()) {
        events.warning(format!(
            "the next backup cannot be compared with this one: {}",
            crate::error::chain(&error)
        ));
    }
}

/// Deletes what retention says goes after the backup `own`.
pub(super) async fn prune(
    site: &Site,
    own: &BackupId,
    retention: &RetentionSettings,
    events: &Events,
) -> Result<()> {
    let plan = catalog::plan_prune_after(site, own, retention).await?;
    if let Some(why) = &plan.held {
        events.warning(format!("no old backup is deleted: {why}"));
    }
    let outcome = catalog::prune(site, &plan).await?;
    for id in &outcome.deleted {
        events.message(format!("Deleted the old backup {id}"));
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_span_is_said_in_its_two_largest_units() {
        assert_eq!(span(1), "1 seconds");
        assert_eq!(span(3600), "1 hours");
        assert_eq!(span(86_400 * 365 + 7201), "365 days and 2 hours");
        assert_eq!(span(61), "1 minutes and 1 seconds");
    }

    #[test]
    fn ids_of_the_last_years_leave_no_room() {
        let id = |text: &str| text.parse::<BackupId>().unwrap();
        assert!(has_room_after(&id("b-20991231-235959")));
        assert!(!has_room_after(&id("b-99991231-235959")));
    }
}
