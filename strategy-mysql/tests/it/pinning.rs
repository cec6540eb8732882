use std::sync::Arc;

use diy_backup_core::{DbStrategy, ErrorKind};
use diy_backup_testkit::{Application, PrivateMariaDb, skip_unless};

use crate::support::{self, DATABASE, Run};

#[tokio::test(flavor = "multi_thread")]
async fn a_dump_under_live_writers_is_exactly_the_drained_instant() {
    let mariadb = skip_unless!(PrivateMariaDb::start());
    support::fill(&mariadb, support::ALL);
    mariadb.sql(DATABASE, "DELETE FROM push;").unwrap();
    let run = Run::new().await;
    let home = tempfile::tempdir().unwrap();
    let rows = Arc::new(mariadb.rows(DATABASE).unwrap());
    let application = Application::builder(home.path(), rows).start().unwrap();
    application.wait_for_pushes(60).await.unwrap();
    let mut session = support::strategy(&mariadb).prepare(&run.cx).await.unwrap();
    let window = run.lock().await;
    application.latch().close();
    application.latch().drained().await;
    application.record_drained();
    session.capture(&window).await.unwrap();
    application.latch().open();
    let released = window.release(run.cx.control()).await.unwrap();
    application.wait_for_pushes(60).await.unwrap();
    let artifact = session.complete(&released).await.unwrap();
    application.stop().await;
    assert_eq!(application.failures(), Vec::<String>::new());
    run.restore(&support::strategy_for(&mariadb, "copy"), Some(&artifact))
        .await;
    let drained = application.drained_set().unwrap();
    assert_eq!(mariadb.pushes("copy").unwrap(), drained);
    assert_ne!(mariadb.pushes(DATABASE).unwrap(), drained);
    assert!(
        run.cx.events().warnings().is_empty(),
        "{:?}",
        run.cx.events().warnings()
    );
}

/// A session that keeps a table from being dumped for as long as it lives.
struct Holder(std::process::Child);

impl Holder {
    fn of(mariadb: &PrivateMariaDb, table: &str) -> Self {
        use std::io::{BufRead, Write};

        let mut child = mariadb
            .tool("mariadb")
            .unwrap()
            .args(["--unbuffered", "--skip-column-names", DATABASE])
            .stdin(std::process::Stdio::piped())
            .stdout(std::process::Stdio::piped())
            .spawn()
            .unwrap();
        let input = child.stdin.as_mut().unwrap();
        writeln!(input, "LOCK TABLES {table} WRITE; SELECT 'held';").unwrap();
        let mut line = String::new();
        let mut output = std::io::BufReader::new(child.stdout.take().unwrap());
        output.read_line(&mut line).unwrap();
        assert_eq!(line.trim(), "held");
        Self(child)
    }
}

impl Drop for Holder {
    fn drop(&mut self) {
        drop(self.0.stdin.take());
        let _ = self.0.wait();
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn capture_does_not_wait_for_the_dump() {
    let mariadb = skip_unless!(PrivateMariaDb::start());
    support::fill(&mariadb, support::ALL);
    let before = support::fingerprint(&mariadb, DATABASE);
    let run = Run::new().await;
    let mut session = support::strategy(&mariadb).prepare(&run.cx).await.unwrap();
    // No row of the first table can be read, and yet the window can be closed and people write.
    let holder = Holder::of(&mariadb, "avatar");
    let released = run.capture(&mut session).await;
    mariadb.sql(DATABASE, "DELETE FROM push;").unwrap();
    mariadb
        .sql(DATABASE, "UPDATE project SET description = 'later';")
        .unwrap();
    assert!(std::fs::metadata(run.dump()).unwrap().len() < 10_000);
    drop(holder);
    let artifact = session.complete(&released).await.unwrap();
    run.restore(&support::strategy_for(&mariadb, "copy"), Some(&artifact))
        .await;
    support::assert_same(
        &support::without_definers(&support::fingerprint(&mariadb, "copy")),
        &support::without_definers(&before),
    );
}

/// Statements that a snapshot alone does not survive. Several of them make the dump program itself find nothing wrong.
#[tokio::test(flavor = "multi_thread")]
async fn a_definition_that_changes_after_the_unlock_fails_the_backup() {
    let mariadb = skip_unless!(PrivateMariaDb::start());
    support::fill(&mariadb, support::ALL);
    let tables = "CREATE TABLE zebra (id int PRIMARY KEY, a text, b text); INSERT INTO zebra VALUES (1, 'a', 'b');
        CREATE TABLE yak LIKE zebra; INSERT INTO yak VALUES (2, 'c', 'd');";
    for statements in [
        "TRUNCATE zebra;",
        "DROP TABLE zebra;",
        "DROP TABLE zebra; CREATE TABLE zebra (id int PRIMARY KEY, a text, b text);",
        "ALTER TABLE zebra DROP COLUMN b;",
        "ALTER TABLE zebra ADD COLUMN c int DEFAULT 5;",
        "ALTER TABLE zebra RENAME COLUMN a TO c;",
        "ALTER TABLE zebra MODIFY a varchar(9);",
        "RENAME TABLE zebra TO unicorn;",
        "RENAME TABLE zebra TO unicorn, yak TO zebra, unicorn TO yak;",
        "CREATE TABLE unicorn LIKE zebra; INSERT INTO unicorn VALUES (3, 'e', 'f');",
        "CREATE OR REPLACE VIEW recent_push AS SELECT push_id FROM push;",
    ] {
        let again =
            "DROP TABLE IF EXISTS zebra; DROP TABLE IF EXISTS yak; DROP TABLE IF EXISTS unicorn;";
        mariadb.sql(DATABASE, &format!("{again}{tables}")).unwrap();
        let run = Run::new().await;
        let mut session = support::strategy(&mariadb).prepare(&run.cx).await.unwrap();
        let holder = Holder::of(&mariadb, "avatar");
        let released = run.capture(&mut session).await;
        if statements.contains("yak TO zebra") {
            // Only the time tells that they have changed names, and the catalog has it in whole seconds.
            mariadb.sql(DATABASE, "DO SLEEP(1.1);").unwrap();
        }
        mariadb.sql(DATABASE, statements).unwrap();
        drop(holder);
        let error = session.complete(&released).await.unwrap_err();
        let text = diy_backup_core::error_chain(&error);
        assert!(
            text.contains("changed") && error.kind() == ErrorKind::Database,
            "{statements}: {text}"
        );
        assert!(error.hint().unwrap().contains("ALTER TABLE"));
        session.abort().await.unwrap();
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn rows_that_change_after_the_unlock_are_not_in_the_dump() {
    let mariadb = skip_unless!(PrivateMariaDb::start());
    support::fill(&mariadb, support::ALL);
    let before = mariadb.pushes(DATABASE).unwrap();
    let run = Run::new().await;
    let mut session = support::strategy(&mariadb).prepare(&run.cx).await.unwrap();
    let window = run.lock().await;
    session.capture(&window).await.unwrap();
    let released = window.release(run.cx.control()).await.unwrap();
    mariadb.sql(DATABASE, "DELETE FROM push;").unwrap();
    let artifact = session.complete(&released).await.unwrap();
    run.restore(&support::strategy_for(&mariadb, "copy"), Some(&artifact))
        .await;
    assert_eq!(mariadb.pushes("copy").unwrap(), before);
    assert_eq!(mariadb.pushes(DATABASE).unwrap().len(), 0);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_table_that_a_snapshot_does_not_hold_moves_the_dump_into_the_window() {
    let mariadb = skip_unless!(PrivateMariaDb::start());
    support::fill(&mariadb, support::ALL);
    let tables = "CREATE TABLE old (n int) ENGINE = MyISAM; INSERT INTO old VALUES (7);
        CREATE TABLE volatile (n int) ENGINE = MEMORY; CREATE TABLE aria (n int) ENGINE = Aria;";
    mariadb.sql(DATABASE, tables).unwrap();
    let run = Run::new().await;
    let mut session = support::strategy(&mariadb).prepare(&run.cx).await.unwrap();
    let window = run.lock().await;
    session.capture(&window).await.unwrap();
    let warnings = run.cx.events().warnings();
    assert!(
        warnings[0].contains("while the instance is locked")
            && warnings[0].contains("\"old\" (MyISAM)"),
        "{warnings:?}"
    );
    // All of it is there before the unlock.
    let text = std::fs::read_to_string(run.dump()).unwrap();
    assert!(text.contains("-- Dump completed"));
    mariadb
        .sql(DATABASE, "DELETE FROM old; DELETE FROM push;")
        .unwrap();
    let released = window.release(run.cx.control()).await.unwrap();
    let artifact = session.complete(&released).await.unwrap();
    run.restore(&support::strategy_for(&mariadb, "copy"), Some(&artifact))
        .await;
    assert_eq!(mariadb.sql("copy", "SELECT n FROM old;").unwrap(), "7");
    assert_eq!(mariadb.pushes("copy").unwrap().len(), 3000);
}
