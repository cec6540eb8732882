use std::process::Command;
use std::sync::Arc;

use diy_backup_core::{DbStrategy, Purpose};
use diy_backup_testkit::{Application, PrivatePostgres, RoleKind, skip_unless};

use crate::support::{self, DATABASE, ROLE, Run};

#[tokio::test(flavor = "multi_thread")]
async fn a_dump_under_live_writers_is_exactly_the_drained_instant() {
    let postgres = skip_unless!(PrivatePostgres::start());
    support::fill(&postgres, RoleKind::CreateDatabase);
    postgres.psql(DATABASE, "DELETE FROM push;").unwrap();
    let run = Run::new().await;
    let home = tempfile::tempdir().unwrap();
    let application = Application::builder(home.path(), Arc::new(postgres.rows(DATABASE)))
        .start()
        .unwrap();
    application.wait_for_pushes(60).await.unwrap();
    let mut session = support::strategy(&postgres).prepare(&run.cx).await.unwrap();
    let window = run.lock().await;
    application.latch().close();
    application.latch().drained().await;
    application.record_drained();
    session.capture(&window).await.unwrap();
    application.latch().open();
    let released = window.release(run.cx.control()).await.unwrap();
    application.wait_for_pushes(60).await.unwrap();
    let artifact = session.complete(&released).await.unwrap();
    application.stop().await;
    assert_eq!(application.failures(), Vec::<String>::new());
    run.restore(
        &support::strategy_for(&postgres, "copy", ""),
        Some(&artifact),
    )
    .await;
    let drained = application.drained_set().unwrap();
    assert_eq!(postgres.pushes("copy").unwrap(), drained);
    assert_ne!(postgres.pushes(DATABASE).unwrap(), drained);
    assert!(
        run.cx.events().warnings().is_empty(),
        "{:?}",
        run.cx.events().warnings()
    );
}

/// Statements that a snapshot alone does not survive, each by somebody who does not wait for ever.
#[tokio::test(flavor = "multi_thread")]
async fn truncating_and_dropping_after_the_unlock_cannot_empty_the_dump() {
    let postgres = Arc::new(skip_unless!(PrivatePostgres::start()));
    support::fill(&postgres, RoleKind::CreateDatabase);
    let before = support::fingerprint(&postgres, DATABASE);
    let run = Run::new().await;
    let mut session = support::strategy(&postgres).prepare(&run.cx).await.unwrap();
    let released = run.capture(&mut session).await;
    for statement in [
        "TRUNCATE push",
        "DROP TABLE avatar",
        "ALTER TABLE push ALTER COLUMN id TYPE numeric",
    ] {
        let sql = format!("SET lock_timeout = '50ms'; {statement};");
        let refused = postgres.psql(DATABASE, &sql).unwrap_err();
        assert!(refused.to_string().contains("lock timeout"), "{refused}");
    }
    postgres.psql(DATABASE, "DELETE FROM push;").unwrap();
    let artifact = session.complete(&released).await.unwrap();
    postgres
        .psql(DATABASE, "TRUNCATE push; DROP TABLE avatar;")
        .unwrap();
    run.restore(
        &support::strategy_for(&postgres, "copy", ""),
        Some(&artifact),
    )
    .await;
    assert_eq!(support::fingerprint(&postgres, "copy"), before);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_truncate_that_waits_never_makes_a_dump_that_lacks_its_rows() {
    let postgres = Arc::new(skip_unless!(PrivatePostgres::start()));
    support::fill(&postgres, RoleKind::CreateDatabase);
    let before = support::fingerprint(&postgres, DATABASE);
    let run = Run::new().await;
    let strategy = support::strategy_for(&postgres, DATABASE, "lock-timeout = '300ms'\n");
    let mut session = strategy.prepare(&run.cx).await.unwrap();
    let released = run.capture(&mut session).await;
    let truncate = support::in_background(&postgres, DATABASE, "TRUNCATE push;");
    match session.complete(&released).await {
        Ok(artifact) => {
            run.restore(
                &support::strategy_for(&postgres, "copy", ""),
                Some(&artifact),
            )
            .await;
            assert_eq!(support::fingerprint(&postgres, "copy"), before);
        }
        Err(error) => {
            assert!(
                error.to_string().contains("wait in front of the dump"),
                "{error:?}"
            );
            session.abort().await.unwrap();
        }
    }
    truncate.join().unwrap().unwrap();
}

#[tokio::test(flavor = "multi_thread")]
async fn tables_that_come_and_go_between_prepare_and_capture_are_pinned_as_they_are() {
    let postgres = skip_unless!(PrivatePostgres::start());
    support::fill(&postgres, RoleKind::CreateDatabase);
    let run = Run::new().await;
    let mut session = support::strategy(&postgres).prepare(&run.cx).await.unwrap();
    let change = format!("SET ROLE {ROLE}; DROP TABLE avatar; CREATE TABLE late AS SELECT 7 AS n;");
    postgres.psql(DATABASE, &change).unwrap();
    let released = run.capture(&mut session).await;
    let refused = postgres.psql(DATABASE, "SET lock_timeout = '50ms'; TRUNCATE late;");
    assert!(refused.is_err());
    let artifact = session.complete(&released).await.unwrap();
    run.restore(
        &support::strategy_for(&postgres, "copy", ""),
        Some(&artifact),
    )
    .await;
    assert_eq!(postgres.psql("copy", "SELECT n FROM late;").unwrap(), "7");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_server_that_ends_idle_transactions_does_not_end_the_pinned_one() {
    let postgres = skip_unless!(PrivatePostgres::start());
    support::fill(&postgres, RoleKind::Login);
    let impatient = "ALTER DATABASE bitbucket SET idle_in_transaction_session_timeout = '1ms'; \
        ALTER DATABASE bitbucket SET idle_session_timeout = '100ms'; \
        ALTER DATABASE bitbucket SET statement_timeout = '1s';";
    postgres.psql("postgres", impatient).unwrap();
    let run = Run::new().await;
    run.backup(&support::strategy(&postgres)).await;
    assert!(run.cx.events().warnings().is_empty());
}

#[tokio::test(flavor = "multi_thread")]
async fn a_pin_that_was_ended_by_the_server_fails_the_backup() {
    let postgres = skip_unless!(PrivatePostgres::start());
    support::fill(&postgres, RoleKind::Login);
    let run = Run::new().await;
    let mut session = support::strategy(&postgres).prepare(&run.cx).await.unwrap();
    let released = run.capture(&mut session).await;
    let end = "SELECT count(pg_terminate_backend(pid)) FROM pg_stat_activity \
        WHERE state = 'idle in transaction' AND query LIKE '%pg_export_snapshot%';";
    assert_eq!(postgres.psql("postgres", end).unwrap(), "1");
    session.complete(&released).await.unwrap_err();
    session.abort().await.unwrap();
}

#[tokio::test(flavor = "multi_thread")]
async fn a_standby_is_dumped_inside_the_window_with_a_warning() {
    let primary = skip_unless!(
        PrivatePostgres::builder()
            .setting("wal_level", "replica")
            .start()
    );
    support::fill(&primary, RoleKind::CreateDatabase);
    let folder = tempfile::tempdir().unwrap();
    let standby = Standby::of(&primary, folder.path());
    let more = format!("host = {:?}\n", folder.path().to_str().unwrap());
    let strategy = standby_strategy(&primary, &more);
    let findings = support::text(&support::findings(&strategy, Purpose::Backup).await);
    assert!(
        findings.contains("Warning") && findings.contains("hot standby"),
        "{findings}"
    );
    let run = Run::new().await;
    let mut session = strategy.prepare(&run.cx).await.unwrap();
    let released = run.capture(&mut session).await;
    assert!(run.cx.events().warnings()[0].contains("while the instance is locked"));
    let artifact = session.complete(&released).await.unwrap();
    drop(standby);
    let copy = support::strategy_for(&primary, "copy", "");
    run.restore(&copy, Some(&artifact)).await;
    assert_eq!(
        support::fingerprint(&primary, "copy"),
        support::fingerprint(&primary, DATABASE)
    );
}

fn standby_strategy(primary: &PrivatePostgres, more: &str) -> strategy_postgres::PostgresStrategy {
    let text = format!(
        "name = 'bitbucket'\nport = {}\nusername = {:?}\npassword = {{ value = {} }}\n{more}",
        primary.port(),
        ROLE,
        serde_json::to_string(support::PASSWORD).unwrap()
    );
    let section = diy_backup_core::Section::from_text("database", &text).unwrap();
    strategy_postgres::PostgresStrategy::new(
        strategy_postgres::PostgresConfig::from_section(&section).unwrap(),
    )
}

/// A standby of a private server, reached by a socket alone.
struct Standby(std::process::Child);

impl Standby {
    fn of(primary: &PrivatePostgres, folder: &std::path::Path) -> Self {
        let data = folder.join("data");
        let copied = primary
            .tool("pg_basebackup")
            .args([
                "--checkpoint=fast",
                "--no-sync",
                "--wal-method=stream",
                "--write-recovery-conf",
                "-w",
            ])
            .arg("--pgdata")
            .arg(&data)
            .output()
            .unwrap();
        assert!(
            copied.status.success(),
            "{}",
            String::from_utf8_lossy(&copied.stderr)
        );
        let shown = folder.display().to_string();
        let owner = std::fs::metadata(primary.data_dir()).unwrap();
        let mut command = Command::new(primary.bin_dir().join("postgres"));
        #[cfg(unix)]
        {
            use std::os::unix::fs::{MetadataExt, chown};
            use std::os::unix::process::CommandExt;
            let (uid, gid) = (owner.uid(), owner.gid());
            if std::fs::metadata("/proc/self").unwrap().uid() == 0 {
                let changed = Command::new("chown")
                    .arg("-R")
                    .arg(format!("{uid}:{gid}"))
                    .arg(folder)
                    .status();
                assert!(changed.unwrap().success());
                chown(folder, Some(uid), Some(gid)).unwrap();
                command.uid(uid).gid(gid);
            }
        }
        let log = std::fs::File::create(folder.join("log")).unwrap();
        let child = command
            .args(["-c", "listen_addresses=", "-c", "hot_standby=on"])
            .arg("-c")
            .arg(format!("unix_socket_directories={shown}"))
            .arg("-p")
            .arg(primary.port().to_string())
            .arg("-D")
            .arg(&data)
            .current_dir(folder)
            .stderr(log)
            .spawn()
            .unwrap();
        let standby = Self(child);
        for _ in 0..3000 {
            let ready = primary
                .tool("psql")
                .env("PGHOST", &shown)
                .args([
                    "-X",
                    "-A",
                    "-t",
                    "-d",
                    "postgres",
                    "-c",
                    "SELECT pg_is_in_recovery()",
                ])
                .output()
                .unwrap();
            if ready.status.success() {
                return standby;
            }
            std::thread::sleep(std::time::Duration::from_millis(10));
        }
        let log = std::fs::read_to_string(folder.join("log")).unwrap_or_default();
        panic!("the standby did not start: {log}");
    }
}

impl Drop for Standby {
    fn drop(&mut self) {
        let _ = Command::new("kill")
            .arg("-QUIT")
            .arg(self.0.id().to_string())
            .status();
        let _ = self.0.wait();
    }
}
