//! Keeping a copy up to date with what a tracker tells: while people work, and at the end in the lock window.
//!
//! Tracking makes a backup quicker and must not make it fail: whatever it cannot do is left to a pass over everything.

use std::collections::BTreeSet;
use std::path::PathBuf;
use std::time::{Duration, SystemTime};

use diy_backup_core::{Control, Error, ErrorKind, Events, Result};
use futures_util::future::try_join_all;

use crate::census::Census;
use crate::changes::Changes;
use crate::config::TrackChanges;
use crate::copier::{Copier, Quiet};
use crate::folder::Folder;
use crate::links::{Links, look_begins};
use crate::platform;
use crate::survey::{Plan, Survey};
use crate::times::Moment;
use crate::track::{Change, Dirty, Lost, Unavailable};
use crate::verify::Verification;
use crate::walk::{Stop, blocking};

/// So few changed paths are left to the lock window.
const FEW: usize = 100;
const MOST_LIVE_ROUNDS: u32 = 8;

/// The instance is drained: more rounds than one are for what else works in the folders, where they take no time.
const MOST_CAPTURE_ROUNDS: u32 = 3;

/// While the instance is drained, no change of the next moments is expected: longer than any window.
const DRAINED: Duration = Duration::from_hours(24);

/// A folder and how far its copy is.
#[derive(Debug)]
pub(crate) struct CopiedFolder {
    pub(crate) folder: Folder,
    pub(crate) configured: PathBuf,
    /// When the last pass over everything began.
    pub(crate) began: SystemTime,
    pub(crate) census: Census,
    /// What was copied in the lock window, or removed from the copy.
    pub(crate) captured: BTreeSet<PathBuf>,
}

/// What knows the changes, and what was captured with its help.
#[derive(Debug)]
pub(crate) struct Tracking {
    changes: Changes,
    /// When changes began to be followed.
    since: Moment,
    /// When the capture began.
    opened: Option<Moment>,
}

/// Why changed paths alone do not make the copy.
#[derive(Debug)]
pub(crate) enum Setback {
    /// Everything has to be looked at, for this reason.
    LookAtAll(String),
    /// Nothing helps.
    Failed(Error),
}

impl Tracking {
    /// Begins to follow the changes in `folders`: as the kernel tells them, if that is wanted and possible, or by
    /// looking at change times. `None` where neither can be relied on.
    ///
    /// # Errors
    /// [`ErrorKind::Check`] when the kernel has to tell them and does not; when the run is cancelled.
    pub(crate) async fn begin(
        wanted: TrackChanges,
        folders: &[Folder],
        events: &Events,
        control: &Control,
    ) -> Result<Option<Self>> {
        let told = if wanted == TrackChanges::Never {
            None
        } else {
            let folders = folders.to_vec();
            Some(blocking(move || Ok(Changes::told(&folders))).await?)
        };
        let changes = match told {
            Some(Ok(changes)) => changes,
            Some(Err(unavailable)) if wanted == TrackChanges::Always => {
                return Err(refusal(&unavailable));
            }
            not_told => {
                if let Some(Err(Unavailable { reason, .. })) = not_told {
                    events.message(format!(
                        "Changes are not tracked, so every file is looked at while the instance is locked: {reason}"
                    ));
                }
                let folders = folders.to_vec();
                match blocking(move || Ok(Changes::seen(&folders))).await? {
                    Ok(changes) => changes,
                    Err(Unavailable { reason, .. }) => {
                        tracing::debug!(reason, "change times are not relied on");
                        return Ok(None);
                    }
                }
            }
        };
        let this = Self {
            changes,
            since: Moment::now(),
            opened: None,
        };
        match this.start_again(control).await {
            Ok(()) => Ok(Some(this)),
            Err(Setback::Failed(error)) => Err(error),
            Err(Setback::LookAtAll(reason)) => {
                tracing::debug!(reason, "changes are not followed");
                Ok(None)
            }
        }
    }

    /// Ends to follow changes.
    pub(crate) async fn end(self) {
        self.changes.end().await;
    }

    /// Forgets what has changed: a pass over everything follows.
    pub(crate) async fn start_again(&self, control: &Control) -> Result<(), Setback> {
        self.changes.start_again(control).await
    }

    /// Copies what changes, over and over until little is left.
    pub(crate) async fn catch_up(
        &self,
        copier: &Copier,
        folders: &mut [CopiedFolder],
        quiet: &Quiet,
    ) -> Result<(), Setback> {
        for round in 0..MOST_LIVE_ROUNDS {
            if !self.changes.is_worth_while() {
                break;
            }
            let changes = self.changes.take(&copier.control).await?;
            let count: usize = changes.iter().map(Dirty::len).sum();
            tracing::debug!(round, paths = count, "catching up");
            if changes.iter().all(Dirty::is_empty) {
                break;
            }
            if round > 0 && count <= FEW {
                for (number, dirty) in changes.into_iter().enumerate() {
                    let control = &copier.control;
                    self.changes.give_back(number, dirty, control).await?;
                }
                break;
            }
            for ((number, dirty), copied) in changes.into_iter().enumerate().zip(&mut *folders) {
                let mut plan = survey(copier, copied, dirty).await?;
                let unsettled = std::mem::take(&mut plan.unsettled);
                let followed = copier.follow(&copied.folder, plan, quiet).await;
                followed.map_err(|error| Setback::of(error, &copier.control))?;
                if !unsettled.is_empty() {
                    self.settle(number, unsettled, copier, copied).await?;
                }
            }
        }
        Ok(())
    }

    /// Finds out about the other names of files, which are copied again in the next round.
    async fn settle(
        &self,
        number: usize,
        unsettled: Vec<PathBuf>,
        copier: &Copier,
        copied: &mut CopiedFolder,
    ) -> Result<(), Setback> {
        // Most of them have a second name for a moment only: git makes its files so.
        let is_linked = |path: &PathBuf| {
            let found = copied.folder.source.join(path).symlink_metadata();
            found.is_ok_and(|found| crate::platform::Facts::of(&found).links > 1)
        };
        if unsettled.iter().any(is_linked) {
            look_for_links(copier, copied, look_begins()).await?;
        }
        let mut again = Dirty::default();
        for path in unsettled {
            again
                .mark(path, Change::Content)
                .map_err(|_| Setback::LookAtAll("too many files have several names".to_owned()))?;
        }
        let control = &copier.control;
        self.changes.give_back(number, again, control).await
    }

    /// Copies what has changed, while the instance is drained.
    pub(crate) async fn capture(
        &mut self,
        copier: &Copier,
        folders: &mut [CopiedFolder],
    ) -> Result<(), Setback> {
        let opened = Moment::now();
        for round in 0..MOST_CAPTURE_ROUNDS {
            // A look at everything would double the window for the sake of whoever should not be at work.
            if round > 0 && !self.changes.is_worth_while() {
                break;
            }
            let mut changes = self.changes.take(&copier.control).await?;
            if round == 0 && self.changes.are_told() {
                let since = self.since.change_time();
                for (dirty, copied) in changes.iter_mut().zip(&mut *folders) {
                    add_changed_elsewhere(dirty, copier, copied, since).await?;
                }
            }
            let count: usize = changes.iter().map(Dirty::len).sum();
            tracing::debug!(round, paths = count, "copying what has changed");
            if changes.iter().all(Dirty::is_empty) {
                break;
            }
            let copies = folders.iter_mut().zip(changes);
            try_join_all(copies.map(|(copied, dirty)| capture_folder(copier, copied, dirty)))
                .await?;
        }
        self.opened = Some(opened);
        Ok(())
    }

    /// Proves that the copies are what the folders were when the window opened, where they were captured so.
    ///
    /// # Errors
    /// Where they are not, with the paths.
    pub(crate) async fn verify(&self, copier: &Copier, folders: &mut [CopiedFolder]) -> Result<()> {
        let Some(opened) = self.opened else {
            return Ok(());
        };
        for (number, copied) in folders.iter_mut().enumerate() {
            let stop = Stop::new(&copier.control);
            let _stop_with_us = stop.on_drop();
            let (changes, folder) = (self.changes.clone(), copied.folder.clone());
            let (opened_at, doubtful_since) =
                (opened.change_time(), crate::proven::set_back(copied.began));
            let captured = std::mem::take(&mut copied.captured);
            let links = std::mem::take(&mut copied.census.links);
            let verified = blocking(move || {
                Verification {
                    captured: &captured,
                    links: &links,
                    folder: &folder,
                    number,
                    changes: &changes,
                    opened: opened_at,
                    doubtful_since,
                    stop: &stop,
                }
                .run()
            })
            .await?;
            copied.census.entries = verified.entries;
            copied.census.bytes = verified.bytes;
            copied.census.content_bytes = verified.content_bytes;
            copied.began = opened.at;
        }
        Ok(())
    }
}

impl Setback {
    /// A pass over everything copes with more than changed paths do; nothing copes with a full disk, or a run that
    /// ends.
    pub(crate) fn of(error: Error, control: &Control) -> Self {
        if control.is_cancelled() || error.kind() == ErrorKind::Space {
            return Self::Failed(error);
        }
        Self::LookAtAll(error.to_string())
    }
}

impl From<Lost> for Setback {
    fn from(lost: Lost) -> Self {
        Self::LookAtAll(lost.to_string())
    }
}

/// The error of a run that demands what cannot be had.
pub(crate) fn refusal(unavailable: &Unavailable) -> Error {
    let message = format!("changes cannot be tracked: {}", unavailable.reason);
    Error::new(ErrorKind::Check, message).with_hint(unavailable.fix.clone())
}

async fn capture_folder(
    copier: &Copier,
    copied: &mut CopiedFolder,
    dirty: Dirty,
) -> Result<(), Setback> {
    if dirty.is_empty() {
        return Ok(());
    }
    let mut plan = survey(copier, copied, dirty.clone()).await?;
    if !plan.unsettled.is_empty() {
        // Looking for their other names takes less than a pass over everything.
        // Nothing changes meanwhile, and whatever did would be told.
        look_for_links(copier, copied, platform::file_clock() + DRAINED).await?;
        plan = survey(copier, copied, dirty).await?;
    }
    if let Some(path) = plan.unsettled.first() {
        let reason = format!("the other names of {} are not known", path.display());
        return Err(Setback::LookAtAll(reason));
    }
    let paths = plan.list.iter().chain(&plan.remove).cloned();
    copied.captured.extend(paths);
    match copier.follow(&copied.folder, plan, &Quiet::Yes).await {
        // What vanishes or cannot be read while the instance is drained does so in every pass.
        Err(error) if error.kind() == ErrorKind::Tool => Err(Setback::Failed(error)),
        other => other.map_err(|error| Setback::of(error, &copier.control)),
    }
}

/// Finds all names of the files that have several.
async fn look_for_links(
    copier: &Copier,
    copied: &mut CopiedFolder,
    began: SystemTime,
) -> Result<(), Setback> {
    let (folder, stop) = (copied.folder.clone(), Stop::new(&copier.control));
    let _stop_with_us = stop.on_drop();
    copied.census.links = blocking(move || Links::of(&folder, began, &stop))
        .await
        .map_err(|error| Setback::of(error, &copier.control))?;
    Ok(())
}

/// Adds files that have changed by names which are not in the folder: of these, the kernel tells only the others.
async fn add_changed_elsewhere(
    dirty: &mut Dirty,
    copier: &Copier,
    copied: &mut CopiedFolder,
    since: SystemTime,
) -> Result<(), Setback> {
    let stop = Stop::new(&copier.control);
    let _stop_with_us = stop.on_drop();
    let folder = copied.folder.clone();
    let links = std::mem::take(&mut copied.census.links);
    let (changed, links) = blocking(move || {
        let changed = links.changed_elsewhere(&folder, since, &stop)?;
        Ok((changed, links))
    })
    .await
    .map_err(|error| Setback::of(error, &copier.control))?;
    copied.census.links = links;
    for name in changed {
        dirty
            .mark(name, Change::Content)
            .map_err(|_| Setback::LookAtAll("too many files have several names".to_owned()))?;
    }
    Ok(())
}

async fn survey(copier: &Copier, copied: &mut CopiedFolder, dirty: Dirty) -> Result<Plan, Setback> {
    let stop = Stop::new(&copier.control);
    let _stop_with_us = stop.on_drop();
    let folder = copied.folder.clone();
    let mut links = std::mem::take(&mut copied.census.links);
    let (plan, links) = blocking(move || {
        let plan = Survey::new(&folder, &mut links, &stop).run(dirty)?;
        Ok((plan, links))
    })
    .await
    .map_err(|error| Setback::of(error, &copier.control))?;
    copied.census.links = links;
    Ok(plan)
}
