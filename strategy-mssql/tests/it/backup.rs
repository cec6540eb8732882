use std::os::unix::fs::PermissionsExt;

use diy_backup_core::{CancelReason, DbStrategy, ErrorKind, Leftover};
use diy_backup_testkit::mssql::{SqlPermission, SqlcmdFlavour};
use diy_backup_testkit::process::{SecretWatch, SeenIn};
use diy_backup_testkit::skip_unless;

use crate::support::{self, DATABASE, Run, names, push};

#[tokio::test]
async fn a_backup_is_a_private_full_and_a_differential_file_and_nothing_stays_with_the_server() {
    let double = support::server().await;
    let run = Run::new().await;
    let artifact = run.backup(&support::strategy(&double)).await;
    assert_eq!(names(&run.staged()), ["differential.bak", "full.bak"]);
    for name in names(&run.staged()) {
        let metadata = std::fs::metadata(run.staged().join(name)).unwrap();
        assert_eq!(metadata.permissions().mode() & 0o777, 0o600);
    }
    assert_eq!(artifact.detail("database"), Some(DATABASE));
    assert_eq!(artifact.detail("server-version"), Some("15.0.4261.1"));
    assert!(artifact.bytes > 0);
    assert!(names(&double.directory()).is_empty());
    assert!(run.cx.leftovers().is_empty() && run.cx.events().warnings().is_empty());
}

#[tokio::test]
async fn the_window_has_only_what_changed_since_the_full_backup() {
    let double = support::server().await;
    let run = Run::new().await;
    let mut session = support::strategy(&double).prepare(&run.cx).await.unwrap();
    push(&double, 300..310).await;
    let at_the_window = double.pushes(DATABASE).unwrap();
    let released = run.capture(&mut session).await;
    push(&double, 310..320).await;
    let artifact = session.complete(&released).await.unwrap();
    let size = |name: &str| std::fs::metadata(run.staged().join(name)).unwrap().len();
    assert!(size("differential.bak") * 4 < size("full.bak"));
    run.restore(&support::strategy_for(&double, "copy", ""), &artifact)
        .await;
    assert_eq!(double.pushes("copy").unwrap(), at_the_window);
}

#[tokio::test]
async fn somebody_elses_full_backup_makes_the_window_take_a_full_one_with_a_warning() {
    let double = support::server().await;
    for lose_the_base in [false, true] {
        let run = Run::new().await;
        let mut session = support::strategy(&double).prepare(&run.cx).await.unwrap();
        push(&double, 1000..1003).await;
        if lose_the_base {
            double.forget_base(DATABASE).unwrap();
        } else {
            double.foreign_full_backup(DATABASE).unwrap();
        }
        let at_the_window = double.pushes(DATABASE).unwrap();
        let released = run.capture(&mut session).await;
        double.truncate(DATABASE).unwrap();
        let artifact = session.complete(&released).await.unwrap();
        assert_eq!(names(&run.staged()), ["full.bak"]);
        let warnings = run.cx.events().warnings();
        assert!(
            warnings[0].contains("while the instance is locked"),
            "{warnings:?}"
        );
        let copy = format!("copy {lose_the_base}");
        run.restore(&support::strategy_for(&double, &copy, ""), &artifact)
            .await;
        assert_eq!(double.pushes(&copy).unwrap(), at_the_window);
        assert!(names(&double.directory()).is_empty());
    }
}

#[tokio::test]
async fn a_file_that_is_damaged_on_the_server_fails_the_backup() {
    let double = support::server().await;
    for damaged in ["-full.bak", "-differential.bak"] {
        let run = Run::new().await;
        let mut session = support::strategy(&double).prepare(&run.cx).await.unwrap();
        push(&double, 2000..2010).await;
        let released = run.capture(&mut session).await;
        let files = names(&double.directory());
        let path = double
            .directory()
            .join(files.iter().find(|name| name.ends_with(damaged)).unwrap());
        let mut bytes = std::fs::read(&path).unwrap();
        let at = bytes.len() - 5;
        bytes[at] ^= 1;
        std::fs::write(&path, bytes).unwrap();
        let error = session.complete(&released).await.unwrap_err();
        assert_eq!(error.kind(), ErrorKind::Damaged, "{error:?}");
        session.abort().await.unwrap();
        assert!(names(&double.directory()).is_empty());
        double.truncate(DATABASE).unwrap();
    }
}

#[tokio::test]
async fn every_flavour_of_sqlcmd_and_both_logins_work() {
    let double = support::server().await;
    for flavour in [
        SqlcmdFlavour::Odbc17,
        SqlcmdFlavour::Odbc18,
        SqlcmdFlavour::Go,
    ] {
        double.set_flavour(flavour).unwrap();
        let run = Run::new().await;
        run.backup(&support::strategy_for(
            &double,
            DATABASE,
            "encrypt = 'mandatory'",
        ))
        .await;
    }
    double.sign_itself().unwrap();
    double.trust_account().unwrap();
    let run = Run::new().await;
    let error = support::strategy_for(&double, DATABASE, "own-account")
        .prepare(&run.cx)
        .await
        .unwrap_err();
    assert!(
        error.hint().unwrap().contains("`trust-server-certificate`"),
        "{error:?}"
    );
    let run = Run::new().await;
    run.backup(&support::strategy_for(
        &double,
        DATABASE,
        "own-account\ntrust-server-certificate = true",
    ))
    .await;
}

#[tokio::test]
async fn an_edition_that_cannot_compress_is_not_asked_to() {
    let double = support::server().await;
    for (edition, engine) in [("Express Edition (64-bit)", 4), ("Web Edition (64-bit)", 2)] {
        double.set_edition("13.0.5026.0", edition, engine).unwrap();
        Run::new().await.backup(&support::strategy(&double)).await;
    }
}

#[tokio::test]
async fn what_the_server_refuses_ends_the_backup_before_anything_is_locked() {
    let double = support::server().await;
    let run = Run::new().await;
    let missing = support::strategy_for(&double, "no such database", "");
    let error = missing.prepare(&run.cx).await.unwrap_err();
    assert!(error.to_string().contains("no such database"), "{error:?}");
    double.revoke(SqlPermission::BackupDatabase).unwrap();
    let error = support::strategy(&double)
        .prepare(&run.cx)
        .await
        .unwrap_err();
    let chain = diy_backup_core::error_chain(&error);
    assert!(
        chain.contains("BACKUP DATABASE permission denied"),
        "{chain}"
    );
    assert!(names(&double.directory()).is_empty() && run.cx.leftovers().is_empty());
    let elsewhere = tempfile::tempdir().unwrap();
    let double = support::server().await;
    let text = support::keys(&double, DATABASE).replace(
        double.directory().to_str().unwrap(),
        elsewhere.path().to_str().unwrap(),
    );
    let login = format!(
        "username = {}\npassword = {{ value = {} }}",
        support::quoted(double.username()),
        support::quoted(double.password())
    );
    let section = diy_backup_core::Section::from_text("database", &(text + &login)).unwrap();
    let other_folder = strategy_mssql::MssqlStrategy::new(
        strategy_mssql::MssqlConfig::from_section(&section).unwrap(),
    );
    let error = other_folder.prepare(&run.cx).await.unwrap_err();
    assert!(
        error.hint().unwrap().contains("must be the same folder"),
        "{error:?}"
    );
}

#[tokio::test]
async fn the_password_stands_in_no_argument_list() {
    let double = support::server().await;
    let watch = skip_unless!(SecretWatch::start(&[double.password()]));
    let run = Run::new().await;
    let artifact = run.backup(&support::strategy(&double)).await;
    run.restore(&support::strategy_for(&double, "copy", ""), &artifact)
        .await;
    for sighting in watch.finish() {
        assert_eq!(sighting.seen_in, SeenIn::Environment, "{sighting}");
    }
}

#[tokio::test]
async fn a_cancelled_backup_leaves_nothing_in_the_shared_folder() {
    let double = support::server().await;
    let run = Run::new().await;
    let mut session = support::strategy(&double).prepare(&run.cx).await.unwrap();
    let released = run.capture(&mut session).await;
    run.cx.control().cancel(CancelReason::Requested);
    let error = session.complete(&released).await.unwrap_err();
    assert_eq!(error.kind(), ErrorKind::Cancelled);
    assert_eq!(names(&double.directory()).len(), 2);
    session.abort().await.unwrap();
    assert!(names(&double.directory()).is_empty() && run.cx.leftovers().is_empty());
}

#[tokio::test]
async fn a_dead_runs_files_are_discarded_and_no_others() {
    let double = support::server().await;
    let run = Run::new().await;
    let strategy = support::strategy(&double);
    drop(strategy.prepare(&run.cx).await.unwrap());
    std::fs::write(double.directory().join("diy-backup-other.bak"), "x").unwrap();
    for _ in 0..2 {
        strategy.discard(&run.cx.leftovers()[0]).await.unwrap();
    }
    assert_eq!(names(&double.directory()), ["diy-backup-other.bak"]);
    let forged = Leftover::new("mssql", "backup-files", "../x");
    assert_eq!(
        strategy.discard(&forged).await.unwrap_err().kind(),
        ErrorKind::Damaged
    );
    let forged = Leftover::new(
        "mssql",
        "restore-database",
        r#"{"temporary":"master","target":"x","replaced":null}"#,
    );
    assert_eq!(
        strategy.discard(&forged).await.unwrap_err().kind(),
        ErrorKind::Damaged
    );
}
