//! The test's hold on a simulator.

use std::fmt;
use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use tokio::runtime::Runtime;

use super::builder::{DrainOutcome, ServerState, SimulatorBuilder};
use super::core::{Core, locked};
use super::fault::{CallKind, Fault, FaultId};
use super::maintenance::{LatchStates, TaskState, TaskView, Window};
use super::operations::Refusal;
use super::record::RecordedRequest;
use crate::application::Application;
use crate::error::{Error, ErrorKind, Result};

/// How long [`Simulator::wait_until`] waits.
const DEADLINE: Duration = Duration::from_mins(1);

/// A Bitbucket that runs until this value is dropped.
///
/// ```
/// use diy_backup_testkit::simulator::Simulator;
///
/// let simulator = Simulator::builder().context_path("/bitbucket").start_blocking()?;
/// assert!(simulator.base_url().ends_with("/bitbucket"));
/// assert!(!simulator.is_locked());
/// # Ok::<(), diy_backup_testkit::Error>(())
/// ```
pub struct Simulator {
    core: Arc<Core>,
    runtime: Option<Runtime>,
    address: SocketAddr,
}

impl fmt::Debug for Simulator {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Simulator")
            .field("base_url", &self.base_url())
            .field("locked", &self.is_locked())
            .field("latches", &self.latches())
            .finish_non_exhaustive()
    }
}

impl Simulator {
    /// Begins to choose settings.
    pub fn builder() -> SimulatorBuilder {
        SimulatorBuilder::default()
    }

    pub(super) fn new(core: Arc<Core>, runtime: Runtime, address: SocketAddr) -> Self {
        Self {
            core,
            runtime: Some(runtime),
            address,
        }
    }

    /// The URL a client is given: scheme, host, port and context path, without a slash at the end.
    pub fn base_url(&self) -> String {
        format!("http://{}{}", self.address, self.core.settings.context_path)
    }

    /// The administrator's name.
    pub fn username(&self) -> &str {
        &self.core.settings.administrator.name
    }

    /// The administrator's password.
    pub fn password(&self) -> &str {
        &self.core.settings.administrator.password
    }

    /// True while somebody holds the lock.
    pub fn is_locked(&self) -> bool {
        self.core.look(|maintenance| maintenance.lock.is_some())
    }

    /// Who holds the lock.
    pub fn lock_owner(&self) -> Option<String> {
        self.core
            .look(|maintenance| Some(maintenance.lock.as_ref()?.owner.clone()))
    }

    /// The token of the lock, which an administrator finds in the application's log.
    pub fn unlock_token(&self) -> Option<String> {
        self.core
            .look(|maintenance| Some(maintenance.lock.as_ref()?.token.clone()))
    }

    /// The token that cancels the latest task.
    pub fn cancel_token(&self) -> Option<String> {
        self.core
            .look(|maintenance| Some(maintenance.task.as_ref()?.cancel_token.clone()))
    }

    /// Both latches at this moment.
    pub fn latches(&self) -> LatchStates {
        self.core.look(|maintenance| maintenance.latches)
    }

    /// The latest task, as long as it is shown.
    pub fn task(&self) -> Option<TaskView> {
        self.core
            .look(|maintenance| Some(maintenance.task.as_ref()?.view()))
    }

    /// The instants of the latest lock.
    pub fn window(&self) -> Option<Window> {
        self.core
            .look(|maintenance| maintenance.windows.last().copied())
    }

    /// The instants of every lock, oldest first; as many as the instance was locked.
    pub fn windows(&self) -> Vec<Window> {
        self.core.look(|maintenance| maintenance.windows.clone())
    }

    /// How often the instance was locked.
    pub fn lock_count(&self) -> usize {
        self.core.look(|maintenance| maintenance.windows.len())
    }

    /// Every request so far, in the order of arrival.
    pub fn requests(&self) -> Vec<RecordedRequest> {
        locked(&self.core.requests).all()
    }

    /// How often one call was made.
    pub fn count(&self, call: CallKind) -> usize {
        self.requests()
            .iter()
            .filter(|request| request.call == call)
            .count()
    }

    /// The live application, if there is one.
    pub fn application(&self) -> Option<Arc<Application>> {
        self.core.application()
    }

    /// Adds a fault; it strikes from now on.
    pub fn inject(&self, fault: Fault) -> FaultId {
        locked(&self.core.faults).add(fault)
    }

    /// Removes a fault; one that is gone already stays gone.
    pub fn remove_fault(&self, id: FaultId) {
        locked(&self.core.faults).remove(id);
    }

    /// Removes all faults.
    pub fn clear_faults(&self) {
        locked(&self.core.faults).clear();
    }

    /// How often a fault struck; 0 for one that was removed.
    pub fn struck(&self, id: FaultId) -> u64 {
        locked(&self.core.faults).struck(id)
    }

    /// Changes how drains end that latch from now on.
    pub fn set_drain(&self, outcome: DrainOutcome) {
        self.core.set_drain_outcome(outcome);
    }

    /// Changes what the instance says it is doing.
    pub fn set_server_state(&self, state: ServerState) {
        self.core.set_server_state(state);
    }

    /// Forgets all wrong passwords, as an administrator does for somebody who is asked for a CAPTCHA.
    pub fn clear_captcha(&self) {
        locked(&self.core.failures).clear();
    }

    /// Cancels the running task, as a person at Bitbucket's maintenance page does.
    ///
    /// # Errors
    /// [`ErrorKind::Invalid`] when no task runs.
    pub fn cancel_from_page(&self) -> Result<()> {
        self.core.change(|maintenance| {
            if maintenance.running_task().is_none() {
                return Err(Error::new(ErrorKind::Invalid, "no task runs"));
            }
            self.core.end_task(maintenance, TaskState::Canceled);
            Ok(())
        })
    }

    /// Unlocks at once, as a person at Bitbucket's maintenance page does. A running task is cancelled by it.
    ///
    /// # Errors
    /// [`ErrorKind::Invalid`] when the instance is not locked.
    pub fn unlock_from_page(&self) -> Result<()> {
        self.core.change(|maintenance| {
            if maintenance.lock.is_none() {
                return Err(Error::new(ErrorKind::Invalid, "the instance is not locked"));
            }
            if maintenance.running_task().is_some() {
                self.core.end_task(maintenance, TaskState::Canceled);
            }
            maintenance.give_lock_back();
            Ok(())
        })
    }

    /// Locks as a second administrator and returns the token, which nobody else knows.
    ///
    /// # Errors
    /// [`ErrorKind::Invalid`] when the instance is locked already.
    pub fn lock_as(&self, name: &str) -> Result<String> {
        self.core
            .lock_at_once(name)
            .map(|lock| lock.token)
            .map_err(not_done)
    }

    /// Begins a maintenance task that is not a backup; [`Simulator::cancel_from_page`] ends it.
    ///
    /// # Errors
    /// [`ErrorKind::Invalid`] when a task runs already.
    pub fn start_migration(&self) -> Result<()> {
        self.core.start_migration().map_err(not_done)
    }

    /// Waits until something about this simulator is true. Looked at after every request and every change of state.
    ///
    /// # Errors
    /// [`ErrorKind::Deadline`] when it is not true within a minute.
    pub async fn wait_until(&self, mut condition: impl FnMut(&Self) -> bool) -> Result<()> {
        let mut changes = self.core.changes.subscribe();
        let reached = async {
            // The sender lives as long as `self`, so only the condition ends this.
            while !condition(self) && changes.changed().await.is_ok() {}
        };
        tokio::time::timeout(DEADLINE, reached).await.map_err(|_| {
            Error::new(
                ErrorKind::Deadline,
                format!("what was waited for did not happen: {self:?}"),
            )
        })
    }

    /// Lets pushes in flight end, so that files and rows agree, and stops.
    pub async fn shutdown(mut self) {
        if let Some(application) = self.core.take_application() {
            application.stop().await;
        }
        self.end();
    }

    fn end(&mut self) {
        if let Some(runtime) = self.runtime.take() {
            // Does not wait, so it is allowed inside another runtime.
            runtime.shutdown_background();
        }
    }
}

impl Drop for Simulator {
    fn drop(&mut self) {
        self.end();
    }
}

fn not_done(refusal: Refusal) -> Error {
    let message = match refusal {
        Refusal::AlreadyLocked => "the instance is locked already",
        _ => "a task runs already",
    };
    Error::new(ErrorKind::Invalid, message)
}
