//! A restored database is the database it was: owners, grants, settings, and all else that a dump carries.

use diy_backup_core::{Artifact, DbStrategy, ErrorKind, Purpose};
use diy_backup_testkit::{PrivatePostgres, RoleKind, skip_unless};

use crate::support::{self, DATABASE, PASSWORD, ROLE, Run};

/// Two owners, a schema of its own that only settings lead to, and everything else that a dump carries beside tables.
fn fill(postgres: &PrivatePostgres, kind: RoleKind) {
    support::fill(postgres, kind);
    let sql = format!(
        "CREATE ROLE \"Odd \"\"Röle\"; CREATE ROLE reader LOGIN;
         CREATE SCHEMA bb AUTHORIZATION {ROLE};
         ALTER DATABASE {DATABASE} SET search_path = bb, \"$user\", public;
         ALTER DATABASE {DATABASE} SET timezone = 'Europe/Berlin';
         ALTER DATABASE {DATABASE} CONNECTION LIMIT 30;
         ALTER ROLE {ROLE} IN DATABASE {DATABASE} SET work_mem = '7MB';
         REVOKE TEMPORARY ON DATABASE {DATABASE} FROM PUBLIC;
         GRANT CREATE ON DATABASE {DATABASE} TO reader WITH GRANT OPTION;
         COMMENT ON DATABASE {DATABASE} IS 'it''s; -- \n\\connect x\nours';
         CREATE EXTENSION pg_trgm SCHEMA bb; COMMENT ON EXTENSION pg_trgm IS 'ours';
         GRANT USAGE ON SCHEMA public TO reader;
         SET ROLE {ROLE};
         CREATE TABLE bb.audit (n int PRIMARY KEY, role text);
         GRANT SELECT ON bb.audit TO reader; GRANT USAGE ON SCHEMA bb TO reader;
         ALTER DEFAULT PRIVILEGES IN SCHEMA bb GRANT SELECT ON TABLES TO reader;
         CREATE FUNCTION bb.look() RETURNS int LANGUAGE plpgsql AS $$
         begin
         --
         -- Name: x; Type: TABLE; Schema: bb; Owner: nobody
         --
         return 1; end $$;
         ALTER TABLE bb.audit ENABLE ROW LEVEL SECURITY;
         CREATE POLICY own ON bb.audit FOR SELECT TO reader, {ROLE} USING (n > 1);
         RESET ROLE;"
    );
    postgres.psql(DATABASE, &sql).unwrap();
}

/// What only a superuser gives back.
fn fill_for_superuser(postgres: &PrivatePostgres) {
    let sql = format!(
        "CREATE TABLE other (n int); ALTER TABLE other OWNER TO \"Odd \"\"Röle\"; GRANT ALL ON other TO {ROLE};
         ALTER SCHEMA public OWNER TO {ROLE}; CREATE PUBLICATION pub FOR TABLE other;
         CREATE FUNCTION noted() RETURNS event_trigger LANGUAGE plpgsql AS 'begin end';
         CREATE EVENT TRIGGER noted ON ddl_command_end EXECUTE FUNCTION noted(); ALTER EVENT TRIGGER noted DISABLE;
         BEGIN; SET client_min_messages = error; COMMIT;"
    );
    postgres.psql(DATABASE, &sql).unwrap();
}

/// The whole definition of a database as plain `pg_dump --create` writes it, under one name.
fn definition(postgres: &PrivatePostgres, database: &str) -> String {
    let output = postgres
        .tool("pg_dump")
        .args(["--create", "--schema-only", database])
        .output()
        .unwrap();
    assert!(output.status.success(), "{output:?}");
    let text = String::from_utf8(output.stdout).unwrap();
    let lines = text
        .lines()
        .filter(|line| !line.starts_with("\\restrict") && !line.starts_with("\\unrestrict"));
    let lines: Vec<String> = lines
        .map(|line| {
            line.replace(&format!("DATABASE {database} "), "DATABASE x ")
                .replace(&format!("DATABASE {database};"), "DATABASE x;")
                .replace(&format!("Name: {database};"), "Name: x;")
                .replace(&format!("connect {database}"), "connect x")
        })
        .collect();
    lines.join("\n")
}

#[track_caller]
fn assert_same(postgres: &PrivatePostgres, copy: &str) {
    let (wanted, found) = (definition(postgres, DATABASE), definition(postgres, copy));
    let differs = |one: &str, other: &str| -> Vec<String> {
        let other: Vec<&str> = other.lines().collect();
        let lines = one.lines().filter(|line| !other.contains(line));
        lines.map(str::to_owned).collect()
    };
    assert_eq!(
        (differs(&wanted, &found), differs(&found, &wanted)),
        (Vec::new(), Vec::new())
    );
    assert_eq!(
        support::fingerprint(postgres, copy),
        support::fingerprint(postgres, DATABASE)
    );
}

/// A strategy that logs in as the server's superuser.
fn as_superuser(
    postgres: &PrivatePostgres,
    database: &str,
    more: &str,
) -> strategy_postgres::PostgresStrategy {
    let password = serde_json::to_string(postgres.password()).unwrap();
    let login = format!(
        "username = {:?}\npassword = {{ value = {password} }}\n{more}",
        postgres.superuser()
    );
    support::strategy_for(postgres, database, &login)
}

/// Restores, and returns the warnings.
async fn restore(
    run: &Run,
    strategy: &strategy_postgres::PostgresStrategy,
    artifact: Option<&Artifact>,
) -> Vec<String> {
    let cx = run.restore_context(artifact);
    let way_back = strategy.restore().unwrap();
    let mut session = way_back.prepare_restore(&cx).await.unwrap();
    session.apply(&run.source()).await.unwrap();
    session.commit().await.unwrap();
    session.verify().await.unwrap();
    cx.events().warnings()
}

#[tokio::test(flavor = "multi_thread")]
async fn a_superuser_gives_everything_back_to_whom_it_belonged() {
    let postgres = skip_unless!(PrivatePostgres::start());
    fill(&postgres, RoleKind::Login);
    fill_for_superuser(&postgres);
    let run = Run::new().await;
    let artifact = run.backup(&as_superuser(&postgres, DATABASE, "")).await;
    let warnings = restore(&run, &as_superuser(&postgres, "copy", ""), Some(&artifact)).await;
    assert!(warnings.is_empty(), "{warnings:?}");
    assert_same(&postgres, "copy");
    // An empty database that the superuser has made says nothing of whom it is for.
    postgres
        .create_database("empty", postgres.superuser())
        .unwrap();
    let warnings = restore(&run, &as_superuser(&postgres, "empty", ""), Some(&artifact)).await;
    assert!(warnings.is_empty(), "{warnings:?}");
    assert_same(&postgres, "empty");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_dump_of_the_shell_scripts_gives_everything_back_too() {
    let postgres = skip_unless!(PrivatePostgres::start());
    fill(&postgres, RoleKind::Login);
    fill_for_superuser(&postgres);
    let run = Run::new().await;
    let dumped = postgres
        .tool("pg_dump")
        .args(["-Fd", DATABASE, "-j", "2", "-f"])
        .arg(run.dump())
        .status()
        .unwrap();
    assert!(dumped.success());
    let warnings = restore(&run, &as_superuser(&postgres, "copy", ""), None).await;
    assert!(warnings.is_empty(), "{warnings:?}");
    assert_same(&postgres, "copy");
}

#[tokio::test(flavor = "multi_thread")]
async fn the_owner_and_a_member_of_the_owner_give_everything_back_that_is_theirs() {
    let postgres = skip_unless!(PrivatePostgres::start());
    fill(&postgres, RoleKind::CreateDatabase);
    postgres
        .create_role("member", PASSWORD, RoleKind::CreateDatabase)
        .unwrap();
    postgres
        .psql("postgres", &format!("GRANT {ROLE} TO member;"))
        .unwrap();
    let run = Run::new().await;
    let artifact = run.backup(&support::strategy(&postgres)).await;
    let member = format!(
        "username = 'member'\npassword = {{ value = {} }}\n",
        serde_json::to_string(PASSWORD).unwrap()
    );
    for (copy, login) in [("by_owner", ""), ("by_member", member.as_str())] {
        let strategy = support::strategy_for(&postgres, copy, login);
        let warnings = restore(&run, &strategy, Some(&artifact)).await;
        // Only a superuser may set something for another role, and speak for the schema that every database has.
        let others = warnings.iter().filter(|warning| {
            !warning.contains("ALTER ROLE bitbucketuser IN DATABASE")
                && !warning.contains("EXTENSION")
        });
        assert_eq!(others.count(), 0, "{warnings:?}");
        let owners = "SELECT DISTINCT pg_get_userbyid(relowner) FROM pg_class c JOIN pg_namespace n ON n.oid = relnamespace \
            WHERE nspname IN ('public', 'bb') UNION SELECT pg_get_userbyid(datdba) FROM pg_database WHERE datname = current_database();";
        assert_eq!(postgres.psql(copy, owners).unwrap(), ROLE);
        if copy == "by_owner" {
            assert_same(&postgres, copy);
        }
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn roles_that_are_missing_are_named_before_anything_happens() {
    let postgres = skip_unless!(PrivatePostgres::start());
    fill(&postgres, RoleKind::Login);
    fill_for_superuser(&postgres);
    let run = Run::new().await;
    let artifact = run.backup(&as_superuser(&postgres, DATABASE, "")).await;
    let elsewhere = skip_unless!(PrivatePostgres::start());
    elsewhere
        .psql("postgres", &format!("CREATE ROLE {ROLE};"))
        .unwrap();
    let strategy = as_superuser(&elsewhere, DATABASE, "");
    let is_named = |error: &diy_backup_core::Error| {
        assert_eq!(error.kind(), ErrorKind::Check, "{error:?}");
        let hint = error.hint().unwrap();
        for part in [
            "CREATE ROLE \"Odd \"\"Röle\" LOGIN;",
            "CREATE ROLE \"reader\";",
            "owner = \"postgres\"",
        ] {
            assert!(hint.contains(part), "{part}: {hint}");
        }
        assert!(!error.to_string().contains("nobody"), "{error}");
    };
    is_named(
        &run.prepare_restore(&strategy, Some(&artifact))
            .await
            .unwrap_err(),
    );
    // A backup whose manifest does not say: known as soon as the dump is there.
    let mut session = run.prepare_restore(&strategy, None).await.unwrap();
    is_named(&session.apply(&run.source()).await.unwrap_err());
    session.abort().await.unwrap();
    assert!(support::databases(&elsewhere).is_empty());
    // With one owner for everything, no other role is needed; what is granted to them is told.
    let strategy = as_superuser(&elsewhere, DATABASE, &format!("owner = '{ROLE}'\n"));
    let warnings = restore(&run, &strategy, Some(&artifact)).await;
    assert!(
        warnings
            .iter()
            .any(|warning| warning.contains("GRANT SELECT ON TABLE bb.audit TO reader")),
        "{warnings:?}"
    );
    assert_eq!(
        support::fingerprint(&elsewhere, DATABASE),
        support::fingerprint(&postgres, DATABASE)
    );
}

#[tokio::test(flavor = "multi_thread")]
async fn what_belongs_to_others_is_not_taken_by_a_login_that_is_none_of_them() {
    let postgres = skip_unless!(PrivatePostgres::start());
    fill(&postgres, RoleKind::CreateDatabase);
    fill_for_superuser(&postgres);
    let run = Run::new().await;
    let artifact = run.backup(&as_superuser(&postgres, DATABASE, "")).await;
    let readable = format!("GRANT SELECT ON other TO {ROLE};");
    postgres.psql(DATABASE, &readable).unwrap();
    let checked = support::findings(&support::strategy(&postgres), Purpose::Everything).await;
    let checked = support::text(&checked);
    assert!(checked.contains("what belongs to Odd \"Röle"), "{checked}");
    let strategy = support::strategy_for(&postgres, "copy", "");
    let error = run
        .prepare_restore(&strategy, Some(&artifact))
        .await
        .unwrap_err();
    assert_eq!(error.kind(), ErrorKind::Check, "{error:?}");
    let grant = format!("GRANT \"Odd \"\"Röle\" TO \"{ROLE}\";");
    assert!(error.hint().unwrap().contains(&grant), "{error:?}");
    assert_eq!(support::databases(&postgres), [DATABASE]);
}

#[tokio::test(flavor = "multi_thread")]
async fn an_empty_database_of_another_role_is_for_that_role() {
    let postgres = skip_unless!(PrivatePostgres::start());
    fill(&postgres, RoleKind::CreateDatabase);
    postgres
        .create_role("tester", PASSWORD, RoleKind::Login)
        .unwrap();
    postgres.create_database("target", "tester").unwrap();
    let prepared = "ALTER DATABASE target SET timezone = 'UTC'; ALTER ROLE tester IN DATABASE target SET work_mem = '9MB';";
    postgres.psql("postgres", prepared).unwrap();
    let run = Run::new().await;
    let artifact = run.backup(&support::strategy(&postgres)).await;
    restore(
        &run,
        &as_superuser(&postgres, "target", ""),
        Some(&artifact),
    )
    .await;
    let owners = "SELECT DISTINCT tableowner FROM pg_tables WHERE schemaname IN ('public', 'bb');";
    assert_eq!(postgres.psql("target", owners).unwrap(), "tester");
    let settings = "SELECT r.rolname, s.setconfig FROM pg_db_role_setting s JOIN pg_database d ON d.oid = s.setdatabase \
        LEFT JOIN pg_roles r ON r.oid = s.setrole WHERE d.datname = 'target' ORDER BY 1;";
    // What was set for the empty database prevails, and the rest is the original's.
    assert_eq!(
        postgres.psql("target", settings).unwrap(),
        "bitbucketuser|{work_mem=7MB}\ntester|{work_mem=9MB}\n|{\"search_path=bb, \\\"$user\\\", public\",TimeZone=UTC}"
    );
}

#[tokio::test(flavor = "multi_thread")]
async fn a_role_that_may_not_create_databases_gets_settings_and_grants_back_too() {
    let postgres = skip_unless!(PrivatePostgres::start());
    fill(&postgres, RoleKind::Login);
    let run = Run::new().await;
    let artifact = run.backup(&support::strategy(&postgres)).await;
    postgres.create_database("copy", ROLE).unwrap();
    let strategy = support::strategy_for(&postgres, "copy", "");
    let warnings = restore(&run, &strategy, Some(&artifact)).await;
    assert!(warnings.is_empty(), "{warnings:?}");
    assert_same(&postgres, "copy");
}

#[tokio::test(flavor = "multi_thread")]
async fn rights_and_extensions_that_are_lacking_are_found_before_anything_happens() {
    let postgres = skip_unless!(PrivatePostgres::start());
    fill(&postgres, RoleKind::Login);
    let run = Run::new().await;
    let artifact = run.backup(&support::strategy(&postgres)).await;
    postgres
        .create_database("target", postgres.superuser())
        .unwrap();
    let strategy = support::strategy_for(&postgres, "target", "");
    let error = run
        .prepare_restore(&strategy, Some(&artifact))
        .await
        .unwrap_err();
    assert_eq!(error.kind(), ErrorKind::Check, "{error:?}");
    assert!(error.hint().unwrap().contains("CREATEDB"), "{error:?}");
    let artifact = artifact.with_detail("extensions", "[\"no_such_extension\"]");
    let strategy = as_superuser(&postgres, "copy", "");
    let error = run
        .prepare_restore(&strategy, Some(&artifact))
        .await
        .unwrap_err();
    assert_eq!(error.kind(), ErrorKind::Check, "{error:?}");
    assert!(error.to_string().contains("no_such_extension"), "{error:?}");
}

#[tokio::test(flavor = "multi_thread")]
async fn tablespaces_come_back_where_the_server_has_them_and_are_named_where_not() {
    let postgres = skip_unless!(PrivatePostgres::start());
    let in_place =
        "SET allow_in_place_tablespaces = on; CREATE TABLESPACE \"Fast disk\" LOCATION '';";
    if postgres.psql("postgres", in_place).is_err() {
        println!("skipped: tablespaces in place need PostgreSQL 15");
        return;
    }
    support::fill(&postgres, RoleKind::Login);
    let there = "CREATE TABLE placed (n int) TABLESPACE \"Fast disk\";";
    postgres.psql(DATABASE, there).unwrap();
    let run = Run::new().await;
    let artifact = run.backup(&as_superuser(&postgres, DATABASE, "")).await;
    let place = "SELECT t.spcname FROM pg_class c LEFT JOIN pg_tablespace t ON t.oid = c.reltablespace WHERE relname = 'placed';";
    let warnings = restore(&run, &as_superuser(&postgres, "copy", ""), Some(&artifact)).await;
    assert!(warnings.is_empty(), "{warnings:?}");
    assert_eq!(postgres.psql("copy", place).unwrap(), "Fast disk");
    let elsewhere = skip_unless!(PrivatePostgres::start());
    elsewhere
        .psql("postgres", &format!("CREATE ROLE {ROLE};"))
        .unwrap();
    let strategy = as_superuser(&elsewhere, DATABASE, "");
    let warnings = restore(&run, &strategy, Some(&artifact)).await.join("\n");
    assert!(
        warnings.contains("lacks tablespaces of the original: Fast disk"),
        "{warnings}"
    );
    assert_eq!(elsewhere.psql(DATABASE, place).unwrap(), "");
}
