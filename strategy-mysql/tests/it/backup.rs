use diy_backup_core::{CancelReason, DbStrategy, ErrorKind};
use diy_backup_testkit::process::SecretWatch;
use diy_backup_testkit::{PrivateMariaDb, skip_unless};

use crate::support::{self, DATABASE, PASSWORD, Run};

#[tokio::test(flavor = "multi_thread")]
async fn a_dump_is_private_described_and_restores_with_the_plain_client() {
    let mariadb = skip_unless!(PrivateMariaDb::start());
    support::fill(&mariadb, support::DUMPS);
    support::fill_with_extras(&mariadb);
    mariadb
        .sql(
            DATABASE,
            "GRANT SELECT ON mysql.proc TO 'bitbucketuser'@'%';",
        )
        .unwrap();
    let run = Run::new().await;
    let artifact = run.backup(&support::strategy(&mariadb)).await;
    assert!(run.cx.events().warnings().is_empty());
    assert_eq!(artifact.detail("flavour"), Some("MariaDB"));
    assert_eq!(artifact.detail("collation"), Some("utf8mb4_bin"));
    assert_eq!(artifact.detail("tables"), Some("11"));
    assert_eq!(artifact.bytes, std::fs::metadata(run.dump()).unwrap().len());
    #[cfg(unix)]
    {
        use std::os::unix::fs::PermissionsExt;
        let mode = std::fs::metadata(run.dump()).unwrap().permissions().mode();
        assert_eq!(mode & 0o777, 0o600);
    }
    mariadb.create_database("plain").unwrap();
    let restored = mariadb
        .tool("mariadb")
        .unwrap()
        .arg("plain")
        .stdin(std::fs::File::open(run.dump()).unwrap())
        .status()
        .unwrap();
    assert!(restored.success());
    support::assert_same(
        &support::fingerprint(&mariadb, "plain"),
        &support::fingerprint(&mariadb, DATABASE),
    );
}

#[tokio::test(flavor = "multi_thread")]
async fn the_password_stands_in_no_argument_list_and_no_environment() {
    let mariadb = skip_unless!(PrivateMariaDb::start());
    support::fill(&mariadb, support::ALL);
    let watch = skip_unless!(SecretWatch::start(&[PASSWORD]));
    let run = Run::new().await;
    let artifact = run.backup(&support::strategy(&mariadb)).await;
    run.restore(&support::strategy_for(&mariadb, "other"), Some(&artifact))
        .await;
    let programs = watch.programs();
    assert!(
        programs.contains("mariadb-dump") && programs.contains("mariadb"),
        "{programs:?}"
    );
    assert_eq!(watch.finish(), []);
}

#[tokio::test(flavor = "multi_thread")]
async fn names_full_of_special_characters_are_names() {
    let mariadb = skip_unless!(PrivateMariaDb::start());
    let database = "--Bit=`bücket's` \"\\ #%_";
    let user = "U=o \"l'e\" #ä\\";
    mariadb.create_user(user, PASSWORD).unwrap();
    let grant = "GRANT ALL PRIVILEGES ON *.* TO 'U=o \"l\\'e\" #ä\\\\'@'%';";
    mariadb.sql("mysql", grant).unwrap();
    mariadb.create_database(database).unwrap();
    let sql = "CREATE TABLE `t 'ä'; ``\\\" -- \n x` (`c c` text); INSERT INTO `t 'ä'; ``\\\" -- \n x` VALUES ('ß');";
    mariadb.sql(database, sql).unwrap();
    let login = support::login(user, PASSWORD);
    let run = Run::new().await;
    let strategy = support::strategy_with(&mariadb, database, &login);
    let artifact = run.backup(&strategy).await;
    let target = "New ä=\"'\\ `x`%";
    let copy = support::strategy_with(&mariadb, target, &login);
    run.restore(&copy, Some(&artifact)).await;
    let found = mariadb
        .sql(target, "SELECT `c c` FROM `t 'ä'; ``\\\" -- \n x`;")
        .unwrap();
    assert_eq!(found, "ß");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_server_that_dies_during_the_dump_fails_the_backup() {
    let mut mariadb = skip_unless!(PrivateMariaDb::start());
    support::fill(&mariadb, support::DUMPS);
    let run = Run::new().await;
    let mut session = support::strategy(&mariadb).prepare(&run.cx).await.unwrap();
    let released = run.capture(&mut session).await;
    mariadb.kill();
    let error = session.complete(&released).await.unwrap_err();
    assert!(
        matches!(error.kind(), ErrorKind::Tool | ErrorKind::Database),
        "{error:?}"
    );
    session.abort().await.unwrap();
    assert_eq!(run.cx.leftovers(), []);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_cancelled_or_aborted_dump_ends_its_session() {
    let mariadb = skip_unless!(PrivateMariaDb::start());
    support::fill(&mariadb, support::DUMPS);
    let run = Run::new().await;
    let mut session = support::strategy(&mariadb).prepare(&run.cx).await.unwrap();
    run.capture(&mut session).await;
    session.abort().await.unwrap();
    assert_eq!(run.cx.leftovers(), []);
    let mut session = support::strategy(&mariadb).prepare(&run.cx).await.unwrap();
    let released = run.capture(&mut session).await;
    run.cx.control().cancel(CancelReason::Requested);
    let error = session.complete(&released).await.unwrap_err();
    assert_eq!(error.kind(), ErrorKind::Cancelled);
    session.abort().await.unwrap();
    assert_eq!(run.cx.leftovers(), []);
    // It would wait for a transaction that still reads the table.
    mariadb
        .sql(DATABASE, "DROP VIEW recent_push; DROP TABLE push;")
        .unwrap();
}

#[cfg(target_os = "linux")]
#[tokio::test(flavor = "multi_thread")]
async fn a_disk_that_is_full_fails_the_backup() {
    let mariadb = skip_unless!(PrivateMariaDb::start());
    support::fill(&mariadb, support::DUMPS);
    let run = Run::new().await;
    let mut session = support::strategy(&mariadb).prepare(&run.cx).await.unwrap();
    // Takes every write, and has no room for any.
    std::fs::remove_file(run.dump()).unwrap();
    std::os::unix::fs::symlink("/dev/full", run.dump()).unwrap();
    let window = run.lock().await;
    let captured = session.capture(&window).await;
    let error = if let Err(error) = captured {
        window.abandon(run.cx.control()).await.unwrap();
        error
    } else {
        let released = window.release(run.cx.control()).await.unwrap();
        session.complete(&released).await.unwrap_err()
    };
    assert_eq!(error.kind(), ErrorKind::Space, "{error:?}");
    session.abort().await.unwrap();
}
