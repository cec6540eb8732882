use std::sync::Arc;

use diy_backup_core::{CancelReason, Committed, DbStrategy, ErrorKind, Leftover};
use diy_backup_testkit::{PrivatePostgres, RoleKind, skip_unless};

use crate::support::{self, DATABASE, PASSWORD, ROLE, Run};

#[tokio::test(flavor = "multi_thread")]
async fn a_restore_to_another_name_and_owner_has_all_of_the_original() {
    let postgres = skip_unless!(PrivatePostgres::start());
    support::fill(&postgres, RoleKind::CreateDatabase);
    let extras = format!(
        "SET ROLE {ROLE}; CREATE EXTENSION pg_trgm; COMMENT ON TABLE push IS 'pushes'; \
         CREATE INDEX trgm ON project USING gin (description gin_trgm_ops); GRANT SELECT ON push TO PUBLIC;"
    );
    postgres.psql(DATABASE, &extras).unwrap();
    postgres
        .psql(DATABASE, "COMMENT ON EXTENSION pg_trgm IS 'ours';")
        .unwrap();
    postgres
        .create_role("Other Röle", "x", RoleKind::Login)
        .unwrap();
    postgres
        .psql("postgres", &format!("GRANT \"Other Röle\" TO {ROLE};"))
        .unwrap();
    let run = Run::new().await;
    let artifact = run.backup(&support::strategy(&postgres)).await;
    let strategy = support::strategy_for(&postgres, "copy", "owner = 'Other Röle'\n");
    run.restore(&strategy, Some(&artifact)).await;
    assert_eq!(
        support::fingerprint(&postgres, "copy"),
        support::fingerprint(&postgres, DATABASE)
    );
    let owners = postgres
        .psql("copy", "SELECT DISTINCT tableowner FROM pg_tables WHERE schemaname = 'public' UNION SELECT pg_get_userbyid(datdba) FROM pg_database WHERE datname = 'copy';")
        .unwrap();
    assert_eq!(owners, "Other Röle");
    assert_eq!(support::databases(&postgres), ["bitbucket", "copy"]);
    let statistics = postgres
        .psql(
            "copy",
            "SELECT count(*) > 0 FROM pg_stats WHERE tablename = 'push';",
        )
        .unwrap();
    assert_eq!(statistics, "t");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_dump_of_the_shell_scripts_restores_with_the_locale_it_tells_of() {
    let postgres = skip_unless!(PrivatePostgres::start());
    support::fill(&postgres, RoleKind::CreateDatabase);
    let run = Run::new().await;
    let dumped = postgres
        .tool("pg_dump")
        .args(["-Fd", DATABASE, "-j", "2", "-f"])
        .arg(run.dump())
        .status()
        .unwrap();
    assert!(dumped.success());
    run.restore(&support::strategy_for(&postgres, "copy", ""), None)
        .await;
    assert_eq!(
        support::fingerprint(&postgres, "copy"),
        support::fingerprint(&postgres, DATABASE)
    );
    let locale =
        "SELECT pg_encoding_to_char(encoding), datcollate FROM pg_database WHERE datname = 'copy';";
    assert_eq!(postgres.psql("copy", locale).unwrap(), "UTF8|C");
}

#[tokio::test(flavor = "multi_thread")]
async fn an_unknown_locale_gives_way_with_a_warning() {
    let postgres = skip_unless!(PrivatePostgres::start());
    support::fill(&postgres, RoleKind::CreateDatabase);
    let run = Run::new().await;
    let artifact = run
        .backup(&support::strategy(&postgres))
        .await
        .with_detail("collate", "xx_XX.UTF-8");
    let cx = run.restore_context(Some(&artifact));
    let strategy = support::strategy_for(&postgres, "copy", "");
    let mut session = strategy
        .restore()
        .unwrap()
        .prepare_restore(&cx)
        .await
        .unwrap();
    session.apply(&run.source()).await.unwrap();
    session.commit().await.unwrap();
    assert!(
        cx.events().warnings()[0].contains("xx_XX.UTF-8"),
        "{:?}",
        cx.events().warnings()
    );
}

#[tokio::test(flavor = "multi_thread")]
async fn a_target_with_anything_in_it_is_refused_and_untouched() {
    let postgres = skip_unless!(PrivatePostgres::start());
    support::fill(&postgres, RoleKind::CreateDatabase);
    let run = Run::new().await;
    let artifact = run.backup(&support::strategy(&postgres)).await;
    let contents = [
        ("CREATE TABLE t ();", "1 tables (public.t)"),
        ("CREATE VIEW v AS SELECT 1;", "1 views (public.v)"),
        ("CREATE SEQUENCE s;", "1 sequences (public.s)"),
        (
            "CREATE FUNCTION f() RETURNS int LANGUAGE sql AS 'SELECT 1';",
            "1 functions (public.f)",
        ),
        ("CREATE TYPE e AS ENUM ('x');", "1 types (public.e)"),
        ("CREATE SCHEMA extra;", "1 schemas (extra)"),
        ("SELECT lo_create(99);", "1 large objects (99)"),
        ("CREATE EXTENSION pg_trgm;", "1 extensions (pg_trgm)"),
    ];
    let strategy = support::strategy_for(&postgres, "target", "");
    for (sql, named) in contents {
        postgres.create_database("target", ROLE).unwrap();
        postgres.psql("target", sql).unwrap();
        let error = run
            .prepare_restore(&strategy, Some(&artifact))
            .await
            .unwrap_err();
        assert_eq!(error.kind(), ErrorKind::TargetNotEmpty, "{error:?}");
        assert!(error.to_string().contains(named), "{named}: {error}");
        postgres.psql("postgres", "DROP DATABASE target;").unwrap();
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn an_empty_database_gives_its_name_owner_privileges_and_settings() {
    let postgres = skip_unless!(PrivatePostgres::start());
    support::fill(&postgres, RoleKind::CreateDatabase);
    postgres
        .create_role("reader", "x", RoleKind::Login)
        .unwrap();
    postgres.create_database("target", ROLE).unwrap();
    let prepared = "REVOKE ALL ON DATABASE target FROM PUBLIC; GRANT CONNECT ON DATABASE target TO reader; \
        ALTER DATABASE target SET search_path = \"$user\", public; ALTER DATABASE target SET work_mem = '7MB';";
    postgres.psql("postgres", prepared).unwrap();
    let asked = "SELECT s.setconfig, d.datacl FROM pg_database d JOIN pg_db_role_setting s ON s.setdatabase = d.oid WHERE datname = 'target';";
    let before = postgres.psql("postgres", asked).unwrap();
    let run = Run::new().await;
    let artifact = run.backup(&support::strategy(&postgres)).await;
    run.restore(
        &support::strategy_for(&postgres, "target", ""),
        Some(&artifact),
    )
    .await;
    assert_eq!(postgres.psql("postgres", asked).unwrap(), before);
    assert_eq!(
        support::fingerprint(&postgres, "target"),
        support::fingerprint(&postgres, DATABASE)
    );
    assert_eq!(support::databases(&postgres), ["bitbucket", "target"]);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_role_that_may_not_create_databases_fills_the_empty_one_in_one_transaction() {
    let postgres = skip_unless!(PrivatePostgres::start());
    support::fill(&postgres, RoleKind::Login);
    let run = Run::new().await;
    let artifact = run.backup(&support::strategy(&postgres)).await;
    let strategy = support::strategy_for(&postgres, "target", "");
    let error = run
        .prepare_restore(&strategy, Some(&artifact))
        .await
        .unwrap_err();
    assert_eq!(error.kind(), ErrorKind::Check);
    assert!(
        error.hint().unwrap().contains("CREATE DATABASE \"target\""),
        "{error:?}"
    );

    postgres.create_database("target", ROLE).unwrap();
    let empty = "SELECT count(*) FROM pg_class WHERE relname = 'push';";
    let mut session = run
        .prepare_restore(&strategy, Some(&artifact))
        .await
        .unwrap();
    session.apply(&run.source()).await.unwrap();
    assert_eq!(postgres.psql("target", empty).unwrap(), "0");
    session.abort().await.unwrap();
    assert_eq!(postgres.psql("target", empty).unwrap(), "0");
    run.restore(&strategy, Some(&artifact)).await;
    assert_eq!(
        support::fingerprint(&postgres, "target"),
        support::fingerprint(&postgres, DATABASE)
    );
}

#[tokio::test(flavor = "multi_thread")]
async fn a_restore_that_dies_anywhere_leaves_nothing_or_all() {
    let postgres = skip_unless!(PrivatePostgres::start());
    support::fill(&postgres, RoleKind::CreateDatabase);
    let run = Run::new().await;
    let artifact = run.backup(&support::strategy(&postgres)).await;
    let strategy = support::strategy_for(&postgres, "target", "");
    let restore = strategy.restore().unwrap();
    postgres.create_database("target", ROLE).unwrap();

    // Killed in the middle of apply: the future is dropped while pg_restore works.
    let mut session = run
        .prepare_restore(&strategy, Some(&artifact))
        .await
        .unwrap();
    let source = run.source();
    tokio::select! {
        biased;
        _ = session.apply(&source) => {}
        () = database_appears(&postgres) => {}
    }
    drop(session);
    let leftover = leftover_of(&postgres);
    assert_eq!(
        restore.was_committed(&leftover).await.unwrap(),
        Committed::No
    );
    strategy.discard(&leftover).await.unwrap();
    strategy.discard(&leftover).await.unwrap();
    assert_eq!(support::databases(&postgres), ["bitbucket", "target"]);

    // Killed between apply and commit: a later run commits.
    let mut session = run
        .prepare_restore(&strategy, Some(&artifact))
        .await
        .unwrap();
    session.apply(&source).await.unwrap();
    drop(session);
    let leftover = leftover_of(&postgres);
    assert_eq!(
        restore.was_committed(&leftover).await.unwrap(),
        Committed::No
    );
    restore.resume_commit(&leftover).await.unwrap();
    restore.resume_commit(&leftover).await.unwrap();
    assert_eq!(
        restore.was_committed(&leftover).await.unwrap(),
        Committed::Yes
    );
    strategy.discard(&leftover).await.unwrap();
    assert_eq!(support::databases(&postgres), ["bitbucket", "target"]);
    assert_eq!(
        support::fingerprint(&postgres, "target"),
        support::fingerprint(&postgres, DATABASE)
    );
}

#[tokio::test(flavor = "multi_thread")]
async fn an_aborted_restore_drops_what_it_has_built() {
    let postgres = skip_unless!(PrivatePostgres::start());
    support::fill(&postgres, RoleKind::CreateDatabase);
    let run = Run::new().await;
    let artifact = run.backup(&support::strategy(&postgres)).await;
    let strategy = support::strategy_for(&postgres, "target", "");
    let mut session = run
        .prepare_restore(&strategy, Some(&artifact))
        .await
        .unwrap();
    session.apply(&run.source()).await.unwrap();
    assert_eq!(support::databases(&postgres).len(), 2);
    session.abort().await.unwrap();
    assert_eq!(support::databases(&postgres), ["bitbucket"]);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_target_that_is_filled_meanwhile_stays_as_it_is() {
    let postgres = skip_unless!(PrivatePostgres::start());
    support::fill(&postgres, RoleKind::CreateDatabase);
    let run = Run::new().await;
    let artifact = run.backup(&support::strategy(&postgres)).await;
    let strategy = support::strategy_for(&postgres, "target", "");
    postgres.create_database("target", ROLE).unwrap();
    let mut session = run
        .prepare_restore(&strategy, Some(&artifact))
        .await
        .unwrap();
    session.apply(&run.source()).await.unwrap();
    postgres
        .psql("target", "CREATE TABLE precious ();")
        .unwrap();
    let error = session.commit().await.unwrap_err();
    assert_eq!(error.kind(), ErrorKind::TargetNotEmpty, "{error:?}");
    session.abort().await.unwrap();
    postgres.psql("target", "TABLE precious;").unwrap();
    assert_eq!(support::databases(&postgres), ["bitbucket", "target"]);
}

#[tokio::test(flavor = "multi_thread")]
async fn an_owner_that_is_not_there_or_not_ours_is_found_before_anything_changes() {
    let postgres = skip_unless!(PrivatePostgres::start());
    support::fill(&postgres, RoleKind::CreateDatabase);
    postgres
        .create_role("foreign", PASSWORD, RoleKind::Login)
        .unwrap();
    let run = Run::new().await;
    for (owner, hint) in [
        ("absent", "CREATE ROLE \"absent\""),
        ("foreign", "GRANT \"foreign\" TO"),
    ] {
        let strategy = support::strategy_for(&postgres, "target", &format!("owner = '{owner}'\n"));
        let error = run.prepare_restore(&strategy, None).await.unwrap_err();
        assert_eq!(error.kind(), ErrorKind::Check);
        assert!(error.hint().unwrap().contains(hint), "{error:?}");
    }
}

async fn database_appears(postgres: &PrivatePostgres) {
    while !support::databases(postgres)
        .iter()
        .any(|name| name.contains("_restore_"))
    {
        tokio::task::yield_now().await;
    }
}

/// What the journal would hold, rebuilt from the name of the database that was left.
fn leftover_of(postgres: &PrivatePostgres) -> Leftover {
    let names = support::databases(postgres);
    let temporary = names
        .iter()
        .find(|name| name.contains("_restore_"))
        .expect("there is one");
    let replaced = temporary.replace("_restore_", "_replaced_");
    let id = serde_json::json!({"beside": {"temporary": temporary, "target": "target", "replaced": replaced}});
    Leftover::new("postgresql", "restore-database", id.to_string())
}

#[tokio::test(flavor = "multi_thread")]
async fn a_database_that_is_being_created_when_its_restore_is_cancelled_does_not_come_into_being() {
    let postgres = Arc::new(skip_unless!(PrivatePostgres::start()));
    support::fill(&postgres, RoleKind::CreateDatabase);
    let run = Run::new().await;
    let artifact = run.backup(&support::strategy(&postgres)).await;
    let cx = run.restore_context(Some(&artifact));
    let strategy = support::strategy_for(&postgres, "copy", "");
    let way_back = strategy.restore().unwrap();
    let mut session = way_back.prepare_restore(&cx).await.unwrap();
    // What every creation of a database has to wait for.
    let hold = "BEGIN; LOCK TABLE pg_shdepend IN ACCESS EXCLUSIVE MODE; SELECT pg_sleep(600);";
    let holder = support::in_background(&postgres, "postgres", hold);
    let wait_for = |number: &str, query: &str| {
        let sql = format!(
            "SELECT count(*) FROM pg_stat_activity WHERE state = 'active' AND query LIKE '{query}%';"
        );
        while postgres.psql("postgres", &sql).unwrap() != number {
            std::thread::yield_now();
        }
    };
    wait_for("1", "SELECT pg_sleep");
    let (control, source) = (cx.control().clone(), run.source());
    let applying = tokio::spawn(async move {
        let applied = session.apply(&source).await;
        (session, applied)
    });
    wait_for("1", "CREATE DATABASE");
    control.cancel(CancelReason::Requested);
    let (session, applied) = applying.await.unwrap();
    assert_eq!(applied.unwrap_err().kind(), ErrorKind::Cancelled);
    session.abort().await.unwrap();
    let end = "SELECT pg_terminate_backend(pid) FROM pg_stat_activity WHERE query LIKE 'SELECT pg_sleep%';";
    postgres.psql("postgres", end).unwrap();
    assert!(holder.join().unwrap().is_err());
    wait_for("0", "CREATE DATABASE");
    assert_eq!(support::databases(&postgres), [DATABASE]);
}

#[tokio::test(flavor = "multi_thread")]
async fn dumps_of_other_formats_restore_or_say_how() {
    let postgres = skip_unless!(PrivatePostgres::start());
    support::fill(&postgres, RoleKind::CreateDatabase);
    for (format, copy) in [("-Fc", "custom"), ("-Ft", "tar"), ("-Fp", "plain")] {
        let run = Run::new().await;
        let dumped = postgres
            .tool("pg_dump")
            .args([format, DATABASE, "-f"])
            .arg(run.dump().join("bitbucket.dump"))
            .status()
            .unwrap();
        assert!(dumped.success());
        let strategy = support::strategy_for(&postgres, copy, "");
        if format == "-Fp" {
            let mut session = run.prepare_restore(&strategy, None).await.unwrap();
            let error = session.apply(&run.source()).await.unwrap_err();
            assert_eq!(error.kind(), ErrorKind::Unsupported, "{error:?}");
            assert!(error.hint().unwrap().contains("| psql"), "{error:?}");
            session.abort().await.unwrap();
            continue;
        }
        run.restore(&strategy, None).await;
        assert_eq!(
            support::fingerprint(&postgres, copy),
            support::fingerprint(&postgres, DATABASE)
        );
    }
    assert_eq!(
        support::databases(&postgres),
        ["bitbucket", "custom", "tar"]
    );
}
