//! A Bitbucket with people at work, and the configurations to back it up and to restore it elsewhere.

use std::collections::BTreeMap;
use std::fs::OpenOptions;
use std::io::Write;
use std::os::unix::fs::OpenOptionsExt;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use diy_backup_testkit::simulator::{EndedTask, UnlockWhileRunning};
use diy_backup_testkit::{
    Application, GeneratedHome, HomeBuilder, Pushes, Simulator, TreeSnapshot, tree,
};

use super::Result;
use super::lab::{DATABASE_PASSWORD, DATABASE_USER, Lab};
use super::program::{self, Ended, Running};

/// Where finished backups are kept.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Archive {
    Tar,
    /// The staging folder is the one backup.
    Staging,
}

#[derive(Debug, Clone)]
pub(crate) struct Options {
    pub(crate) archive: Archive,
    pub(crate) seed: u64,
    /// What the program writes to stands below these folders, when they are set.
    pub(crate) state: Option<PathBuf>,
    pub(crate) staging: Option<PathBuf>,
    pub(crate) archives: Option<PathBuf>,
    pub(crate) drain: Duration,
    /// How many people push.
    pub(crate) writers: usize,
    pub(crate) lock_delay: Duration,
    /// For how long after the lock the start of the backup is refused.
    pub(crate) start_delay: Duration,
    /// For how long the task runs on after 100 %.
    pub(crate) end_delay: Duration,
    pub(crate) unlock_while_running: UnlockWhileRunning,
    pub(crate) ended_task: EndedTask,
}

impl Options {
    pub(crate) fn new(archive: Archive, seed: u64) -> Self {
        Self {
            archive,
            seed,
            state: None,
            staging: None,
            archives: None,
            drain: Duration::from_millis(60),
            writers: 3,
            lock_delay: Duration::ZERO,
            start_delay: Duration::ZERO,
            end_delay: Duration::ZERO,
            unlock_while_running: UnlockWhileRunning::Cancels,
            ended_task: EndedTask::UntilUnlock,
        }
    }
}

/// Which home and database a run is about.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) enum Config {
    Original,
    /// Those that a restore makes.
    Restored,
    /// The original, with a drain that is given up after a second.
    Impatient,
}

pub(crate) struct Stage<'a> {
    pub(crate) lab: &'a Lab,
    pub(crate) root: PathBuf,
    pub(crate) database: String,
    pub(crate) simulator: Simulator,
    pub(crate) archive: Archive,
    pub(crate) state: PathBuf,
    pub(crate) staging: PathBuf,
    pub(crate) archives: PathBuf,
    home: GeneratedHome,
    /// What the home held before the first push.
    contents: TreeSnapshot,
    application: Arc<Application>,
    /// What was pushed at the moment of each backup.
    pub(crate) drained: BTreeMap<String, Pushes>,
}

impl<'a> Stage<'a> {
    pub(crate) fn set(lab: &'a Lab, options: &Options) -> Result<Self> {
        let (number, root) = lab.next_stage();
        let database = format!("torture_{number}");
        for folder in ["", "original", "target", "logs"] {
            std::fs::create_dir(root.join(folder))?;
        }
        let path = root.join("original/home");
        let home = HomeBuilder::new(&path)
            .seed(options.seed)
            .repositories(4)
            .real_repositories(1)
            .files(60)
            .build()?;
        let contents = TreeSnapshot::of(&path, &home.exclusions())?;
        lab.postgres.create_database(&database, DATABASE_USER)?;
        lab.postgres.create_schema(&database, DATABASE_USER)?;
        let simulator = Simulator::builder()
            .context_path("/bitbucket")
            .drain(options.drain)
            .lock_delay(options.lock_delay)
            .start_delay(options.start_delay)
            .end_delay(options.end_delay)
            .unlock_while_running(options.unlock_while_running)
            .ended_task(options.ended_task)
            .home(&path)
            .database(Arc::new(lab.postgres.rows(&database)))
            .writers(options.writers)
            .pause(Duration::from_millis(100))
            .start_blocking()?;
        let application = simulator.application().ok_or("nobody is pushing")?;
        let below =
            |folder: &Option<PathBuf>, name: &str| folder.as_ref().unwrap_or(&root).join(name);
        let stage = Self {
            lab,
            database,
            simulator,
            archive: options.archive,
            state: below(&options.state, "state"),
            staging: below(&options.staging, "staging"),
            archives: below(&options.archives, "archives"),
            home,
            contents,
            application,
            drained: BTreeMap::new(),
            root,
        };
        for config in [Config::Original, Config::Restored, Config::Impatient] {
            stage.write_config(config)?;
        }
        Ok(stage)
    }

    pub(crate) fn application(&self) -> &Application {
        &self.application
    }

    pub(crate) fn contents(&self) -> &TreeSnapshot {
        &self.contents
    }

    /// The home that is backed up.
    pub(crate) fn home(&self) -> &Path {
        &self.home.path
    }

    pub(crate) fn journal(&self) -> PathBuf {
        self.state.join("journal.json")
    }

    pub(crate) fn logs(&self) -> PathBuf {
        self.root.join("logs")
    }

    /// Where a restore puts the home; its folder holds nothing else.
    pub(crate) fn restored_home(&self) -> PathBuf {
        self.root.join("target/home")
    }

    pub(crate) fn restored_database(&self) -> String {
        format!("{}_restored", self.database)
    }

    pub(crate) fn config(&self, config: Config) -> PathBuf {
        self.root.join(match config {
            Config::Original => "config.toml",
            Config::Restored => "restore.toml",
            Config::Impatient => "impatient.toml",
        })
    }

    pub(crate) fn start(&self, config: Config, args: &[&str]) -> Result<Running> {
        Ok(program::start(
            &self.lab.program,
            &self.logs(),
            &self.config(config),
            args,
        )?)
    }

    pub(crate) fn run(&self, config: Config, args: &[&str]) -> Result<Ended> {
        self.start(config, args)?.wait()
    }

    /// What was pushed when the instance was drained last.
    pub(crate) fn last_drained(&self) -> Result<Pushes> {
        Ok(self
            .application
            .drained_set()
            .ok_or("the instance was never drained")?)
    }

    /// Removes what a restore has made.
    pub(crate) fn clear_targets(&self) -> Result {
        let home = self.restored_home();
        if home.exists() {
            tree::make_removable(&home)?;
            std::fs::remove_dir_all(&home)?;
        }
        let drop = format!(
            "DROP DATABASE IF EXISTS \"{}\" WITH (FORCE)",
            self.restored_database()
        );
        self.lab.postgres.psql("postgres", &drop)?;
        Ok(())
    }

    fn write_config(&self, config: Config) -> Result {
        let (home, database, patience) = match config {
            Config::Original => (self.home.path.clone(), self.database.clone(), ""),
            Config::Restored => (self.restored_home(), self.restored_database(), ""),
            Config::Impatient => (
                self.home.path.clone(),
                self.database.clone(),
                "drain-timeout = \"1s\"\n",
            ),
        };
        let (login, database_login) = (self.root.join("login"), self.root.join("database-login"));
        write_private(&login, self.simulator.password())?;
        write_private(&database_login, DATABASE_PASSWORD)?;
        let archive = match self.archive {
            Archive::Tar => format!("strategy = \"tar\"\ndirectory = {}", quoted(&self.archives)),
            Archive::Staging => "strategy = \"none\"".to_owned(),
        };
        let postgres = &self.lab.postgres;
        let text = format!(
            "\
[instance]
name = \"torture\"
url = {url:?}
username = {username:?}
password = {{ file = {login} }}

[backup]
staging = {staging}
state = {state}
{patience}
[home]
strategy = \"rsync\"
path = {home}

[database]
strategy = \"postgresql\"
name = {database:?}
host = {host:?}
port = {port}
username = {DATABASE_USER:?}
password = {{ file = {database_login} }}
tools = {tools}
jobs = 2

[archive]
{archive}

[retention]
keep-last = 3
",
            url = self.simulator.base_url(),
            username = self.simulator.username(),
            login = quoted(&login),
            database_login = quoted(&database_login),
            home = quoted(&home),
            staging = quoted(&self.staging),
            state = quoted(&self.state),
            host = postgres.host(),
            port = postgres.port(),
            tools = quoted(postgres.bin_dir()),
        );
        Ok(std::fs::write(self.config(config), text)?)
    }
}

/// A path as a string of the configuration.
fn quoted(path: &Path) -> String {
    format!("{:?}", path.to_string_lossy())
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
