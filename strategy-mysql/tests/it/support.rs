//! What every test needs: a server with a database like Bitbucket's, and a way through a backup and a restore.

use std::path::{Path, PathBuf};
use std::time::Duration;

use bitbucket_maintenance_client::{Client, Credentials};
use diy_backup_core::{
    Artifact, BackupContext, BackupId, CheckContext, DbStrategy, Error, Findings, LockLimits,
    LockWindow, Manifest, PartName, PartRecord, Purpose, Released, RestoreContext, RestoreSession,
    RestoreSource, Section, Session, Staging,
};
use diy_backup_testkit::PrivateMariaDb;
use diy_backup_testkit::simulator::Simulator;
use strategy_mysql::{MysqlConfig, MysqlStrategy};
use tempfile::TempDir;

pub(crate) const USER: &str = "bitbucketuser";
pub(crate) const PASSWORD: &str = "pass 'wörd' \"with\" #=\\ everything\\n";
pub(crate) const DATABASE: &str = "bitbucket";

/// What a backup needs.
pub(crate) const DUMPS: &str =
    "GRANT SELECT, SHOW VIEW, TRIGGER, EVENT ON `bitbucket`.* TO 'bitbucketuser'@'%';";
/// What a restore needs, too.
pub(crate) const ALL: &str = "GRANT ALL PRIVILEGES ON *.* TO 'bitbucketuser'@'%';";

/// A server with the account and the database of an instance.
pub(crate) fn fill(mariadb: &PrivateMariaDb, grants: &str) {
    mariadb.create_user(USER, PASSWORD).unwrap();
    mariadb.create_database(DATABASE).unwrap();
    mariadb.create_schema(DATABASE).unwrap();
    let rows = "INSERT INTO push (push_id, payload) SELECT CONCAT('p', seq), REPEAT('ä☃', 20) FROM seq_1_to_3000;";
    mariadb.sql(DATABASE, rows).unwrap();
    mariadb.sql(DATABASE, grants).unwrap();
}

/// Views, triggers, routines, events and columns of every awkward type, by a definer of their own.
pub(crate) fn fill_with_extras(mariadb: &PrivateMariaDb) {
    let sql = "CREATE USER gone@localhost; GRANT ALL PRIVILEGES ON *.* TO gone@localhost;
        CREATE TABLE odd (`a ``b` int, bits bit(9), bin varbinary(40), big longblob, day date, stamp timestamp NULL,
          js json, gen int AS (`a ``b` + 1) STORED) COMMENT 'x\\ny';
        INSERT INTO odd (`a ``b`, bits, bin, big, day, stamp, js) VALUES
          (1, b'101', X'00FF27', X'0A0D00', '2026-01-31', '2026-01-31 23:59:59', '{\"a\": \"☃\"}');
        CREATE TABLE audit (n int AUTO_INCREMENT PRIMARY KEY, what varchar(40)) AUTO_INCREMENT = 77;
        CREATE SEQUENCE counter START WITH 41;
        CREATE DEFINER = gone@localhost VIEW twice AS SELECT `a ``b` * 2 AS n FROM odd;
        CREATE VIEW thrice AS SELECT n * 3 AS n FROM twice;
        DELIMITER //
        CREATE DEFINER = gone@localhost TRIGGER noted AFTER INSERT ON odd FOR EACH ROW
          BEGIN INSERT INTO audit (what) VALUES ('USE `x`;'); END//
        CREATE DEFINER = gone@localhost PROCEDURE clear(IN n int) BEGIN
        -- USE `elsewhere`;
        DELETE FROM odd WHERE `a ``b` = n; END//
        CREATE FUNCTION half(n int) RETURNS int DETERMINISTIC RETURN n DIV 2//
        CREATE DEFINER = gone@localhost EVENT nightly ON SCHEDULE EVERY 1 DAY STARTS '2030-01-01 00:00:00'
          DO BEGIN DELETE FROM audit; DELETE FROM odd; END//
        DELIMITER ;";
    mariadb.sql(DATABASE, sql).unwrap();
}

/// Makes the server one on which the definers of the original are not known.
pub(crate) fn forget_definers(mariadb: &PrivateMariaDb) {
    mariadb.sql("mysql", "DROP USER gone@localhost;").unwrap();
}

fn quoted(text: &str) -> String {
    serde_json::to_string(text).unwrap()
}

/// A strategy from lines of configuration; `name` and the place of the server come before them.
pub(crate) fn strategy_with(mariadb: &PrivateMariaDb, database: &str, more: &str) -> MysqlStrategy {
    let place = if more.contains("host = ") {
        String::new()
    } else {
        format!("host = \"127.0.0.1\"\nport = {}\n", mariadb.port())
    };
    let login = if more.contains("username = ") {
        String::new()
    } else {
        login(USER, PASSWORD)
    };
    let text = format!("name = {}\n{place}{login}{more}", quoted(database));
    let section = Section::from_text("database", &text).unwrap();
    MysqlStrategy::new(MysqlConfig::from_section(&section).unwrap())
}

pub(crate) fn login(user: &str, password: &str) -> String {
    format!(
        "username = {}\npassword = {{ value = {} }}\n",
        quoted(user),
        quoted(password)
    )
}

pub(crate) fn strategy_for(mariadb: &PrivateMariaDb, database: &str) -> MysqlStrategy {
    strategy_with(mariadb, database, "")
}

pub(crate) fn strategy(mariadb: &PrivateMariaDb) -> MysqlStrategy {
    strategy_for(mariadb, DATABASE)
}

/// Everything around one backup.
pub(crate) struct Run {
    _simulator: Simulator,
    pub(crate) client: Client,
    pub(crate) cx: BackupContext,
    folder: TempDir,
}

impl Run {
    pub(crate) async fn new() -> Self {
        let simulator = Simulator::builder().start().await.unwrap();
        let password = simulator.password().to_owned();
        let client = Client::builder(&simulator.base_url())
            .credentials(Credentials::basic(simulator.username(), password.into()))
            .build()
            .unwrap();
        let folder = tempfile::tempdir().unwrap();
        let cx = context(folder.path());
        Self {
            _simulator: simulator,
            client,
            cx,
            folder,
        }
    }

    pub(crate) fn dump(&self) -> PathBuf {
        self.cx.staging().database().join("dump.sql")
    }

    pub(crate) fn folder(&self) -> &Path {
        self.folder.path()
    }

    pub(crate) async fn lock(&self) -> LockWindow {
        let limits = LockLimits {
            drain: Duration::from_mins(1),
            locked: Duration::from_mins(5),
        };
        LockWindow::lock(&self.client, &self.cx, limits)
            .await
            .unwrap()
    }

    /// Captures within a window of its own.
    pub(crate) async fn capture(&self, session: &mut Box<dyn Session>) -> Released {
        let window = self.lock().await;
        session.capture(&window).await.unwrap();
        window.release(self.cx.control()).await.unwrap()
    }

    pub(crate) async fn backup(&self, strategy: &MysqlStrategy) -> Artifact {
        let mut session = strategy.prepare(&self.cx).await.unwrap();
        let released = self.capture(&mut session).await;
        let artifact = session.complete(&released).await.unwrap();
        assert_eq!(self.cx.leftovers(), []);
        artifact
    }

    /// A restore of what this run has dumped; without an artifact, as one that the shell scripts made.
    pub(crate) fn restore_context(&self, artifact: Option<&Artifact>) -> RestoreContext {
        let work = self
            .folder()
            .join(format!("work-{:08x}", fastrand::u32(..)));
        std::fs::create_dir(&work).unwrap();
        let cx = RestoreContext::new(self.cx.id().clone(), work).for_part(PartName::Database);
        match artifact {
            None => cx,
            Some(artifact) => {
                let mut manifest = Manifest::new(self.cx.id().clone());
                let record = PartRecord::new("mysql", artifact.clone());
                manifest.parts.insert(PartName::Database, record);
                cx.with_manifest(manifest)
            }
        }
    }

    pub(crate) fn source(&self) -> RestoreSource {
        let mut source = RestoreSource::new();
        source.database = Some(self.cx.staging().database());
        source
    }

    pub(crate) async fn prepare_restore(
        &self,
        strategy: &MysqlStrategy,
        artifact: Option<&Artifact>,
    ) -> Result<Box<dyn RestoreSession>, Error> {
        let cx = self.restore_context(artifact);
        strategy.restore().unwrap().prepare_restore(&cx).await
    }

    pub(crate) async fn restore(&self, strategy: &MysqlStrategy, artifact: Option<&Artifact>) {
        let mut session = self.prepare_restore(strategy, artifact).await.unwrap();
        session.apply(&self.source()).await.unwrap();
        session.commit().await.unwrap();
        session.verify().await.unwrap();
    }
}

pub(crate) fn context(folder: &Path) -> BackupContext {
    let staging = Staging::new(folder.join("staging"));
    std::fs::create_dir_all(staging.database()).unwrap();
    let id: BackupId = "bitbucket-20260101-000000".parse().unwrap();
    BackupContext::new(id, staging)
}

pub(crate) async fn findings(strategy: &MysqlStrategy, purpose: Purpose) -> Findings {
    let mut cx = CheckContext::new(Staging::new("/nonexistent/staging"));
    cx.purpose = purpose;
    strategy.check(&cx).await.unwrap()
}

/// All that a check says, with its fixes.
pub(crate) fn text(findings: &Findings) -> String {
    let lines: Vec<String> = findings
        .findings
        .iter()
        .map(|finding| {
            let fix = finding.fix.as_deref().unwrap_or_default();
            format!("{:?} {} [{fix}]", finding.severity, finding.message)
        })
        .collect();
    lines.join("\n")
}

/// The databases of a server that tests and restores make.
pub(crate) fn databases(mariadb: &PrivateMariaDb) -> Vec<String> {
    let sql = "SELECT SCHEMA_NAME FROM information_schema.SCHEMATA \
        WHERE SCHEMA_NAME NOT IN ('mysql', 'information_schema', 'performance_schema', 'sys') ORDER BY 1;";
    let output = mariadb.sql("mysql", sql).unwrap();
    output.lines().map(str::to_owned).collect()
}

/// Everything that two databases must have in common, as one text: a dump by hand, without its comments.
pub(crate) fn fingerprint(mariadb: &PrivateMariaDb, database: &str) -> String {
    let output = mariadb
        .tool("mariadb-dump")
        .unwrap()
        .args([
            "--skip-comments",
            "--hex-blob",
            "--routines",
            "--events",
            "--order-by-primary",
        ])
        .args(["--single-transaction", "--skip-add-locks"])
        .arg(database)
        .output()
        .unwrap();
    assert!(
        output.status.success(),
        "{}",
        String::from_utf8_lossy(&output.stderr)
    );
    String::from_utf8(output.stdout).unwrap()
}

/// Fails with the first line in which two fingerprints differ.
pub(crate) fn assert_same(found: &str, wanted: &str) {
    let differing = found.lines().zip(wanted.lines()).find(|(f, w)| f != w);
    assert_eq!(differing, None);
    assert_eq!(found.lines().count(), wanted.lines().count());
}

/// The same for a database whose definers are not those of the original.
pub(crate) fn without_definers(fingerprint: &str) -> String {
    let mut text = fingerprint.to_owned();
    for definer in [
        "`gone`@`localhost`",
        "`root`@`localhost`",
        "`bitbucketuser`@`%`",
    ] {
        text = text.replace(definer, "ME");
    }
    text
}
