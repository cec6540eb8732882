//! Instances that take their time: what is accepted has not happened yet.

use std::time::{Duration, Instant, SystemTime};

use diy_backup_core::{CancelReason, ErrorKind, Phase, Step as At};
use diy_backup_testkit::Simulator;
use diy_backup_testkit::simulator::{
    CallKind, EndedTask, Fault, FaultKind, RetryAfter, Times, UnlockWhileRunning,
};
use serde_json::json;

use crate::fakes::{Step, Twist};
use crate::support::{Stage, words};

#[tokio::test]
async fn a_start_that_is_refused_because_it_comes_too_early_is_asked_for_again() {
    let stage = Stage::with(Simulator::builder().start_delay(Duration::from_millis(500)));
    stage.backup().await.unwrap();
    assert!(stage.simulator.count(CallKind::StartBackup) > 1);
    assert!(!stage.simulator.is_locked());
}

#[tokio::test]
async fn a_start_that_is_refused_for_ever_ends_with_the_drain_timeout() {
    let mut stage = Stage::with(Simulator::builder().start_delay(Duration::from_hours(1)));
    stage.site.backup.drain_timeout = Duration::from_millis(200).into();
    let error = stage.backup().await.unwrap_err();
    assert_eq!(error.kind(), ErrorKind::Bitbucket, "{}", words(&error));
    stage.assert_clean("a start that never works");
}

#[tokio::test]
async fn other_maintenance_ends_the_wait_for_the_start() {
    let stage = Stage::with(Simulator::builder().start_delay(Duration::from_hours(1)));
    let migration = async {
        let refused = |simulator: &Simulator| simulator.count(CallKind::StartBackup) > 0;
        stage.simulator.wait_until(refused).await.unwrap();
        stage.simulator.start_migration().unwrap();
    };
    let (result, ()) = tokio::join!(stage.backup(), migration);
    assert_eq!(result.unwrap_err().kind(), ErrorKind::Bitbucket);
    assert!(!stage.simulator.is_locked());
}

#[tokio::test]
async fn an_unlock_that_is_refused_while_the_told_task_still_runs_is_waited_out() {
    let stage = Stage::with(
        Simulator::builder()
            .end_delay(Duration::from_millis(800))
            .unlock_while_running(UnlockWhileRunning::Refused),
    );
    stage.backup().await.unwrap();
    assert!(stage.simulator.count(CallKind::Unlock) > 1);
    assert!(!stage.simulator.is_locked() && stage.journal().is_none());
}

#[tokio::test]
async fn an_ended_task_of_an_earlier_backup_does_not_end_the_drain() {
    let stage = Stage::with(
        Simulator::builder()
            .ended_task(EndedTask::Stays)
            .start_delay(Duration::from_millis(100)),
    );
    stage.home.twist(Step::Capture, Twist::Fails);
    stage.backup().await.unwrap_err();
    stage.home.untwist();
    let again = diy_backup_core::Control::new();
    diy_backup_core::backup(
        &stage.site,
        &diy_backup_core::BackupOptions::default(),
        &again,
        stage.recorder.clone(),
    )
    .await
    .unwrap();
}

#[tokio::test]
async fn a_second_signal_does_not_end_the_tries_to_unlock() {
    let stage = Stage::new();
    stage.home.twist(Step::Capture, Twist::Waits);
    for nth in 1..=20 {
        stage.simulator.inject(Fault {
            times: Times::Nth(nth),
            ..Fault::status_once(CallKind::Unlock, 502)
        });
    }
    let signals = async {
        stage.recorder.reached(Phase::Capture).await;
        stage.control.cancel(CancelReason::Signal("SIGINT"));
        stage.control.kill_children();
    };
    let (result, ()) = tokio::join!(stage.backup(), signals);
    assert_eq!(result.unwrap_err().kind(), ErrorKind::Cancelled);
    stage.assert_clean("two signals");
}

#[tokio::test]
async fn a_pause_that_the_server_asks_for_is_kept() {
    for pause in [RetryAfter::Seconds(1), RetryAfter::Date(2)] {
        let stage = Stage::with(Simulator::builder().drain(Duration::from_millis(60)));
        let kind = FaultKind::RetryAfter { status: 429, pause };
        stage
            .simulator
            .inject(Fault::once(CallKind::MaintenanceState, kind));
        stage.backup().await.unwrap();
        let requests = stage.simulator.requests();
        let mut looks = requests
            .iter()
            .filter(|request| request.call == CallKind::MaintenanceState);
        let (first, second) = (looks.next().unwrap().at, looks.next().unwrap().at);
        // A date has whole seconds: what is left of two may be little more than one.
        assert!(second - first >= Duration::from_millis(900), "{pause:?}");
    }
}

/// Lets a run die that was asking for the lock, and a lock arrive once a recovery looks for it.
async fn late_lock(stage: &Stage) {
    let arrives = async {
        let looked = |simulator: &Simulator| simulator.count(CallKind::LockState) > 0;
        stage.simulator.wait_until(looked).await.unwrap();
        stage.simulator.lock_as("backup").unwrap();
    };
    let (recovery, ()) = tokio::join!(stage.recover(), arrives);
    let error = recovery.unwrap_err();
    assert_eq!(error.kind(), ErrorKind::StillLocked, "{}", words(&error));
    assert!(stage.journal().is_some(), "for another try");
}

#[tokio::test]
async fn a_late_lock_is_waited_for_whatever_the_clock_says() {
    // Another boot, as after a restart; no moment at all, as of an older version.
    let other_boot = json!({"asked": {"boot": "another", "uptime-millis": 1}});
    for more in [other_boot, json!({})] {
        for written in [
            SystemTime::now() - Duration::from_hours(24),
            SystemTime::now() + Duration::from_hours(24),
        ] {
            let mut stage = Stage::new();
            stage.site.patience.late_lock = Duration::from_mins(1);
            stage.died_at("backup", At::Locking, &more);
            let file = std::fs::File::options()
                .write(true)
                .open(stage.state().join("journal.json"))
                .unwrap();
            file.set_modified(written).unwrap();
            late_lock(&stage).await;
        }
    }
}

#[cfg(target_os = "linux")]
#[tokio::test]
async fn a_lock_that_cannot_arrive_any_more_is_not_waited_for() {
    let boot = std::fs::read_to_string("/proc/sys/kernel/random/boot_id").unwrap();
    let mut stage = Stage::new();
    // This machine has been up for longer than a millisecond, and for less than a hundred years.
    stage.site.patience.late_lock = Duration::from_millis(1);
    let asked = json!({"asked": {"boot": boot.trim(), "uptime-millis": 0}});
    stage.died_at("backup", At::Locking, &asked);
    let started = Instant::now();
    stage.recover().await.unwrap();
    assert!(started.elapsed() < Duration::from_mins(1));
    stage.assert_clean("a request of long ago");
}

#[tokio::test]
async fn a_run_whose_lock_requests_fail_looks_for_the_lock_before_it_says_that_it_is_free() {
    let mut stage = Stage::new();
    stage.site.patience.late_lock = Duration::from_mins(1);
    stage.simulator.inject(Fault::always(
        CallKind::Lock,
        FaultKind::Stall(Duration::from_millis(1)),
    ));
    let arrives = async {
        let given_up = |simulator: &Simulator| simulator.count(CallKind::Lock) == 4;
        stage.simulator.wait_until(given_up).await.unwrap();
        let looks = stage.simulator.count(CallKind::LockState);
        let looked = move |simulator: &Simulator| simulator.count(CallKind::LockState) > looks + 3;
        stage.simulator.wait_until(looked).await.unwrap();
        stage.simulator.lock_as("backup").unwrap();
    };
    let (result, ()) = tokio::join!(stage.backup(), arrives);
    let error = result.unwrap_err();
    assert_eq!(error.kind(), ErrorKind::StillLocked, "{}", words(&error));
    assert!(stage.journal().is_some_and(|record| record.may_be_locked()));
}
