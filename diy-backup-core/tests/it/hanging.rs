//! Captures that hang in a call of the operating system: they keep nobody from unlocking.

use std::time::Duration;

use diy_backup_core::{CancelReason, ErrorKind, Phase};

use crate::fakes::{Step, Twist};
use crate::support::{Stage, words};

/// A stage on which both captures hang.
fn stage() -> Stage {
    let stage = Stage::new();
    stage.home.twist(Step::Capture, Twist::Hangs);
    stage.database.twist(Step::Capture, Twist::Hangs);
    stage
}

/// Lets the threads go, so that the test's runtime can end.
fn let_go(stage: &Stage) {
    stage.home.let_go();
    stage.database.let_go();
}

// One thread runs everything but the captures: whatever blocks it blocks the unlock.
#[tokio::test(flavor = "current_thread")]
async fn max_locked_unlocks_although_both_captures_hang() {
    let mut stage = stage();
    stage.site.backup.max_locked = Duration::from_millis(150).into();
    let error = stage.backup().await.unwrap_err();
    let (locked, warnings) = (stage.simulator.is_locked(), stage.recorder.warnings());
    let_go(&stage);
    assert!(words(&error).contains("max-locked"), "{}", words(&error));
    assert!(!locked);
    let told = |text: &String| text.contains("hangs") && text.contains("diy-backup recover");
    assert!(warnings.iter().any(told), "{warnings:?}");
    // What the hanging threads may still be writing is not removed under their hands.
    assert!(
        stage
            .journal()
            .is_some_and(|record| !record.may_be_locked())
    );
    stage.recover().await.unwrap();
    stage.assert_clean("a capture that hung");
}

#[tokio::test(flavor = "current_thread")]
async fn a_signal_unlocks_although_both_captures_hang() {
    let stage = stage();
    let cancel = async {
        stage.recorder.reached(Phase::Capture).await;
        stage.control.cancel(CancelReason::Signal("SIGINT"));
    };
    let (result, ()) = tokio::join!(stage.backup(), cancel);
    let locked = stage.simulator.is_locked();
    let_go(&stage);
    assert_eq!(result.unwrap_err().kind(), ErrorKind::Cancelled);
    assert!(!locked && !stage.control.instance_may_be_locked());
}

#[tokio::test(flavor = "current_thread")]
async fn an_abort_that_hangs_keeps_nobody_from_unlocking() {
    let stage = Stage::new();
    stage.database.twist(Step::Capture, Twist::Fails);
    stage.home.twist(Step::Abort, Twist::Hangs);
    let watched = async {
        let unlocked = |simulator: &diy_backup_testkit::Simulator| {
            simulator.lock_count() == 1 && !simulator.is_locked()
        };
        stage.simulator.wait_until(unlocked).await.unwrap();
        stage.home.wait_until_it_hangs().await;
        stage.home.let_go();
    };
    let (result, ()) = tokio::join!(stage.backup(), watched);
    result.unwrap_err();
    stage.assert_clean("an abort that hung");
}
