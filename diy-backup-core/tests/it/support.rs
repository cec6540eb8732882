//! A site of fakes before a strict Bitbucket.

use std::path::PathBuf;
use std::sync::{Arc, Mutex};
use std::time::Duration;

use diy_backup_core::{
    AbsolutePath, BackupOptions, BackupReport, BackupSettings, Control, Error, Event,
    InstanceSettings, Journal, Observer, Patience, Phase, Recovery, Registry, RestoreReport,
    Result, Secret, Section, Selector, Shrink, Site, StrategyConfig,
};
use diy_backup_testkit::Simulator;
use diy_backup_testkit::simulator::SimulatorBuilder;
use tempfile::TempDir;
use tokio::sync::watch;

use crate::fakes::{Fake, Role};

/// Everything a run needs, in one temporary folder.
pub(crate) struct Stage {
    pub(crate) simulator: Simulator,
    pub(crate) home: Fake,
    pub(crate) database: Fake,
    pub(crate) site: Site,
    pub(crate) control: Control,
    pub(crate) recorder: Arc<Recorder>,
    _folder: TempDir,
}

impl Stage {
    pub(crate) fn new() -> Self {
        Self::with(Simulator::builder())
    }

    /// A site whose home and database have strategies of the same name.
    pub(crate) fn with_one_name() -> Self {
        let mut stage = Self::new();
        let at = |fake: &Fake| fake.folder().to_owned();
        stage.home = Fake::named("fake", Role::Home, at(&stage.home));
        stage.database = Fake::named("fake", Role::Database, at(&stage.database));
        stage.site.home = Arc::new(stage.home.clone());
        stage.site.database = Arc::new(stage.database.clone());
        stage
    }

    pub(crate) fn with(simulator: SimulatorBuilder) -> Self {
        let simulator = simulator.start_blocking().unwrap();
        let folder = tempfile::tempdir().unwrap();
        let home = Fake::new(Role::Home, folder.path().join("home"));
        let database = Fake::new(Role::Database, folder.path().join("db"));
        home.write("ref", "main");
        database.write("rows", "1 2 3");
        let mut instance = InstanceSettings::new("bitbucket".parse().unwrap());
        instance.url = Some(simulator.base_url().parse().unwrap());
        instance.username = Some(simulator.username().to_owned());
        instance.password = Some(Secret::value(simulator.password().into()));
        let at = |name: &str| AbsolutePath::new(folder.path().join(name)).unwrap();
        let backup = BackupSettings::new(at("staging"), at("state"));
        let section = Section::from_text("archive", "").unwrap();
        let config = StrategyConfig::new(section, instance.clone(), backup.clone());
        let archive = Registry::with_builtins().archive("none", &config).unwrap();
        let fakes = (Arc::new(home.clone()), Arc::new(database.clone()));
        let mut site = Site::new(instance, backup, fakes.0, fakes.1, archive);
        site.patience = impatient();
        Self {
            simulator,
            home,
            database,
            site,
            control: Control::new(),
            recorder: Arc::default(),
            _folder: folder,
        }
    }

    pub(crate) async fn backup(&self) -> Result<BackupReport> {
        let options = BackupOptions::new();
        diy_backup_core::backup(&self.site, &options, &self.control, self.recorder.clone()).await
    }

    pub(crate) async fn backup_accepting_shrink(&self) -> Result<BackupReport> {
        let options = BackupOptions::new().with_shrink(Shrink::Accepted);
        diy_backup_core::backup(&self.site, &options, &self.control, self.recorder.clone()).await
    }

    pub(crate) async fn restore(&self) -> Result<RestoreReport> {
        let observer = self.recorder.clone();
        diy_backup_core::restore(&self.site, &Selector::Latest, &self.control, observer).await
    }

    pub(crate) async fn recover(&self) -> Result<Recovery> {
        diy_backup_core::recover(&self.site, &Control::new(), self.recorder.clone()).await
    }

    /// Starts a backup that can be killed: dropping what it holds is what a SIGKILL leaves of it.
    pub(crate) fn spawn_backup(&self) -> tokio::task::JoinHandle<Result<BackupReport>> {
        let (site, control) = (self.site.clone(), self.control.clone());
        let recorder = self.recorder.clone();
        let options = BackupOptions::new();
        tokio::spawn(
            async move { diy_backup_core::backup(&site, &options, &control, recorder).await },
        )
    }

    /// Starts a restore that can be killed likewise.
    pub(crate) fn spawn_restore(&self) -> tokio::task::JoinHandle<Result<RestoreReport>> {
        let (site, control) = (self.site.clone(), self.control.clone());
        let recorder = self.recorder.clone();
        let latest = Selector::Latest;
        tokio::spawn(
            async move { diy_backup_core::restore(&site, &latest, &control, recorder).await },
        )
    }

    /// Configures another path for the directory `state` or `staging`.
    pub(crate) fn move_to(&mut self, which: &str, path: &std::path::Path) {
        let path = AbsolutePath::new(path).unwrap();
        if which == "state" {
            self.site.backup.state = path;
        } else {
            self.site.backup.staging = path;
        }
    }

    pub(crate) fn state(&self) -> PathBuf {
        self.site.backup.state.as_path().to_owned()
    }

    pub(crate) fn staging(&self) -> PathBuf {
        self.site.backup.staging.as_path().to_owned()
    }

    pub(crate) fn journal(&self) -> Option<diy_backup_core::JournalRecord> {
        Journal::read(&self.state()).unwrap()
    }

    /// A run that failed has left nothing: neither a lock nor a journal nor a backup.
    #[track_caller]
    pub(crate) fn assert_clean(&self, what: &str) {
        assert!(!self.simulator.is_locked(), "{what}: it is still locked");
        assert!(self.journal().is_none(), "{what}: {:?}", self.journal());
        assert!(
            !self.staging().join("manifest.json").exists(),
            "{what}: a failed backup is listed"
        );
    }
}

/// Short enough for tests, long enough for a busy machine.
pub(crate) fn impatient() -> Patience {
    let mut patience = Patience::default();
    patience.request = Duration::from_millis(800);
    patience.answer = Duration::from_millis(400);
    patience.retry = Duration::from_millis(1500);
    patience.proof = Duration::from_millis(1500);
    patience.late_lock = Duration::from_millis(300);
    patience.absence = Duration::from_millis(200);
    patience.unlock = Duration::from_millis(2500);
    patience.pause = Duration::from_millis(5);
    patience.watch = Duration::from_millis(10);
    patience.stop = Duration::from_millis(50);
    patience
}

/// Everything that was told, and something to do when a phase begins.
#[derive(Debug, Default)]
pub(crate) struct Recorder {
    events: Mutex<Vec<Event>>,
    told: watch::Sender<usize>,
    cancel_at: Mutex<Option<(Phase, Control)>>,
}

impl Observer for Recorder {
    fn observe(&self, event: &Event) {
        if let Event::PhaseStarted { phase } = event
            && let Some((at, control)) = &*self.cancel_at.lock().unwrap()
            && at == phase
        {
            control.cancel(diy_backup_core::CancelReason::Signal("SIGTERM"));
        }
        self.events.lock().unwrap().push(event.clone());
        self.told.send_modify(|count| *count += 1);
    }
}

impl Recorder {
    pub(crate) fn cancel_at(&self, phase: Phase, control: &Control) {
        *self.cancel_at.lock().unwrap() = Some((phase, control.clone()));
    }

    pub(crate) fn phases(&self) -> Vec<Phase> {
        let events = self.events.lock().unwrap();
        let started = events.iter().filter_map(|event| match event {
            Event::PhaseStarted { phase } => Some(*phase),
            _ => None,
        });
        started.collect()
    }

    pub(crate) fn warnings(&self) -> Vec<String> {
        let events = self.events.lock().unwrap();
        let warnings = events.iter().filter_map(|event| match event {
            Event::Warning { text } => Some(text.clone()),
            _ => None,
        });
        warnings.collect()
    }

    /// Waits until a phase has begun.
    pub(crate) async fn reached(&self, phase: Phase) {
        let mut told = self.told.subscribe();
        let reached = told.wait_for(|_| self.phases().contains(&phase));
        let waited = tokio::time::timeout(Duration::from_secs(20), reached).await;
        waited.expect("the phase is reached").unwrap();
    }
}

/// An error with all its causes and its hint.
pub(crate) fn words(error: &Error) -> String {
    let chain = diy_backup_core::error_chain(error);
    format!("{chain} [{:?}]", error.hint())
}
