//! A backup: a live pass, a pass over the drained instance, and what is written down about them.

use std::collections::BTreeSet;
use std::path::PathBuf;
use std::time::{Duration, Instant, SystemTime};

use diy_backup_core::{
    Artifact, BackupContext, ErrorKind, Events, Inventory, LockWindow, Phase, Released, Result,
    ResultExt, Session, Staging, async_trait,
};
use futures_util::future::try_join_all;

use crate::census::Census;
use crate::config::{RepositoryId, TrackChanges};
use crate::copier::{Copier, Quiet};
use crate::decay::remove_decayed;
use crate::folder::{Folder, Role};
use crate::mend::Doubt;
use crate::platform;
use crate::proven::{Proven, SLACK, set_back};
use crate::repositories;
use crate::times::TICK;
use crate::track;
use crate::tracked::{CopiedFolder, Setback, Tracking};
use crate::walk::{Stop, blocking};

/// A live pass that took longer has left much to do: another one follows.
const SHORT_PASS: Duration = Duration::from_mins(1);
const MOST_LIVE_PASSES: u32 = 3;

/// After so many passes that lost track of what changes, tracking is given up.
const MOST_TRACKED_PASSES: u32 = 2;

/// One backup of the home directory and the data stores.
#[derive(Debug)]
pub(crate) struct RsyncSession {
    copier: Copier,
    folders: Vec<CopiedFolder>,
    proven: Proven,
    excluded: Vec<RepositoryId>,
    /// Where changes are tracked.
    tracking: Option<Tracking>,
    events: Events,
}

/// What a backup is to copy.
#[derive(Debug)]
pub(crate) struct Task {
    /// Each with its path in the configuration.
    pub(crate) folders: Vec<(Folder, PathBuf)>,
    /// What earlier runs have written down.
    pub(crate) proven: Proven,
    pub(crate) excluded: Vec<RepositoryId>,
    pub(crate) track_changes: TrackChanges,
    /// What the live pass will copy, as far as is known.
    pub(crate) expected_bytes: Option<u64>,
}

impl RsyncSession {
    /// Does the live passes.
    ///
    /// # Errors
    /// When something cannot be copied that does not merely come and go.
    pub(crate) async fn prepare(copier: Copier, task: Task, cx: &BackupContext) -> Result<Self> {
        let meter = cx.events().meter(Phase::Prepare);
        meter.set_total_bytes(task.expected_bytes.unwrap_or(0));
        let quiet = Quiet::No(meter);
        let mut proven = task.proven;
        for (folder, _) in &task.folders {
            make_place(folder).await?;
            if proven.is_open() {
                // An earlier run may have written anything, and died before it was synced.
                copier.unsynced.add_all(&folder.copy);
            }
        }
        proven.open().await?;
        let originals: Vec<Folder> = task.folders.iter().map(|(one, _)| one.clone()).collect();
        // What changes during the live passes has to be known, too.
        let tracking =
            Tracking::begin(task.track_changes, &originals, cx.events(), cx.control()).await?;
        let mut copied = Vec::new();
        for (folder, configured) in task.folders {
            let stamps = match tracking {
                Some(_) => Stamps::Ours,
                None => Stamps::Anybodys,
            };
            look_for_decay(&copier, &folder, &proven, stamps, cx.events()).await?;
            let (began, census) =
                first_live_pass(&copier, &folder, &mut proven, &quiet, tracking.as_ref()).await?;
            copied.push(CopiedFolder {
                folder,
                configured,
                began,
                census,
                captured: BTreeSet::new(),
            });
        }
        proven.has_looked();
        let mut this = Self {
            copier,
            folders: copied,
            proven,
            excluded: task.excluded,
            tracking: None,
            events: cx.events().clone(),
        };
        if let Some(tracking) = tracking {
            this.catch_up(tracking, &quiet).await?;
        }
        Ok(this)
    }

    /// Copies what has changed during the live passes. Where that is not known any more, everything is looked at once
    /// more, which takes less time than before and so lets less change.
    async fn catch_up(&mut self, tracking: Tracking, quiet: &Quiet) -> Result<()> {
        let mut passes = 1;
        loop {
            let caught_up = tracking
                .catch_up(&self.copier, &mut self.folders, quiet)
                .await;
            match caught_up {
                Ok(()) => {
                    self.tracking = Some(tracking);
                    return Ok(());
                }
                Err(Setback::Failed(error)) => {
                    keep(&self.copier, &mut self.proven).await;
                    return Err(error);
                }
                Err(Setback::LookAtAll(reason)) if passes == MOST_TRACKED_PASSES => {
                    self.give_up_tracking(&reason);
                    return Ok(());
                }
                Err(Setback::LookAtAll(reason)) => {
                    tracing::debug!(reason, "another pass over everything");
                }
            }
            passes += 1;
            if let Err(setback) = tracking.start_again(&self.copier.control).await {
                match setback {
                    Setback::Failed(error) => return Err(error),
                    Setback::LookAtAll(reason) => self.give_up_tracking(&reason),
                }
                return Ok(());
            }
            for copied in &mut self.folders {
                let (proven, folder) = (&mut self.proven, &copied.folder);
                let passed = live_passes(&self.copier, folder, proven, quiet).await?;
                (copied.began, copied.census) = passed;
            }
        }
    }

    fn give_up_tracking(&mut self, reason: &str) {
        self.tracking = None;
        self.events.message(format!(
            "Not all changes are known, so every file is looked at while the instance is locked: {reason}"
        ));
    }

    fn describe(&self, repositories: u64) -> Artifact {
        let sum = |count: fn(&Census) -> u64| {
            let counts = self.folders.iter().map(|copied| count(&copied.census));
            counts.sum::<u64>()
        };
        let entries = sum(|census| census.entries);
        let inventory = Inventory::new()
            .with_tree(entries, sum(|census| census.content_bytes))
            .with_repositories(repositories);
        let mut artifact = Artifact::staged(sum(|census| census.bytes))
            .with_inventory(inventory)
            .with_detail("files", entries.to_string())
            .with_detail("rsync", self.copier.rsync.version.to_string())
            .with_detail("data-stores", (self.folders.len() - 1).to_string());
        if let Some(home) = self.folders.first() {
            artifact = artifact.with_detail("layout", home.folder.layout.name());
        }
        for copied in &self.folders {
            let label = copied.folder.role.label();
            let path = copied.configured.to_string_lossy();
            artifact = artifact
                .with_detail(format!("{label}-bytes"), copied.census.bytes.to_string())
                .with_detail(label, path);
        }
        if !self.excluded.is_empty() {
            let ids: Vec<&str> = self.excluded.iter().map(RepositoryId::as_str).collect();
            artifact = artifact.with_detail("excluded-repositories", ids.join(" "));
        }
        artifact
    }
}

#[async_trait]
impl Session for RsyncSession {
    /// Copies what has changed since the live pass. There is nothing to pin with: this is all of the work, done for
    /// all folders at once. Where changes are tracked, it does not grow with the number of files.
    async fn capture(&mut self, _: &LockWindow) -> Result<()> {
        if let Some(tracking) = &mut self.tracking {
            match tracking.capture(&self.copier, &mut self.folders).await {
                Ok(()) => return Ok(()),
                Err(Setback::Failed(error)) => return Err(error),
                Err(Setback::LookAtAll(reason)) => self.give_up_tracking(&reason),
            }
        }
        self.capture_by_looking_at_all().await
    }

    async fn complete(&mut self, _: &Released) -> Result<Artifact> {
        let synced = sync(&self.copier);
        match self.tracking.take() {
            Some(tracking) => {
                let verified = tracking.verify(&self.copier, &mut self.folders);
                let proven = tokio::try_join!(verified, synced);
                tracking.end().await;
                proven?;
            }
            None => synced.await?,
        }
        let folders: Vec<Folder> = self.folders.iter().map(|one| one.folder.clone()).collect();
        let (repositories, mounts) = blocking(move || {
            let mut repositories = 0;
            for folder in &folders {
                repositories += repositories::of(&folder.copy, folder.layout)?.len() as u64;
            }
            let mounts: Vec<_> = folders.iter().map(track::mounts_around).collect();
            Ok((repositories, mounts))
        })
        .await?;
        for (copied, mounts) in self.folders.iter().zip(mounts) {
            self.proven.set(&copied.folder, copied.began);
            self.proven
                .set_mounts(&copied.folder, mounts.unwrap_or_default());
        }
        self.proven.finish_slice();
        self.proven.close().await?;
        Ok(self.describe(repositories))
    }

    /// Nothing is left outside the staging folder, and what is in it serves the next run.
    async fn abort(mut self: Box<Self>) -> Result<()> {
        if let Some(tracking) = self.tracking.take() {
            tracking.end().await;
        }
        keep(&self.copier, &mut self.proven).await;
        Ok(())
    }
}

impl RsyncSession {
    async fn capture_by_looking_at_all(&mut self) -> Result<()> {
        let copier = &self.copier;
        let passes = self.folders.iter_mut().map(|copied| async move {
            let began = platform::file_clock();
            let proven_until = set_back(copied.began);
            copied.census = copier
                .pass(&copied.folder, proven_until, &Quiet::Yes)
                .await?;
            copied.began = began;
            Ok(())
        });
        // One folder that fails ends the others: nothing of this copy is of use any more, and people wait.
        try_join_all(passes).await.map(|_: Vec<()>| ())
    }
}

/// Whose clock stamps the originals.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Stamps {
    /// This machine's.
    Ours,
    /// Perhaps a file server's, which may go behind.
    Anybodys,
}

/// Removes copies that have gone bad since the last run, so that this one makes them anew, and says so.
async fn look_for_decay(
    copier: &Copier,
    folder: &Folder,
    proven: &Proven,
    stamps: Stamps,
    events: &Events,
) -> Result<()> {
    let now = platform::file_clock();
    let until = proven.until(folder, now);
    if until == SystemTime::UNIX_EPOCH || until == set_back(now) {
        // There is no copy, or nothing is known of it: all of it is compared.
        return Ok(());
    }
    let unchanged_before = match stamps {
        Stamps::Ours => until + SLACK - TICK,
        Stamps::Anybodys => until,
    };
    let suspicion = proven.suspicion(unchanged_before, now);
    let (looked_at, stop) = (folder.clone(), Stop::new(&copier.control));
    let _stop_with_us = stop.on_drop();
    let decayed = blocking(move || remove_decayed(&looked_at, suspicion, &stop)).await?;
    copier.unsynced.add(&folder.copy, &decayed.touched);
    copier.unsynced.add(&folder.copy, &decayed.rotten);
    // What a run left that died is not held against anybody.
    if !proven.was_open() {
        warn_of_decay(folder, &decayed.touched, "somebody has changed", events);
    }
    warn_of_decay(folder, &decayed.rotten, "the disk has changed", events);
    Ok(())
}

fn warn_of_decay(folder: &Folder, paths: &[PathBuf], who: &str, events: &Events) {
    const NAMED: usize = 5;
    if paths.is_empty() {
        return;
    }
    let named = paths.iter().take(NAMED);
    let named: Vec<String> = named
        .map(|path| folder.copy.join(path).display().to_string())
        .collect();
    events.warning(format!(
        "{who} {} files in the copy of {}, whose originals have not changed, and they are copied anew; earlier backups may hold them: {}",
        paths.len(),
        folder.role,
        named.join(", ")
    ));
}

/// Makes a copy, or brings the one of an earlier run up to date. By ourselves, where it will be compared with its
/// original after the unlock; any other is left to rsync, and one of which nothing is known.
async fn first_live_pass(
    copier: &Copier,
    folder: &Folder,
    proven: &mut Proven,
    quiet: &Quiet,
    tracking: Option<&Tracking>,
) -> Result<(SystemTime, Census)> {
    let began = platform::file_clock();
    let until = proven.until(folder, began);
    let is_new = until == set_back(began);
    let mut draft = None;
    if is_new {
        // There is no copy yet: all there will ever be is made from now on, also if this pass is cut short.
        proven.set(folder, began);
        draft = match copier.head_start(folder, quiet).await {
            Ok(draft) => draft,
            Err(error) => {
                keep(copier, proven).await;
                return Err(error);
            }
        };
    }
    if tracking.is_some() && until != SystemTime::UNIX_EPOCH {
        if draft.is_none() {
            let doubt = if is_new {
                Doubt::of_new(began)
            } else {
                Doubt::of_proven(until)
            };
            draft = match copier.compare(folder, doubt).await {
                // What comes and goes is left to a pass.
                Err(error) if error.kind() == ErrorKind::Tool => None,
                compared => compared?,
            };
        }
        if let Some(draft) = draft
            && let Some(census) = copier.mend(folder, draft, quiet).await?
        {
            proven.set(folder, began);
            return Ok((began, census));
        }
    }
    live_passes(copier, folder, proven, quiet).await
}

/// Copies a folder in use until little is left to copy. Returns when the last pass began, and what it saw.
async fn live_passes(
    copier: &Copier,
    folder: &Folder,
    proven: &mut Proven,
    quiet: &Quiet,
) -> Result<(SystemTime, Census)> {
    let mut passes = 0;
    loop {
        let (began, clock) = (platform::file_clock(), Instant::now());
        let until = proven.until(folder, began);
        let census = match copier.pass(folder, until, quiet).await {
            Ok(census) => census,
            Err(error) => {
                keep(copier, proven).await;
                return Err(error);
            }
        };
        proven.set(folder, began);
        passes += 1;
        if clock.elapsed() < SHORT_PASS || passes == MOST_LIVE_PASSES {
            return Ok((began, census));
        }
    }
}

/// Writes down what is known of the copies of a run that fails, so that the next one compares less.
async fn keep(copier: &Copier, proven: &mut Proven) {
    let kept = match sync(copier).await {
        Ok(()) => proven.close().await,
        Err(error) => Err(error),
    };
    if let Err(error) = kept {
        tracing::debug!(%error, "the next run will compare the content of all files");
    }
}

/// What is said to be proven must be on disk before.
async fn sync(copier: &Copier) -> Result<()> {
    let unsynced = copier.unsynced.clone();
    blocking(move || unsynced.sync()).await
}

/// Makes the folder that the copy goes to. rsync gives it the attributes of the original.
async fn make_place(folder: &Folder) -> Result<()> {
    let copy = folder.copy.clone();
    blocking(move || {
        platform::create_private_folder(&copy)
            .io_context(|| format!("cannot make {}", copy.display()))
    })
    .await
}

/// Makes the copies of data stores in the staging folder those that the configuration has: what the shell scripts
/// named by the data store's own name gets its number, and what no data store is the original of goes.
///
/// # Errors
/// When something cannot be renamed or removed.
pub(crate) fn tidy_data_stores(staging: &Staging, folders: &[Folder]) -> Result<()> {
    let root = staging.data_stores();
    for folder in folders.iter().filter(|folder| folder.role != Role::Home) {
        let Some(name) = folder.source.file_name() else {
            continue;
        };
        let named = root.join(name);
        let is_number = name
            .to_str()
            .is_some_and(|name| name.parse::<usize>().is_ok());
        if !is_number && named.is_dir() && !folder.copy.exists() {
            std::fs::rename(&named, &folder.copy)
                .io_context(|| format!("cannot rename {}", named.display()))?;
        }
    }
    let entries = match std::fs::read_dir(&root) {
        Ok(entries) => entries,
        Err(error) if error.kind() == std::io::ErrorKind::NotFound => return Ok(()),
        Err(error) => return Err(error).io_context(|| format!("cannot read {}", root.display())),
    };
    for entry in entries {
        let path = entry
            .io_context(|| format!("cannot read {}", root.display()))?
            .path();
        if !folders.iter().any(|folder| folder.copy == path) {
            crate::remove::remove(&path)?;
        }
    }
    Ok(())
}
