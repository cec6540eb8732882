//! A backup that goes well, and one that fails in each of its steps.

use std::time::Duration;

use diy_backup_core::{
    BackupOptions, Downtime, ErrorKind, Findings, Phase, Pinning, RetentionSettings, Selector,
};
use diy_backup_testkit::Simulator;
use diy_backup_testkit::simulator::{CallKind, DrainOutcome, EndedTask, UnlockWhileRunning};

use crate::fakes::{Step, Twist};
use crate::support::{Stage, words};

#[tokio::test]
async fn the_phases_and_calls_come_in_their_order() {
    let stage = Stage::new();
    let report = stage.backup().await.unwrap();
    let phases = [
        Phase::Check,
        Phase::Prepare,
        Phase::Lock,
        Phase::Drain,
        Phase::Capture,
        Phase::Release,
        Phase::Complete,
        Phase::Archive,
    ];
    assert_eq!(stage.recorder.phases(), phases);
    assert_eq!(
        report.phases.iter().map(|p| p.name).collect::<Vec<_>>(),
        phases
    );
    let mut calls: Vec<CallKind> = stage.simulator.requests().iter().map(|r| r.call).collect();
    calls.dedup();
    assert_eq!(
        calls,
        [
            CallKind::Status,
            CallKind::LockState,
            CallKind::ApplicationProperties,
            CallKind::Lock,
            CallKind::StartBackup,
            CallKind::MaintenanceState,
            CallKind::Progress,
            CallKind::Unlock,
            CallKind::LockState,
        ]
    );
    assert!(!stage.simulator.is_locked() && stage.journal().is_none());
    assert!(report.warnings.is_empty() && report.aftermath.is_none());
    let manifest = diy_backup_core::find_to_restore(&stage.site, &Selector::Latest)
        .await
        .unwrap()
        .entry
        .manifest
        .unwrap();
    assert_eq!(manifest.backup_id, report.id);
    assert_eq!(manifest.bitbucket_version.as_deref(), Some("8.19.12"));
    assert!(manifest.locked_seconds > 0.0 && report.locked >= report.window);
}

#[tokio::test]
async fn the_instance_is_unlocked_whatever_step_of_whatever_part_fails() {
    for step in [Step::Check, Step::Prepare, Step::Capture, Step::Complete] {
        for part in ["home", "database"] {
            let what = format!("{step:?} of {part}");
            let stage = Stage::new();
            let fake = if part == "home" {
                &stage.home
            } else {
                &stage.database
            };
            fake.twist(step, Twist::Fails);
            let error = stage.backup().await.unwrap_err();
            assert!(
                words(&error).contains("it failed on purpose"),
                "{what}: {error}"
            );
            stage.assert_clean(&what);
            let locked = usize::from(matches!(step, Step::Capture | Step::Complete));
            assert_eq!(stage.simulator.lock_count(), locked, "{what}");
            if locked == 1 {
                assert!(
                    stage.home.did(Step::Abort) || stage.database.did(Step::Abort),
                    "{what}"
                );
            }
            fake.untwist();
            stage.site_recovers_with_a_good_backup(&what).await;
        }
    }
}

impl Stage {
    async fn site_recovers_with_a_good_backup(&self, what: &str) {
        let control = diy_backup_core::Control::new();
        let backup = diy_backup_core::backup(
            &self.site,
            &BackupOptions::new(),
            &control,
            self.recorder.clone(),
        )
        .await;
        assert!(backup.is_ok(), "{what}: {backup:?}");
    }
}

#[tokio::test]
async fn a_part_that_fails_is_named_although_the_other_does_not_stop() {
    let stage = Stage::new();
    stage.home.twist(Step::Capture, Twist::Fails);
    stage.database.twist(Step::Capture, Twist::Deaf);
    let error = stage.backup().await.unwrap_err();
    assert!(words(&error).contains("it failed on purpose"), "{error}");
    assert!(
        stage.home.did(Step::Abort),
        "the session that can be aborted is"
    );
    stage.assert_clean("a deaf part");
}

#[tokio::test]
async fn both_parts_fail_and_the_first_cause_is_told() {
    let stage = Stage::new();
    stage.home.twist(Step::Capture, Twist::Waits);
    stage.database.twist(Step::Capture, Twist::Fails);
    let error = stage.backup().await.unwrap_err();
    assert!(words(&error).contains("it failed on purpose"), "{error}");
    assert!(stage.home.did(Step::Abort) && stage.database.did(Step::Abort));
    stage.assert_clean("both parts");
}

#[tokio::test]
async fn an_abort_that_fails_keeps_nobody_from_unlocking() {
    let stage = Stage::new();
    stage.home.twist(Step::Capture, Twist::Fails);
    stage.database.twist(Step::Abort, Twist::Fails);
    stage.backup().await.unwrap_err();
    stage.assert_clean("a failed abort");
    let warnings = stage.recorder.warnings();
    assert!(
        warnings
            .iter()
            .any(|text| text.contains("left something behind")),
        "{warnings:?}"
    );
}

#[tokio::test]
async fn a_drain_that_fails_is_unlocked_again() {
    for ended_task in [EndedTask::Gone, EndedTask::UntilUnlock, EndedTask::Stays] {
        let outcome = DrainOutcome::Fails(Duration::ZERO);
        let simulator = Simulator::builder()
            .drain_outcome(outcome)
            .ended_task(ended_task);
        let stage = Stage::with(simulator);
        let mut stage = stage;
        stage.site.backup.drain_timeout = Duration::from_millis(200).into();
        let error = stage.backup().await.unwrap_err();
        assert_eq!(error.kind(), ErrorKind::Bitbucket, "{}", words(&error));
        stage.assert_clean("a drain that fails");
    }
}

#[tokio::test]
async fn an_ended_task_of_an_earlier_backup_does_not_disturb() {
    let stage = Stage::with(Simulator::builder().ended_task(EndedTask::Stays));
    stage.backup().await.unwrap();
    stage.backup().await.unwrap();
    assert_eq!(stage.simulator.lock_count(), 2);
}

#[tokio::test]
async fn a_drain_that_never_ends_is_given_up_in_time() {
    let mut stage = Stage::with(Simulator::builder().drain_outcome(DrainOutcome::Never));
    stage.site.backup.drain_timeout = Duration::from_millis(100).into();
    let error = stage.backup().await.unwrap_err();
    assert!(
        error.to_string().contains("not drained within 100ms"),
        "{error}"
    );
    assert!(error.hint().unwrap().contains("drain-timeout"));
    stage.assert_clean("a drain that never ends");
}

#[tokio::test]
async fn a_drain_ends_with_max_locked_when_that_is_shorter() {
    let mut stage = Stage::with(Simulator::builder().drain_outcome(DrainOutcome::Never));
    stage.site.backup.max_locked = Duration::from_millis(100).into();
    stage.backup().await.unwrap_err();
    stage.assert_clean("max-locked during the drain");
}

#[tokio::test]
async fn a_drain_that_is_cancelled_from_the_page_is_noticed() {
    let stage = Stage::with(Simulator::builder().drain_outcome(DrainOutcome::Never));
    let cancel = async {
        let latched = |simulator: &Simulator| simulator.task().is_some();
        stage.simulator.wait_until(latched).await.unwrap();
        stage.simulator.cancel_from_page().unwrap();
    };
    let (result, ()) = tokio::join!(stage.backup(), cancel);
    let error = result.unwrap_err();
    assert_eq!(error.kind(), ErrorKind::Bitbucket);
    assert!(words(&error).contains("cancelled in Bitbucket"), "{error}");
    stage.assert_clean("cancelled from the page");
}

#[tokio::test]
async fn a_capture_notices_that_the_page_has_cancelled_or_unlocked() {
    for unlocks in [false, true] {
        let stage = Stage::new();
        stage.home.twist(Step::Capture, Twist::Waits);
        let interfere = async {
            stage.recorder.reached(Phase::Capture).await;
            if unlocks {
                stage.simulator.unlock_from_page().unwrap();
            } else {
                stage.simulator.cancel_from_page().unwrap();
            }
        };
        let (result, ()) = tokio::join!(stage.backup(), interfere);
        let error = result.unwrap_err();
        assert_eq!(error.kind(), ErrorKind::Bitbucket, "{}", words(&error));
        stage.assert_clean("interference during the capture");
    }
}

#[tokio::test]
async fn a_capture_that_was_cancelled_behind_our_back_is_no_backup() {
    let mut stage = Stage::new();
    // Nobody looks while the capture goes on: the release has to.
    stage.site.patience.watch = Duration::from_mins(1);
    stage.home.twist(Step::Capture, Twist::Gated);
    let interfere = async {
        stage.recorder.reached(Phase::Capture).await;
        stage.simulator.cancel_from_page().unwrap();
        stage.home.open_gate();
    };
    let (result, ()) = tokio::join!(stage.backup(), interfere);
    let error = result.unwrap_err();
    assert_eq!(error.phase(), Some(Phase::Release), "{}", words(&error));
    stage.assert_clean("cancelled behind our back");
}

#[tokio::test]
async fn rather_unlocked_than_locked_for_longer_than_max_locked() {
    for twist in [Twist::Waits, Twist::Deaf] {
        let mut stage = Stage::new();
        stage.site.backup.max_locked = Duration::from_millis(150).into();
        stage.database.twist(Step::Capture, twist);
        let error = stage.backup().await.unwrap_err();
        assert!(words(&error).contains("max-locked"), "{}", words(&error));
        stage.assert_clean("max-locked");
    }
}

#[tokio::test]
async fn an_unlock_that_a_running_task_forbids_ends_the_task_first() {
    let refuses = || Simulator::builder().unlock_while_running(UnlockWhileRunning::Refused);
    let stage = Stage::with(refuses());
    stage.home.twist(Step::Capture, Twist::Fails);
    stage.backup().await.unwrap_err();
    stage.assert_clean("a task that forbids the unlock");

    let stage = Stage::with(refuses());
    stage.backup().await.unwrap();
    assert!(!stage.simulator.is_locked());
}

#[tokio::test]
async fn a_second_run_is_busy_while_the_first_is_alive() {
    let stage = Stage::new();
    stage.home.twist(Step::Capture, Twist::Waits);
    let second = async {
        stage.recorder.reached(Phase::Capture).await;
        let backup = stage.backup().await.unwrap_err();
        let recovery = stage.recover().await.unwrap_err();
        let status = diy_backup_core::status(&stage.site).await.unwrap();
        assert!(status.run_is_alive && !status.needs_recovery());
        stage
            .control
            .cancel(diy_backup_core::CancelReason::Requested);
        [backup.kind(), recovery.kind()]
    };
    let (first, second) = tokio::join!(stage.backup(), second);
    assert_eq!(second, [ErrorKind::Busy; 2]);
    assert_eq!(first.unwrap_err().kind(), ErrorKind::Cancelled);
    stage.assert_clean("two runs");
}

#[tokio::test]
async fn the_journal_is_private_and_holds_the_tokens_while_they_matter() {
    use std::os::unix::fs::MetadataExt;
    let stage = Stage::with(Simulator::builder().drain_outcome(DrainOutcome::Never));
    let look = async {
        let started = |simulator: &Simulator| simulator.count(CallKind::MaintenanceState) > 0;
        stage.simulator.wait_until(started).await.unwrap();
        let record = stage.journal().unwrap();
        assert_eq!(record.step, diy_backup_core::Step::Draining);
        assert_eq!(record.unlock_token, stage.simulator.unlock_token());
        assert_eq!(record.cancel_token, stage.simulator.cancel_token());
        let mode = |path: std::path::PathBuf| std::fs::metadata(path).unwrap().mode() & 0o777;
        assert_eq!(mode(stage.state().join("journal.json")), 0o600);
        assert_eq!((mode(stage.state()), mode(stage.staging())), (0o700, 0o700));
        stage.simulator.set_drain(DrainOutcome::Drains {
            scm: Duration::ZERO,
            database: Duration::ZERO,
        });
        stage.simulator.cancel_from_page().unwrap();
    };
    let (result, ()) = tokio::join!(stage.backup(), look);
    result.unwrap_err();

    stage.simulator.clear_faults();
    stage.home.twist(Step::Complete, Twist::Waits);
    let control = diy_backup_core::Control::new();
    let look = async {
        let released =
            |simulator: &Simulator| simulator.lock_count() == 2 && !simulator.is_locked();
        stage.simulator.wait_until(released).await.unwrap();
        stage.recorder.reached(Phase::Complete).await;
        let record = stage.journal().unwrap();
        assert_eq!((record.unlock_token, record.cancel_token), (None, None));
        control.cancel(diy_backup_core::CancelReason::Requested);
    };
    let options = BackupOptions::new();
    let backup = diy_backup_core::backup(&stage.site, &options, &control, stage.recorder.clone());
    let (result, ()) = tokio::join!(backup, look);
    assert_eq!(result.unwrap_err().kind(), ErrorKind::Cancelled);
}

#[tokio::test]
async fn a_backup_without_downtime_locks_nothing() {
    let mut stage = Stage::new();
    stage.home.pins(Pinning::Atomic);
    stage.site.backup.downtime = Downtime::Zero;
    let report = stage.backup().await.unwrap();
    assert_eq!(stage.simulator.lock_count(), 0);
    assert_eq!(report.locked, Duration::ZERO);
}

#[tokio::test]
async fn warnings_of_the_check_stand_in_the_report() {
    let stage = Stage::new();
    let mut findings = Findings::new();
    findings.warning("rsync", "it is old", "Get a newer one.");
    stage.home.finds(findings);
    let report = stage.backup().await.unwrap();
    assert_eq!(report.warnings, ["rsync: it is old"]);
}

#[tokio::test]
async fn retention_that_fails_leaves_the_backup_good() {
    let mut stage = Stage::new();
    stage.site.retention = Some(RetentionSettings::keep_last(1.try_into().unwrap()));
    let first = stage.backup().await.unwrap();
    assert!(first.aftermath.is_none());
    let listed = diy_backup_core::list(&stage.site).await.unwrap();
    assert_eq!(listed.len(), 1, "the last good backup is never deleted");
}

#[tokio::test]
async fn two_backups_within_one_second_have_two_names() {
    let stage = Stage::new();
    let first = stage.backup().await.unwrap();
    let second = stage.backup().await.unwrap();
    assert!(second.id > first.id);
}

#[tokio::test]
async fn status_tells_how_the_last_run_ended() {
    let stage = Stage::new();
    stage.backup().await.unwrap();
    let last = diy_backup_core::status(&stage.site).await.unwrap().last;
    assert!(last.unwrap().error.is_none());
    stage.home.twist(Step::Capture, Twist::Fails);
    stage.backup().await.unwrap_err();
    let last = diy_backup_core::status(&stage.site).await.unwrap().last;
    assert!(last.unwrap().error.unwrap().contains("on purpose"));
}

#[tokio::test]
async fn a_staging_directory_is_that_of_one_configuration() {
    let first = Stage::new();
    let mut second = Stage::new();
    second.move_to("staging", &first.staging());
    first.database.twist(Step::Prepare, Twist::Gated);
    let at_once = async {
        first.database.reached(Step::Prepare).await;
        let error = second.backup().await.unwrap_err();
        assert_eq!(error.kind(), ErrorKind::Busy, "{error}");
        first.database.open_gate();
    };
    let (taken, ()) = tokio::join!(first.backup(), at_once);
    taken.unwrap();
    first.database.untwist();

    let manifest = first.staging().join("manifest.json");
    let error = second.backup().await.unwrap_err();
    assert_eq!(error.kind(), ErrorKind::Config, "{error}");
    assert!(words(&error).contains(&first.state().display().to_string()));
    assert!(manifest.exists() && second.simulator.lock_count() == 0);
    second.recover().await.unwrap();
    assert!(first.staging().join("bitbucket-db").exists());
    // A restore only reads what is there, and may be that of another configuration.
    second.site.archive = first.site.archive.clone();
    second.home.lose();
    second.database.lose();
    second.restore().await.unwrap();

    // A state directory that is lost, or moved, makes it nobody else's.
    std::fs::remove_dir_all(first.state()).unwrap();
    first.backup().await.unwrap();
    let mut moved = first;
    let elsewhere = moved.state().with_extension("moved");
    std::fs::rename(moved.state(), &elsewhere).unwrap();
    moved.move_to("state", &elsewhere);
    moved.backup().await.unwrap();
}
