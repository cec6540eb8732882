use diy_backup_core::Purpose;
use diy_backup_testkit::{PrivatePostgres, RoleKind, skip_unless};

use crate::support::{self, DATABASE, ROLE};

#[tokio::test(flavor = "multi_thread")]
async fn a_good_database_is_measured_and_nothing_is_wrong() {
    let postgres = skip_unless!(PrivatePostgres::start());
    support::fill(&postgres, RoleKind::CreateDatabase);
    let findings = support::findings(&support::strategy(&postgres), Purpose::Everything).await;
    let text = support::text(&findings);
    assert!(
        !text.contains("Warning") && !text.contains("Error"),
        "{text}"
    );
    assert!(findings.staged_bytes > 100_000, "{}", findings.staged_bytes);
    assert_eq!(findings.space.len(), 1);
}

#[tokio::test(flavor = "multi_thread")]
async fn logins_that_fail_are_told_apart() {
    let postgres = skip_unless!(PrivatePostgres::start());
    support::fill(&postgres, RoleKind::Login);
    let cases = [
        (
            "bitbucket",
            "username = 'bitbucketuser'\npassword = { value = 'wrong' }",
            "password authentication failed",
            "pg_hba.conf",
        ),
        (
            "bitbucket",
            "username = 'bitbucketuser'",
            "no password supplied",
            "~/.pgpass",
        ),
        ("absent", "", "does not exist", "psql -l"),
        (
            "bitbucket",
            "tools = '/nonexistent'",
            "is not there",
            "apt-get install postgresql-client",
        ),
    ];
    for (database, more, message, fix) in cases {
        let strategy = if more.contains("tools") {
            let section = format!("name = 'bitbucket'\nusername = 'x'\n{more}");
            let section = diy_backup_core::Section::from_text("database", &section).unwrap();
            let config = strategy_postgres::PostgresConfig::from_section(&section).unwrap();
            strategy_postgres::PostgresStrategy::new(config)
        } else {
            support::strategy_for(&postgres, database, more)
        };
        let findings = support::findings(&strategy, Purpose::Backup).await;
        let text = support::text(&findings);
        assert!(
            findings.has_errors() && text.contains(message) && text.contains(fix),
            "{text}"
        );
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_server_that_is_not_there_is_one_clear_finding() {
    let mut postgres = skip_unless!(PrivatePostgres::start());
    let strategy = support::strategy(&postgres);
    postgres.stop();
    let text = support::text(&support::findings(&strategy, Purpose::Backup).await);
    assert!(
        text.contains("Connection refused") && text.contains("Start the server"),
        "{text}"
    );
    assert_eq!(text.lines().count(), 1, "{text}");
}

#[tokio::test(flavor = "multi_thread")]
async fn what_the_role_may_not_read_is_named_with_the_statement_that_helps() {
    let postgres = skip_unless!(PrivatePostgres::start());
    support::fill(&postgres, RoleKind::Login);
    let foreign = "CREATE SCHEMA plugin; CREATE TABLE plugin.secret AS SELECT 1 AS n; CREATE SEQUENCE plugin.s; \
        SELECT lo_from_bytea(4711, 'x');";
    postgres.psql(DATABASE, foreign).unwrap();
    let strategy = support::strategy(&postgres);
    let findings = support::findings(&strategy, Purpose::Backup).await;
    let text = support::text(&findings);
    for part in [
        "schema plugin",
        "table plugin.secret",
        "sequence plugin.s",
        "large object 4711",
        "GRANT pg_read_all_data TO \"bitbucketuser\"",
    ] {
        assert!(text.contains(part), "{part}: {text}");
    }
    let grants =
        format!("GRANT pg_read_all_data TO {ROLE}; GRANT SELECT ON LARGE OBJECT 4711 TO {ROLE};");
    postgres.psql(DATABASE, &grants).unwrap();
    let findings = support::findings(&strategy, Purpose::Backup).await;
    assert!(!findings.has_errors(), "{}", support::text(&findings));
    let run = support::Run::new().await;
    run.backup(&strategy).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_role_that_cannot_restore_is_a_warning_of_a_whole_check_alone() {
    let postgres = skip_unless!(PrivatePostgres::start());
    support::fill(&postgres, RoleKind::Login);
    let strategy = support::strategy(&postgres);
    let backup = support::text(&support::findings(&strategy, Purpose::Backup).await);
    assert!(!backup.contains("CREATEDB"), "{backup}");
    let whole = support::text(&support::findings(&strategy, Purpose::Everything).await);
    assert!(
        whole.contains("Warning") && whole.contains("CREATEDB"),
        "{whole}"
    );
}
