//! Restores: whole, or not at all.

use diy_backup_core::{ErrorKind, Manifest, PartName, Phase};

use crate::fakes::{Step, Twist};
use crate::support::{Stage, words};

/// A site with a backup whose targets are gone.
async fn lost() -> Stage {
    let stage = Stage::new();
    stage.backup().await.unwrap();
    stage.home.lose();
    stage.database.lose();
    stage
}

fn assert_untouched(stage: &Stage, what: &str) {
    for part in [&stage.home, &stage.database] {
        assert!(!part.folder().exists(), "{what}: the target has changed");
        assert!(!part.beside().exists(), "{what}: something is left");
    }
    let entries = std::fs::read_dir(stage.staging()).unwrap();
    let names: Vec<_> = entries.map(|entry| entry.unwrap().file_name()).collect();
    let is_work = |name: &std::ffi::OsString| name.to_string_lossy().starts_with(".restore");
    assert!(!names.iter().any(is_work), "{what}: {names:?}");
    assert!(stage.journal().is_none(), "{what}: {:?}", stage.journal());
}

#[tokio::test]
async fn what_was_backed_up_comes_back() {
    let stage = lost().await;
    let report = stage.restore().await.unwrap();
    assert_eq!(stage.home.read("ref").unwrap(), "main");
    assert_eq!(stage.database.read("rows").unwrap(), "1 2 3");
    let names: Vec<Phase> = report.phases.iter().map(|phase| phase.name).collect();
    let order = [
        Phase::Check,
        Phase::Fetch,
        Phase::Apply,
        Phase::Commit,
        Phase::Verify,
    ];
    assert_eq!(names, order);
    assert!(stage.journal().is_none());
    assert_eq!(stage.simulator.lock_count(), 1, "a restore locks nothing");
}

#[tokio::test]
async fn a_restore_into_targets_that_are_not_empty_touches_nothing() {
    let stage = Stage::new();
    stage.backup().await.unwrap();
    stage.home.write("ref", "newer");
    let error = stage.restore().await.unwrap_err();
    assert_eq!(error.kind(), ErrorKind::TargetNotEmpty);
    assert_eq!(stage.home.read("ref").unwrap(), "newer");
    assert!(!stage.home.did(Step::Apply) && !stage.database.did(Step::Apply));
}

#[tokio::test]
async fn the_targets_are_untouched_whatever_fails_before_the_commit() {
    for step in [Step::PrepareRestore, Step::Apply] {
        for part in ["home", "database"] {
            let stage = lost().await;
            let what = format!("{step:?} of {part}");
            let fake = if part == "home" {
                &stage.home
            } else {
                &stage.database
            };
            fake.twist(step, Twist::Fails);
            let error = stage.restore().await.unwrap_err();
            assert!(words(&error).contains("on purpose"), "{what}: {error}");
            assert_untouched(&stage, &what);
            fake.untwist();
            stage.restore().await.unwrap();
        }
    }
}

#[tokio::test]
async fn a_first_commit_that_fails_takes_everything_back() {
    let stage = lost().await;
    stage.database.twist(Step::Commit, Twist::Fails);
    stage.restore().await.unwrap_err();
    assert_untouched(&stage, "the first commit");
}

#[tokio::test]
async fn once_a_part_is_in_place_the_others_follow() {
    let stage = lost().await;
    stage.home.twist(Step::Commit, Twist::Fails);
    let report = stage.restore().await.unwrap();
    let finished = |text: &String| text.contains("on purpose") && text.contains("all the same");
    assert!(
        report.warnings.iter().any(finished),
        "{:?}",
        report.warnings
    );
    assert!(
        stage.database.did(Step::Verify),
        "what stands there now is looked at"
    );
    let last = diy_backup_core::status(&stage.site).await.unwrap().last;
    assert_eq!(last.unwrap().error, None);
    assert_eq!(stage.home.read("ref").unwrap(), "main");
    assert_eq!(stage.database.read("rows").unwrap(), "1 2 3");
    assert!(stage.journal().is_none());
}

#[tokio::test]
async fn a_restore_that_dies_between_the_commits_is_finished_by_recovery() {
    let stage = lost().await;
    stage.home.twist(Step::Commit, Twist::Deaf);
    let run = stage.spawn_restore();
    stage.recorder.reached(Phase::Commit).await;
    run.abort();
    let _ = run.await;
    assert!(stage.database.folder().exists() && !stage.home.folder().exists());
    let recovery = stage.recover().await.unwrap();
    assert!(recovery.restore_finished);
    assert_eq!(stage.home.read("ref").unwrap(), "main");
    assert!(stage.journal().is_none());
}

#[tokio::test]
async fn damage_is_found_before_a_target_changes() {
    let stage = lost().await;
    std::fs::write(stage.staging().join("bitbucket-home/ref"), "evil").unwrap();
    let error = stage.restore().await.unwrap_err();
    assert_eq!(error.kind(), ErrorKind::Damaged);
    assert_untouched(&stage, "damage");
}

#[tokio::test]
async fn a_backup_of_another_strategy_is_refused() {
    let stage = lost().await;
    let path = stage.staging().join("manifest.json");
    let mut manifest = Manifest::read(&path).unwrap();
    let part = manifest.parts.get_mut(&PartName::Database).unwrap();
    part.strategy = "mysql".to_owned();
    manifest.write(&path).unwrap();
    let error = stage.restore().await.unwrap_err();
    assert_eq!(error.kind(), ErrorKind::Check);
    assert!(error.hint().unwrap().contains("mysql"));
    assert_untouched(&stage, "another strategy");
}

#[tokio::test]
async fn without_a_backup_there_is_nothing_to_restore() {
    let stage = Stage::new();
    let error = stage.restore().await.unwrap_err();
    assert_eq!(error.kind(), ErrorKind::NotFound);
}

#[tokio::test]
async fn parts_with_strategies_of_one_name_get_their_own_leftovers() {
    let stage = Stage::with_one_name();
    stage.backup().await.unwrap();
    stage.home.lose();
    stage.database.lose();
    stage.database.twist(Step::Apply, Twist::Deaf);
    let run = stage.spawn_restore();
    stage.home.reached(Step::Apply).await;
    stage.database.reached(Step::Apply).await;
    run.abort();
    let _ = run.await;
    assert!(stage.home.beside().exists() && stage.database.beside().exists());
    for fake in [&stage.home, &stage.database] {
        fake.untwist();
    }
    stage.recover().await.unwrap();
    for fake in [&stage.home, &stage.database] {
        assert_eq!(fake.discarded(), [fake.beside().display().to_string()]);
    }
    assert_untouched(&stage, "recovery");
}

#[tokio::test]
async fn a_part_that_panics_is_named_and_the_others_are_taken_back() {
    for (step, twist) in [
        (Step::PrepareRestore, Twist::Panics),
        (Step::Apply, Twist::Panics),
        (Step::Apply, Twist::WorkerPanics),
        (Step::Commit, Twist::Panics),
    ] {
        let stage = lost().await;
        stage.database.twist(step, twist);
        let error = stage.restore().await.unwrap_err();
        let text = words(&error);
        let is_named = text.contains("the database part broke off") && text.contains("on purpose");
        assert!(is_named, "{step:?}: {text}");
        assert_untouched(&stage, &format!("{step:?}"));
    }
}
