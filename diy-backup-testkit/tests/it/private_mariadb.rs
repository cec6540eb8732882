use std::sync::Arc;

use diy_backup_testkit::process::is_running;
use diy_backup_testkit::{Application, Comparison, PrivateMariaDb, skip_unless};

#[test]
fn a_server_answers_with_an_odd_password_and_leaves_nothing_behind() {
    let mariadb = skip_unless!(PrivateMariaDb::start());
    assert_eq!(mariadb.sql("mysql", "SELECT 6 * 7;").unwrap(), "42");
    let (folder, pid) = (mariadb.folder().to_owned(), mariadb.pid().unwrap());
    drop(mariadb);
    assert!(!is_running(pid));
    assert!(!folder.exists());
}

#[test]
fn a_killed_server_comes_back_and_ends_when_its_test_panics() {
    let mut mariadb = skip_unless!(PrivateMariaDb::start());
    mariadb.create_database("b").unwrap();
    mariadb.create_schema("b").unwrap();
    mariadb.kill();
    assert_eq!(mariadb.pid(), None);
    mariadb.restart().unwrap();
    assert_eq!(
        mariadb
            .sql("b", "SELECT COUNT(*) FROM repository;")
            .unwrap(),
        "200"
    );
    let pid = mariadb.pid().unwrap();
    let panicking = std::thread::spawn(move || {
        let _held = mariadb;
        std::panic::resume_unwind(Box::new("as a failing test would"));
    });
    panicking.join().unwrap_err();
    assert!(!is_running(pid));
}

#[tokio::test(flavor = "multi_thread")]
async fn the_live_application_writes_its_rows() {
    let mariadb = skip_unless!(PrivateMariaDb::start());
    mariadb.create_database("b").unwrap();
    mariadb.create_schema("b").unwrap();
    let home = tempfile::tempdir().unwrap();
    let rows = Arc::new(mariadb.rows("b").unwrap());
    let application = Application::builder(home.path(), rows).start().unwrap();
    application.wait_for_pushes(60).await.unwrap();
    application.stop().await;
    assert_eq!(application.failures(), Vec::<String>::new());
    let comparison = Comparison::of(home.path(), &mariadb.pushes("b").unwrap()).unwrap();
    assert!(comparison.is_consistent(), "{comparison}");
}
