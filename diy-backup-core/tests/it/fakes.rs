//! Strategies that copy plain files, and fail, hang or ignore the world on demand.

use std::collections::HashMap;
use std::fs;
use std::path::{Path, PathBuf};
use std::sync::{Arc, Condvar, Mutex};

use diy_backup_core::{
    Artifact, BackupContext, CheckContext, Committed, Control, DatabaseAddress, DbStrategy, Error,
    ErrorKind, Findings, HomeStrategy, Inventory, Leftover, LockWindow, Pinning, Released, Restore,
    RestoreContext, RestoreSession, RestoreSource, Result, ResultExt, Session, async_trait,
};
use tokio::sync::{Notify, watch};

/// A step of a strategy.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub(crate) enum Step {
    Check,
    Prepare,
    Capture,
    Complete,
    Abort,
    Discard,
    PrepareRestore,
    Apply,
    Commit,
    WasCommitted,
    ResumeCommit,
    Verify,
}

/// What a step does instead of its work.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Twist {
    /// It fails.
    Fails,
    /// It waits until the run is cancelled.
    Waits,
    /// It never ends, whatever anybody says.
    Deaf,
    /// It does its work although the run is cancelled.
    Stubborn,
    /// It does its work once the gate is open.
    Gated,
    /// It keeps its thread in a blocking call until the thread is let go, as a file system does whose server is gone.
    Hangs,
    /// It panics.
    Panics,
    /// A worker of it panics.
    WorkerPanics,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Role {
    Home,
    Database,
}

/// A part whose data is a folder of plain files.
#[derive(Debug)]
pub(crate) struct Part {
    role: Role,
    name: &'static str,
    folder: PathBuf,
    /// What it was told to discard.
    discarded: Mutex<Vec<String>>,
    stepped: watch::Sender<()>,
    twists: Mutex<HashMap<Step, Twist>>,
    log: Mutex<Vec<Step>>,
    findings: Mutex<Findings>,
    taken: Mutex<Inventory>,
    pinning: Mutex<Pinning>,
    address: Mutex<Option<DatabaseAddress>>,
    gate: Notify,
    /// How many threads hang here.
    hanging: (Mutex<u32>, Condvar),
}

/// Both traits on one part.
#[derive(Debug, Clone)]
pub(crate) struct Fake(pub(crate) Arc<Part>);

impl Fake {
    pub(crate) fn new(role: Role, folder: PathBuf) -> Self {
        let name = match role {
            Role::Home => "fake-home",
            Role::Database => "fake-db",
        };
        Self::named(name, role, folder)
    }

    pub(crate) fn named(name: &'static str, role: Role, folder: PathBuf) -> Self {
        Self(Arc::new(Part {
            role,
            name,
            folder,
            discarded: Mutex::default(),
            stepped: watch::Sender::default(),
            twists: Mutex::default(),
            log: Mutex::default(),
            findings: Mutex::default(),
            taken: Mutex::default(),
            pinning: Mutex::new(Pinning::None),
            address: Mutex::default(),
            gate: Notify::new(),
            hanging: Default::default(),
        }))
    }

    pub(crate) fn twist(&self, step: Step, twist: Twist) {
        self.0.twists.lock().unwrap().insert(step, twist);
    }

    pub(crate) fn open_gate(&self) {
        self.0.gate.notify_one();
    }

    /// Waits until a thread hangs here.
    pub(crate) async fn wait_until_it_hangs(&self) {
        let part = self.0.clone();
        let waiting = tokio::task::spawn_blocking(move || {
            let (hangs, changed) = &part.hanging;
            drop(changed.wait_while(hangs.lock().unwrap(), |hangs| *hangs == 0));
        });
        waiting.await.unwrap();
    }

    /// Lets the threads go that hang here.
    pub(crate) fn let_go(&self) {
        *self.0.hanging.0.lock().unwrap() = 0;
        self.0.hanging.1.notify_all();
    }

    pub(crate) fn untwist(&self) {
        self.0.twists.lock().unwrap().clear();
    }

    pub(crate) fn finds(&self, findings: Findings) {
        *self.0.findings.lock().unwrap() = findings;
    }

    /// What the check counts from now on.
    pub(crate) fn holds(&self, inventory: Inventory) {
        self.0.findings.lock().unwrap().inventory = inventory;
    }

    /// What a backup says from now on that it has taken.
    pub(crate) fn takes(&self, inventory: Inventory) {
        *self.0.taken.lock().unwrap() = inventory;
    }

    pub(crate) fn pins(&self, pinning: Pinning) {
        *self.0.pinning.lock().unwrap() = pinning;
    }

    /// The database is the one at `address`.
    pub(crate) fn is_at(&self, address: DatabaseAddress) {
        *self.0.address.lock().unwrap() = Some(address);
    }

    pub(crate) fn did(&self, step: Step) -> bool {
        self.0.log.lock().unwrap().contains(&step)
    }

    pub(crate) fn discarded(&self) -> Vec<String> {
        self.0.discarded.lock().unwrap().clone()
    }

    /// Waits until a step has begun.
    pub(crate) async fn reached(&self, step: Step) {
        let mut stepped = self.0.stepped.subscribe();
        let waited = tokio::time::timeout(
            std::time::Duration::from_secs(20),
            stepped.wait_for(|()| self.did(step)),
        )
        .await;
        waited.expect("the step is reached").unwrap();
    }

    pub(crate) fn folder(&self) -> &Path {
        &self.0.folder
    }

    /// Where a restore builds this part.
    pub(crate) fn beside(&self) -> PathBuf {
        self.0.beside()
    }

    /// Makes what a restore has built, and not yet moved into its place.
    pub(crate) fn build(&self, name: &str, text: &str) {
        fs::create_dir_all(self.beside()).unwrap();
        fs::write(self.beside().join(name), text).unwrap();
    }

    pub(crate) fn write(&self, name: &str, text: &str) {
        fs::create_dir_all(&self.0.folder).unwrap();
        fs::write(self.0.folder.join(name), text).unwrap();
    }

    pub(crate) fn read(&self, name: &str) -> Option<String> {
        fs::read_to_string(self.0.folder.join(name)).ok()
    }

    pub(crate) fn lose(&self) {
        fs::remove_dir_all(&self.0.folder).unwrap();
    }
}

impl Part {
    fn name(&self) -> &'static str {
        self.name
    }

    fn beside(&self) -> PathBuf {
        self.folder.with_extension("restoring")
    }

    fn leftover(&self) -> Leftover {
        Leftover::new(self.name(), "folder", self.beside().display().to_string())
    }

    async fn step(&self, step: Step, control: &Control) -> Result<()> {
        self.log.lock().unwrap().push(step);
        self.stepped.send_modify(|()| {});
        let twist = self.twists.lock().unwrap().get(&step).copied();
        match twist {
            None => control.ensure_running(),
            Some(Twist::Stubborn) => Ok(()),
            Some(Twist::Fails) => Err(Error::new(ErrorKind::Tool, "it failed on purpose")),
            Some(Twist::Waits) => {
                control.cancelled().await;
                control.ensure_running()
            }
            Some(Twist::Gated) => {
                self.gate.notified().await;
                Ok(())
            }
            Some(Twist::Hangs) => {
                let (hangs, changed) = &self.hanging;
                *hangs.lock().unwrap() += 1;
                changed.notify_all();
                let waiting = changed.wait_while(hangs.lock().unwrap(), |hangs| *hangs > 0);
                drop(waiting.unwrap());
                Ok(())
            }
            Some(Twist::Deaf) => std::future::pending().await,
            Some(Twist::Panics) => panic!("on purpose, in {step:?}"),
            Some(Twist::WorkerPanics) => {
                let worker = tokio::task::spawn_blocking(|| panic!("in a worker, on purpose"));
                let broken = worker.await.expect_err("it panics");
                Err(Error::new(ErrorKind::Internal, "a worker broke off").with_source(broken))
            }
        }
    }
}

pub(crate) fn copy(from: &Path, to: &Path) -> Result<u64> {
    let shown = || format!("cannot copy {} to {}", from.display(), to.display());
    fs::create_dir_all(to).io_context(shown)?;
    let mut bytes = 0;
    for entry in fs::read_dir(from).io_context(shown)? {
        let entry = entry.io_context(shown)?;
        bytes += fs::copy(entry.path(), to.join(entry.file_name())).io_context(shown)?;
    }
    Ok(bytes)
}

#[derive(Debug)]
struct FakeSession {
    part: Arc<Part>,
    cx: BackupContext,
    bytes: u64,
}

#[async_trait]
impl Session for FakeSession {
    async fn capture(&mut self, _: &LockWindow) -> Result<()> {
        self.part.step(Step::Capture, self.cx.control()).await?;
        let staging = self.cx.staging();
        let target = match self.part.role {
            Role::Home => staging.home(),
            Role::Database => staging.database(),
        };
        self.bytes = copy(&self.part.folder, &target)?;
        Ok(())
    }

    async fn complete(&mut self, _: &Released) -> Result<Artifact> {
        self.part.step(Step::Complete, self.cx.control()).await?;
        let taken = *self.part.taken.lock().unwrap();
        Ok(Artifact::staged(self.bytes).with_inventory(taken))
    }

    async fn abort(self: Box<Self>) -> Result<()> {
        let cleanup = self.cx.control().for_cleanup();
        self.part.step(Step::Abort, &cleanup).await
    }
}

impl Fake {
    async fn check(&self, cx: &CheckContext) -> Result<Findings> {
        self.0.step(Step::Check, &cx.control).await?;
        Ok(self.0.findings.lock().unwrap().clone())
    }

    async fn prepare(&self, cx: &BackupContext) -> Result<Box<dyn Session>> {
        self.0.step(Step::Prepare, cx.control()).await?;
        Ok(Box::new(FakeSession {
            part: self.0.clone(),
            cx: cx.clone(),
            bytes: 0,
        }))
    }

    async fn discard(&self, leftover: &Leftover) -> Result<()> {
        self.0.step(Step::Discard, &Control::new()).await?;
        self.0.discarded.lock().unwrap().push(leftover.id.clone());
        match fs::remove_dir_all(&leftover.id) {
            Err(error) if error.kind() != std::io::ErrorKind::NotFound => {
                Err(Error::io("cannot remove a leftover", error))
            }
            _ => Ok(()),
        }
    }
}

#[async_trait]
impl HomeStrategy for Fake {
    fn name(&self) -> &'static str {
        self.0.name()
    }

    fn pinning(&self) -> Pinning {
        *self.0.pinning.lock().unwrap()
    }

    fn home(&self) -> Option<&Path> {
        Some(&self.0.folder)
    }

    async fn check(&self, cx: &CheckContext) -> Result<Findings> {
        Self::check(self, cx).await
    }

    async fn prepare(&self, cx: &BackupContext) -> Result<Box<dyn Session>> {
        Self::prepare(self, cx).await
    }

    fn restore(&self) -> Option<&dyn Restore> {
        Some(self)
    }

    async fn discard(&self, leftover: &Leftover) -> Result<()> {
        Self::discard(self, leftover).await
    }
}

#[async_trait]
impl DbStrategy for Fake {
    fn name(&self) -> &'static str {
        self.0.name()
    }

    fn address(&self) -> Option<DatabaseAddress> {
        self.0.address.lock().unwrap().clone()
    }

    async fn check(&self, cx: &CheckContext) -> Result<Findings> {
        Self::check(self, cx).await
    }

    async fn prepare(&self, cx: &BackupContext) -> Result<Box<dyn Session>> {
        Self::prepare(self, cx).await
    }

    fn restore(&self) -> Option<&dyn Restore> {
        Some(self)
    }

    async fn discard(&self, leftover: &Leftover) -> Result<()> {
        Self::discard(self, leftover).await
    }
}

#[derive(Debug)]
struct FakeRestore {
    part: Arc<Part>,
    cx: RestoreContext,
}

#[async_trait]
impl Restore for Fake {
    async fn prepare_restore(&self, cx: &RestoreContext) -> Result<Box<dyn RestoreSession>> {
        self.0.step(Step::PrepareRestore, cx.control()).await?;
        if self.0.folder.exists() && fs::read_dir(&self.0.folder).unwrap().next().is_some() {
            return Err(Error::new(
                ErrorKind::TargetNotEmpty,
                "the target is not empty",
            ));
        }
        Ok(Box::new(FakeRestore {
            part: self.0.clone(),
            cx: cx.clone(),
        }))
    }

    async fn was_committed(&self, _: &Leftover) -> Result<Committed> {
        self.0.step(Step::WasCommitted, &Control::new()).await?;
        Ok(if self.0.folder.exists() {
            Committed::Yes
        } else {
            Committed::No
        })
    }

    async fn resume_commit(&self, leftover: &Leftover) -> Result<()> {
        self.0.step(Step::ResumeCommit, &Control::new()).await?;
        if Path::new(&leftover.id).exists() {
            move_into_place(Path::new(&leftover.id), &self.0.folder)?;
        }
        Ok(())
    }
}

fn move_into_place(from: &Path, to: &Path) -> Result<()> {
    let _ = fs::remove_dir(to);
    fs::rename(from, to).io_context(|| format!("cannot move {} into place", from.display()))
}

#[async_trait]
impl RestoreSession for FakeRestore {
    async fn apply(&mut self, source: &RestoreSource) -> Result<()> {
        let source = match self.part.role {
            Role::Home => source.home.as_ref(),
            Role::Database => source.database.as_ref(),
        };
        self.cx.record_leftover(self.part.leftover())?;
        copy(source.expect("a source"), &self.part.beside())?;
        self.part.step(Step::Apply, self.cx.control()).await
    }

    async fn commit(&mut self) -> Result<()> {
        self.part
            .step(Step::Commit, &self.cx.control().for_cleanup())
            .await?;
        move_into_place(&self.part.beside(), &self.part.folder)
    }

    async fn verify(&mut self) -> Result<()> {
        self.part.step(Step::Verify, self.cx.control()).await
    }

    async fn abort(self: Box<Self>) -> Result<()> {
        let cleanup = self.cx.control().for_cleanup();
        self.part.step(Step::Abort, &cleanup).await?;
        let _ = fs::remove_dir_all(self.part.beside());
        self.cx.forget_leftover(&self.part.leftover())
    }
}
