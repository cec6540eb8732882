//! What the tables of a database say of the instance.

use diy_backup_core::{DbStrategy, ErrorKind, Purpose};
use diy_backup_testkit::{PrivatePostgres, RoleKind, skip_unless};

use crate::support::{self, DATABASE, PASSWORD, ROLE, Run};

/// Liquibase's lock as Bitbucket's schema has it, held.
pub(crate) const HELD_LOCK: &str = "CREATE TABLE databasechangeloglock (id integer PRIMARY KEY, locked boolean NOT NULL, \
    lockgranted timestamp, lockedby varchar(255)); \
    INSERT INTO databasechangeloglock VALUES (1, true, '2026-01-31 12:00:00', 'node1 (10.0.0.1)');";

#[tokio::test(flavor = "multi_thread")]
async fn a_database_without_tables_is_an_error_and_is_not_backed_up() {
    let postgres = skip_unless!(PrivatePostgres::start());
    postgres
        .create_role(ROLE, PASSWORD, RoleKind::CreateDatabase)
        .unwrap();
    postgres.create_database(DATABASE, ROLE).unwrap();
    // What extensions bring is not Bitbucket's.
    let extension =
        "CREATE EXTENSION IF NOT EXISTS pg_trgm; CREATE SEQUENCE s; CREATE VIEW v AS SELECT 1;";
    postgres.psql(DATABASE, extension).unwrap();
    let strategy = support::strategy(&postgres);
    let findings = support::findings(&strategy, Purpose::Backup).await;
    let text = support::text(&findings);
    assert!(
        findings.has_errors() && text.contains("holds no tables") && text.contains("jdbc.url"),
        "{text}"
    );
    assert_eq!(findings.inventory.tables, Some(0));
    let run = Run::new().await;
    let error = strategy.prepare(&run.cx).await.unwrap_err();
    assert_eq!(error.kind(), ErrorKind::Check, "{error:?}");
}

#[tokio::test(flavor = "multi_thread")]
async fn source_and_backup_are_counted_alike_in_whatever_schema() {
    let postgres = skip_unless!(PrivatePostgres::start());
    support::fill(&postgres, RoleKind::CreateDatabase);
    let own = format!(
        "CREATE SCHEMA bb AUTHORIZATION {ROLE}; ALTER DATABASE {DATABASE} SET search_path = bb; \
         SET ROLE {ROLE}; CREATE TABLE bb.one (n int); CREATE TABLE bb.two (n int); CREATE TEMP TABLE three (n int);"
    );
    postgres.psql(DATABASE, &own).unwrap();
    let strategy = support::strategy(&postgres);
    let findings = support::findings(&strategy, Purpose::Backup).await;
    let counted = postgres
        .psql(
            DATABASE,
            "SELECT count(*) FROM pg_tables WHERE schemaname IN ('public', 'bb');",
        )
        .unwrap();
    assert_eq!(findings.inventory.tables, Some(counted.parse().unwrap()));
    assert!(findings.inventory.bytes.unwrap() > 100_000);
    let run = Run::new().await;
    let artifact = run.backup(&strategy).await;
    assert_eq!(artifact.inventory, findings.inventory);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_database_of_somebody_else_is_a_warning() {
    let postgres = skip_unless!(PrivatePostgres::start());
    support::fill(&postgres, RoleKind::Login);
    postgres.create_database("wiki", ROLE).unwrap();
    postgres
        .psql(
            "wiki",
            &format!("SET ROLE {ROLE}; CREATE TABLE page (n int);"),
        )
        .unwrap();
    let strategy = support::strategy_for(&postgres, "wiki", "");
    let findings = support::findings(&strategy, Purpose::Backup).await;
    let text = support::text(&findings);
    assert!(
        !findings.has_errors() && text.contains("Warning") && text.contains("`repository`"),
        "{text}"
    );
}

#[tokio::test(flavor = "multi_thread")]
async fn a_held_lock_of_an_upgrade_is_an_error_of_a_check_and_a_warning_of_a_restore() {
    let postgres = skip_unless!(PrivatePostgres::start());
    support::fill(&postgres, RoleKind::CreateDatabase);
    let lock = format!("SET ROLE {ROLE}; {HELD_LOCK}");
    postgres.psql(DATABASE, &lock).unwrap();
    let strategy = support::strategy(&postgres);
    let findings = support::findings(&strategy, Purpose::Backup).await;
    let text = support::text(&findings);
    let release = "UPDATE \"public\".\"databasechangeloglock\" SET locked = false";
    for part in [
        "Error",
        "by node1 (10.0.0.1) since 2026-01-31",
        "Wait until Bitbucket",
        release,
    ] {
        assert!(text.contains(part), "{part}: {text}");
    }
    let run = Run::new().await;
    let artifact = run.backup(&strategy).await;
    let cx = run.restore_context(Some(&artifact));
    let copy = support::strategy_for(&postgres, "copy", "");
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
    postgres
        .psql(DATABASE, "UPDATE databasechangeloglock SET locked = false;")
        .unwrap();
    let findings = support::findings(&strategy, Purpose::Backup).await;
    assert!(!findings.has_errors(), "{}", support::text(&findings));
}

#[tokio::test(flavor = "multi_thread")]
async fn data_stores_of_the_instance_are_listed_and_other_tables_of_that_name_ignored() {
    let postgres = skip_unless!(PrivatePostgres::start());
    support::fill(&postgres, RoleKind::Login);
    let stores = format!(
        "SET ROLE {ROLE}; CREATE TABLE bb_data_store (id bigint PRIMARY KEY, ds_path varchar(1024) NOT NULL); \
         INSERT INTO bb_data_store VALUES (1, '/mnt/store 2'), (2, '/mnt/store-1');"
    );
    postgres.psql(DATABASE, &stores).unwrap();
    let strategy = support::strategy(&postgres);
    let findings = support::findings(&strategy, Purpose::Backup).await;
    let listed: Vec<_> = findings
        .data_stores
        .iter()
        .map(|path| path.to_str().unwrap())
        .collect();
    assert_eq!(listed, ["/mnt/store 2", "/mnt/store-1"]);
    postgres
        .psql(
            DATABASE,
            "ALTER TABLE bb_data_store RENAME ds_path TO other;",
        )
        .unwrap();
    let findings = support::findings(&strategy, Purpose::Backup).await;
    assert!(findings.data_stores.is_empty() && !findings.has_errors());
}
