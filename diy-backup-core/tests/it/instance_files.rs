//! What `bitbucket.properties` says, against the configuration.

use diy_backup_core::{DatabaseAddress, DatabaseKind, Purpose, Severity};

use crate::support::Stage;

const PASSWORD: &str = "/very-secret";

fn stage(properties: &str) -> Stage {
    let stage = Stage::new();
    stage.home.write("bitbucket.properties", properties);
    let address = DatabaseAddress::new(DatabaseKind::PostgreSql, "localhost", "bitbucket");
    stage.database.is_at(address.with_port(5432));
    stage
}

/// The warnings of a check about the file, each with its subject.
async fn warnings(stage: &Stage) -> String {
    let report = diy_backup_core::check(&stage.site, Purpose::Backup, &stage.control)
        .await
        .unwrap();
    let about = report
        .of(Severity::Warning)
        .filter(|finding| finding.subject.contains("bitbucket.properties"));
    let lines: Vec<String> = about
        .map(|finding| {
            let fix = finding.fix.as_deref().unwrap();
            format!("{} {} {fix}", finding.subject, finding.message)
        })
        .collect();
    lines.join("\n")
}

#[tokio::test]
async fn another_database_than_the_configured_one_is_named_with_its_line() {
    for url in [
        "jdbc:postgresql://localhost:5432/other",
        "jdbc:postgresql://127.0.0.1:5433/bitbucket",
        "jdbc:postgresql://192.0.2.1:5432/bitbucket",
        "jdbc:postgresql://old-server.invalid/bitbucket",
        "jdbc:mysql://localhost:3306/bitbucket",
        "jdbc:h2:/somewhere/data/db",
    ] {
        let stage = stage(&format!(
            "# the database\nsetup.displayName=x\njdbc.url = \\\n  {url}\njdbc.password={PASSWORD}\n"
        ));
        let found = warnings(&stage).await;
        assert!(
            found.contains("bitbucket.properties:3 `jdbc.url`"),
            "{url}: {found}"
        );
        assert!(!found.contains(PASSWORD), "{found}");
        stage.backup().await.unwrap();
    }
}

#[tokio::test]
async fn the_configured_database_under_another_name_is_no_conflict() {
    for url in [
        "jdbc:postgresql://127.0.0.1/bitbucket?user=x&password=y",
        "jdbc:postgresql://u:p@[::1]:5432/bitbucket",
        "jdbc:postgresql://192.0.2.1,localhost/bitbucket",
        "jdbc:postgresql:bitbucket",
        "jdbc:oracle:thin:@//elsewhere:1521/x",
        "jdbc:postgresql://${DB_HOST}/${DB_NAME}",
    ] {
        let stage = stage(&format!("jdbc.url={url}\n"));
        assert_eq!(warnings(&stage).await, "", "{url}");
    }
}

#[tokio::test]
async fn key_files_outside_of_the_home_are_named_and_no_secret_is() {
    let stage = stage("");
    let inside = stage.home.folder().join("keys/inside.key");
    stage.home.write(
        "bitbucket.properties",
        &format!(
            "jdbc.password={{\"keyFilePath\":\"/etc/bb/key.file\",\"sealed\":\"{PASSWORD}\"}}\n\
             server.ssl.key-store=/etc/bb/store.p12\n\
             server.ssl.key-store-password={PASSWORD}\n\
             server.context-path=/bitbucket\n\
             encrypted-property.cipher.configuration=/etc/bb/cipher\n\
             plugin.x.key-file={}\n",
            inside.display()
        ),
    );
    let found = warnings(&stage).await;
    for (line, path) in [(1, "key.file"), (2, "store.p12"), (5, "cipher")] {
        let at = format!("bitbucket.properties:{line} ");
        let mut lines = found.lines();
        assert!(
            lines.any(|one| one.contains(&at) && one.contains(path)),
            "{path}: {found}"
        );
    }
    assert_eq!(found.lines().count(), 3, "{found}");
    assert!(!found.contains(PASSWORD));
    stage.home.write(
        "bitbucket.properties",
        &format!("jdbc.password={PASSWORD}\n"),
    );
    assert_eq!(warnings(&stage).await, "");
}

#[tokio::test]
async fn a_restored_home_that_points_at_another_database_is_warned_of() {
    let stage = stage("a=b\njdbc.url=jdbc:postgresql://production.invalid/bitbucket\n");
    stage.backup().await.unwrap();
    stage.home.lose();
    stage.database.lose();
    let report = stage.restore().await.unwrap();
    let warnings = report.warnings.join("\n");
    assert!(
        warnings.contains("bitbucket.properties:2: `jdbc.url`")
            && warnings.contains("production.invalid")
            && warnings.contains("before you start it"),
        "{warnings}"
    );
}

#[tokio::test]
async fn a_pipe_in_the_place_of_the_file_keeps_nobody_waiting() {
    let stage = stage("");
    let path = stage.home.folder().join("bitbucket.properties");
    std::fs::remove_file(&path).unwrap();
    let made = std::process::Command::new("mkfifo").arg(&path).status();
    assert!(made.unwrap().success());
    assert_eq!(warnings(&stage).await, "");
}
