//! The ways of taking backups that are compared.

use std::fs::OpenOptions;
use std::io::Write;
use std::os::unix::fs::OpenOptionsExt;
use std::path::{Path, PathBuf};
use std::process::Command;

use diy_backup_testkit::PrivatePostgres;
use diy_backup_testkit::home::{DATABASE_EXCLUSIONS, EXCLUSIONS};

use crate::Result;
use crate::instance::{DATABASE, DATABASE_PASSWORD, DATABASE_USER, Instance, remove_packs};
use crate::run::{Run, run};

const BACKUP: &str = include_str!("backup.sh");
const RESTORE: &str = include_str!("restore.sh");

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Contender {
    /// The shell pipeline.
    Scripts,
    /// `diy-backup` with change tracking.
    Tracked,
    /// `diy-backup` without.
    Untracked,
}

impl Contender {
    pub(crate) fn name(self) -> &'static str {
        match self {
            Self::Scripts => "scripts",
            Self::Tracked => "diy-backup",
            Self::Untracked => "diy-backup, untracked",
        }
    }

    /// Its name in the results.
    pub(crate) fn key(self) -> &'static str {
        match self {
            Self::Scripts => "scripts",
            Self::Tracked => "tracked",
            Self::Untracked => "untracked",
        }
    }
}

/// What the shell pipeline needs beside what the program needs.
pub(crate) fn require_tools() -> Result {
    for (tool, package) in [("bash", "bash"), ("curl", "curl"), ("gzip", "gzip")] {
        let found = Command::new(tool).arg("--version").output();
        found.map_err(|_| format!("`{tool}` is missing: apt-get install {package}"))?;
    }
    Ok(())
}

/// A contender with folders of its own.
pub(crate) struct Stand<'a> {
    pub(crate) contender: Contender,
    instance: &'a Instance,
    program: PathBuf,
    folder: PathBuf,
}

impl<'a> Stand<'a> {
    pub(crate) fn set_up(
        contender: Contender,
        instance: &'a Instance,
        program: &Path,
        folder: &Path,
    ) -> Result<Self> {
        let stand = Self {
            contender,
            instance,
            program: program.to_owned(),
            folder: folder.join(contender.key()),
        };
        std::fs::create_dir_all(stand.archives())?;
        if contender == Contender::Scripts {
            let excluded = [EXCLUSIONS, DATABASE_EXCLUSIONS].concat().join("\n");
            std::fs::write(stand.folder.join("excludes"), excluded + "\n")?;
            std::fs::write(stand.folder.join("backup.sh"), BACKUP)?;
            std::fs::write(stand.folder.join("restore.sh"), RESTORE)?;
        } else {
            write_private(&stand.folder.join("login"), instance.simulator.password())?;
            write_private(&stand.folder.join("database-login"), DATABASE_PASSWORD)?;
            stand.write_config("backup.toml", &instance.home.path, &instance.postgres)?;
            let (home, postgres) = (stand.restored_home(), &instance.other_postgres);
            stand.write_config("restore.toml", &home, postgres)?;
        }
        Ok(stand)
    }

    /// Why it cannot take part here, if it cannot.
    pub(crate) fn obstacle(&self) -> Option<String> {
        if self.contender == Contender::Scripts {
            return None;
        }
        let checked = run("check", &mut self.program("backup.toml", &["check"]));
        checked.err().map(|error| error.to_string())
    }

    pub(crate) fn back_up(&self) -> Result<Run> {
        let mut command = match self.contender {
            Contender::Scripts => {
                let (home, postgres) = (&self.instance.home.path, &self.instance.postgres);
                self.script("backup.sh", home, postgres)?
            }
            _ => self.program("backup.toml", &["--json", "-v", "backup"]),
        };
        run("the backup", &mut command)
    }

    /// Restores the newest backup into the other server and a home that is not there yet.
    pub(crate) fn restore(&self) -> Result<Run> {
        let mut command = match self.contender {
            Contender::Scripts => {
                let (home, postgres) = (self.restored_home(), &self.instance.other_postgres);
                self.script("restore.sh", &home, postgres)?
            }
            _ => self.program("restore.toml", &["--json", "-v", "restore", "latest"]),
        };
        run("the restore", &mut command)
    }

    pub(crate) fn restored_home(&self) -> PathBuf {
        self.folder.join("restored/home")
    }

    pub(crate) fn archive_bytes(&self) -> Result<u64> {
        let mut bytes = 0;
        for entry in std::fs::read_dir(self.archives())? {
            bytes += entry?.metadata()?.len();
        }
        Ok(bytes)
    }

    /// Makes room for the next run: the backup goes, and what a restore has made of it goes aside, but for the packs.
    /// Removing it all would make the next one pay: ext4 is slow to make files where many have just been removed.
    pub(crate) fn clear(&self) -> Result {
        let sql = format!("DROP DATABASE IF EXISTS {DATABASE} WITH (FORCE);");
        self.instance.other_postgres.psql("postgres", &sql)?;
        remove_packs(&self.restored_home())?;
        remove_packs(&self.folder.join("extracted/bitbucket-home"))?;
        let aside = self.folder.join("aside");
        std::fs::create_dir_all(&aside)?;
        let number = std::fs::read_dir(&aside)?.count();
        for folder in ["restored", "extracted"] {
            let path = self.folder.join(folder);
            if path.exists() {
                std::fs::rename(path, aside.join(format!("{folder}-{number}")))?;
            }
        }
        std::fs::remove_dir_all(self.archives())?;
        for folder in ["restored", "archives"] {
            std::fs::create_dir(self.folder.join(folder))?;
        }
        Ok(())
    }

    fn archives(&self) -> PathBuf {
        self.folder.join("archives")
    }

    fn program(&self, config: &str, args: &[&str]) -> Command {
        let mut command = Command::new(&self.program);
        command.arg("-c").arg(self.folder.join(config)).args(args);
        command
    }

    fn script(&self, script: &str, home: &Path, postgres: &PrivatePostgres) -> Result<Command> {
        let simulator = &self.instance.simulator;
        let mut path = vec![postgres.bin_dir().to_owned()];
        path.extend(std::env::split_paths(
            &std::env::var_os("PATH").unwrap_or_default(),
        ));
        let mut command = Command::new("bash");
        command
            .arg(self.folder.join(script))
            .env("PATH", std::env::join_paths(path)?)
            .env("BITBUCKET_URL", simulator.base_url())
            .env(
                "BITBUCKET_LOGIN",
                format!("{}:{}", simulator.username(), simulator.password()),
            )
            .env("BITBUCKET_HOME", home)
            .env("STAGING", self.folder.join("staging"))
            .env("ARCHIVES", self.archives())
            .env("RESTORE", self.folder.join("extracted"))
            .env("EXCLUDES", self.folder.join("excludes"))
            .env("DATABASE", DATABASE)
            .env("PGHOST", postgres.host())
            .env("PGPORT", postgres.port().to_string())
            .env("PGUSER", DATABASE_USER)
            .env("PGPASSWORD", DATABASE_PASSWORD);
        Ok(command)
    }

    fn write_config(&self, name: &str, home: &Path, postgres: &PrivatePostgres) -> Result {
        let track = match self.contender {
            Contender::Untracked => "never",
            _ => "always",
        };
        let text = format!(
            "\
[instance]
name = \"bench\"
url = {url}
username = {username}
password = {{ file = {login} }}

[backup]
staging = {staging}
state = {state}

[home]
strategy = \"rsync\"
path = {home}
track-changes = {track:?}

[database]
strategy = \"postgresql\"
name = {DATABASE:?}
host = {host}
port = {port}
username = {DATABASE_USER:?}
password = {{ file = {database_login} }}
tools = {tools}
jobs = 5

[archive]
strategy = \"tar\"
directory = {archives}
",
            url = quoted(self.instance.simulator.base_url()),
            username = quoted(self.instance.simulator.username()),
            login = self.quoted_path("login"),
            staging = self.quoted_path("staging"),
            state = self.quoted_path("state"),
            home = quoted(home.to_string_lossy()),
            host = quoted(postgres.host()),
            port = postgres.port(),
            database_login = self.quoted_path("database-login"),
            tools = quoted(postgres.bin_dir().to_string_lossy()),
            archives = self.quoted_path("archives"),
        );
        Ok(std::fs::write(self.folder.join(name), text)?)
    }

    fn quoted_path(&self, name: &str) -> toml::Value {
        quoted(self.folder.join(name).to_string_lossy())
    }
}

fn quoted(text: impl Into<String>) -> toml::Value {
    toml::Value::String(text.into())
}

/// A secret that others could read is refused.
fn write_private(path: &Path, secret: &str) -> Result {
    let mut file = OpenOptions::new()
        .write(true)
        .create(true)
        .truncate(true)
        .mode(0o600)
        .open(path)?;
    Ok(file.write_all(secret.as_bytes())?)
}
