use diy_backup_core::{DbStrategy, ErrorKind, Purpose};
use diy_backup_testkit::mssql::{SqlPermission, SqlServerDouble, SqlcmdFlavour};

use crate::support::{self, DATABASE, findings, names, text};

#[tokio::test]
async fn all_is_well_and_stays_as_it_is() {
    let double = support::server().await;
    let found = findings(&support::strategy(&double), Purpose::Everything).await;
    assert!(!found.has_errors(), "{}", text(&found));
    let text = text(&found);
    assert!(
        text.contains("SQL Server 15.0.4261.1") && text.contains("sqlcmd 18 (ODBC)"),
        "{text}"
    );
    assert!(text.contains("recovery model SIMPLE"), "{text}");
    assert!(found.staged_bytes > 0 && found.space.len() == 2);
    assert!(names(&double.directory()).is_empty());
}

/// Changes the server, checks, and looks for what must be said.
async fn expect(change: impl AsyncFn(&SqlServerDouble), more: &str, said: &[&str], is_error: bool) {
    let double = support::server().await;
    change(&double).await;
    let found = findings(
        &support::strategy_for(&double, DATABASE, more),
        Purpose::Everything,
    )
    .await;
    let text = text(&found);
    for said in said {
        assert!(text.contains(said), "{said}: {text}");
    }
    assert_eq!(found.has_errors(), is_error, "{text}");
    assert!(names(&double.directory()).is_empty());
}

#[tokio::test]
async fn what_is_wrong_is_named_with_the_statement_that_mends_it() {
    let wrong_password = "username = \"bit]bucket'user\"\npassword = { value = 'wrong' }";
    expect(
        async |_| {},
        wrong_password,
        &["Login failed", "`username` and `password`"],
        true,
    )
    .await;
    let revoke = SqlServerDouble::revoke;
    expect(
        async |double| revoke(double, SqlPermission::BackupDatabase).unwrap(),
        "",
        &[
            "USE [bit]]bu'cket $(x) ä]; CREATE USER [bit]]bucket'user]",
            "ALTER ROLE db_backupoperator ADD MEMBER [bit]]bucket'user]",
        ],
        true,
    )
    .await;
    expect(
        async |double| revoke(double, SqlPermission::Connect).unwrap(),
        "",
        &["db_backupoperator"],
        true,
    )
    .await;
    expect(
        async |double| revoke(double, SqlPermission::CreateAnyDatabase).unwrap(),
        "",
        &[
            "GRANT CREATE ANY DATABASE TO [bit]]bucket'user]",
            "ALTER SERVER ROLE dbcreator",
        ],
        true,
    )
    .await;
    expect(
        async |double| revoke(double, SqlPermission::AlterAnyDatabase).unwrap(),
        "",
        &["Warning a restore cannot take the place of an empty database"],
        false,
    )
    .await;
    expect(
        async |double| double.set_state(DATABASE, "SUSPECT").unwrap(),
        "",
        &["is SUSPECT"],
        true,
    )
    .await;
    expect(
        async |double| double.drop_database(DATABASE).unwrap(),
        "",
        &["there is no database"],
        true,
    )
    .await;
    expect(
        async |double| double.encrypt(DATABASE).unwrap(),
        "",
        &["Warning", "BACKUP CERTIFICATE"],
        false,
    )
    .await;
    expect(
        async |double| {
            double
                .set_edition("12.0.2000.8", "Standard Edition (64-bit)", 2)
                .unwrap();
        },
        "",
        &["SQL Server 12.0.2000.8 is too old"],
        true,
    )
    .await;
    expect(
        async |double| double.set_edition("12.0.2000.8", "SQL Azure", 5).unwrap(),
        "",
        &["too old"],
        true,
    )
    .await;
    expect(
        async |double| double.set_edition("16.0.1.0", "SQL Azure", 8).unwrap(),
        "",
        &["does not write backups to a folder"],
        true,
    )
    .await;
    expect(
        async |double| {
            double
                .set_edition("15.0.1.0", "Express Edition (64-bit)", 4)
                .unwrap();
        },
        "",
        &["does not compress"],
        false,
    )
    .await;
    expect(
        async |double| double.set_flavour(SqlcmdFlavour::Odbc17).unwrap(),
        "encrypt = 'strict'",
        &["needs sqlcmd 18 or newer"],
        true,
    )
    .await;
    expect(
        async |double| double.sign_itself().unwrap(),
        "",
        &["trust-server-certificate"],
        true,
    )
    .await;
}

#[tokio::test]
async fn a_folder_that_the_two_do_not_share_is_found() {
    let double = support::server().await;
    let elsewhere = tempfile::tempdir().unwrap();
    let text_of = |directory: &str| {
        support::keys(&double, DATABASE).replace(double.directory().to_str().unwrap(), directory)
    };
    for (directory, said) in [
        (
            elsewhere.path().to_str().unwrap(),
            "the server cannot read what this program writes there",
        ),
        ("/nonexistent/folder", "cannot be written to"),
    ] {
        let login = format!(
            "username = {}\npassword = {{ value = {} }}\n",
            support::quoted(double.username()),
            support::quoted(double.password())
        );
        let section =
            diy_backup_core::Section::from_text("database", &(text_of(directory) + &login))
                .unwrap();
        let strategy = strategy_mssql::MssqlStrategy::new(
            strategy_mssql::MssqlConfig::from_section(&section).unwrap(),
        );
        let found = findings(&strategy, Purpose::Backup).await;
        assert!(
            found.has_errors() && text(&found).contains(said),
            "{}",
            text(&found)
        );
        assert!(names(elsewhere.path()).is_empty());
    }
}

#[tokio::test]
async fn a_sqlcmd_that_is_missing_or_another_program_is_named() {
    let double = support::server().await;
    let tools = tempfile::tempdir().unwrap();
    let text_of = |findings: &diy_backup_core::Findings| text(findings);
    let other = support::keys(&double, DATABASE).replace(
        double.tools().to_str().unwrap(),
        tools.path().to_str().unwrap(),
    );
    // `directory` stands below `tools` and must stay where it is.
    let other = other.replace(
        &format!("directory = \"{}/shared\"", tools.path().display()),
        "directory = \"/tmp\"",
    );
    let section = diy_backup_core::Section::from_text("database", &other).unwrap();
    let strategy = strategy_mssql::MssqlStrategy::new(
        strategy_mssql::MssqlConfig::from_section(&section).unwrap(),
    );
    let found = findings(&strategy, Purpose::Backup).await;
    assert!(
        text_of(&found).contains("mssql-tools18"),
        "{}",
        text_of(&found)
    );
    std::os::unix::fs::symlink("/bin/true", tools.path().join("sqlcmd")).unwrap();
    let found = findings(&strategy, Purpose::Backup).await;
    assert!(
        text_of(&found).contains("not Microsoft's sqlcmd"),
        "{}",
        text_of(&found)
    );
}

#[tokio::test]
async fn a_database_without_tables_is_an_error_unless_its_tables_may_not_be_seen() {
    let double = SqlServerDouble::new(&support::program()).unwrap();
    double.create_database(DATABASE).unwrap();
    let strategy = support::strategy(&double);
    let found = findings(&strategy, Purpose::Backup).await;
    let said = text(&found);
    assert!(
        found.has_errors() && said.contains("holds no tables") && said.contains("jdbc.url"),
        "{said}"
    );
    let run = support::Run::new().await;
    let error = strategy.prepare(&run.cx).await.unwrap_err();
    assert_eq!(error.kind(), ErrorKind::Check, "{error:?}");
    double.revoke(SqlPermission::ViewDefinition).unwrap();
    let found = findings(&strategy, Purpose::Backup).await;
    assert!(!found.has_errors(), "{}", text(&found));
    assert_eq!(found.inventory.tables, None);
}

#[tokio::test]
async fn source_and_backup_are_counted_alike() {
    let double = support::server().await;
    let strategy = support::strategy(&double);
    let found = findings(&strategy, Purpose::Backup).await;
    assert_eq!(found.inventory.tables, Some(1));
    let run = support::Run::new().await;
    let artifact = run.backup(&strategy).await;
    assert_eq!(artifact.inventory.tables, found.inventory.tables);
}
