use diy_backup_core::{CancelReason, DbStrategy, ErrorKind};
use diy_backup_testkit::process::{SecretWatch, SeenIn};
use diy_backup_testkit::{PrivatePostgres, RoleKind, skip_unless};

use crate::support::{self, DATABASE, PASSWORD, ROLE, Run};

#[tokio::test(flavor = "multi_thread")]
async fn a_dump_is_private_described_and_readable_by_plain_pg_restore() {
    let postgres = skip_unless!(PrivatePostgres::start());
    support::fill(&postgres, RoleKind::Login);
    let run = Run::new().await;
    let artifact = run.backup(&support::strategy(&postgres)).await;
    assert_eq!(artifact.detail("encoding"), Some("UTF8"));
    assert_eq!(artifact.detail("collate"), Some("C"));
    assert_eq!(artifact.detail("database"), Some(DATABASE));
    assert_eq!(artifact.detail("tables"), Some("5"));
    assert!(artifact.bytes > 0);
    #[cfg(unix)]
    for entry in std::fs::read_dir(run.dump()).unwrap() {
        use std::os::unix::fs::PermissionsExt;
        let mode = entry.unwrap().metadata().unwrap().permissions().mode();
        assert_eq!(mode & 0o777, 0o600);
    }
    postgres.create_database("plain", ROLE).unwrap();
    let restored = postgres
        .tool("pg_restore")
        .args(["-d", "plain"])
        .arg(run.dump())
        .status()
        .unwrap();
    assert!(restored.success());
    assert_eq!(
        support::fingerprint(&postgres, "plain"),
        support::fingerprint(&postgres, DATABASE)
    );
}

#[tokio::test(flavor = "multi_thread")]
async fn the_password_stands_in_no_argument_list() {
    let postgres = skip_unless!(PrivatePostgres::start());
    support::fill(&postgres, RoleKind::CreateDatabase);
    let watch = skip_unless!(SecretWatch::start(&[PASSWORD]));
    let run = Run::new().await;
    let artifact = run.backup(&support::strategy(&postgres)).await;
    run.restore(
        &support::strategy_for(&postgres, "other", ""),
        Some(&artifact),
    )
    .await;
    let programs = watch.programs();
    assert!(
        programs.contains("pg_dump") && programs.contains("psql"),
        "{programs:?}"
    );
    for sighting in watch.finish() {
        assert_eq!(sighting.seen_in, SeenIn::Environment, "{sighting}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn names_full_of_special_characters_are_names() {
    let postgres = skip_unless!(PrivatePostgres::start());
    let database = "-d Bit=\"bücket's\" \\ host=x";
    let role = "R=o \"l'e\" ä";
    postgres
        .create_role(role, PASSWORD, RoleKind::CreateDatabase)
        .unwrap();
    postgres.create_database(database, role).unwrap();
    let sql = "SET ROLE \"R=o \"\"l'e\"\" ä\"; CREATE SCHEMA \"S \"\"x\"; CREATE TABLE \"S \"\"x\".\"t 'ä'; \\\" AS SELECT 'ß' AS \"c c\";";
    let conninfo = "dbname='-d Bit=\"bücket\\'s\" \\\\ host=x'";
    postgres.psql(conninfo, sql).unwrap();
    let quoted = |text: &str| serde_json::to_string(text).unwrap();
    let login = format!(
        "username = {}\npassword = {{ value = {} }}\n",
        quoted(role),
        quoted(PASSWORD)
    );
    let run = Run::new().await;
    let strategy = support::strategy_for(&postgres, database, &login);
    let artifact = run.backup(&strategy).await;
    let target = "New ä=\"'\\ ";
    run.restore(
        &support::strategy_for(&postgres, target, &login),
        Some(&artifact),
    )
    .await;
    let found = postgres
        .psql(
            "dbname='New ä=\"\\'\\\\ '",
            "SELECT \"c c\" FROM \"S \"\"x\".\"t 'ä'; \\\";",
        )
        .unwrap();
    assert_eq!(found, "ß");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_server_that_dies_during_the_dump_fails_the_backup() {
    let mut postgres = skip_unless!(PrivatePostgres::start());
    support::fill(&postgres, RoleKind::Login);
    let run = Run::new().await;
    let strategy = support::strategy(&postgres);
    let mut session = strategy.prepare(&run.cx).await.unwrap();
    let released = run.capture(&mut session).await;
    postgres.kill();
    let error = session.complete(&released).await.unwrap_err();
    assert!(
        matches!(error.kind(), ErrorKind::Tool | ErrorKind::Database),
        "{error:?}"
    );
    session.abort().await.unwrap();
}

#[tokio::test(flavor = "multi_thread")]
async fn a_cancelled_dump_ends_and_lets_go_of_the_tables() {
    let postgres = skip_unless!(PrivatePostgres::start());
    support::fill(&postgres, RoleKind::Login);
    let run = Run::new().await;
    let mut session = support::strategy(&postgres).prepare(&run.cx).await.unwrap();
    let released = run.capture(&mut session).await;
    run.cx.control().cancel(CancelReason::Requested);
    let error = session.complete(&released).await.unwrap_err();
    assert_eq!(error.kind(), ErrorKind::Cancelled);
    session.abort().await.unwrap();
    postgres.psql(DATABASE, "TRUNCATE push;").unwrap();
}

#[tokio::test(flavor = "multi_thread")]
async fn an_aborted_capture_lets_go_of_the_tables() {
    let postgres = skip_unless!(PrivatePostgres::start());
    support::fill(&postgres, RoleKind::Login);
    let run = Run::new().await;
    let mut session = support::strategy(&postgres).prepare(&run.cx).await.unwrap();
    run.capture(&mut session).await;
    session.abort().await.unwrap();
    postgres.psql(DATABASE, "DROP TABLE push CASCADE;").unwrap();
}
