//! What the connections, the background tasks and the test's handle share.

use std::collections::HashMap;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use tokio::sync::watch;

use super::builder::{DrainOutcome, EndedTask, ServerState, Settings};
use super::fault::FaultBook;
use super::maintenance::{Maintenance, TaskState};
use super::record::RequestLog;
use crate::application::{Application, Latch};

pub(super) struct Core {
    pub(super) settings: Settings,
    pub(super) latch: Arc<Latch>,
    pub(super) faults: Mutex<FaultBook>,
    pub(super) requests: Mutex<RequestLog>,
    /// Wrong passwords by name.
    pub(super) failures: Mutex<HashMap<String, u32>>,
    pub(super) changes: watch::Sender<u64>,
    maintenance: Mutex<Maintenance>,
    drain: Mutex<DrainOutcome>,
    server_state: Mutex<ServerState>,
    application: Mutex<Option<Arc<Application>>>,
}

impl Core {
    pub(super) fn new(settings: Settings, drain: DrainOutcome) -> Self {
        Self {
            settings,
            latch: Arc::new(Latch::new()),
            faults: Mutex::default(),
            requests: Mutex::default(),
            failures: Mutex::default(),
            changes: watch::Sender::new(0),
            maintenance: Mutex::new(Maintenance::new()),
            drain: Mutex::new(drain),
            server_state: Mutex::new(ServerState::Running),
            application: Mutex::new(None),
        }
    }

    pub(super) fn set_application(&self, application: Application) {
        *locked(&self.application) = Some(Arc::new(application));
    }

    pub(super) fn application(&self) -> Option<Arc<Application>> {
        locked(&self.application).clone()
    }

    pub(super) fn take_application(&self) -> Option<Arc<Application>> {
        locked(&self.application).take()
    }

    pub(super) fn drain_outcome(&self) -> DrainOutcome {
        *locked(&self.drain)
    }

    pub(super) fn set_drain_outcome(&self, outcome: DrainOutcome) {
        *locked(&self.drain) = outcome;
    }

    pub(super) fn server_state(&self) -> ServerState {
        *locked(&self.server_state)
    }

    pub(super) fn set_server_state(&self, state: ServerState) {
        *locked(&self.server_state) = state;
    }

    /// Reads the state of the instance.
    pub(super) fn look<T>(&self, read: impl FnOnce(&Maintenance) -> T) -> T {
        read(&locked(&self.maintenance))
    }

    /// Changes the state of the instance in one piece, and wakes who waits for a change.
    pub(super) fn change<T>(&self, change: impl FnOnce(&mut Maintenance) -> T) -> T {
        let result = change(&mut locked(&self.maintenance));
        self.announce();
        result
    }

    pub(super) fn announce(&self) {
        self.changes.send_modify(|number| *number += 1);
    }

    /// Ends the running task, opens the latches, and keeps the lock.
    pub(super) fn end_task(&self, maintenance: &mut Maintenance, state: TaskState) {
        if let Some(task) = maintenance.running_task() {
            task.state = state;
        }
        maintenance.unlatch();
        self.latch.open();
        if self.settings.ended_task == EndedTask::Gone {
            maintenance.task = None;
        }
    }
}

pub(super) fn locked<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}
