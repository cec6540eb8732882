//! A volume with a home directory and a PostgreSQL data directory on it, and a home strategy that takes its state of
//! one instant: every process of the server stands still while its files are copied.

use std::path::{Path, PathBuf};
use std::process::Command;
use std::sync::Arc;

use async_trait::async_trait;
use diy_backup_core::{
    Artifact, BackupContext, CheckContext, Committed, Error, ErrorKind, Findings, HomeCoverage,
    HomeStrategy, Leftover, LockWindow, Pinning, Released, Restore, RestoreContext, RestoreSession,
    RestoreSource, Result, Section, Session,
};
use diy_backup_testkit::process::descendants;
use diy_backup_testkit::{PrivatePostgres, RoleKind};
use strategy_postgres::{FslevelConfig, FslevelStrategy};
use tempfile::TempDir;

use crate::support::{DATABASE, PASSWORD, ROLE};

/// The server with its volume, and the commands of its service.
pub(super) struct Volume {
    pub(super) postgres: PrivatePostgres,
    pub(super) folder: TempDir,
}

impl Volume {
    /// A server that takes no risks, with the database of an instance.
    pub(super) fn start() -> Result<Self, diy_backup_testkit::Error> {
        Self::with(&[
            ("fsync", "on"),
            ("full_page_writes", "on"),
            ("synchronous_commit", "on"),
        ])
    }

    pub(super) fn with(settings: &[(&str, &str)]) -> Result<Self, diy_backup_testkit::Error> {
        let mut builder = PrivatePostgres::builder();
        for (name, value) in settings {
            builder = builder.setting(*name, *value);
        }
        let postgres = builder.start()?;
        crate::support::fill(&postgres, RoleKind::Login);
        let rights = format!("GRANT pg_read_all_settings TO {ROLE};");
        postgres.psql("postgres", &rights)?;
        let volume = Self {
            postgres,
            folder: tempfile::tempdir().unwrap(),
        };
        std::fs::create_dir_all(volume.home()).unwrap();
        volume.write_service();
        Ok(volume)
    }

    pub(super) fn path(&self) -> &Path {
        self.postgres.socket_dir()
    }

    pub(super) fn home(&self) -> PathBuf {
        self.path().join("home")
    }

    pub(super) fn service(&self) -> PathBuf {
        self.folder.path().join("service")
    }

    /// A service as a site may have it: it drops root's rights, and does not wait for the server to be ready.
    fn write_service(&self) {
        let data = self.postgres.data_dir();
        let script = format!(
            "#!/bin/sh\ncd /\nrun=\nif [ \"$(id -u)\" = 0 ]; then run=\"setpriv --reuid={uid} --regid={gid} --clear-groups\"; fi\n\
             case $1 in\n\
             start) exec $run {pg_ctl} -D {data} -W -o '-p {port}' -l {log} start;;\n\
             stop) exec $run {pg_ctl} -D {data} -m fast stop;;\n\
             status) exec $run {pg_ctl} -D {data} status;;\nesac\n",
            uid = owner(&data).0,
            gid = owner(&data).1,
            pg_ctl = self.postgres.bin_dir().join("pg_ctl").display(),
            data = data.display(),
            port = self.postgres.port(),
            log = self.path().join("service.log").display(),
        );
        std::fs::write(self.service(), script).unwrap();
        run(Command::new("chmod").arg("755").arg(self.service()));
    }

    pub(super) fn strategy(&self) -> FslevelStrategy {
        self.strategy_with("")
    }

    /// A strategy with more lines of configuration, which take the place of others.
    pub(super) fn strategy_with(&self, more: &str) -> FslevelStrategy {
        let quoted = |text: &str| serde_json::to_string(text).unwrap();
        let command =
            |verb: &str| format!("[{}, {verb:?}]", quoted(self.service().to_str().unwrap()));
        let lines = [
            ("name", quoted(DATABASE)),
            ("host", quoted("127.0.0.1")),
            ("port", self.postgres.port().to_string()),
            ("username", quoted(ROLE)),
            ("password", format!("{{ value = {} }}", quoted(PASSWORD))),
            ("tools", quoted(self.postgres.bin_dir().to_str().unwrap())),
            (
                "data-directory",
                quoted(self.postgres.data_dir().to_str().unwrap()),
            ),
            ("service-start", command("start")),
            ("service-stop", command("stop")),
            ("service-status", command("status")),
        ];
        let mut text = vec![
            "recovery-timeout = '90s'".to_owned(),
            more.trim().to_owned(),
        ];
        for (key, value) in lines {
            if !more.contains(&format!("{key} =")) {
                text.push(format!("{key} = {value}"));
            }
        }
        let section = Section::from_text("database", &text.join("\n")).unwrap();
        FslevelStrategy::new(FslevelConfig::from_section(&section).unwrap())
    }

    /// The home strategy over this volume.
    pub(super) fn home_strategy(&self) -> VolumeHome {
        VolumeHome {
            volume: self.path().to_owned(),
            server: self.postgres.pid().unwrap(),
            pinning: Pinning::Atomic,
        }
    }

    /// Loses home and database.
    pub(super) fn lose(&mut self) {
        self.postgres.stop();
        for folder in [self.postgres.data_dir(), self.home()] {
            std::fs::remove_dir_all(folder).unwrap();
        }
    }
}

impl Drop for Volume {
    fn drop(&mut self) {
        // What a restore has started does not end with the private server.
        let _ = Command::new(self.service()).arg("stop").output();
    }
}

fn owner(path: &Path) -> (u32, u32) {
    use std::os::unix::fs::MetadataExt;
    let metadata = std::fs::metadata(path).unwrap();
    (metadata.uid(), metadata.gid())
}

pub(super) fn run(command: &mut Command) {
    let output = command.output().unwrap();
    assert!(
        output.status.success(),
        "{command:?}: {}",
        String::from_utf8_lossy(&output.stderr)
    );
}

/// A home strategy that pins a whole volume.
#[derive(Debug, Clone)]
pub(super) struct VolumeHome {
    volume: PathBuf,
    server: u32,
    pub(super) pinning: Pinning,
}

impl VolumeHome {
    pub(super) fn coverage(&self) -> HomeCoverage {
        HomeCoverage::of(self)
    }

    /// The state of one instant, as a snapshot of all blocks has it.
    fn snapshot(&self, to: &Path) {
        let mut processes = vec![self.server];
        processes.extend(descendants(self.server));
        let signal = |name: &str| {
            for process in &processes {
                let _ = Command::new("kill")
                    .arg(name)
                    .arg(process.to_string())
                    .output();
            }
        };
        signal("-STOP");
        for folder in ["home", "data"] {
            run(Command::new("cp")
                .arg("-a")
                .arg(self.volume.join(folder))
                .arg(to));
        }
        signal("-CONT");
    }
}

#[async_trait]
impl HomeStrategy for VolumeHome {
    fn name(&self) -> &'static str {
        "volume"
    }

    fn pinning(&self) -> Pinning {
        self.pinning
    }

    fn home(&self) -> Option<&Path> {
        None
    }

    fn covered(&self) -> Vec<PathBuf> {
        vec![self.volume.clone()]
    }

    async fn check(&self, _: &CheckContext) -> Result<Findings> {
        Ok(Findings::new())
    }

    async fn prepare(&self, cx: &BackupContext) -> Result<Box<dyn Session>> {
        Ok(Box::new(VolumeSession(self.clone(), cx.staging().home())))
    }

    fn restore(&self) -> Option<&dyn Restore> {
        Some(self)
    }
}

#[derive(Debug)]
struct VolumeSession(VolumeHome, PathBuf);

#[async_trait]
impl Session for VolumeSession {
    async fn capture(&mut self, _: &LockWindow) -> Result<()> {
        std::fs::create_dir_all(&self.1).unwrap();
        self.0.snapshot(&self.1);
        Ok(())
    }

    async fn complete(&mut self, _: &Released) -> Result<Artifact> {
        Ok(Artifact::staged(1))
    }

    async fn abort(self: Box<Self>) -> Result<()> {
        Ok(())
    }
}

#[async_trait]
impl Restore for VolumeHome {
    async fn prepare_restore(&self, _: &RestoreContext) -> Result<Box<dyn RestoreSession>> {
        if self.volume.join("home").exists() {
            return Err(Error::new(
                ErrorKind::TargetNotEmpty,
                "there is a home directory",
            ));
        }
        Ok(Box::new(VolumeRestore(self.volume.clone(), None)))
    }

    async fn was_committed(&self, _: &Leftover) -> Result<Committed> {
        Ok(Committed::No)
    }

    async fn resume_commit(&self, _: &Leftover) -> Result<()> {
        Ok(())
    }
}

#[derive(Debug)]
struct VolumeRestore(PathBuf, Option<PathBuf>);

#[async_trait]
impl RestoreSession for VolumeRestore {
    async fn apply(&mut self, source: &RestoreSource) -> Result<()> {
        self.1.clone_from(&source.home);
        Ok(())
    }

    async fn commit(&mut self) -> Result<()> {
        let source = self.1.take().unwrap();
        for folder in ["home", "data"] {
            run(Command::new("cp")
                .arg("-a")
                .arg(source.join(folder))
                .arg(&self.0));
        }
        Ok(())
    }

    async fn abort(self: Box<Self>) -> Result<()> {
        Ok(())
    }
}

/// The strategies over a volume, as a site has them.
pub(super) fn parts(volume: &Volume) -> (Arc<VolumeHome>, Arc<FslevelStrategy>) {
    (
        Arc::new(volume.home_strategy()),
        Arc::new(volume.strategy()),
    )
}
