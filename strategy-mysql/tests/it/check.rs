use diy_backup_core::Purpose;
use diy_backup_testkit::{PrivateMariaDb, skip_unless};

use crate::support::{self, DATABASE, Run};

#[tokio::test(flavor = "multi_thread")]
async fn a_good_database_is_measured_and_nothing_is_wrong() {
    let mariadb = skip_unless!(PrivateMariaDb::start());
    support::fill(&mariadb, support::ALL);
    let findings = support::findings(&support::strategy(&mariadb), Purpose::Everything).await;
    let text = support::text(&findings);
    assert!(
        !text.contains("Warning") && !text.contains("Error"),
        "{text}"
    );
    assert!(text.contains("MariaDB"), "{text}");
    assert!(findings.staged_bytes > 100_000, "{}", findings.staged_bytes);
    assert_eq!(findings.space.len(), 1);
}

#[tokio::test(flavor = "multi_thread")]
async fn logins_that_fail_are_told_apart() {
    let mut mariadb = skip_unless!(PrivateMariaDb::start());
    support::fill(&mariadb, support::DUMPS);
    let wrong = support::login("bitbucketuser", "wrong");
    let nobody = support::login("nobody", "x");
    let cases = [
        (
            "bitbucket",
            wrong.as_str(),
            "Access denied",
            "Check `username` and `password`",
        ),
        (
            "bitbucket",
            nobody.as_str(),
            "Access denied",
            "CREATE USER 'nobody'",
        ),
        (
            "absent",
            "",
            "there is no database \"absent\"",
            "SHOW DATABASES",
        ),
        (
            "bitbucket",
            "host = 'no-such-host.invalid'",
            "cannot log in",
            "Correct `host`",
        ),
        (
            "bitbucket",
            "host = '/nonexistent/socket'",
            "cannot log in",
            "Start the server",
        ),
        (
            "bitbucket",
            "tools = '/nonexistent'",
            "is not there",
            "apt-get install",
        ),
    ];
    for (database, more, message, fix) in cases {
        let strategy = support::strategy_with(&mariadb, database, more);
        let findings = support::findings(&strategy, Purpose::Backup).await;
        let text = support::text(&findings);
        assert!(
            findings.has_errors() && text.contains(message) && text.contains(fix),
            "{text}"
        );
    }
    let strategy = support::strategy(&mariadb);
    mariadb.stop();
    let text = support::text(&support::findings(&strategy, Purpose::Backup).await);
    assert!(text.contains("Start the server"), "{text}");
    assert_eq!(text.lines().count(), 1, "{text}");
}

/// The statements of a hint, which stand between backticks that no name of these tests has around it.
fn statements(text: &str) -> String {
    let (_, rest) = text.split_once("administrator: `").unwrap();
    rest.rsplit_once("`]").unwrap().0.to_owned()
}

#[tokio::test(flavor = "multi_thread")]
async fn what_the_account_may_not_do_is_named_with_the_statement_that_helps() {
    let mariadb = skip_unless!(PrivateMariaDb::start());
    support::fill(
        &mariadb,
        "GRANT SELECT ON bitbucket.push TO 'bitbucketuser'@'%';",
    );
    let strategy = support::strategy(&mariadb);
    for missing in ["SELECT, SHOW VIEW, TRIGGER, EVENT", "LOCK TABLES"] {
        let findings = support::findings(&strategy, Purpose::Backup).await;
        let text = support::text(&findings);
        assert!(findings.has_errors() && text.contains(missing), "{text}");
        let error = text.lines().find(|line| line.starts_with("Error")).unwrap();
        mariadb.sql(DATABASE, &statements(error)).unwrap();
        let findings = support::findings(&strategy, Purpose::Backup).await;
        assert!(!findings.has_errors(), "{}", support::text(&findings));
        Run::new().await.backup(&strategy).await;
        mariadb
            .sql(
                DATABASE,
                "CREATE TABLE IF NOT EXISTS old (n int) ENGINE = MyISAM;",
            )
            .unwrap();
    }
    let findings = support::findings(&strategy, Purpose::Backup).await;
    let text = support::text(&findings);
    assert!(
        text.contains("Warning") && text.contains("ALTER TABLE `bitbucket`.`old` ENGINE = InnoDB;"),
        "{text}"
    );
}

#[tokio::test(flavor = "multi_thread")]
async fn a_routine_whose_body_is_hidden_is_named() {
    let mariadb = skip_unless!(PrivateMariaDb::start());
    support::fill(&mariadb, support::DUMPS);
    let sql =
        "CREATE PROCEDURE hidden() SELECT 1; GRANT EXECUTE ON bitbucket.* TO 'bitbucketuser'@'%';";
    mariadb.sql(DATABASE, sql).unwrap();
    let strategy = support::strategy(&mariadb);
    let findings = support::findings(&strategy, Purpose::Backup).await;
    let text = support::text(&findings);
    assert!(
        findings.has_errors() && text.contains("\"hidden\""),
        "{text}"
    );
    mariadb.sql(DATABASE, &statements(&text)).unwrap();
    let findings = support::findings(&strategy, Purpose::Backup).await;
    assert!(!findings.has_errors(), "{}", support::text(&findings));
    Run::new().await.backup(&strategy).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn an_account_that_cannot_restore_is_a_warning_of_a_whole_check_alone() {
    let mariadb = skip_unless!(PrivateMariaDb::start());
    support::fill(&mariadb, support::DUMPS);
    let strategy = support::strategy(&mariadb);
    let backup = support::text(&support::findings(&strategy, Purpose::Backup).await);
    assert!(!backup.contains("restore"), "{backup}");
    let whole = support::text(&support::findings(&strategy, Purpose::Everything).await);
    assert!(
        whole.contains("Warning") && whole.contains("`bitbucket\\_restore\\_%`"),
        "{whole}"
    );
    mariadb.sql(DATABASE, &statements(&whole)).unwrap();
    let whole = support::text(&support::findings(&strategy, Purpose::Everything).await);
    assert!(!whole.contains("Warning"), "{whole}");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_read_only_server_is_probably_a_replica() {
    let mariadb = skip_unless!(PrivateMariaDb::builder().setting("read_only", "ON").start());
    support::fill(&mariadb, support::DUMPS);
    let strategy = support::strategy(&mariadb);
    let text = support::text(&support::findings(&strategy, Purpose::Backup).await);
    assert!(
        text.contains("Warning") && text.contains("replica"),
        "{text}"
    );
    let run = Run::new().await;
    let error = run
        .prepare_restore(&support::strategy_for(&mariadb, "copy"), None)
        .await
        .unwrap_err();
    assert!(error.to_string().contains("read-only"), "{error:?}");
}
