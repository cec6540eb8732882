use std::process::Command;
use std::sync::Arc;

use diy_backup_testkit::process::{descendants, is_running};
use diy_backup_testkit::{
    Application, Comparison, ErrorKind, PrivatePostgres, RoleKind, skip_unless,
};

fn family(postgres: &PrivatePostgres) -> Vec<u32> {
    let leader = postgres.pid().expect("it runs");
    let mut family = descendants(leader);
    assert!(!family.is_empty(), "the server has children");
    family.push(leader);
    family
}

#[test]
fn a_server_answers_with_an_odd_password_and_leaves_nothing_behind() {
    let postgres = skip_unless!(PrivatePostgres::start());
    assert_eq!(postgres.psql("postgres", "SELECT 6 * 7;").unwrap(), "42");
    let folder = postgres.socket_dir().to_owned();
    let family = family(&postgres);
    drop(postgres);
    assert!(!family.iter().any(|&pid| is_running(pid)));
    assert!(!folder.exists());
}

#[test]
fn a_server_ends_when_its_test_panics() {
    let postgres = skip_unless!(PrivatePostgres::start());
    let family = family(&postgres);
    let panicking = std::thread::spawn(move || {
        let _held = postgres;
        std::panic::resume_unwind(Box::new("as a failing test would"));
    });
    panicking.join().unwrap_err();
    assert!(!family.iter().any(|&pid| is_running(pid)));
}

#[test]
fn a_wrong_password_is_refused_over_tcp_and_over_the_socket() {
    let postgres = skip_unless!(PrivatePostgres::builder().password("right").start());
    let socket = postgres.socket_dir().to_str().unwrap().to_owned();
    for host in ["127.0.0.1", socket.as_str()] {
        let login = |password: &str| {
            let mut psql: Command = postgres.tool("psql");
            psql.args(["-X", "-w", "-d", "postgres", "-c", "SELECT 1"])
                .env("PGHOST", host)
                .env("PGPASSWORD", password);
            psql.output().unwrap().status.success()
        };
        assert!(login("right"), "{host}");
        assert!(!login("wrong"), "{host}");
    }
}

#[test]
fn a_killed_server_comes_back_with_its_rows() {
    let mut postgres = skip_unless!(PrivatePostgres::builder().max_connections(12).start());
    let family = family(&postgres);
    postgres
        .psql("postgres", "CREATE TABLE t AS SELECT 1 AS n; CHECKPOINT;")
        .unwrap();
    postgres.kill();
    assert!(!family.iter().any(|&pid| is_running(pid)));
    assert_eq!(
        postgres.psql("postgres", "SELECT 1;").unwrap_err().kind(),
        ErrorKind::Command
    );
    postgres.restart().unwrap();
    assert_eq!(postgres.psql("postgres", "SELECT n FROM t;").unwrap(), "1");
    assert_eq!(
        postgres.psql("postgres", "SHOW max_connections;").unwrap(),
        "12"
    );
}

#[tokio::test]
async fn a_live_application_keeps_its_rows_in_the_database() {
    let postgres = skip_unless!(PrivatePostgres::start());
    postgres
        .create_role("bitbucketuser", "p'w \"\\x", RoleKind::Login)
        .unwrap();
    postgres
        .create_database("bitbucket", "bitbucketuser")
        .unwrap();
    postgres
        .create_schema("bitbucket", "bitbucketuser")
        .unwrap();
    let home = tempfile::tempdir().unwrap();
    let application = Application::builder(home.path(), Arc::new(postgres.rows("bitbucket")))
        .start()
        .unwrap();
    application.wait_for_pushes(60).await.unwrap();
    application.stop().await;
    assert_eq!(application.failures(), Vec::<String>::new());
    let rows = postgres.pushes("bitbucket").unwrap();
    assert_eq!(rows, application.live_set());
    let comparison = Comparison::of(home.path(), &rows).unwrap();
    assert!(comparison.is_consistent(), "{comparison}");
}

#[test]
fn the_schema_has_what_makes_a_dump_hard() {
    let postgres = skip_unless!(PrivatePostgres::start());
    postgres.create_database("bitbucket", "postgres").unwrap();
    postgres.create_schema("bitbucket", "postgres").unwrap();
    let ask = |sql: &str| postgres.psql("bitbucket", sql).unwrap();
    assert_eq!(
        ask("SELECT full_name FROM sta_normal_user WHERE user_id = 4;"),
        "山田 花子"
    );
    assert_eq!(ask("SELECT count(*) FROM pg_largeobject_metadata;"), "1");
    assert_eq!(ask("SELECT length(lo_get(image)) FROM avatar;"), "20000");
    assert_eq!(
        ask("SELECT count(*) FROM pg_sequences WHERE sequencename = 'bb_change_seq';"),
        "1"
    );
}
