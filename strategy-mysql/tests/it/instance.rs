//! What the tables of a database say of the instance.

use diy_backup_core::{DbStrategy, ErrorKind, Purpose};
use diy_backup_testkit::{PrivateMariaDb, skip_unless};

use crate::support::{self, DATABASE, PASSWORD, Run, USER};

#[tokio::test(flavor = "multi_thread")]
async fn a_database_without_tables_is_an_error_and_is_not_backed_up() {
    let mariadb = skip_unless!(PrivateMariaDb::start());
    mariadb.create_user(USER, PASSWORD).unwrap();
    mariadb.create_database(DATABASE).unwrap();
    let view = format!("CREATE VIEW v AS SELECT 1; {}", support::DUMPS);
    mariadb.sql(DATABASE, &view).unwrap();
    let strategy = support::strategy(&mariadb);
    let findings = support::findings(&strategy, Purpose::Backup).await;
    let text = support::text(&findings);
    assert!(
        findings.has_errors() && text.contains("holds no tables") && text.contains("jdbc.url"),
        "{text}"
    );
    let run = Run::new().await;
    let error = strategy.prepare(&run.cx).await.unwrap_err();
    assert_eq!(error.kind(), ErrorKind::Check, "{error:?}");
}

#[tokio::test(flavor = "multi_thread")]
async fn source_and_backup_are_counted_alike() {
    let mariadb = skip_unless!(PrivateMariaDb::start());
    support::fill(&mariadb, support::DUMPS);
    let strategy = support::strategy(&mariadb);
    let findings = support::findings(&strategy, Purpose::Backup).await;
    assert_eq!(findings.inventory.tables, Some(5));
    let run = Run::new().await;
    let artifact = run.backup(&strategy).await;
    assert_eq!(artifact.inventory, findings.inventory);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_held_lock_and_data_stores_are_found_and_the_lock_is_a_warning_of_a_restore() {
    let mariadb = skip_unless!(PrivateMariaDb::start());
    support::fill(&mariadb, support::ALL);
    let tables = "CREATE TABLE DATABASECHANGELOGLOCK (ID int PRIMARY KEY, LOCKED bit(1) NOT NULL,
          LOCKGRANTED datetime, LOCKEDBY varchar(255));
        INSERT INTO DATABASECHANGELOGLOCK VALUES (1, 1, '2026-01-31 12:00:00', 'node1');
        CREATE TABLE bb_data_store (id bigint PRIMARY KEY, ds_path varchar(1024) NOT NULL);
        INSERT INTO bb_data_store VALUES (1, '/mnt/store \\'1');";
    mariadb.sql(DATABASE, tables).unwrap();
    let strategy = support::strategy(&mariadb);
    let findings = support::findings(&strategy, Purpose::Backup).await;
    assert_eq!(
        findings.data_stores,
        [std::path::Path::new("/mnt/store '1")]
    );
    let text = support::text(&findings);
    let release = "DATABASECHANGELOGLOCK` SET LOCKED = 0";
    for part in ["Error", "by node1 since 2026-01-31", release] {
        assert!(text.contains(part), "{part}: {text}");
    }
    let run = Run::new().await;
    let artifact = run.backup(&strategy).await;
    let cx = run.restore_context(Some(&artifact));
    let copy = support::strategy_for(&mariadb, "copy");
    let way_back = copy.restore().unwrap();
    let mut session = way_back.prepare_restore(&cx).await.unwrap();
    session.apply(&run.source()).await.unwrap();
    session.commit().await.unwrap();
    session.verify().await.unwrap();
    let warnings = cx.events().warnings().join("\n");
    assert!(
        warnings.contains("does not start") && warnings.contains(release),
        "{warnings}"
    );
}
