//! A run that is told to stop, in each of its phases.

use diy_backup_core::{CancelReason, ErrorKind, Phase};
use diy_backup_testkit::Simulator;
use diy_backup_testkit::simulator::DrainOutcome;

use crate::fakes::{Step, Twist};
use crate::support::{Stage, words};

#[tokio::test]
async fn a_signal_in_any_phase_leaves_nothing_behind() {
    for phase in [
        Phase::Check,
        Phase::Prepare,
        Phase::Lock,
        Phase::Drain,
        Phase::Capture,
        Phase::Release,
        Phase::Complete,
        Phase::Archive,
    ] {
        let stage = Stage::new();
        stage.recorder.cancel_at(phase, &stage.control);
        let error = stage.backup().await.expect_err(phase.name());
        assert_eq!(
            error.kind(),
            ErrorKind::Cancelled,
            "{phase}: {}",
            words(&error)
        );
        stage.assert_clean(phase.name());
        let locks = usize::from(phase > Phase::Lock);
        assert_eq!(stage.simulator.lock_count(), locks, "{phase}");
    }
}

#[tokio::test]
async fn a_run_that_is_cancelled_before_the_lock_does_not_lock() {
    let stage = Stage::new();
    stage.home.twist(Step::Prepare, Twist::Stubborn);
    stage.database.twist(Step::Prepare, Twist::Stubborn);
    stage.recorder.cancel_at(Phase::Prepare, &stage.control);
    let error = stage.backup().await.unwrap_err();
    assert_eq!(error.kind(), ErrorKind::Cancelled);
    assert_eq!(stage.simulator.lock_count(), 0);
    stage.assert_clean("cancelled before the lock");
}

#[tokio::test]
async fn a_signal_ends_a_drain_that_never_ends() {
    let stage = Stage::with(Simulator::builder().drain_outcome(DrainOutcome::Never));
    let cancel = async {
        let latched = |simulator: &Simulator| simulator.task().is_some();
        stage.simulator.wait_until(latched).await.unwrap();
        stage.control.cancel(CancelReason::Signal("SIGINT"));
    };
    let (result, ()) = tokio::join!(stage.backup(), cancel);
    let error = result.unwrap_err();
    assert_eq!(error.kind(), ErrorKind::Cancelled);
    assert!(words(&error).contains("SIGINT"));
    stage.assert_clean("a signal during the drain");
}

#[tokio::test]
async fn a_signal_unlocks_although_a_session_does_not_listen() {
    let stage = Stage::new();
    stage.home.twist(Step::Capture, Twist::Deaf);
    let cancel = async {
        stage.recorder.reached(Phase::Capture).await;
        stage.control.cancel(CancelReason::Signal("SIGTERM"));
    };
    let (result, ()) = tokio::join!(stage.backup(), cancel);
    assert_eq!(result.unwrap_err().kind(), ErrorKind::Cancelled);
    stage.assert_clean("a session that does not listen");
}

#[tokio::test]
async fn a_restore_that_is_cancelled_leaves_the_targets_as_they_were() {
    for phase in [Phase::Check, Phase::Fetch, Phase::Apply] {
        let stage = Stage::new();
        stage.backup().await.unwrap();
        stage.home.lose();
        stage.database.lose();
        stage.recorder.cancel_at(phase, &stage.control);
        let error = stage.restore().await.expect_err(phase.name());
        assert_eq!(error.kind(), ErrorKind::Cancelled, "{phase}");
        for part in [&stage.home, &stage.database] {
            assert!(
                !part.folder().exists() && !part.beside().exists(),
                "{phase}"
            );
        }
        assert!(stage.journal().is_none(), "{phase}");
    }
}
