//! What every test needs: a server with a database like Bitbucket's, and a way through a backup and a restore.

use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use bitbucket_maintenance_client::{Client, Credentials};
use diy_backup_core::{
    Artifact, BackupContext, BackupId, CheckContext, DbStrategy, Error, Findings, LockLimits,
    LockWindow, Manifest, PartName, PartRecord, Purpose, Released, RestoreContext, RestoreSession,
    RestoreSource, Section, Session, Staging,
};
use diy_backup_testkit::simulator::Simulator;
use diy_backup_testkit::{PrivatePostgres, RoleKind};
use strategy_postgres::{PostgresConfig, PostgresStrategy};
use tempfile::TempDir;

pub(crate) const ROLE: &str = "bitbucketuser";
pub(crate) const PASSWORD: &str = "pass 'wörd' \"with\" =\\ everything";
pub(crate) const DATABASE: &str = "bitbucket";

/// A server with the role and the database of an instance.
pub(crate) fn fill(postgres: &PrivatePostgres, kind: RoleKind) {
    postgres.create_role(ROLE, PASSWORD, kind).unwrap();
    postgres.create_database(DATABASE, ROLE).unwrap();
    postgres.create_schema(DATABASE, ROLE).unwrap();
    let rows = "INSERT INTO push (push_id, payload) SELECT 'p' || n, repeat('ä☃', 20) FROM generate_series(1, 3000) n;";
    postgres.psql(DATABASE, rows).unwrap();
}

/// A strategy for `database` of the server, with more lines of configuration.
pub(crate) fn strategy_for(
    postgres: &PrivatePostgres,
    database: &str,
    more: &str,
) -> PostgresStrategy {
    let quoted = |text: &str| serde_json::to_string(text).unwrap();
    let text = format!(
        "name = {}\nhost = \"127.0.0.1\"\nport = {}\ntools = {}\n",
        quoted(database),
        postgres.port(),
        quoted(postgres.bin_dir().to_str().unwrap()),
    );
    let login = if more.contains("username") {
        String::new()
    } else {
        let (role, password) = (quoted(ROLE), quoted(PASSWORD));
        format!("username = {role}\npassword = {{ value = {password} }}\n")
    };
    let section = Section::from_text("database", &(text + &login + more)).unwrap();
    PostgresStrategy::new(PostgresConfig::from_section(&section).unwrap())
}

pub(crate) fn strategy(postgres: &PrivatePostgres) -> PostgresStrategy {
    strategy_for(postgres, DATABASE, "")
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

    pub(crate) fn dump(&self) -> std::path::PathBuf {
        self.cx.staging().database()
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

    pub(crate) async fn backup(&self, strategy: &PostgresStrategy) -> Artifact {
        let mut session = strategy.prepare(&self.cx).await.unwrap();
        let released = self.capture(&mut session).await;
        session.complete(&released).await.unwrap()
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
                let record = PartRecord::new("postgresql", artifact.clone());
                manifest.parts.insert(PartName::Database, record);
                cx.with_manifest(manifest)
            }
        }
    }

    pub(crate) fn source(&self) -> RestoreSource {
        let mut source = RestoreSource::new();
        source.database = Some(self.dump());
        source
    }

    pub(crate) async fn prepare_restore(
        &self,
        strategy: &PostgresStrategy,
        artifact: Option<&Artifact>,
    ) -> Result<Box<dyn RestoreSession>, Error> {
        let cx = self.restore_context(artifact);
        strategy.restore().unwrap().prepare_restore(&cx).await
    }

    pub(crate) async fn restore(&self, strategy: &PostgresStrategy, artifact: Option<&Artifact>) {
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

pub(crate) async fn findings(strategy: &PostgresStrategy, purpose: Purpose) -> Findings {
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
pub(crate) fn databases(postgres: &PrivatePostgres) -> Vec<String> {
    let sql =
        "SELECT datname FROM pg_database WHERE datname !~ '^(template|postgres$)' ORDER BY 1;";
    postgres
        .psql("postgres", sql)
        .unwrap()
        .lines()
        .map(str::to_owned)
        .collect()
}

/// Everything that two databases must have in common, as one text.
pub(crate) fn fingerprint(postgres: &PrivatePostgres, database: &str) -> String {
    let sql = "SELECT 'push', count(*), md5(string_agg(push_id || payload, ',' ORDER BY push_id)) FROM push; \
        SELECT 'users', count(*), md5(string_agg(name || full_name, ',' ORDER BY user_id)) FROM sta_normal_user; \
        SELECT 'projects', count(*), md5(string_agg(description, ',' ORDER BY id)) FROM project; \
        SELECT 'objects', count(*), md5(string_agg(lo_get(image)::text, ',' ORDER BY user_id)) FROM avatar; \
        SELECT 'indexes', count(*), md5(string_agg(indexname, ',' ORDER BY indexname)) FROM pg_indexes WHERE schemaname = 'public'; \
        SELECT 'views', count(*) FROM pg_views WHERE schemaname = 'public'; \
        SELECT 'sequence', last_value FROM bb_change_seq;";
    postgres.psql(database, sql).unwrap()
}

/// SQL in a thread of its own, as somebody else would run it.
pub(crate) fn in_background(
    postgres: &Arc<PrivatePostgres>,
    database: &str,
    sql: &str,
) -> std::thread::JoinHandle<Result<String, diy_backup_testkit::Error>> {
    let (postgres, database, sql) = (Arc::clone(postgres), database.to_owned(), sql.to_owned());
    std::thread::spawn(move || postgres.psql(&database, &sql))
}
