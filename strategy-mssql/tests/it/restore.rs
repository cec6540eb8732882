use diy_backup_core::{Committed, DbStrategy, ErrorKind};
use diy_backup_testkit::mssql::SqlPermission;

use crate::support::{self, DATABASE, Run, databases, names, push};

#[tokio::test]
async fn a_restore_to_another_name_stands_beside_the_original() {
    let double = support::server().await;
    let run = Run::new().await;
    let mut session = support::strategy(&double).prepare(&run.cx).await.unwrap();
    // A file that only the differential backup knows.
    double.add_file(DATABASE, "more'data").unwrap();
    push(&double, 300..305).await;
    let released = run.capture(&mut session).await;
    let artifact = session.complete(&released).await.unwrap();
    let copy = "co'py ]x";
    run.restore(&support::strategy_for(&double, copy, ""), &artifact)
        .await;
    assert_eq!(
        double.pushes(copy).unwrap(),
        double.pushes(DATABASE).unwrap()
    );
    assert_eq!(databases(&double), [DATABASE, copy]);
    assert!(names(&double.directory()).is_empty());
}

#[tokio::test]
async fn a_database_with_anything_in_it_or_out_of_sight_is_refused() {
    let double = support::server().await;
    let run = Run::new().await;
    let strategy = support::strategy(&double);
    let artifact = run.backup(&strategy).await;
    let before = double.pushes(DATABASE).unwrap();
    for state in ["ONLINE", "OFFLINE", "RESTORING", "SUSPECT"] {
        double.set_state(DATABASE, state).unwrap();
        let error = run.prepare_restore(&strategy, &artifact).await.unwrap_err();
        assert_eq!(
            error.kind(),
            ErrorKind::TargetNotEmpty,
            "{state}: {error:?}"
        );
    }
    double.set_state(DATABASE, "ONLINE").unwrap();
    // The server shows a login without this right no tables, as if there were none.
    double.revoke(SqlPermission::ViewDefinition).unwrap();
    let error = run.prepare_restore(&strategy, &artifact).await.unwrap_err();
    assert!(error.to_string().contains("VIEW DEFINITION"), "{error:?}");
    assert_eq!(error.kind(), ErrorKind::TargetNotEmpty);
    assert_eq!(double.pushes(DATABASE).unwrap(), before);
    assert_eq!(databases(&double), [DATABASE]);
}

#[tokio::test]
async fn an_empty_database_is_replaced_only_when_all_is_restored() {
    let double = support::server().await;
    let run = Run::new().await;
    let strategy = support::strategy_for(&double, "empty", "");
    let artifact = run.backup(&support::strategy(&double)).await;
    double.create_database("empty").unwrap();
    let mut session = run.prepare_restore(&strategy, &artifact).await.unwrap();
    session.apply(&run.source()).await.unwrap();
    assert_eq!(double.pushes("empty").unwrap(), None);
    session.commit().await.unwrap();
    session.verify().await.unwrap();
    assert_eq!(
        double.pushes("empty").unwrap(),
        double.pushes(DATABASE).unwrap()
    );
    assert_eq!(databases(&double), [DATABASE, "empty"]);
}

#[tokio::test]
async fn a_database_that_is_stuck_in_its_restore_is_dropped() {
    let double = support::server().await;
    let run = Run::new().await;
    let artifact = run.backup(&support::strategy(&double)).await;
    let path = run.staged().join("differential.bak");
    let mut bytes = std::fs::read(&path).unwrap();
    bytes.extend_from_slice(b"more than there should be");
    std::fs::write(&path, bytes).unwrap();
    let strategy = support::strategy_for(&double, "copy", "");
    let mut session = run.prepare_restore(&strategy, &artifact).await.unwrap();
    let error = session.apply(&run.source()).await.unwrap_err();
    assert_eq!(error.kind(), ErrorKind::Damaged, "{error:?}");
    let states = double.databases().unwrap();
    assert!(
        states.iter().any(|(_, state)| state == "RESTORING"),
        "{states:?}"
    );
    session.abort().await.unwrap();
    assert_eq!(databases(&double), [DATABASE]);
    assert!(names(&double.directory()).is_empty());
}

#[tokio::test]
async fn files_of_different_backups_are_refused_before_a_database_is_made() {
    let double = support::server().await;
    let (one, other) = (Run::new().await, Run::new().await);
    let artifact = one.backup(&support::strategy(&double)).await;
    other.backup(&support::strategy(&double)).await;
    std::fs::copy(
        other.staged().join("differential.bak"),
        one.staged().join("differential.bak"),
    )
    .unwrap();
    let strategy = support::strategy_for(&double, "copy", "");
    let mut session = one.prepare_restore(&strategy, &artifact).await.unwrap();
    let error = session.apply(&one.source()).await.unwrap_err();
    assert!(error.to_string().contains("not based on"), "{error:?}");
    assert_eq!(error.kind(), ErrorKind::Damaged);
    assert_eq!(databases(&double), [DATABASE]);
    session.abort().await.unwrap();
}

#[tokio::test]
async fn what_cannot_work_is_refused_before_anything_changes() {
    let double = support::server().await;
    let run = Run::new().await;
    let artifact = run.backup(&support::strategy(&double)).await;
    let strategy = support::strategy_for(&double, "copy", "");
    double
        .set_edition("13.0.5026.0", "Standard Edition (64-bit)", 2)
        .unwrap();
    let older = run.prepare_restore(&strategy, &artifact).await.unwrap_err();
    assert!(older.to_string().contains("15.0.4261.1"), "{older:?}");
    double
        .set_edition("16.0.1000.0", "Standard Edition (64-bit)", 2)
        .unwrap();
    run.prepare_restore(&strategy, &artifact).await.unwrap();
    double.create_database("copy").unwrap();
    double.revoke(SqlPermission::AlterAnyDatabase).unwrap();
    let error = run.prepare_restore(&strategy, &artifact).await.unwrap_err();
    assert!(
        error
            .hint()
            .unwrap()
            .contains("ALTER SERVER ROLE dbcreator ADD MEMBER [bit]]bucket'user]"),
        "{error:?}"
    );
    double.revoke(SqlPermission::CreateAnyDatabase).unwrap();
    let error = run.prepare_restore(&strategy, &artifact).await.unwrap_err();
    assert_eq!(error.kind(), ErrorKind::Check, "{error:?}");
}

#[tokio::test]
async fn a_commit_that_broke_off_between_its_renames_is_brought_to_its_end() {
    let double = support::server().await;
    let run = Run::new().await;
    let artifact = run.backup(&support::strategy(&double)).await;
    double.create_database("empty").unwrap();
    let strategy = support::strategy_for(&double, "empty", "");
    let cx = run.restore_context(&artifact);
    let way_back = strategy.restore().unwrap();
    let mut session = way_back.prepare_restore(&cx).await.unwrap();
    session.apply(&run.source()).await.unwrap();
    let leftovers = cx.leftovers();
    drop(session);
    // The first of the two renames has been made.
    double.drop_database("empty").unwrap();
    let replaced = leftovers[0]
        .id
        .split("\"replaced\":\"")
        .nth(1)
        .unwrap()
        .trim_end_matches("\"}");
    double.create_database(replaced).unwrap();
    assert_eq!(
        way_back.was_committed(&leftovers[0]).await.unwrap(),
        Committed::No
    );
    way_back.resume_commit(&leftovers[0]).await.unwrap();
    assert_eq!(
        way_back.was_committed(&leftovers[0]).await.unwrap(),
        Committed::Yes
    );
    assert_eq!(databases(&double), [DATABASE, "empty"]);
    assert_eq!(
        double.pushes("empty").unwrap(),
        double.pushes(DATABASE).unwrap()
    );
}
