//! The running server and what tests do with it.

use std::fmt;
use std::fs::File;
use std::os::unix::process::CommandExt;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

use rustix::process::{Pid, Signal, kill_process};
use tempfile::TempDir;

use super::account::Account;
use super::builder::PostgresBuilder;
use super::rows::PostgresRows;
use super::schema;
use crate::Pushes;
use crate::command;
use crate::error::{Error, ErrorKind, IoContext, Result};
use crate::process::{descendants, is_running};

/// How long a server may take to start, or to stop in order.
const DEADLINE: Duration = Duration::from_mins(1);

/// How often a starting or stopping server is looked at.
const POLL_PAUSE: Duration = Duration::from_millis(5);

/// What a role made with [`PrivatePostgres::create_role`] may do.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[non_exhaustive]
pub enum RoleKind {
    /// Log in, nothing else: what Bitbucket's own role is.
    Login,
    /// Log in and create databases: the least that `pg_restore -C` needs.
    CreateDatabase,
    /// Everything.
    Superuser,
}

impl RoleKind {
    fn attributes(self) -> &'static str {
        match self {
            Self::Login => "LOGIN",
            Self::CreateDatabase => "LOGIN CREATEDB",
            Self::Superuser => "LOGIN SUPERUSER",
        }
    }
}

/// What stays the same over restarts.
#[derive(Debug)]
pub(super) struct Setup {
    pub(super) bin_dir: PathBuf,
    pub(super) account: Account,
    pub(super) folder: TempDir,
    pub(super) port: u16,
    pub(super) superuser: String,
    pub(super) password: String,
}

impl Setup {
    fn data_dir(&self) -> PathBuf {
        self.folder.path().join("data")
    }

    pub(super) fn launch(&self) -> Result<Child> {
        let log_path = self.folder.path().join("server.log");
        let log = File::create(&log_path).doing("create", &log_path)?;
        let mut postgres = Command::new(self.bin_dir.join("postgres"));
        postgres
            .arg("-D")
            .arg(self.data_dir())
            .arg("-p")
            .arg(self.port.to_string())
            .env("LC_ALL", "C")
            .current_dir(self.folder.path())
            .stdin(Stdio::null())
            .stdout(Stdio::null())
            .stderr(log)
            // An interrupt typed at the terminal is for the tests; they stop the server themselves.
            .process_group(0);
        self.account.apply_to(&mut postgres);
        let mut child = postgres.spawn().map_err(|source| {
            Error::new(ErrorKind::Io, "cannot run postgres").with_source(source)
        })?;
        match self.wait_until_ready(&mut child, &log_path) {
            Ok(()) => Ok(child),
            Err(error) => {
                end(&mut child, Signal::QUIT);
                Err(error)
            }
        }
    }

    fn wait_until_ready(&self, child: &mut Child, log_path: &Path) -> Result<()> {
        let pid_file = self.data_dir().join("postmaster.pid");
        let started = Instant::now();
        while started.elapsed() < DEADLINE {
            if is_ready(&pid_file, child.id()) {
                return Ok(());
            }
            if let Ok(Some(status)) = child.try_wait() {
                let log = std::fs::read_to_string(log_path).unwrap_or_default();
                return Err(Error::new(
                    ErrorKind::Command,
                    format!(
                        "postgres ended with {status}: {}",
                        log.trim().replace('\n', " | ")
                    ),
                ));
            }
            std::thread::sleep(POLL_PAUSE);
        }
        Err(Error::new(
            ErrorKind::Deadline,
            "postgres did not become ready",
        ))
    }
}

/// The first line of the file is the server's pid, the eighth its status.
fn is_ready(pid_file: &Path, pid: u32) -> bool {
    let Ok(text) = std::fs::read_to_string(pid_file) else {
        return false;
    };
    let mut lines = text.lines();
    lines.next() == Some(pid.to_string().as_str())
        && lines.nth(6).is_some_and(|line| line.trim() == "ready")
}

/// A PostgreSQL of our own, with nothing durable about it, that ends with this value, panic or not.
///
/// It listens on a free port of `127.0.0.1` and on a socket in its own folder; both ask for a password (SCRAM).
/// When the tests run as root, the server runs as `postgres` or `nobody`. Its methods block.
pub struct PrivatePostgres {
    setup: Setup,
    child: Option<Child>,
}

impl fmt::Debug for PrivatePostgres {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("PrivatePostgres")
            .field("port", &self.setup.port)
            .field("folder", &self.setup.folder.path())
            .field("running", &self.child.is_some())
            .finish_non_exhaustive()
    }
}

impl PrivatePostgres {
    /// Starts one with ordinary settings.
    ///
    /// # Errors
    /// As [`PostgresBuilder::start`].
    pub fn start() -> Result<Self> {
        Self::builder().start()
    }

    /// Begins to choose settings.
    pub fn builder() -> PostgresBuilder {
        PostgresBuilder::default()
    }

    pub(super) fn new(setup: Setup, child: Child) -> Self {
        Self {
            setup,
            child: Some(child),
        }
    }

    /// Always `127.0.0.1`.
    pub fn host(&self) -> &'static str {
        "127.0.0.1"
    }

    /// The TCP port; also part of the socket's name. Stays the same over [`restart`](Self::restart).
    pub fn port(&self) -> u16 {
        self.setup.port
    }

    /// The folder of the Unix socket, which the PostgreSQL tools take in place of a host name.
    pub fn socket_dir(&self) -> &Path {
        self.setup.folder.path()
    }

    /// The data directory, as `postgresql-fslevel` wants it.
    pub fn data_dir(&self) -> PathBuf {
        self.setup.data_dir()
    }

    /// The superuser's name.
    pub fn superuser(&self) -> &str {
        &self.setup.superuser
    }

    /// The superuser's password.
    pub fn password(&self) -> &str {
        &self.setup.password
    }

    /// The folder of the programs of this release, `pg_dump` and `psql` among them.
    pub fn bin_dir(&self) -> &Path {
        &self.setup.bin_dir
    }

    /// The server's process id, or `None` while it is stopped.
    pub fn pid(&self) -> Option<u32> {
        self.child.as_ref().map(Child::id)
    }

    /// Makes a role with a password.
    ///
    /// # Errors
    /// [`ErrorKind::Command`] when the server refuses.
    pub fn create_role(&self, name: &str, password: &str, kind: RoleKind) -> Result<()> {
        let sql = format!(
            "CREATE ROLE {} {} PASSWORD {};",
            quote_name(name),
            kind.attributes(),
            quote_text(password)
        );
        self.psql("postgres", &sql).map(drop)
    }

    /// Makes an empty UTF-8 database that belongs to a role.
    ///
    /// # Errors
    /// [`ErrorKind::Command`] when the server refuses.
    pub fn create_database(&self, name: &str, owner: &str) -> Result<()> {
        let sql = format!(
            "CREATE DATABASE {} OWNER {} TEMPLATE template0 ENCODING 'UTF8';",
            quote_name(name),
            quote_name(owner)
        );
        self.psql("postgres", &sql).map(drop)
    }

    /// Fills a database with Bitbucket-like tables: `push` for the live application, users with non-ASCII names,
    /// repositories, indexes, a sequence `bb_change_seq` and a large object.
    ///
    /// # Errors
    /// [`ErrorKind::Command`] when the server refuses.
    pub fn create_schema(&self, database: &str, owner: &str) -> Result<()> {
        let sql = format!("SET ROLE {};\n{}", quote_name(owner), schema::SQL);
        self.psql(database, &sql).map(drop)
    }

    /// The rows of table `push` as the superuser sees them now: push id and payload.
    ///
    /// # Errors
    /// [`ErrorKind::Command`] when the server refuses, so also when there is no such table.
    pub fn pushes(&self, database: &str) -> Result<Pushes> {
        let output = self.psql(
            database,
            "SELECT push_id, payload FROM push ORDER BY push_id;",
        )?;
        Ok(output
            .lines()
            .filter_map(|line| line.split_once('|'))
            .map(|(id, payload)| (id.to_owned(), payload.to_owned()))
            .collect())
    }

    /// The place where the live application writes its rows, as the superuser.
    pub fn rows(&self, database: &str) -> PostgresRows {
        PostgresRows::new(
            self.host(),
            self.port(),
            self.superuser(),
            self.password(),
            database,
        )
    }

    /// Runs SQL as the superuser and returns what `psql -At` prints: columns parted by `|`, one row on each line.
    ///
    /// # Errors
    /// [`ErrorKind::Command`] with what psql complains about; the first failing statement ends the script.
    pub fn psql(&self, database: &str, sql: &str) -> Result<String> {
        let mut psql = self.tool("psql");
        psql.args(["-X", "-q", "-A", "-t", "-v", "ON_ERROR_STOP=1", "-f", "-"])
            .arg("--dbname")
            .arg(database);
        let output = command::run_with_input(&mut psql, sql.as_bytes())?;
        Ok(String::from_utf8_lossy(&output).trim_end().to_owned())
    }

    /// A client program of this release, told by its environment to connect over TCP as the superuser.
    pub fn tool(&self, program: &str) -> Command {
        let mut command = Command::new(self.setup.bin_dir.join(program));
        for (name, _) in std::env::vars_os() {
            if name.to_string_lossy().starts_with("PG") {
                command.env_remove(name);
            }
        }
        command
            .env("PGHOST", self.host())
            .env("PGPORT", self.port().to_string())
            .env("PGUSER", self.superuser())
            .env("PGPASSWORD", self.password())
            .env("PGCLIENTENCODING", "UTF8")
            .env("LC_ALL", "C");
        command
    }

    /// Stops the server in order, ending every session; does nothing when it is stopped.
    pub fn stop(&mut self) {
        self.end_with(Signal::INT);
    }

    /// Kills the server and all of its processes at once, as a crash of the machine would.
    pub fn kill(&mut self) {
        let Some(child) = &self.child else { return };
        let family = descendants(child.id());
        self.end_with(Signal::KILL);
        for &pid in &family {
            signal(pid, Signal::KILL);
        }
        let started = Instant::now();
        while family.iter().any(|&pid| is_running(pid)) && started.elapsed() < DEADLINE {
            std::thread::sleep(POLL_PAUSE);
        }
    }

    /// Starts the server again on the same port, stopping it first if it runs.
    ///
    /// # Errors
    /// As [`PostgresBuilder::start`].
    pub fn restart(&mut self) -> Result<()> {
        self.stop();
        self.child = Some(self.setup.launch()?);
        Ok(())
    }

    fn end_with(&mut self, first: Signal) {
        if let Some(mut child) = self.child.take() {
            end(&mut child, first);
        }
    }
}

impl Drop for PrivatePostgres {
    fn drop(&mut self) {
        // An immediate shutdown: the data directory goes away with us.
        self.end_with(Signal::QUIT);
    }
}

fn signal(pid: u32, signal: Signal) {
    let pid = i32::try_from(pid).ok().and_then(Pid::from_raw);
    if let Some(pid) = pid {
        // Gone already is what we want.
        let _ = kill_process(pid, signal);
    }
}

/// Ends a server with a signal, and with SIGKILL after the deadline. The postmaster waits for its children by itself.
fn end(child: &mut Child, first: Signal) {
    signal(child.id(), first);
    let started = Instant::now();
    while started.elapsed() < DEADLINE {
        match child.try_wait() {
            Ok(None) => std::thread::sleep(POLL_PAUSE),
            Ok(Some(_)) | Err(_) => return,
        }
    }
    // Both fail only when the process is gone.
    let _ = child.kill();
    let _ = child.wait();
}

fn quote_name(name: &str) -> String {
    format!("\"{}\"", name.replace('"', "\"\""))
}

fn quote_text(text: &str) -> String {
    format!("E'{}'", text.replace('\\', "\\\\").replace('\'', "\\'"))
}
