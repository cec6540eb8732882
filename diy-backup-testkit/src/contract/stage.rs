//! A strategy with its environment, a staging folder and a Bitbucket to lock.

use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use bitbucket_maintenance_client::{Client, Credentials, ProxyUse};
use diy_backup_core::{
    Artifact, BackupContext, BackupId, CheckContext, Control, Leftover, LockLimits, LockWindow,
    Manifest, PartRecord, Released, RestoreContext, RestoreSession, RestoreSource, Session,
    Staging,
};
use tempfile::TempDir;

use super::broken::{Breaks, BrokenPromise, Promise, ensure};
use super::harness::Harness;
use super::strategy::{Strategy, WayBack};
use crate::command;
use crate::simulator::Simulator;

/// How long the drain of the simulator and the whole lock may take.
const LIMITS: LockLimits = LockLimits {
    drain: Duration::from_mins(1),
    locked: Duration::from_mins(10),
};
/// The pause between two looks at what remains.
const LOOK: Duration = Duration::from_millis(20);

pub(super) struct Stage<H> {
    pub(super) harness: H,
    pub(super) strategy: Strategy,
    simulator: Simulator,
    client: Client,
    folder: TempDir,
    /// How many backups and restores there were.
    rounds: std::cell::Cell<i64>,
}

/// Where the archive has unpacked the backup to before `apply`.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Unpacked {
    /// Where `intake` asked for it.
    InIntake,
    /// In the staging folder, which is the only backup.
    InStaging,
}

/// A backup that was taken and not archived.
pub(super) struct Taken<S> {
    pub(super) artifact: Artifact,
    /// The data as it was while nobody could change it.
    pub(super) captured: S,
}

impl<H: Harness> Stage<H> {
    pub(super) fn new(harness: H, strategy: Strategy) -> Result<Self, BrokenPromise> {
        let simulator = Simulator::builder()
            .start_blocking()
            .breaks(Promise::Harness, "the simulator does not start")?;
        let credentials =
            Credentials::basic(simulator.username(), simulator.password().to_owned().into());
        let client = Client::builder(&simulator.base_url())
            .credentials(credentials)
            .proxy(ProxyUse::Direct)
            .build()
            .breaks(Promise::Harness, "there is no client")?;
        let folder = tempfile::Builder::new()
            .prefix("contract-")
            .tempdir()
            .breaks(Promise::Harness, "there is no temporary folder")?;
        Ok(Self {
            harness,
            strategy,
            simulator,
            client,
            folder,
            rounds: std::cell::Cell::new(0),
        })
    }

    pub(super) fn staging(&self) -> Staging {
        Staging::new(self.folder.path().join("staging"))
    }

    pub(super) fn check_cx(&self) -> CheckContext {
        let mut cx = CheckContext::new(self.staging());
        cx.database = self.strategy.location();
        cx
    }

    fn next_id(&self) -> Result<BackupId, BrokenPromise> {
        self.rounds.set(self.rounds.get() + 1);
        let name = "contract"
            .parse()
            .breaks(Promise::Harness, "the name of the instance")?;
        Ok(BackupId::at_unix(&name, 1_769_903_999 + self.rounds.get()))
    }

    /// The context of a new backup, with the staging folder as the core leaves it for one.
    pub(super) fn backup_cx(&self, control: &Control) -> Result<BackupContext, BrokenPromise> {
        let staging = self.staging();
        let database = staging.database();
        make_private(staging.root())
            .and_then(|()| remove(&database))
            .and_then(|()| make_private(&database))
            .breaks(Promise::Harness, "the staging folder")?;
        Ok(BackupContext::new(self.next_id()?, staging)
            .with_database(self.strategy.location())
            .with_control(control.clone()))
    }

    pub(super) async fn prepare(
        &self,
        cx: &BackupContext,
    ) -> Result<Box<dyn Session>, BrokenPromise> {
        let prepared = self.strategy.prepare(cx).await;
        prepared.breaks(Promise::Prepare, "it failed")
    }

    pub(super) async fn lock(&self, cx: &BackupContext) -> Result<LockWindow, BrokenPromise> {
        let locked = LockWindow::lock(&self.client, cx, LIMITS).await;
        locked.breaks(Promise::Harness, "the simulator was not drained")
    }

    pub(super) async fn release(&self, window: LockWindow) -> Result<Released, BrokenPromise> {
        let released = window.release(&Control::new()).await;
        released
            .map_err(|failed| failed.error)
            .breaks(Promise::Harness, "the simulator was not unlocked")
            .and_then(|released| {
                ensure(!self.simulator.is_locked(), Promise::Harness, || {
                    "the simulator is still locked".to_owned()
                })?;
                Ok(released)
            })
    }

    /// Unlocks without a backup.
    pub(super) async fn abandon(&self, window: LockWindow) -> Result<(), BrokenPromise> {
        let abandoned = window.abandon(&Control::new()).await;
        abandoned.breaks(Promise::Harness, "the simulator was not unlocked")
    }

    /// A whole backup, with people at work before and after the lock window.
    pub(super) async fn back_up(&self) -> Result<Taken<H::State>, BrokenPromise> {
        let cx = self.backup_cx(&Control::new())?;
        let round = u32::try_from(self.rounds.get()).unwrap_or_default() * 100;
        self.harness.change(round).await;
        // Where no instant is pinned, all is quiet from the beginning on.
        if !self.strategy.pins() {
            self.harness.change(round + 1).await;
        }
        let mut session = self.prepare(&cx).await?;
        if self.strategy.pins() {
            self.harness.change(round + 1).await;
        }
        let window = self.lock(&cx).await?;
        let captured = self.harness.state().await;
        let capture = session.capture(&window).await;
        capture.breaks(Promise::Capture, "it failed")?;
        let unchanged = self
            .harness
            .difference(&captured, &self.harness.state().await);
        ensure(unchanged.is_none(), Promise::Capture, || {
            format!("it changed the data: {}", unchanged.unwrap_or_default())
        })?;
        let released = self.release(window).await?;
        if self.strategy.pins() {
            self.harness.change(round + 2).await;
            self.harness.change(round + 3).await;
        }
        let completed = session.complete(&released).await;
        let artifact = completed.breaks(Promise::Complete, "it failed")?;
        self.harness.keeps(&artifact);
        drop(session);
        Ok(Taken { artifact, captured })
    }

    /// The context of a restore of `artifact`.
    pub(super) fn restore_cx(
        &self,
        artifact: &Artifact,
        control: &Control,
    ) -> Result<RestoreContext, BrokenPromise> {
        let id = self.next_id()?;
        let mut manifest = Manifest::new(id.clone());
        let record = PartRecord::new(self.strategy.name(), artifact.clone());
        manifest.parts.insert(self.strategy.role(), record);
        let work = self.folder.path().join(format!("work-{id}"));
        Ok(RestoreContext::new(id, work)
            .with_manifest(manifest)
            .for_part(self.strategy.role())
            .with_database(self.strategy.location())
            .with_control(control.clone()))
    }

    /// What the archive hands to `apply`, after it has asked the session where to unpack.
    pub(super) async fn unpack(
        &self,
        cx: &RestoreContext,
        session: &mut Box<dyn RestoreSession>,
        how: Unpacked,
    ) -> Result<RestoreSource, BrokenPromise> {
        // As the core does: not before everything was validated.
        make_private(cx.work()).breaks(Promise::Harness, "the work folder")?;
        let folders = session.intake().await;
        let folders = folders.breaks(Promise::Restore, "`intake` failed")?;
        let staging = self.staging();
        let mut source = RestoreSource::new();
        source.database = Some(staging.database()).filter(|path| path.is_dir());
        let mut parts = vec![staging.home()];
        let stores = 0..self.strategy.data_stores().len();
        parts.extend(stores.map(|number| staging.data_store(number)));
        let wanted = folders.into_iter().map(Some).chain(std::iter::repeat(None));
        let mut there = Vec::new();
        for (part, folder) in parts.iter().zip(wanted) {
            there.push(match folder {
                Some(folder) if how == Unpacked::InIntake && part.is_dir() => {
                    copy_tree(part, &folder)?;
                    folder
                }
                _ => part.clone(),
            });
        }
        let mut there = there.into_iter();
        source.home = there.next().filter(|path| path.is_dir());
        source.data_stores = there.collect();
        Ok(source)
    }

    pub(super) fn way_back(&self) -> Option<WayBack<'_>> {
        self.strategy.restore().map(WayBack)
    }

    /// Makes sure that the data is `wanted`.
    pub(super) async fn ensure_state(
        &self,
        wanted: &H::State,
        promise: Promise,
        what: &str,
    ) -> Result<(), BrokenPromise> {
        let found = self.harness.state().await;
        match self.harness.difference(wanted, &found) {
            None => Ok(()),
            Some(difference) => Err(BrokenPromise::new(promise, format!("{what}: {difference}"))),
        }
    }

    /// Waits until nothing remains; for what ends by itself it is given a while.
    pub(super) async fn ensure_clean(
        &self,
        promise: Promise,
        what: &str,
    ) -> Result<(), BrokenPromise> {
        let started = Instant::now();
        loop {
            let remains = self.harness.remains().await;
            if remains.is_empty() {
                return Ok(());
            }
            if started.elapsed() >= self.harness.patience().min(Duration::from_secs(5)) {
                let how = format!("{what}: {} is left", remains.join(", "));
                return Err(BrokenPromise::new(promise, how));
            }
            tokio::time::sleep(LOOK).await;
        }
    }

    /// Discards what was recorded, and once more.
    pub(super) async fn discard(&self, leftovers: &[Leftover]) -> Result<(), BrokenPromise> {
        for time in ["the first time", "the second time"] {
            for leftover in leftovers {
                ensure(
                    leftover.strategy == self.strategy.name(),
                    Promise::Discard,
                    || format!("{leftover:?} is recorded under another strategy's name"),
                )?;
                let discarded = self.strategy.discard(leftover).await;
                discarded.breaks(Promise::Discard, &format!("{leftover:?}, {time}"))?;
            }
        }
        Ok(())
    }
}

fn make_private(path: &Path) -> std::io::Result<()> {
    use std::os::unix::fs::DirBuilderExt;
    std::fs::DirBuilder::new()
        .recursive(true)
        .mode(0o700)
        .create(path)
}

fn remove(path: &Path) -> std::io::Result<()> {
    match std::fs::remove_dir_all(path) {
        Err(error) if error.kind() != std::io::ErrorKind::NotFound => Err(error),
        _ => Ok(()),
    }
}

/// Copies a folder with everything that can be kept of it.
pub(super) fn copy_tree(from: &Path, to: &Path) -> Result<(), BrokenPromise> {
    let parent: PathBuf = to.parent().unwrap_or(to).to_owned();
    make_private(&parent).breaks(Promise::Harness, "the parent of an intake folder")?;
    let mut cp = std::process::Command::new("cp");
    cp.arg("-a").arg("--").arg(from).arg(to);
    let copied = command::run(&mut cp);
    copied.map(|_| ()).breaks(Promise::Harness, "cp")
}
