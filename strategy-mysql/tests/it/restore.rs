use diy_backup_core::{Committed, DbStrategy, ErrorKind, RestoreSource};
use diy_backup_testkit::{PrivateMariaDb, skip_unless};

use crate::support::{self, DATABASE, PASSWORD, Run, USER};

#[tokio::test(flavor = "multi_thread")]
async fn a_restore_to_another_name_has_all_of_the_original() {
    let mariadb = skip_unless!(PrivateMariaDb::start());
    support::fill(&mariadb, support::ALL);
    support::fill_with_extras(&mariadb);
    let run = Run::new().await;
    let artifact = run.backup(&support::strategy(&mariadb)).await;
    let original = support::fingerprint(&mariadb, DATABASE);
    support::forget_definers(&mariadb);
    run.restore(&support::strategy_for(&mariadb, "copy"), Some(&artifact))
        .await;
    support::assert_same(
        &support::without_definers(&support::fingerprint(&mariadb, "copy")),
        &support::without_definers(&original),
    );
    assert_eq!(support::databases(&mariadb), ["bitbucket", "copy"]);
    let works = "CALL clear(1); INSERT INTO odd (`a ``b`) VALUES (half(42)); SELECT n FROM thrice; SELECT what FROM audit;";
    assert_eq!(mariadb.sql("copy", works).unwrap(), "126\nUSE `x`;");
    let collation = "SELECT @@collation_database;";
    assert_eq!(mariadb.sql("copy", collation).unwrap(), "utf8mb4_bin");
}

#[tokio::test(flavor = "multi_thread")]
async fn an_empty_database_keeps_its_character_set_and_grants() {
    let mariadb = skip_unless!(PrivateMariaDb::start());
    support::fill(&mariadb, support::ALL);
    let target = "CREATE DATABASE target CHARACTER SET utf8mb4 COLLATE utf8mb4_unicode_ci; \
        CREATE USER reader; GRANT SELECT ON target.* TO reader;";
    mariadb.sql("mysql", target).unwrap();
    let run = Run::new().await;
    let artifact = run.backup(&support::strategy(&mariadb)).await;
    run.restore(&support::strategy_for(&mariadb, "target"), Some(&artifact))
        .await;
    let collation = mariadb
        .sql("target", "SELECT @@collation_database;")
        .unwrap();
    assert_eq!(collation, "utf8mb4_unicode_ci");
    let grants = mariadb.sql("mysql", "SHOW GRANTS FOR reader;").unwrap();
    assert!(grants.contains("`target`.*"), "{grants}");
    assert_eq!(mariadb.pushes("target").unwrap().len(), 3000);
    assert_eq!(support::databases(&mariadb), ["bitbucket", "target"]);
}

/// Whoever may act for others gives views and triggers back to whom they belonged; anybody else takes them over.
#[tokio::test(flavor = "multi_thread")]
async fn definers_that_the_server_has_are_kept_as_far_as_the_account_may() {
    let mariadb = skip_unless!(PrivateMariaDb::start());
    support::fill(&mariadb, support::ALL);
    support::fill_with_extras(&mariadb);
    let run = Run::new().await;
    let artifact = run.backup(&support::strategy(&mariadb)).await;
    let original = support::fingerprint(&mariadb, DATABASE);
    run.restore(&support::strategy_for(&mariadb, "copy"), Some(&artifact))
        .await;
    support::assert_same(&support::fingerprint(&mariadb, "copy"), &original);
    let limited = "CREATE USER limited IDENTIFIED BY 'x'; GRANT ALL PRIVILEGES ON `lim%`.* TO limited; GRANT RELOAD ON *.* TO limited;";
    mariadb.sql("mysql", limited).unwrap();
    let strategy = support::strategy_with(&mariadb, "lim", &support::login("limited", "x"));
    let cx = run.restore_context(Some(&artifact));
    let way_back = strategy.restore().unwrap();
    let mut session = way_back.prepare_restore(&cx).await.unwrap();
    session.apply(&run.source()).await.unwrap();
    session.commit().await.unwrap();
    let warnings = cx.events().warnings().join("\n");
    assert!(warnings.contains("`gone`@`localhost`"), "{warnings}");
    let definer =
        "SELECT DISTINCT DEFINER FROM information_schema.TRIGGERS WHERE TRIGGER_SCHEMA = 'lim';";
    assert_eq!(mariadb.sql("mysql", definer).unwrap(), "limited@%");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_dump_that_creates_its_database_restores_with_its_character_set() {
    let mariadb = skip_unless!(PrivateMariaDb::start());
    support::fill(&mariadb, support::ALL);
    let change = "ALTER DATABASE bitbucket CHARACTER SET utf8mb3 COLLATE utf8mb3_bin;";
    mariadb.sql(DATABASE, change).unwrap();
    let run = Run::new().await;
    let file = run.folder().join("bitbucket-db");
    let dumped = mariadb
        .tool("mariadb-dump")
        .unwrap()
        .args(["--databases", DATABASE])
        .stdout(std::fs::File::create(&file).unwrap())
        .status()
        .unwrap();
    assert!(dumped.success());
    let mut source = RestoreSource::new();
    source.database = Some(file);
    let strategy = support::strategy_for(&mariadb, "copy");
    let mut session = run.prepare_restore(&strategy, None).await.unwrap();
    session.apply(&source).await.unwrap();
    session.commit().await.unwrap();
    let collation = "SELECT @@collation_database;";
    assert_eq!(mariadb.sql("copy", collation).unwrap(), "utf8mb3_bin");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_dump_without_comments_restores_and_one_that_is_cut_off_does_not() {
    let mariadb = skip_unless!(PrivateMariaDb::start());
    support::fill(&mariadb, support::ALL);
    let run = Run::new().await;
    let file = run.folder().join("bitbucket-db");
    let dump = mariadb
        .tool("mariadb-dump")
        .unwrap()
        .args(["--skip-comments", "--databases", DATABASE])
        .output()
        .unwrap();
    assert!(dump.status.success());
    let mut source = RestoreSource::new();
    source.database = Some(file.clone());
    let strategy = support::strategy_for(&mariadb, "copy");
    let end = dump.stdout.trim_ascii_end().len() - 1;
    std::fs::write(&file, &dump.stdout[..end]).unwrap();
    let mut session = run.prepare_restore(&strategy, None).await.unwrap();
    let error = session.apply(&source).await.unwrap_err();
    assert_eq!(error.kind(), ErrorKind::Damaged, "{error:?}");
    session.abort().await.unwrap();
    std::fs::write(&file, &dump.stdout).unwrap();
    let mut session = run.prepare_restore(&strategy, None).await.unwrap();
    session.apply(&source).await.unwrap();
    session.commit().await.unwrap();
    session.verify().await.unwrap();
    support::assert_same(
        &support::fingerprint(&mariadb, "copy"),
        &support::fingerprint(&mariadb, DATABASE),
    );
}

/// The shell scripts run `mysqldump --databases`, with the statements that lead back to the original.
#[tokio::test(flavor = "multi_thread")]
async fn a_dump_of_the_shell_scripts_restores_to_the_name_that_is_asked_for() {
    let mariadb = skip_unless!(PrivateMariaDb::start());
    support::fill(&mariadb, support::ALL);
    support::fill_with_extras(&mariadb);
    let run = Run::new().await;
    let file = run.folder().join("bitbucket-db");
    let dumped = mariadb
        .tool("mariadb-dump")
        .unwrap()
        .args([
            "--routines",
            "--events",
            "--add-drop-database",
            "--databases",
            DATABASE,
        ])
        .stdout(std::fs::File::create(&file).unwrap())
        .status()
        .unwrap();
    assert!(dumped.success());
    mariadb
        .sql(DATABASE, "DELETE FROM push WHERE push_id = 'p7';")
        .unwrap();
    let before = support::fingerprint(&mariadb, DATABASE);
    let mut source = RestoreSource::new();
    source.database = Some(file);
    let strategy = support::strategy_for(&mariadb, "copy");
    let mut session = run.prepare_restore(&strategy, None).await.unwrap();
    session.apply(&source).await.unwrap();
    session.commit().await.unwrap();
    session.verify().await.unwrap();
    assert_eq!(mariadb.pushes("copy").unwrap().len(), 3000);
    assert_eq!(support::fingerprint(&mariadb, DATABASE), before);
    assert_eq!(support::databases(&mariadb), ["bitbucket", "copy"]);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_dump_that_is_cut_off_or_broken_leaves_nothing() {
    let mariadb = skip_unless!(PrivateMariaDb::start());
    support::fill(&mariadb, support::ALL);
    mariadb.create_database("target").unwrap();
    let run = Run::new().await;
    let artifact = run.backup(&support::strategy(&mariadb)).await;
    let whole = std::fs::read_to_string(run.dump()).unwrap();
    let (start, end) = whole.split_at(whole.rfind("-- Dump completed").unwrap());
    let broken = format!("{start}INSERT INTO `nowhere` VALUES ('secret row');\n{end}");
    let several = whole.replace("-- Host", "USE `a`;\nUSE `b`;\n-- Host");
    for (text, kind) in [
        (start, ErrorKind::Damaged),
        (&whole[..whole.len() / 2], ErrorKind::Damaged),
        ("", ErrorKind::Damaged),
        (several.as_str(), ErrorKind::Unsupported),
        (broken.as_str(), ErrorKind::Database),
    ] {
        std::fs::write(run.dump(), text).unwrap();
        for target in ["target", "absent"] {
            let strategy = support::strategy_for(&mariadb, target);
            let mut session = run
                .prepare_restore(&strategy, Some(&artifact))
                .await
                .unwrap();
            let error = session.apply(&run.source()).await.unwrap_err();
            assert_eq!(error.kind(), kind, "{error:?}");
            assert!(!diy_backup_core::error_chain(&error).contains("secret row"));
            session.abort().await.unwrap();
            assert_eq!(support::databases(&mariadb), ["bitbucket", "target"]);
        }
    }
    let tables = "SELECT COUNT(*) FROM information_schema.TABLES WHERE TABLE_SCHEMA = 'target';";
    assert_eq!(mariadb.sql("mysql", tables).unwrap(), "0");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_target_with_anything_in_it_is_refused_and_untouched() {
    let mariadb = skip_unless!(PrivateMariaDb::start());
    support::fill(&mariadb, support::ALL);
    let run = Run::new().await;
    let artifact = run.backup(&support::strategy(&mariadb)).await;
    let strategy = support::strategy_for(&mariadb, "target");
    for (sql, named) in [
        ("CREATE TABLE t (n int);", "1 tables (t)"),
        ("CREATE VIEW v AS SELECT 1;", "1 tables (v)"),
        ("CREATE PROCEDURE p() SELECT 1;", "1 routines (p)"),
        (
            "CREATE EVENT e ON SCHEDULE EVERY 1 DAY DO SELECT 1;",
            "1 events (e)",
        ),
    ] {
        mariadb.create_database("target").unwrap();
        mariadb.sql("target", sql).unwrap();
        let before = support::fingerprint(&mariadb, "target");
        let error = run
            .prepare_restore(&strategy, Some(&artifact))
            .await
            .unwrap_err();
        assert_eq!(error.kind(), ErrorKind::TargetNotEmpty, "{error:?}");
        assert!(error.to_string().contains(named), "{named}: {error}");
        assert_eq!(support::fingerprint(&mariadb, "target"), before);
        mariadb.sql("mysql", "DROP DATABASE target;").unwrap();
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_target_that_is_filled_meanwhile_stays_as_it_is() {
    let mariadb = skip_unless!(PrivateMariaDb::start());
    support::fill(&mariadb, support::ALL);
    let run = Run::new().await;
    let artifact = run.backup(&support::strategy(&mariadb)).await;
    let strategy = support::strategy_for(&mariadb, "target");
    mariadb.create_database("target").unwrap();
    let mut session = run
        .prepare_restore(&strategy, Some(&artifact))
        .await
        .unwrap();
    session.apply(&run.source()).await.unwrap();
    mariadb
        .sql("target", "CREATE TABLE precious (n int);")
        .unwrap();
    let error = session.commit().await.unwrap_err();
    assert_eq!(error.kind(), ErrorKind::TargetNotEmpty, "{error:?}");
    session.abort().await.unwrap();
    assert_eq!(mariadb.sql("target", "SHOW TABLES;").unwrap(), "precious");
    assert_eq!(support::databases(&mariadb), ["bitbucket", "target"]);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_restore_that_dies_between_tables_and_triggers_is_finished() {
    let mariadb = skip_unless!(PrivateMariaDb::start());
    support::fill(&mariadb, support::ALL);
    support::fill_with_extras(&mariadb);
    let run = Run::new().await;
    let artifact = run.backup(&support::strategy(&mariadb)).await;
    let original = support::fingerprint(&mariadb, DATABASE);
    support::forget_definers(&mariadb);
    let strategy = support::strategy_for(&mariadb, "target");
    let restore = strategy.restore().unwrap();
    let cx = run.restore_context(Some(&artifact));
    let mut session = restore.prepare_restore(&cx).await.unwrap();
    session.apply(&run.source()).await.unwrap();
    drop(session);
    let leftovers = cx.leftovers();
    assert_eq!(leftovers.len(), 1, "{leftovers:?}");
    let told = restore.was_committed(&leftovers[0]).await.unwrap();
    assert_eq!(told, Committed::No);
    // What a commit does first.
    let temporary = support::databases(&mariadb)[1].clone();
    let tables = mariadb.sql(&temporary, "SHOW TABLES;").unwrap();
    let moves: Vec<String> = tables
        .lines()
        .filter(|name| *name != "diy_backup_objects")
        .map(|name| format!("`{temporary}`.`{name}` TO target.`{name}`"))
        .collect();
    mariadb.create_database("target").unwrap();
    mariadb
        .sql("mysql", &format!("RENAME TABLE {};", moves.join(", ")))
        .unwrap();
    let told = restore.was_committed(&leftovers[0]).await.unwrap();
    assert_eq!(told, Committed::Yes);
    for _ in 0..2 {
        restore.resume_commit(&leftovers[0]).await.unwrap();
    }
    strategy.discard(&leftovers[0]).await.unwrap();
    support::assert_same(
        &support::without_definers(&support::fingerprint(&mariadb, "target")),
        &support::without_definers(&original),
    );
    assert_eq!(support::databases(&mariadb), ["bitbucket", "target"]);
}

#[tokio::test(flavor = "multi_thread")]
async fn what_would_fail_half_way_is_found_before_anything_changes() {
    let mariadb = skip_unless!(PrivateMariaDb::start());
    support::fill(&mariadb, support::DUMPS);
    let run = Run::new().await;
    let artifact = run.backup(&support::strategy(&mariadb)).await;
    let strategy = support::strategy_for(&mariadb, "target");
    let error = run
        .prepare_restore(&strategy, Some(&artifact))
        .await
        .unwrap_err();
    assert_eq!(error.kind(), ErrorKind::Check, "{error:?}");
    assert!(
        error.hint().unwrap().contains("`target\\_restore\\_%`"),
        "{error:?}"
    );
    mariadb.sql("mysql", support::ALL).unwrap();
    mariadb
        .sql("mysql", "SET GLOBAL max_allowed_packet = 65536;")
        .unwrap();
    let error = run
        .prepare_restore(&strategy, Some(&artifact))
        .await
        .unwrap_err();
    assert!(
        error
            .hint()
            .unwrap()
            .contains("SET GLOBAL max_allowed_packet"),
        "{error:?}"
    );
    assert_eq!(support::databases(&mariadb), ["bitbucket"]);
}

#[tokio::test(flavor = "multi_thread")]
async fn an_unknown_collation_gives_way_with_a_warning() {
    let mariadb = skip_unless!(PrivateMariaDb::start());
    support::fill(&mariadb, support::ALL);
    let run = Run::new().await;
    let artifact = run
        .backup(&support::strategy(&mariadb))
        .await
        .with_detail("flavour", "MySQL")
        .with_detail("collation", "utf8mb4_2525_ai_ci");
    let login = support::login(USER, PASSWORD);
    let strategy = support::strategy_with(&mariadb, "copy", &login);
    let cx = run.restore_context(Some(&artifact));
    let restore = strategy.restore().unwrap();
    let mut session = restore.prepare_restore(&cx).await.unwrap();
    session.apply(&run.source()).await.unwrap();
    session.commit().await.unwrap();
    let warnings = cx.events().warnings();
    assert!(warnings[0].contains("comes from MySQL"), "{warnings:?}");
    assert!(warnings[1].contains("utf8mb4_2525_ai_ci"), "{warnings:?}");
    assert_eq!(mariadb.pushes("copy").unwrap().len(), 3000);
}
