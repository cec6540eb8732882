//! A site: an instance in use, configuration files, and the command.

use std::path::{Path, PathBuf};
use std::process::{Command, Output};
use std::sync::Arc;

use diy_backup_testkit::tree::make_removable;
use diy_backup_testkit::{HomeBuilder, PrivatePostgres, Pushes, RoleKind, Simulator};
use serde_json::Value;
use tempfile::TempDir;

/// Both are hard to hand over to other programs.
pub(crate) const BITBUCKET_PASSWORD: &str = "pa ss\"wörd'$1";
pub(crate) const DATABASE_PASSWORD: &str = "dä ta'ba\"se\\pw";
const DATABASE: &str = "bitbucket";
const ROLE: &str = "bitbucketuser";

/// An instance in use, with 4 people who push.
pub(crate) struct Site {
    pub(crate) simulator: Simulator,
    pub(crate) postgres: PrivatePostgres,
    pub(crate) home: PathBuf,
    pub(crate) data_store: PathBuf,
    // Last, as what works in it has to end first.
    pub(crate) folder: Folder,
}

/// What a configuration is about.
pub(crate) struct Target {
    pub(crate) file: &'static str,
    pub(crate) home: PathBuf,
    pub(crate) data_store: PathBuf,
    pub(crate) database: Option<&'static str>,
}

/// A temporary folder that may hold read-only folders.
pub(crate) struct Folder(TempDir);

impl Folder {
    pub(crate) fn new() -> Self {
        Self(tempfile::tempdir().unwrap())
    }

    pub(crate) fn join(&self, name: &str) -> PathBuf {
        self.0.path().join(name)
    }
}

impl Drop for Folder {
    fn drop(&mut self) {
        let _ = make_removable(self.0.path());
    }
}

impl Site {
    pub(crate) fn start(postgres: PrivatePostgres) -> Self {
        let folder = Folder::new();
        let home = folder.join("home of bitbucket");
        let data_store = folder.join("ds1");
        HomeBuilder::new(&home)
            .files(600)
            .data_store(&data_store)
            .build()
            .unwrap();
        postgres
            .create_role(ROLE, DATABASE_PASSWORD, RoleKind::CreateDatabase)
            .unwrap();
        postgres.create_database(DATABASE, ROLE).unwrap();
        postgres.create_schema(DATABASE, ROLE).unwrap();
        let simulator = Simulator::builder()
            .context_path("/bitbucket")
            .credentials("backup", BITBUCKET_PASSWORD)
            .home(&home)
            .database(Arc::new(postgres.rows(DATABASE)))
            .writers(4)
            .start_blocking()
            .unwrap();
        Self {
            simulator,
            postgres,
            home,
            data_store,
            folder,
        }
    }

    /// Writes a configuration for `target`, after `change` has had its way with the text.
    pub(crate) fn configure(
        &self,
        target: &Target,
        change: impl FnOnce(String) -> String,
    ) -> Config {
        let text = format!(
            r#"[instance]
name = "bitbucket"
url = {url:?}
username = "backup"
password = {{ env = "BITBUCKET_PASSWORD" }}

[backup]
staging = {staging:?}
state = {state:?}

[home]
strategy = "rsync"
path = {home:?}
data-stores = [{data_store:?}]

[database]
{database}
[archive]
strategy = "tar"
directory = {archives:?}
"#,
            url = self.simulator.base_url(),
            staging = self.folder.join("staging"),
            state = self.folder.join("state"),
            home = target.home,
            data_store = target.data_store,
            database = self.database_keys(target.database),
            archives = self.folder.join("archives"),
        );
        let path = self.folder.join(target.file);
        std::fs::write(&path, change(text)).unwrap();
        Config { path }
    }

    fn database_keys(&self, name: Option<&str>) -> String {
        let Some(name) = name else {
            return "strategy = \"none\"\n".to_owned();
        };
        format!(
            r#"strategy = "postgresql"
name = {name:?}
host = {host:?}
port = {port}
username = {ROLE:?}
password = {{ env = "DATABASE_PASSWORD" }}
tools = {tools:?}
"#,
            host = self.postgres.host(),
            port = self.postgres.port(),
            tools = self.postgres.bin_dir(),
        )
    }

    /// The instance itself.
    pub(crate) fn itself(&self) -> Target {
        Target {
            file: "config.toml",
            home: self.home.clone(),
            data_store: self.data_store.clone(),
            database: Some(DATABASE),
        }
    }

    /// Another home, data store and database to restore into.
    pub(crate) fn another(&self) -> Target {
        Target {
            file: "elsewhere.toml",
            home: self.restored_home(),
            data_store: self.restored_store(),
            database: Some("restored"),
        }
    }

    /// The configuration of the instance itself.
    pub(crate) fn config(&self) -> Config {
        self.configure(&self.itself(), |text| text)
    }

    /// The same backups, and another home, data store and database to restore into.
    pub(crate) fn elsewhere(&self) -> Config {
        self.configure(&self.another(), |text| text)
    }

    pub(crate) fn restored_home(&self) -> PathBuf {
        self.folder.join("restored home")
    }

    pub(crate) fn restored_store(&self) -> PathBuf {
        self.folder.join("restored store")
    }

    pub(crate) fn restored_pushes(&self) -> Pushes {
        self.postgres.pushes("restored").unwrap()
    }

    /// What was pushed when the instance was drained last.
    pub(crate) fn drained(&self) -> Pushes {
        self.simulator.application().unwrap().drained_set().unwrap()
    }

    pub(crate) fn archives(&self) -> Vec<String> {
        names(&self.folder.join("archives"))
    }
}

/// The names in a folder, sorted; none when it is not there.
pub(crate) fn names(folder: &Path) -> Vec<String> {
    let entries = std::fs::read_dir(folder).into_iter().flatten().flatten();
    let mut names: Vec<_> = entries
        .map(|entry| entry.file_name().into_string().unwrap())
        .collect();
    names.sort();
    names
}

/// A configuration file to run the command with.
pub(crate) struct Config {
    pub(crate) path: PathBuf,
}

impl Config {
    pub(crate) fn command(&self, args: &[&str]) -> Command {
        let mut command = Command::new(env!("CARGO_BIN_EXE_diy-backup"));
        command.arg("-c").arg(&self.path).args(args);
        // Whatever starts the command, the folder that it does so in may be one that nobody can write to.
        let unwritable = Path::new("/sys");
        if unwritable.is_dir() {
            command.current_dir(unwritable);
        }
        command
            .env("BITBUCKET_PASSWORD", BITBUCKET_PASSWORD)
            .env("DATABASE_PASSWORD", DATABASE_PASSWORD);
        command
    }

    /// Runs the command to its end.
    pub(crate) fn run(&self, args: &[&str]) -> Finished {
        Finished::of(self.command(args).output().unwrap())
    }
}

/// A command that has ended.
#[derive(Debug)]
pub(crate) struct Finished {
    pub(crate) code: i32,
    pub(crate) stdout: String,
    pub(crate) stderr: String,
}

impl Finished {
    pub(crate) fn of(output: Output) -> Self {
        let text = |bytes| String::from_utf8(bytes).unwrap();
        Self {
            code: output.status.code().unwrap_or(-1),
            stdout: text(output.stdout),
            stderr: text(output.stderr),
        }
    }

    #[track_caller]
    pub(crate) fn expect(self, code: i32) -> Self {
        assert_eq!(
            self.code, code,
            "stdout:\n{}\nstderr:\n{}",
            self.stdout, self.stderr
        );
        self
    }

    /// The lines of `--json`.
    pub(crate) fn lines(&self) -> Vec<Value> {
        self.stdout
            .lines()
            .map(|line| serde_json::from_str(line).unwrap())
            .collect()
    }

    /// The last line of `--json`.
    pub(crate) fn summary(&self) -> Value {
        let last = self.lines().pop().unwrap();
        assert_eq!(last["message_type"], "summary");
        last
    }
}
