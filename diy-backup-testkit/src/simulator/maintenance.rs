//! What the instance knows of its lock, its task and its latches.

use std::fmt;
use std::time::{Duration, Instant};

use serde_json::{Value, json};

/// The state of one of the two latches.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[non_exhaustive]
pub enum LatchState {
    /// Work goes on.
    Available,
    /// No new work begins.
    Latched,
    /// No work is left.
    Drained,
}

impl fmt::Display for LatchState {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Available => "AVAILABLE",
            Self::Latched => "LATCHED",
            Self::Drained => "DRAINED",
        })
    }
}

/// Both latches at one moment.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[non_exhaustive]
pub struct LatchStates {
    /// `db-state`.
    pub database: LatchState,
    /// `scm-state`.
    pub scm: LatchState,
}

impl LatchStates {
    const AVAILABLE: Self = Self {
        database: LatchState::Available,
        scm: LatchState::Available,
    };

    /// True if a backup may be taken.
    pub fn are_drained(self) -> bool {
        self.database == LatchState::Drained && self.scm == LatchState::Drained
    }
}

/// What a task is about.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[non_exhaustive]
pub enum TaskKind {
    /// Our business.
    Backup,
    /// Another maintenance task.
    Migration,
}

/// How far a task is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[non_exhaustive]
pub enum TaskState {
    /// At work.
    Running,
    /// The client reported 100.
    Successful,
    /// The drain failed.
    Failed,
    /// Somebody cancelled it.
    Canceled,
}

impl TaskState {
    fn name(self) -> &'static str {
        match self {
            Self::Running => "RUNNING",
            Self::Successful => "SUCCESSFUL",
            Self::Failed => "FAILED",
            Self::Canceled => "CANCELED",
        }
    }
}

/// A task as a test sees it.
#[derive(Debug, Clone, PartialEq, Eq)]
#[non_exhaustive]
pub struct TaskView {
    /// What it is about.
    pub kind: TaskKind,
    /// How far it is.
    pub state: TaskState,
    /// What the client reported last, 0 to 100.
    pub client_percentage: u8,
    /// What people are shown: 10 % preparation and 90 % of what the client reported.
    pub shown_percentage: u8,
}

/// The instants of one lock, from the server's side.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[non_exhaustive]
pub struct Window {
    /// When the lock was taken.
    pub locked: Instant,
    /// When both latches were DRAINED last.
    pub drained: Option<Instant>,
    /// When the latches opened again.
    pub unlatched: Option<Instant>,
    /// When the lock was given back.
    pub unlocked: Option<Instant>,
}

impl Window {
    /// From DRAINED to the unlock: the time that a backup cost beyond what Bitbucket needs to get ready.
    pub fn drained_to_unlocked(&self) -> Option<Duration> {
        Some(self.unlocked?.duration_since(self.drained?))
    }

    /// From the lock to the unlock.
    pub fn locked_for(&self) -> Option<Duration> {
        Some(self.unlocked?.duration_since(self.locked))
    }
}

#[derive(Debug, Clone)]
pub(super) struct Lock {
    pub(super) token: String,
    pub(super) owner: String,
    pub(super) since: Instant,
}

#[derive(Debug, Clone)]
pub(super) struct Task {
    pub(super) id: String,
    pub(super) cancel_token: String,
    pub(super) kind: TaskKind,
    pub(super) state: TaskState,
    pub(super) client_percentage: u8,
    /// Whether the latches were both DRAINED while this task ran.
    pub(super) drained: bool,
    /// Whether 100 % was reported, and the end takes its time.
    pub(super) ending: bool,
}

impl Task {
    pub(super) fn new(kind: TaskKind) -> Self {
        Self {
            id: new_token(),
            cancel_token: new_token(),
            kind,
            state: TaskState::Running,
            client_percentage: 0,
            drained: false,
            ending: false,
        }
    }

    fn shown_percentage(&self) -> u8 {
        let preparation = if self.drained { 10 } else { 5 };
        let client = u16::from(self.client_percentage) * 9 / 10;
        preparation + u8::try_from(client).unwrap_or(90)
    }

    pub(super) fn view(&self) -> TaskView {
        TaskView {
            kind: self.kind,
            state: self.state,
            client_percentage: self.client_percentage,
            shown_percentage: self.shown_percentage(),
        }
    }

    pub(super) fn to_json(&self) -> Value {
        let (kind, message) = match (self.kind, self.drained) {
            (TaskKind::Migration, _) => ("MIGRATION", "Migrating the database"),
            (TaskKind::Backup, false) => ("BACKUP", "Waiting for repositories and database"),
            (TaskKind::Backup, true) => ("BACKUP", "Waiting for the backup client"),
        };
        json!({
            "id": self.id,
            "progress": {"message": message, "percentage": self.shown_percentage()},
            "state": self.state.name(),
            "type": kind,
        })
    }
}

#[derive(Debug)]
pub(super) struct Maintenance {
    pub(super) lock: Option<Lock>,
    /// A lock that is being taken on the nodes.
    pub(super) locking: bool,
    pub(super) task: Option<Task>,
    pub(super) latches: LatchStates,
    pub(super) windows: Vec<Window>,
}

impl Maintenance {
    pub(super) fn new() -> Self {
        Self {
            lock: None,
            locking: false,
            task: None,
            latches: LatchStates::AVAILABLE,
            windows: Vec::new(),
        }
    }

    pub(super) fn running_task(&mut self) -> Option<&mut Task> {
        self.task
            .as_mut()
            .filter(|task| task.state == TaskState::Running)
    }

    /// True while people are kept out.
    pub(super) fn is_going_on(&self) -> bool {
        let runs = |task: &Task| task.state == TaskState::Running;
        self.lock.is_some() || self.task.as_ref().is_some_and(runs)
    }

    pub(super) fn holds(&self, token: Option<&str>) -> bool {
        self.lock
            .as_ref()
            .is_some_and(|lock| Some(lock.token.as_str()) == token)
    }

    pub(super) fn take_lock(&mut self, owner: &str) -> Lock {
        let lock = Lock {
            token: new_token(),
            owner: owner.to_owned(),
            since: Instant::now(),
        };
        self.locking = false;
        self.lock = Some(lock.clone());
        self.windows.push(Window {
            locked: Instant::now(),
            drained: None,
            unlatched: None,
            unlocked: None,
        });
        lock
    }

    pub(super) fn give_lock_back(&mut self) {
        self.lock = None;
        if let Some(window) = self.windows.last_mut() {
            window.unlocked = Some(Instant::now());
        }
    }

    pub(super) fn note_drained(&mut self) {
        if let Some(window) = self.windows.last_mut() {
            window.drained = Some(Instant::now());
        }
    }

    pub(super) fn unlatch(&mut self) {
        self.latches = LatchStates::AVAILABLE;
        if let Some(window) = self.windows.last_mut() {
            window.unlatched = Some(Instant::now());
        }
    }
}

/// 40 hex digits, never the same twice.
fn new_token() -> String {
    let mut bytes = [0; 20];
    fastrand::fill(&mut bytes);
    hex::encode(bytes)
}
