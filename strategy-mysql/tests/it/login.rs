use diy_backup_core::{DbStrategy, Purpose};
use diy_backup_testkit::{PrivateMariaDb, skip_unless};

use crate::support::{self, DATABASE, Run};

/// Whether a check with this login finds nothing wrong.
async fn logs_in(mariadb: &PrivateMariaDb, more: &str) -> bool {
    let strategy = support::strategy_with(mariadb, DATABASE, more);
    let findings = support::findings(&strategy, Purpose::Backup).await;
    !findings.has_errors()
}

#[tokio::test(flavor = "multi_thread")]
async fn passwords_of_every_kind_are_handed_over_whole() {
    let mariadb = skip_unless!(PrivateMariaDb::start());
    mariadb.create_database(DATABASE).unwrap();
    mariadb.create_schema(DATABASE).unwrap();
    let passwords = [
        "#",
        "a#b",
        " leading and trailing ",
        "\"",
        "'",
        "\\",
        "\\\\n",
        "\\s",
        "a\"b'c\\d",
        "=;[x]!",
        "ünï☃👩‍💻",
        "\ta\rb\nc",
        "$HOME `id` %41",
        "\"quoted\"",
        "'quoted'",
        "trailing\\",
    ];
    for (number, password) in passwords.iter().enumerate() {
        let user = format!("user{number}");
        mariadb.create_user(&user, password).unwrap();
        let grant = format!("GRANT ALL PRIVILEGES ON *.* TO {user};");
        mariadb.sql("mysql", &grant).unwrap();
        let login = support::login(&user, password);
        assert!(logs_in(&mariadb, &login).await, "{password:?}");
        let login = support::login(&user, &format!("{password} "));
        assert!(!logs_in(&mariadb, &login).await, "{password:?}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_socket_is_a_way_in_too() {
    let mariadb = skip_unless!(PrivateMariaDb::start());
    support::fill(&mariadb, support::DUMPS);
    let more = format!("host = {:?}\n", mariadb.socket().to_str().unwrap());
    let run = Run::new().await;
    run.backup(&support::strategy_with(&mariadb, DATABASE, &more))
        .await;
}

#[tokio::test(flavor = "multi_thread")]
async fn tls_is_insisted_on_and_certificates_are_checked() {
    let certificate = |name: &str| rcgen::generate_simple_self_signed([name.to_owned()]).unwrap();
    let (ours, other) = (certificate("localhost"), certificate("localhost"));
    let started = PrivateMariaDb::builder()
        .tls(ours.cert.pem(), ours.signing_key.serialize_pem())
        .start();
    let mariadb = skip_unless!(started);
    support::fill(&mariadb, support::DUMPS);
    mariadb
        .sql(DATABASE, "ALTER USER 'bitbucketuser'@'%' REQUIRE SSL;")
        .unwrap();
    let folder = tempfile::tempdir().unwrap();
    let write = |name: &str, text: String| {
        let path = folder.path().join(name);
        std::fs::write(&path, text).unwrap();
        format!("ssl-ca = {:?}\n", path.to_str().unwrap())
    };
    let good = write("ours.pem", ours.cert.pem());
    let bad = write("other.pem", other.cert.pem());
    let port = format!("host = \"localhost\"\nport = {}\n", mariadb.port());
    let full = "ssl-mode = \"verify-full\"\n";
    assert!(logs_in(&mariadb, &format!("{port}{full}{good}")).await);
    assert!(!logs_in(&mariadb, &format!("{port}{full}{bad}")).await);
    assert!(logs_in(&mariadb, &format!("{port}ssl-mode = \"require\"\n")).await);
    assert!(!logs_in(&mariadb, &format!("{port}ssl-mode = \"disable\"\n")).await);
    let run = Run::new().await;
    let strategy = support::strategy_with(&mariadb, DATABASE, &format!("{port}{full}{good}"));
    run.backup(&strategy).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_server_without_tls_is_refused_where_tls_is_insisted_on() {
    let mariadb = skip_unless!(PrivateMariaDb::start());
    support::fill(&mariadb, support::DUMPS);
    assert!(!logs_in(&mariadb, "ssl-mode = \"require\"\n").await);
    assert!(logs_in(&mariadb, "ssl-mode = \"prefer\"\n").await);
}

#[tokio::test(flavor = "multi_thread")]
async fn option_files_are_private_recorded_and_removed() {
    let mariadb = skip_unless!(PrivateMariaDb::start());
    support::fill(&mariadb, support::DUMPS);
    let run = Run::new().await;
    let strategy = support::strategy(&mariadb);
    let session = strategy.prepare(&run.cx).await.unwrap();
    let leftovers = run.cx.leftovers();
    assert_eq!(leftovers.len(), 1, "{leftovers:?}");
    let folder = std::path::Path::new(&leftovers[0].id);
    #[cfg(unix)]
    {
        use std::os::unix::fs::PermissionsExt;
        let mode = |path: &std::path::Path| std::fs::metadata(path).unwrap().permissions().mode();
        assert_eq!(mode(folder) & 0o777, 0o700);
        assert_eq!(mode(&folder.join("client.cnf")) & 0o777, 0o600);
    }
    // A run that is killed leaves it for a later one.
    std::mem::forget(session);
    strategy.discard(&leftovers[0]).await.unwrap();
    strategy.discard(&leftovers[0]).await.unwrap();
    assert!(!folder.exists());
}
