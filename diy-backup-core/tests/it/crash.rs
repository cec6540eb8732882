//! Runs that die: what they leave is put right, and putting right can be repeated.

use std::process::Command;
use std::time::Duration;

use diy_backup_core::{ErrorKind, Phase};
use diy_backup_testkit::Simulator;
use diy_backup_testkit::simulator::{CallKind, DrainOutcome, Fault, FaultKind};

use crate::fakes::{Step, Twist};
use crate::support::Stage;

/// Lets a backup come as far as `phase`, where it hangs, and kills it.
async fn die_in(phase: Phase) -> Stage {
    let stage = match phase {
        Phase::Drain => Stage::with(Simulator::builder().drain_outcome(DrainOutcome::Never)),
        _ => Stage::new(),
    };
    match phase {
        Phase::Prepare => stage.database.twist(Step::Prepare, Twist::Deaf),
        Phase::Lock => {
            stage
                .simulator
                .inject(Fault::once(CallKind::Lock, FaultKind::Hang));
        }
        Phase::Capture => stage.database.twist(Step::Capture, Twist::Deaf),
        Phase::Release => {
            stage
                .simulator
                .inject(Fault::once(CallKind::Unlock, FaultKind::Hang));
        }
        Phase::Complete => stage.database.twist(Step::Complete, Twist::Deaf),
        _ => {}
    }
    let run = stage.spawn_backup();
    stage.recorder.reached(phase).await;
    let arrived = |call| move |simulator: &Simulator| simulator.count(call) > 0;
    let call = match phase {
        Phase::Lock => Some(CallKind::Lock),
        Phase::Drain => Some(CallKind::MaintenanceState),
        Phase::Release => Some(CallKind::Unlock),
        _ => None,
    };
    if let Some(call) = call {
        stage.simulator.wait_until(arrived(call)).await.unwrap();
    }
    run.abort();
    assert!(run.await.unwrap_err().is_cancelled());
    stage
}

#[tokio::test]
async fn a_run_that_dies_in_any_phase_is_put_right() {
    for phase in [
        Phase::Prepare,
        Phase::Lock,
        Phase::Drain,
        Phase::Capture,
        Phase::Release,
        Phase::Complete,
    ] {
        let stage = die_in(phase).await;
        let locked = matches!(phase, Phase::Drain | Phase::Capture | Phase::Release);
        assert_eq!(stage.simulator.is_locked(), locked, "{phase}");
        let status = diy_backup_core::status(&stage.site).await.unwrap();
        assert!(status.needs_recovery(), "{phase}");

        let recovery = stage.recover().await.unwrap();
        assert!(recovery.found.is_some(), "{phase}");
        stage.assert_clean(phase.name());
        assert!(!stage.staging().join("bitbucket-db").exists(), "{phase}");
        assert!(
            stage.recover().await.unwrap().found.is_none(),
            "{phase}: nothing is left to do"
        );
    }
}

#[tokio::test]
async fn the_next_backup_puts_right_what_a_dead_one_left() {
    let stage = die_in(Phase::Capture).await;
    stage.database.untwist();
    stage.backup().await.unwrap();
    assert!(!stage.simulator.is_locked());
    assert_eq!(stage.simulator.lock_count(), 2);
}

#[tokio::test]
async fn recovery_that_cannot_unlock_keeps_the_journal_for_another_try() {
    let mut stage = die_in(Phase::Capture).await;
    stage.site.patience.unlock = Duration::from_millis(50);
    stage
        .simulator
        .inject(Fault::always(CallKind::Unlock, FaultKind::Reset));
    for _ in 0..2 {
        let error = stage.recover().await.unwrap_err();
        assert_eq!(error.kind(), ErrorKind::StillLocked);
        assert!(stage.journal().unwrap().unlock_token.is_some());
    }
    stage.simulator.clear_faults();
    stage.recover().await.unwrap();
    stage.assert_clean("the third try");
}

#[tokio::test]
async fn unlocking_by_hand_needs_nothing_but_the_journal() {
    let stage = die_in(Phase::Capture).await;
    let control = diy_backup_core::Control::new();
    diy_backup_core::cancel(&stage.site, None, stage.recorder.clone())
        .await
        .unwrap();
    assert!(stage.simulator.is_locked());
    diy_backup_core::unlock(&stage.site, None, &control, stage.recorder.clone())
        .await
        .unwrap();
    assert!(!stage.simulator.is_locked());
    stage.recover().await.unwrap();
    stage.assert_clean("unlocked by hand");
}

#[tokio::test]
async fn children_that_outlived_their_run_are_killed() {
    let stage = die_in(Phase::Capture).await;
    let mut child = Sleeper::marked(&stage.journal().unwrap().run);
    let mut stranger = Sleeper::marked("another");
    let recovery = stage.recover().await.unwrap();
    assert!(recovery.killed_processes >= 1);
    assert!(!child.0.wait().unwrap().success());
    assert!(
        stranger.0.try_wait().unwrap().is_none(),
        "a stranger is left alone"
    );
}

#[tokio::test]
async fn a_process_that_is_older_than_the_run_or_of_another_boot_is_left_alone() {
    let later = |born: &str| {
        let (boot, ticks) = born.split_once(' ').unwrap();
        let ticks: u64 = ticks.parse().unwrap();
        format!("{boot} {}", ticks + 1_000_000_000)
    };
    let of_another_boot = |born: &str| format!("another-{born}");
    let changes: [&dyn Fn(&str) -> String; 2] = [&later, &of_another_boot];
    for change in changes {
        let stage = die_in(Phase::Capture).await;
        let record = stage.journal().unwrap();
        let path = stage.state().join("journal.json");
        let text = std::fs::read_to_string(&path).unwrap();
        let born = record.born.unwrap();
        std::fs::write(&path, text.replace(&born, &change(&born))).unwrap();
        let mut forged = Sleeper::marked(&record.run);
        let recovery = stage.recover().await.unwrap();
        assert_eq!(recovery.killed_processes, 0);
        assert!(forged.0.try_wait().unwrap().is_none());
    }
}

/// A process that is ended with its test.
struct Sleeper(std::process::Child);

impl Sleeper {
    fn marked(run: &str) -> Self {
        let mut command = Command::new("sleep");
        command.arg("1000").env("DIY_BACKUP_RUN", run);
        Self(command.spawn().unwrap())
    }
}

impl Drop for Sleeper {
    fn drop(&mut self) {
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}

#[tokio::test]
async fn a_journal_that_cannot_be_written_never_leaves_it_locked() {
    // Whatever write fails: a folder in the place of the temporary file makes it fail, also for root.
    for calls_before in [
        CallKind::ApplicationProperties,
        CallKind::Lock,
        CallKind::StartBackup,
    ] {
        let stage = Stage::with(Simulator::builder().lock_delay(Duration::from_millis(20)));
        let block = async {
            let arrived = |simulator: &Simulator| simulator.count(calls_before) > 0;
            stage.simulator.wait_until(arrived).await.unwrap();
            let obstacle = stage.state().join(".journal.json.tmp").join("in-the-way");
            let _ = std::fs::create_dir_all(obstacle);
        };
        let (result, ()) = tokio::join!(stage.backup(), block);
        assert!(!stage.simulator.is_locked(), "{calls_before:?}: {result:?}");
        std::fs::remove_dir_all(stage.state().join(".journal.json.tmp")).unwrap();
        stage.recover().await.unwrap();
        assert!(stage.journal().is_none(), "{calls_before:?}");
    }
}

#[tokio::test]
async fn a_lock_that_arrives_after_its_run_has_died_is_not_overlooked() {
    let mut stage = Stage::with(Simulator::builder().lock_delay(Duration::from_secs(1)));
    stage.site.patience.late_lock = Duration::from_mins(1);
    let asked = async {
        let arrived = |simulator: &Simulator| simulator.count(CallKind::Lock) > 0;
        stage.simulator.wait_until(arrived).await.unwrap();
    };
    tokio::select! {
        result = stage.backup() => panic!("it should not get so far: {result:?}"),
        () = asked => {}
    }
    assert!(!stage.simulator.is_locked(), "the lock is on its way");
    let error = stage.recover().await.unwrap_err();
    assert_eq!(error.kind(), ErrorKind::StillLocked, "{error}");
    assert!(stage.journal().is_some(), "for another try");
}
