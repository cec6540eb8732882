//! A real PgBouncer between the program and the server.

use std::net::TcpListener;
use std::os::unix::fs::{MetadataExt, chown};
use std::os::unix::process::CommandExt;
use std::path::Path;
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

use diy_backup_core::{DbStrategy, Section};
use diy_backup_testkit::{PrivatePostgres, RoleKind, report_skipped, skip_unless};
use strategy_postgres::{PostgresConfig, PostgresStrategy};

use crate::support::{self, DATABASE, PASSWORD, ROLE, Run};

struct PgBouncer {
    process: Child,
    port: u16,
    _folder: tempfile::TempDir,
}

impl PgBouncer {
    /// `None` where there is none to start.
    fn start(postgres: &PrivatePostgres, pool_mode: &str) -> Option<Self> {
        if Command::new("pgbouncer").arg("--version").output().is_err() {
            report_skipped(&"pgbouncer is not installed");
            return None;
        }
        let folder = tempfile::tempdir().unwrap();
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let port = listener.local_addr().unwrap().port();
        drop(listener);
        let users = folder.path().join("users");
        let config = folder.path().join("pgbouncer.ini");
        std::fs::write(&users, format!("\"{ROLE}\" \"\"\n")).unwrap();
        let server = format!(
            "host=127.0.0.1 port={} dbname={DATABASE} user={ROLE} password='{}'",
            postgres.port(),
            PASSWORD.replace('\'', "''")
        );
        let text = format!(
            "[databases]\n{DATABASE} = {server}\n\
             [pgbouncer]\nlisten_addr = 127.0.0.1\nlisten_port = {port}\nunix_socket_dir =\nauth_type = trust\n\
             auth_file = {}\npool_mode = {pool_mode}\n",
            users.display()
        );
        std::fs::write(&config, text).unwrap();
        let mut command = Command::new("pgbouncer");
        command
            .arg(&config)
            .stdout(Stdio::null())
            .stderr(Stdio::null());
        // Like the server, it refuses to run as root.
        if support_is_root() {
            let owner = std::fs::metadata(postgres.data_dir()).unwrap();
            for path in [folder.path(), &users, &config] {
                chown(path, Some(owner.uid()), Some(owner.gid())).unwrap();
            }
            command.uid(owner.uid()).gid(owner.gid());
        }
        let this = Self {
            process: command.spawn().unwrap(),
            port,
            _folder: folder,
        };
        let started = Instant::now();
        while std::net::TcpStream::connect(("127.0.0.1", port)).is_err() {
            assert!(
                started.elapsed() < Duration::from_secs(30),
                "it does not start"
            );
            std::thread::sleep(Duration::from_millis(10));
        }
        Some(this)
    }

    fn strategy(&self, tools: &Path) -> PostgresStrategy {
        let text = format!(
            "name = {DATABASE:?}\nhost = \"127.0.0.1\"\nport = {}\nusername = {ROLE:?}\ntools = {tools:?}\njobs = 3\n",
            self.port
        );
        let section = Section::from_text("database", &text).unwrap();
        PostgresStrategy::new(PostgresConfig::from_section(&section).unwrap())
    }
}

impl Drop for PgBouncer {
    fn drop(&mut self) {
        let _ = self.process.kill();
        let _ = self.process.wait();
    }
}

fn support_is_root() -> bool {
    std::fs::metadata("/proc/self").unwrap().uid() == 0
}

/// A server whose rows change between the capture and the dump, seen through a pooler.
async fn is_pinned_through(pool_mode: &str) {
    let postgres = skip_unless!(PrivatePostgres::start());
    support::fill(&postgres, RoleKind::CreateDatabase);
    let Some(pooler) = PgBouncer::start(&postgres, pool_mode) else {
        return;
    };
    let strategy = pooler.strategy(postgres.bin_dir());
    let captured = support::fingerprint(&postgres, DATABASE);
    let run = Run::new().await;
    let mut session = strategy.prepare(&run.cx).await.unwrap();
    let released = run.capture(&mut session).await;
    postgres
        .psql(DATABASE, "DELETE FROM push WHERE push_id <> 'p1';")
        .unwrap();
    let artifact = session.complete(&released).await.unwrap();
    drop(pooler);
    let copy = support::strategy_for(&postgres, "copy", "");
    assert!(copy.restore().is_some());
    run.restore(&copy, Some(&artifact)).await;
    assert_eq!(support::fingerprint(&postgres, "copy"), captured);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_pooler_that_keeps_sessions_together_is_pinned_through() {
    is_pinned_through("session").await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_pooler_that_keeps_transactions_together_is_pinned_through() {
    is_pinned_through("transaction").await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_pooler_that_tears_transactions_apart_fails_the_backup_clearly() {
    let postgres = skip_unless!(PrivatePostgres::start());
    support::fill(&postgres, RoleKind::CreateDatabase);
    let Some(pooler) = PgBouncer::start(&postgres, "statement") else {
        return;
    };
    let strategy = pooler.strategy(postgres.bin_dir());
    let run = Run::new().await;
    let error = match strategy.prepare(&run.cx).await {
        Err(error) => error,
        Ok(mut session) => {
            let window = run.lock().await;
            let captured = session.capture(&window).await;
            window.abandon(run.cx.control()).await.unwrap();
            session.abort().await.unwrap();
            captured.unwrap_err()
        }
    };
    let mut shown = error.to_string();
    let mut cause = std::error::Error::source(&error);
    while let Some(error) = cause {
        shown = format!("{shown}: {error}");
        cause = error.source();
    }
    assert!(shown.contains("transaction"), "{shown}");
}
