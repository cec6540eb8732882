use std::sync::Arc;

use diy_backup_testkit::{Application, Comparison, MemoryRows};

#[tokio::test]
async fn files_and_rows_agree_exactly_when_the_latch_is_drained() {
    let home = tempfile::tempdir().unwrap();
    let rows = Arc::new(MemoryRows::new());
    let application = Application::builder(home.path(), Arc::clone(&rows) as _)
        .start()
        .unwrap();
    for _ in 0..3 {
        application.wait_for_pushes(50).await.unwrap();
        application.latch().close();
        application.latch().drained().await;
        application.record_drained();
        let drained = application.drained_set().unwrap();
        assert_eq!(rows.rows(), drained);
        let comparison = Comparison::against(home.path(), &rows.rows(), &drained).unwrap();
        assert!(comparison.is_consistent(), "{comparison}");
        application.latch().open();
    }
    application.wait_for_pushes(1).await.unwrap();
    application.stop().await;
    assert_eq!(application.failures(), Vec::<String>::new());
}

#[tokio::test]
async fn a_copy_that_is_not_of_one_instant_is_caught() {
    let home = tempfile::tempdir().unwrap();
    let rows = Arc::new(MemoryRows::new());
    let application = Application::builder(home.path(), Arc::clone(&rows) as _)
        .start()
        .unwrap();
    application.wait_for_pushes(40).await.unwrap();
    let earlier = rows.rows();
    application.wait_for_pushes(40).await.unwrap();
    application.stop().await;
    let comparison = Comparison::of(home.path(), &earlier).unwrap();
    assert!(!comparison.is_consistent());
    assert!(!comparison.files_without_row.is_empty(), "{comparison}");
}

#[tokio::test]
async fn earlier_pushes_are_deleted_and_renamed_too() {
    let home = tempfile::tempdir().unwrap();
    let rows = Arc::new(MemoryRows::new());
    let application = Application::builder(home.path(), Arc::clone(&rows) as _)
        .start()
        .unwrap();
    application.wait_for_pushes(30).await.unwrap();
    let earlier = rows.rows();
    application.wait_for_pushes(200).await.unwrap();
    application.stop().await;
    let now = rows.rows();
    assert!(earlier.keys().any(|id| !now.contains_key(id)));
}
