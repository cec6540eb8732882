//! What an archive strategy promises.

use std::path::Path;
use std::sync::Arc;
use std::time::{Duration, Instant};

use diy_backup_core::{
    ArchiveStrategy, Artifact, BackupContext, BackupEntry, BackupId, CancelReason, CheckContext,
    Control, Destinations, Findings, InstanceName, Manifest, PartName, PartRecord, RestoreContext,
    RestoreSource, Result as CoreResult, RetentionSettings, Verdict,
};
use tempfile::TempDir;
use tokio::time::timeout;

use super::broken::{Breaks, BrokenPromise, Promise, ensure};
use super::corruption;
use super::harness::{ArchiveHarness, Capacity};
use crate::tree::{Exclusions, TreeSnapshot};

/// After how long a future is dropped or cancelled.
const PAUSES: [Duration; 4] = [
    Duration::ZERO,
    Duration::from_millis(2),
    Duration::from_millis(15),
    Duration::from_millis(60),
];

/// Holds an archive strategy to its promises.
///
/// `environment` makes a fresh harness; it is called once for each of about ten checks.
///
/// # Errors
/// The first promise that is broken.
pub async fn archive<H: ArchiveHarness>(
    environment: impl AsyncFn() -> H,
) -> Result<(), BrokenPromise> {
    let stage = async || Stage::new(environment().await);
    round_trip(stage().await?).await?;
    corruption::every_damage_is_found(stage().await?).await?;
    cancelled_store(stage().await?).await?;
    dropped_store(stage().await?).await?;
    cancelled_reading(stage().await?).await?;
    delete(stage().await?).await?;
    prune(stage().await?).await
}

/// An archive strategy with its environment, and a place to fetch to.
pub(super) struct Stage<H> {
    pub(super) harness: H,
    pub(super) strategy: Arc<dyn ArchiveStrategy>,
    folder: TempDir,
    fetched: std::cell::Cell<u32>,
}

impl<H: ArchiveHarness> Stage<H> {
    fn new(harness: H) -> Result<Self, BrokenPromise> {
        let folder = tempfile::tempdir().breaks(Promise::Harness, "a temporary folder")?;
        Ok(Self {
            strategy: harness.strategy(),
            harness,
            folder,
            fetched: std::cell::Cell::new(0),
        })
    }

    fn id(&self, second: i64) -> Result<BackupId, BrokenPromise> {
        let name: CoreResult<InstanceName> = self.harness.instance().parse();
        let name = name.breaks(Promise::Harness, "the name of the instance")?;
        Ok(BackupId::at_unix(&name, 1_769_903_999 + second))
    }

    /// Fills staging with content that is different for each second, as the core does before it stores.
    fn stage_content(&self, second: i64) -> std::io::Result<()> {
        use std::os::unix::fs::symlink;
        let staging = self.harness.staging();
        match std::fs::remove_dir_all(staging.root()) {
            Err(error) if error.kind() != std::io::ErrorKind::NotFound => return Err(error),
            _ => {}
        }
        let (home, database) = (staging.home(), staging.database());
        std::fs::create_dir_all(home.join("shared/data/repositories/1/refs/tags"))?;
        std::fs::create_dir_all(&database)?;
        std::fs::create_dir_all(staging.data_store(0))?;
        let pack: Vec<u8> = (0..100_000_u64)
            .flat_map(|number| (number.wrapping_mul(0x9E37_79B9_7F4A_7C15) >> 32).to_le_bytes())
            .collect();
        std::fs::write(home.join("shared/data/repositories/1/pack"), &pack)?;
        std::fs::write(
            home.join("a name\nwith \"everything\" ä"),
            format!("{second}"),
        )?;
        std::fs::write(home.join("empty"), "")?;
        symlink("nowhere", home.join("dangling"))?;
        std::fs::write(
            database.join("toc.dat"),
            format!("rows of {second}\n").repeat(1000),
        )?;
        std::fs::write(
            staging.data_store(0).join("object"),
            format!("object {second}"),
        )
    }

    /// The context and the manifest of a backup of fresh content.
    fn next(
        &self,
        second: i64,
        control: &Control,
    ) -> Result<(BackupContext, Manifest), BrokenPromise> {
        self.stage_content(second)
            .breaks(Promise::Harness, "the staging folder")?;
        let id = self.id(second)?;
        let mut manifest = Manifest::new(id.clone());
        for (part, strategy) in [(PartName::Home, "home"), (PartName::Database, "database")] {
            let record = PartRecord::new(strategy, Artifact::staged(1));
            manifest.parts.insert(part, record);
        }
        let cx = BackupContext::new(id, self.harness.staging()).with_control(control.clone());
        Ok((cx, manifest))
    }

    /// Stores a backup and returns its entry in the list.
    pub(super) async fn store(&self, second: i64) -> Result<BackupEntry, BrokenPromise> {
        let (cx, manifest) = self.next(second, &Control::new())?;
        let stored = self.strategy.store(&cx, &manifest).await;
        let stored = stored.breaks(Promise::Store, "it failed")?;
        let listed = self.list().await?;
        let entry = listed.into_iter().find(|entry| entry.id == *cx.id());
        let entry = entry.ok_or_else(|| {
            BrokenPromise::new(Promise::Store, format!("{} is not listed", cx.id()))
        })?;
        ensure(entry.is_proven(), Promise::List, || {
            format!("{} is listed as {:?}", entry.id, entry.state)
        })?;
        ensure(entry.location == stored.location, Promise::List, || {
            format!(
                "it is at {}, and was stored at {}",
                entry.location, stored.location
            )
        })?;
        Ok(entry)
    }

    pub(super) async fn list(&self) -> Result<Vec<BackupEntry>, BrokenPromise> {
        let listed = self.strategy.list().await;
        let listed = listed.breaks(Promise::List, "it failed")?;
        let sorted = listed.is_sorted_by(|one, other| one.id <= other.id);
        ensure(sorted, Promise::List, || {
            "it is not sorted by age".to_owned()
        })?;
        Ok(listed)
    }

    pub(super) async fn verify(
        &self,
        entry: &BackupEntry,
        control: &Control,
    ) -> CoreResult<Verdict> {
        let cx = self.restore_cx(entry, control);
        self.strategy.verify(&cx, entry).await
    }

    /// Fetches into a place of its own.
    pub(super) async fn fetch(
        &self,
        entry: &BackupEntry,
        control: &Control,
    ) -> CoreResult<RestoreSource> {
        self.fetched.set(self.fetched.get() + 1);
        let folder = self
            .folder
            .path()
            .join(format!("fetched-{}", self.fetched.get()));
        let destinations = Destinations::new(folder.join("db"))
            .with_home(folder.join("home"))
            .with_data_store(Path::new("/data/ds0"), folder.join("store"));
        let cx = self.restore_cx(entry, control);
        self.strategy.fetch(&cx, entry, &destinations).await
    }

    fn restore_cx(&self, entry: &BackupEntry, control: &Control) -> RestoreContext {
        let work = self.folder.path().join("work");
        let cx = RestoreContext::new(entry.id.clone(), work).with_control(control.clone());
        match &entry.manifest {
            Some(manifest) => cx.with_manifest(manifest.clone()),
            None => cx,
        }
    }

    /// After a store that was interrupted: what was recorded goes, and nothing else is left.
    async fn clean(
        &self,
        cx: &BackupContext,
        promise: Promise,
        what: &str,
    ) -> Result<(), BrokenPromise> {
        for time in ["the first time", "the second time"] {
            for leftover in cx.leftovers() {
                let discarded = self.strategy.discard(&leftover).await;
                discarded.breaks(Promise::Discard, &format!("{leftover:?}, {time}"))?;
            }
        }
        let started = Instant::now();
        loop {
            let remains = self.harness.remains().await;
            if remains.is_empty() {
                return Ok(());
            }
            if started.elapsed() > self.harness.patience().min(Duration::from_secs(5)) {
                let how = format!("{what}: {} is left", remains.join(", "));
                return Err(BrokenPromise::new(promise, how));
            }
            tokio::time::sleep(Duration::from_millis(20)).await;
        }
    }

    async fn soon<T>(
        &self,
        what: &str,
        work: impl Future<Output = CoreResult<T>>,
    ) -> Result<CoreResult<T>, BrokenPromise> {
        let patience = self.harness.patience();
        let Ok(ended) = timeout(patience, work).await else {
            let how = format!("{what} still runs {patience:?} after it");
            return Err(BrokenPromise::new(Promise::Cancel, how));
        };
        if let Err(error) = &ended {
            let kind = error.kind();
            ensure(
                kind == diy_backup_core::ErrorKind::Cancelled,
                Promise::Cancel,
                || format!("{what} failed as {kind:?}: {error}"),
            )?;
        }
        Ok(ended)
    }
}

async fn round_trip<H: ArchiveHarness>(stage: Stage<H>) -> Result<(), BrokenPromise> {
    let cx = CheckContext::new(stage.harness.staging());
    let checked = stage.strategy.check(&cx, &Findings::new()).await;
    let findings = checked.breaks(Promise::Check, "it failed")?;
    ensure(!findings.has_errors(), Promise::Check, || {
        format!("{:?}", findings.findings)
    })?;
    let empty = stage.list().await?;
    ensure(empty.is_empty(), Promise::List, || {
        format!("at first there is {empty:?}")
    })?;

    let entry = stage.store(1).await?;
    let verdict = stage.verify(&entry, &Control::new()).await;
    let verdict = verdict.breaks(Promise::Damage, "a good backup could not be verified")?;
    ensure(
        verdict.is_good() && verdict.has_checksums,
        Promise::Damage,
        || format!("a good backup is said to be damaged: {verdict:?}"),
    )?;
    let fetched = stage.fetch(&entry, &Control::new()).await;
    let source = fetched.breaks(Promise::Fetch, "it failed")?;
    let staging = stage.harness.staging();
    let parts = [
        ("the database", source.database.as_ref(), staging.database()),
        ("the home", source.home.as_ref(), staging.home()),
        (
            "the data store",
            source.data_stores.first(),
            staging.data_store(0),
        ),
    ];
    for (what, fetched, original) in parts {
        let Some(fetched) = fetched else {
            return Err(BrokenPromise::new(
                Promise::Fetch,
                format!("{what} is missing"),
            ));
        };
        let difference = tree(&original)?.diff(&tree(fetched)?);
        ensure(difference.is_empty(), Promise::Fetch, || {
            format!("{what}: {difference}")
        })?;
    }
    stage
        .clean(
            &BackupContext::new(entry.id, staging),
            Promise::Store,
            "after a backup",
        )
        .await
}

fn tree(path: &Path) -> Result<TreeSnapshot, BrokenPromise> {
    let shown = path.display().to_string();
    TreeSnapshot::of(path, &Exclusions::none()).breaks(Promise::Harness, &shown)
}

/// A store that is cancelled before or in the middle leaves the earlier backups, and none of its own.
async fn cancelled_store<H: ArchiveHarness>(stage: Stage<H>) -> Result<(), BrokenPromise> {
    stage.store(1).await?;
    for (second, pause) in (2..).zip(PAUSES) {
        let control = Control::new();
        let (cx, manifest) = stage.next(second, &control)?;
        if pause.is_zero() {
            control.cancel(CancelReason::Requested);
        }
        let cancel = async {
            tokio::time::sleep(pause).await;
            control.cancel(CancelReason::Requested);
        };
        let store = async { tokio::join!(stage.strategy.store(&cx, &manifest), cancel).0 };
        let stored = stage.soon("`store`", store).await?;
        ensure(stored.is_err() || !pause.is_zero(), Promise::Cancel, || {
            "`store` succeeded although the run had been cancelled before".to_owned()
        })?;
        after_interrupted_store(&stage, &cx, stored.is_ok(), "a cancelled `store`").await?;
    }
    stage.store(100).await.map(|_| ())
}

async fn dropped_store<H: ArchiveHarness>(stage: Stage<H>) -> Result<(), BrokenPromise> {
    stage.store(1).await?;
    for (second, pause) in (2..).zip(PAUSES) {
        let (cx, manifest) = stage.next(second, &Control::new())?;
        let stored = timeout(pause, stage.strategy.store(&cx, &manifest)).await;
        let stored = matches!(stored, Ok(Ok(_)));
        after_interrupted_store(&stage, &cx, stored, "a dropped `store`").await?;
    }
    stage.store(100).await.map(|_| ())
}

async fn after_interrupted_store<H: ArchiveHarness>(
    stage: &Stage<H>,
    cx: &BackupContext,
    stored: bool,
    what: &str,
) -> Result<(), BrokenPromise> {
    let promise = if what.contains("dropped") {
        Promise::Drop
    } else {
        Promise::Abort
    };
    stage.clean(cx, promise, what).await?;
    let listed = stage.list().await?;
    let first = stage.id(1)?;
    let kept =
        stage.harness.capacity() == Capacity::One || listed.iter().any(|entry| entry.id == first);
    ensure(kept, Promise::Store, || {
        format!("{what} took an earlier backup with it")
    })?;
    match listed.iter().find(|entry| entry.id == *cx.id()) {
        None => ensure(!stored, Promise::Store, || {
            "it succeeded, and is not listed".to_owned()
        }),
        // Dropped in its very last moment, it may have come about; then it must be whole.
        Some(entry) => {
            ensure(stored || promise == Promise::Drop, Promise::Store, || {
                format!("after {what} there is {}", entry.location)
            })?;
            let verdict = stage.verify(entry, &Control::new()).await;
            let verdict = verdict.breaks(Promise::Store, what)?;
            ensure(verdict.is_good(), Promise::Store, || {
                format!("after {what}: {verdict:?}")
            })
        }
    }
}

async fn cancelled_reading<H: ArchiveHarness>(stage: Stage<H>) -> Result<(), BrokenPromise> {
    let entry = stage.store(1).await?;
    let control = Control::new();
    control.cancel(CancelReason::Requested);
    let fetched = stage.soon("`fetch`", stage.fetch(&entry, &control)).await?;
    ensure(fetched.is_err(), Promise::Cancel, || {
        "`fetch` succeeded although the run had been cancelled before".to_owned()
    })?;
    let verified = stage
        .soon("`verify`", stage.verify(&entry, &control))
        .await?;
    ensure(verified.is_err(), Promise::Cancel, || {
        "`verify` gave a verdict although the run had been cancelled before".to_owned()
    })
}

async fn delete<H: ArchiveHarness>(stage: Stage<H>) -> Result<(), BrokenPromise> {
    let first = stage.store(1).await?;
    let second = stage.store(2).await?;
    for time in ["the first time", "the second time"] {
        let deleted = stage.strategy.delete(&second).await;
        deleted.breaks(Promise::Delete, time)?;
        let listed = stage.list().await?;
        let gone = listed.iter().all(|entry| entry.id != second.id);
        ensure(gone, Promise::Delete, || "it is still listed".to_owned())?;
        let alone = stage.harness.capacity() == Capacity::One || listed.len() == 1;
        ensure(alone, Promise::Delete, || {
            format!("it took others with it: {listed:?}")
        })?;
    }
    let _ = first;
    for file in stage.harness.files(&second) {
        ensure(
            stage.harness.capacity() == Capacity::One || !file.exists(),
            Promise::Delete,
            || format!("{} is left", file.display()),
        )?;
    }
    Ok(())
}

async fn prune<H: ArchiveHarness>(stage: Stage<H>) -> Result<(), BrokenPromise> {
    let keep = |count: usize| {
        let count = std::num::NonZeroUsize::new(count).unwrap_or(std::num::NonZeroUsize::MIN);
        RetentionSettings::keep_last(count)
    };
    let stored = match stage.harness.capacity() {
        Capacity::Many => 4,
        Capacity::One => 1,
    };
    for second in 1..=stored {
        stage.store(second).await?;
    }
    for count in [5, 2, 1] {
        let entries = stage.list().await?;
        let plan = stage.strategy.plan_prune(entries, &keep(count)).await;
        let plan = plan.breaks(Promise::Prune, "`plan_prune`")?;
        let before = stage.list().await?;
        let surplus = before.len().saturating_sub(count);
        let ids = |entries: &[BackupEntry]| {
            entries
                .iter()
                .map(|entry| entry.id.clone())
                .collect::<Vec<_>>()
        };
        let oldest = ids(&before[..surplus]);
        ensure(ids(&plan.delete) == oldest, Promise::Prune, || {
            format!(
                "to keep {count} it plans to delete {:?}, not {oldest:?}",
                ids(&plan.delete)
            )
        })?;
        let applied = stage.strategy.apply_prune(&plan).await;
        let outcome = applied.breaks(Promise::Prune, "`apply_prune`")?;
        ensure(outcome.deleted == oldest, Promise::Prune, || {
            format!("{outcome:?}")
        })?;
        let left = ids(&stage.list().await?);
        ensure(left == ids(&before[surplus..]), Promise::Prune, || {
            format!("{left:?} are left")
        })?;
    }
    Ok(())
}
