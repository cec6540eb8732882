//! The background work of a backup task: latch, then drain.

use std::sync::Arc;
use std::time::Duration;

use tokio::time::sleep;

use super::builder::DrainOutcome;
use super::core::Core;
use super::maintenance::{LatchState, Maintenance, TaskState};

/// Latches and drains for one task, as long as that task runs.
pub(super) async fn run(core: Arc<Core>, task_id: String) {
    let drain = Drain { core, task_id };
    sleep(drain.core.settings.latch_delay).await;
    let latched = drain.while_running(|maintenance| {
        drain.core.latch.close();
        maintenance.latches.database = LatchState::Latched;
        maintenance.latches.scm = LatchState::Latched;
    });
    if !latched {
        return;
    }
    match drain.core.drain_outcome() {
        DrainOutcome::Drains { scm, database } => {
            tokio::join!(
                drain.finish(scm, |maintenance| {
                    maintenance.latches.scm = LatchState::Drained;
                }),
                drain.finish(database, |maintenance| {
                    maintenance.latches.database = LatchState::Drained;
                }),
            );
        }
        DrainOutcome::Fails(after) => {
            sleep(after).await;
            drain.while_running(|maintenance| {
                drain.core.end_task(maintenance, TaskState::Failed);
            });
        }
        DrainOutcome::Never => {}
    }
}

struct Drain {
    core: Arc<Core>,
    task_id: String,
}

impl Drain {
    /// Marks one of the two as drained after a while, but not before the last push in flight has ended. The moment at
    /// which both are drained is the one whose pushes are remembered: nothing moves after it.
    async fn finish(&self, after: Duration, mark: impl FnOnce(&mut Maintenance)) {
        sleep(after).await;
        self.core.latch.drained().await;
        self.while_running(|maintenance| {
            mark(maintenance);
            if maintenance.latches.are_drained() {
                if let Some(application) = self.core.application() {
                    application.record_drained();
                }
                maintenance.note_drained();
                if let Some(task) = maintenance.running_task() {
                    task.drained = true;
                }
            }
        });
    }

    /// Changes the state if this task still runs; tells whether it did.
    fn while_running(&self, change: impl FnOnce(&mut Maintenance)) -> bool {
        self.core.change(|maintenance| {
            let ours = maintenance
                .running_task()
                .is_some_and(|task| task.id == self.task_id);
            if ours {
                change(maintenance);
            }
            ours
        })
    }
}
