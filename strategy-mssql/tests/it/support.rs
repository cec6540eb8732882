//! What every test needs: a server double with a database, and a way through a backup and a restore.

use std::path::{Path, PathBuf};
use std::time::Duration;

use bitbucket_maintenance_client::{Client, Credentials};
use diy_backup_core::{
    Artifact, BackupContext, BackupId, CheckContext, DbStrategy, Error, Findings, LockLimits,
    LockWindow, Manifest, PartName, PartRecord, Purpose, Released, RestoreContext, RestoreSession,
    RestoreSource, Section, Session, Staging,
};
use diy_backup_testkit::mssql::SqlServerDouble;
use diy_backup_testkit::{RowSink, Simulator};
use strategy_mssql::{MssqlConfig, MssqlStrategy};
use tempfile::TempDir;

/// Full of what scripts could misread.
pub(crate) const DATABASE: &str = "bit]bu'cket $(x) ä";

/// Where Cargo puts the examples of the crate whose tests run.
pub(crate) fn program() -> PathBuf {
    let test = std::env::current_exe().unwrap();
    test.parent()
        .unwrap()
        .parent()
        .unwrap()
        .join("examples/sqlcmd")
}

/// A server with the database of an instance, and 300 rows in it.
pub(crate) async fn server() -> SqlServerDouble {
    let double = SqlServerDouble::new(&program()).unwrap();
    double.create_database(DATABASE).unwrap();
    double.create_schema(DATABASE).unwrap();
    push(&double, 0..300).await;
    double
}

pub(crate) async fn push(double: &SqlServerDouble, numbers: std::ops::Range<u32>) {
    let rows = double.rows(DATABASE);
    for number in numbers {
        rows.insert(&format!("p{number}"), &format!("ä☃\t{number}"))
            .await
            .unwrap();
    }
}

pub(crate) fn quoted(text: &str) -> String {
    serde_json::to_string(text).unwrap()
}

/// The keys of a configuration for `database` of the server.
pub(crate) fn keys(double: &SqlServerDouble, database: &str) -> String {
    format!(
        "name = {}\nhost = {}\nport = {}\nserver-directory = {}\ndirectory = {}\ntools = {}\n",
        quoted(database),
        quoted(double.host()),
        double.port(),
        quoted(double.server_directory()),
        quoted(double.directory().to_str().unwrap()),
        quoted(double.tools().to_str().unwrap()),
    )
}

/// A strategy for `database` of the server, with more lines of configuration.
pub(crate) fn strategy_for(double: &SqlServerDouble, database: &str, more: &str) -> MssqlStrategy {
    let login = if more.contains("username") || more.contains("own-account") {
        String::new()
    } else {
        format!(
            "username = {}\npassword = {{ value = {} }}\n",
            quoted(double.username()),
            quoted(double.password())
        )
    };
    let text = keys(double, database) + &login + &more.replace("own-account", "");
    let section = Section::from_text("database", &text).unwrap();
    MssqlStrategy::new(MssqlConfig::from_section(&section).unwrap())
}

pub(crate) fn strategy(double: &SqlServerDouble) -> MssqlStrategy {
    strategy_for(double, DATABASE, "")
}

/// Everything around one backup.
pub(crate) struct Run {
    _simulator: Simulator,
    client: Client,
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
        let staging = Staging::new(folder.path().join("staging"));
        std::fs::create_dir_all(staging.database()).unwrap();
        let id: BackupId = "bitbucket-20260101-000000".parse().unwrap();
        Self {
            _simulator: simulator,
            client,
            cx: BackupContext::new(id, staging),
            folder,
        }
    }

    pub(crate) fn staged(&self) -> PathBuf {
        self.cx.staging().database()
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

    pub(crate) async fn backup(&self, strategy: &MssqlStrategy) -> Artifact {
        let mut session = strategy.prepare(&self.cx).await.unwrap();
        let released = self.capture(&mut session).await;
        session.complete(&released).await.unwrap()
    }

    pub(crate) fn restore_context(&self, artifact: &Artifact) -> RestoreContext {
        let work = tempfile::tempdir_in(self.folder.path()).unwrap().keep();
        let mut manifest = Manifest::new(self.cx.id().clone());
        let record = PartRecord::new("mssql", artifact.clone());
        manifest.parts.insert(PartName::Database, record);
        RestoreContext::new(self.cx.id().clone(), work)
            .for_part(PartName::Database)
            .with_manifest(manifest)
    }

    pub(crate) fn source(&self) -> RestoreSource {
        let mut source = RestoreSource::new();
        source.database = Some(self.staged());
        source
    }

    pub(crate) async fn prepare_restore(
        &self,
        strategy: &MssqlStrategy,
        artifact: &Artifact,
    ) -> Result<Box<dyn RestoreSession>, Error> {
        let cx = self.restore_context(artifact);
        strategy.restore().unwrap().prepare_restore(&cx).await
    }

    pub(crate) async fn restore(&self, strategy: &MssqlStrategy, artifact: &Artifact) {
        let mut session = self.prepare_restore(strategy, artifact).await.unwrap();
        session.apply(&self.source()).await.unwrap();
        session.commit().await.unwrap();
        session.verify().await.unwrap();
    }
}

pub(crate) async fn findings(strategy: &MssqlStrategy, purpose: Purpose) -> Findings {
    let mut cx = CheckContext::new(Staging::new("/nonexistent/staging"));
    cx.purpose = purpose;
    strategy.check(&cx).await.unwrap()
}

/// All that a check says, with its fixes.
pub(crate) fn text(findings: &Findings) -> String {
    let lines = findings.findings.iter().map(|finding| {
        let fix = finding.fix.as_deref().unwrap_or_default();
        format!("{:?} {} [{fix}]", finding.severity, finding.message)
    });
    lines.collect::<Vec<_>>().join("\n")
}

/// The names in a folder.
pub(crate) fn names(folder: &Path) -> Vec<String> {
    let entries = std::fs::read_dir(folder).unwrap();
    let mut names: Vec<_> = entries
        .map(|entry| entry.unwrap().file_name().into_string().unwrap())
        .collect();
    names.sort();
    names
}

pub(crate) fn databases(double: &SqlServerDouble) -> Vec<String> {
    double
        .databases()
        .unwrap()
        .into_iter()
        .map(|(name, _)| name)
        .collect()
}
