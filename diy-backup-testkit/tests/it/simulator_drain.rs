use std::sync::Arc;
use std::time::Duration;

use diy_backup_testkit::simulator::{CallKind, DrainOutcome, LatchState, TaskState};
use diy_backup_testkit::{Comparison, MemoryRows, Simulator};

use crate::http::{lock, progress, request, start_backup, state, unlock};

#[tokio::test]
async fn at_drained_files_and_rows_are_the_pushes_of_one_instant() {
    let home = tempfile::tempdir().unwrap();
    let rows = Arc::new(MemoryRows::new());
    let simulator = Simulator::builder()
        .home(home.path())
        .database(Arc::clone(&rows) as _)
        .drain(Duration::from_millis(20))
        .start()
        .await
        .unwrap();
    let application = simulator.application().unwrap();
    application.wait_for_pushes(30).await.unwrap();
    let token = lock(&simulator).text("unlockToken");
    application.wait_for_pushes(5).await.unwrap();
    start_backup(&simulator, &token);
    simulator
        .wait_until(|simulator| simulator.latches().are_drained())
        .await
        .unwrap();
    let drained = application.drained_set().unwrap();
    assert_eq!(rows.rows(), drained);
    let comparison = Comparison::against(home.path(), &rows.rows(), &drained).unwrap();
    assert!(comparison.is_consistent(), "{comparison}");
    assert_eq!(progress(&simulator, &token, "100").status, 202);
    application.wait_for_pushes(5).await.unwrap();
    assert_eq!(unlock(&simulator, &token).status, 202);
    let window = simulator.window().unwrap();
    assert!(window.drained_to_unlocked().unwrap() <= window.locked_for().unwrap());
    assert_eq!(application.failures(), Vec::<String>::new());
    drop(application);
    simulator.shutdown().await;
    let comparison = Comparison::of(home.path(), &rows.rows()).unwrap();
    assert!(comparison.is_consistent(), "{comparison}");
}

#[tokio::test]
async fn repositories_drain_before_the_database() {
    let simulator = Simulator::builder()
        .drain_outcome(DrainOutcome::Drains {
            scm: Duration::ZERO,
            database: Duration::from_hours(1),
        })
        .start()
        .await
        .unwrap();
    let token = lock(&simulator).text("unlockToken");
    start_backup(&simulator, &token);
    simulator
        .wait_until(|simulator| simulator.latches().scm == LatchState::Drained)
        .await
        .unwrap();
    let shown = state(&simulator, &token).json();
    assert_eq!(shown["db-state"], "LATCHED");
    assert_eq!(shown["scm-state"], "DRAINED");
    assert_eq!(shown["task"]["progress"]["percentage"], 5);
}

#[tokio::test]
async fn a_drain_that_fails_unlatches_and_the_lock_remains() {
    let simulator = Simulator::builder()
        .drain_outcome(DrainOutcome::Fails(Duration::ZERO))
        .start()
        .await
        .unwrap();
    let token = lock(&simulator).text("unlockToken");
    start_backup(&simulator, &token);
    simulator
        .wait_until(|simulator| {
            simulator
                .task()
                .is_some_and(|task| task.state == TaskState::Failed)
        })
        .await
        .unwrap();
    assert_eq!(simulator.latches().database, LatchState::Available);
    assert!(simulator.is_locked());
}

#[tokio::test]
async fn a_drain_that_never_ends_can_be_cancelled_from_the_page() {
    let simulator = Simulator::builder()
        .drain_outcome(DrainOutcome::Never)
        .start()
        .await
        .unwrap();
    let token = lock(&simulator).text("unlockToken");
    start_backup(&simulator, &token);
    simulator
        .wait_until(|simulator| simulator.latches().database == LatchState::Latched)
        .await
        .unwrap();
    simulator.cancel_from_page().unwrap();
    assert_eq!(simulator.task().unwrap().state, TaskState::Canceled);
    assert_eq!(simulator.latches().scm, LatchState::Available);
    simulator.set_drain(DrainOutcome::Drains {
        scm: Duration::ZERO,
        database: Duration::ZERO,
    });
    assert_eq!(start_backup(&simulator, &token).status, 202);
    simulator
        .wait_until(|simulator| simulator.latches().are_drained())
        .await
        .unwrap();
}

#[tokio::test]
async fn a_lock_goes_on_when_its_client_goes_away() {
    let simulator = Simulator::builder()
        .lock_delay(Duration::from_millis(20))
        .start()
        .await
        .unwrap();
    let client = request(&simulator, "POST", "/mvc/maintenance/lock")
        .administrator()
        .json()
        .send_only();
    simulator
        .wait_until(|simulator| simulator.count(CallKind::Lock) == 1)
        .await
        .unwrap();
    drop(client);
    simulator.wait_until(Simulator::is_locked).await.unwrap();
}
