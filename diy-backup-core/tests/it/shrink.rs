//! A source that has lost most of what the last good backup has.

use diy_backup_core::{
    Control, ErrorKind, Inventory, Purpose, RetentionSettings, Selector, Severity,
};

use crate::fakes::Step;
use crate::support::{Stage, words};

fn repositories(count: u64) -> Inventory {
    Inventory::new().with_repositories(count)
}

/// A site with one good backup of 10 repositories.
async fn of_ten() -> Stage {
    let stage = Stage::new();
    stage.home.holds(repositories(10));
    stage.home.takes(repositories(10));
    stage.backup().await.unwrap();
    stage
}

async fn latest(stage: &Stage) -> diy_backup_core::BackupEntry {
    let found = diy_backup_core::find_to_restore(&stage.site, &Selector::Latest).await;
    found.unwrap().entry
}

#[tokio::test]
async fn a_loss_of_more_than_half_fails_the_check_before_staging_is_touched() {
    let stage = of_ten().await;
    let first = latest(&stage).await.id;
    stage.home.holds(repositories(4));
    let error = stage.backup().await.unwrap_err();
    assert_eq!(error.kind(), ErrorKind::Check);
    let said = words(&error);
    for expected in [
        "repositories 10 before, 4 now",
        &first.to_string(),
        "--accept-shrink",
    ] {
        assert!(said.contains(expected), "{said}");
    }
    assert_eq!(stage.simulator.lock_count(), 1);
    assert_eq!(
        latest(&stage).await.id,
        first,
        "what was good is still there"
    );
    let report = diy_backup_core::check(&stage.site, Purpose::Everything, &Control::new())
        .await
        .unwrap();
    assert_eq!(report.of(Severity::Error).count(), 1);
}

#[tokio::test]
async fn a_loss_of_half_is_none() {
    let stage = of_ten().await;
    stage.home.holds(repositories(5));
    stage.home.takes(repositories(5));
    let report = stage.backup().await.unwrap();
    assert!(report.warnings.is_empty(), "{:?}", report.warnings);
}

#[tokio::test]
async fn a_loss_in_the_database_counts_as_much() {
    let stage = Stage::new();
    let tables = |count| Inventory::new().with_tables(count).with_bytes(1000);
    stage.database.takes(tables(90));
    stage.backup().await.unwrap();
    stage.database.holds(tables(0));
    let error = stage.backup().await.unwrap_err();
    assert!(words(&error).contains("tables 90 before, 0 now"), "{error}");
}

#[tokio::test]
async fn a_loss_that_is_accepted_lets_one_backup_through_and_none_is_deleted() {
    let mut stage = of_ten().await;
    stage.site.retention = Some(RetentionSettings::keep_last(1.try_into().unwrap()));
    stage.home.holds(repositories(1));
    stage.home.takes(repositories(1));
    let report = stage.backup_accepting_shrink().await.unwrap();
    let warned = |what: &str| report.warnings.iter().any(|text| text.contains(what));
    assert!(warned("10 before, 1 now"), "{:?}", report.warnings);
    assert!(warned("no old backup is deleted"), "{:?}", report.warnings);
    assert_eq!(latest(&stage).await.manifest.unwrap().doubts.len(), 1);
    let plan = diy_backup_core::plan_prune(&stage.site).await.unwrap();
    assert!(plan.held.unwrap().contains("10 before, 1 now"));
    // From now on this is what there is to lose.
    let report = stage.backup().await.unwrap();
    assert!(report.warnings.is_empty(), "{:?}", report.warnings);
    stage.home.holds(repositories(0));
    stage.backup().await.unwrap_err();
}

#[tokio::test]
async fn accepting_a_loss_where_there_is_none_makes_no_doubt() {
    let stage = of_ten().await;
    let report = stage.backup_accepting_shrink().await.unwrap();
    assert!(report.warnings.is_empty(), "{:?}", report.warnings);
    assert!(latest(&stage).await.manifest.unwrap().doubts.is_empty());
}

#[tokio::test]
async fn what_is_lost_between_the_check_and_the_copy_is_not_archived() {
    let stage = Stage::new();
    stage.home.holds(repositories(3));
    stage.home.takes(repositories(0));
    let error = stage.backup_accepting_shrink().await.unwrap_err();
    assert_eq!(error.kind(), ErrorKind::Incomplete);
    assert!(
        words(&error).contains("repositories 3 before, 0 now"),
        "{error}"
    );
    assert!(stage.home.did(Step::Complete));
    stage.assert_clean("lost between the check and the copy");
    stage.home.takes(repositories(3));
    stage.backup().await.unwrap();
}

#[tokio::test]
async fn what_no_check_counts_is_compared_before_it_is_archived() {
    let stage = of_ten().await;
    stage.home.holds(Inventory::new());
    stage.home.takes(repositories(2));
    let error = stage.backup().await.unwrap_err();
    assert_eq!(error.kind(), ErrorKind::Incomplete);
    assert!(words(&error).contains("--accept-shrink"), "{error}");
    stage.assert_clean("lost where no check counts");
    stage.backup_accepting_shrink().await.unwrap();
    assert_eq!(latest(&stage).await.manifest.unwrap().doubts.len(), 1);
}

#[tokio::test]
async fn the_last_good_backup_is_remembered_wherever_it_is_now() {
    let stage = of_ten().await;
    std::fs::remove_file(stage.staging().join("manifest.json")).unwrap();
    stage.home.holds(repositories(0));
    let error = stage.backup().await.unwrap_err();
    assert!(words(&error).contains("10 before, 0 now"), "{error}");
    // Unless it is another instance's, which has used this state directory.
    let path = stage.state().join("last-good.json");
    let mut last: serde_json::Value =
        serde_json::from_slice(&std::fs::read(&path).unwrap()).unwrap();
    last["manifest"]["instance"] = serde_json::json!({ "url": "https://other.example.com" });
    std::fs::write(&path, last.to_string()).unwrap();
    stage.home.takes(repositories(0));
    stage.backup().await.unwrap();
}

#[tokio::test]
async fn a_record_that_cannot_be_read_is_told_and_keeps_no_backup_from_being_taken() {
    let stage = of_ten().await;
    for name in ["last-good.json", "instance.json"] {
        std::fs::write(stage.state().join(name), "{").unwrap();
    }
    let report = stage.backup().await.unwrap();
    let warned = |what: &str| report.warnings.iter().any(|text| text.contains(what));
    assert!(
        warned("last-good.json") && warned("instance.json"),
        "{:?}",
        report.warnings
    );
}
