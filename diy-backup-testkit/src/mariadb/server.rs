//! The running server and what tests do with it.

use std::fmt;
use std::fs::File;
use std::os::unix::process::CommandExt;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

use rustix::process::{Pid, Signal, kill_process};
use tempfile::TempDir;

use super::builder::{MariaDbBuilder, root_sql};
use super::rows::MariaDbRows;
use super::schema;
use crate::Pushes;
use crate::command;
use crate::error::{Error, ErrorKind, IoContext, Result};
use crate::postgres::Account;

/// How long a server may take to start, or to stop in order.
const DEADLINE: Duration = Duration::from_mins(1);

/// How often a starting or stopping server is looked at.
const POLL_PAUSE: Duration = Duration::from_millis(5);

/// What stays the same over restarts.
#[derive(Debug)]
pub(super) struct Setup {
    pub(super) program: PathBuf,
    pub(super) account: Account,
    pub(super) folder: TempDir,
    pub(super) port: u16,
    pub(super) password: String,
}

impl Setup {
    pub(super) fn data_dir(&self) -> PathBuf {
        self.folder.path().join("data")
    }

    pub(super) fn temporary_dir(&self) -> PathBuf {
        self.folder.path().join("tmp")
    }

    pub(super) fn socket(&self) -> PathBuf {
        self.folder.path().join("socket")
    }

    /// The server's option file.
    pub(super) fn options(&self) -> PathBuf {
        self.folder.path().join("server.cnf")
    }

    pub(super) fn launch(&self) -> Result<Child> {
        let log_path = self.folder.path().join("server.log");
        let log = File::create(&log_path).doing("create", &log_path)?;
        let mut server = Command::new(&self.program);
        let mut options = std::ffi::OsString::from("--defaults-file=");
        options.push(self.options());
        server
            .arg(options)
            .env("LC_ALL", "C")
            .current_dir(self.folder.path())
            .stdin(Stdio::null())
            .stdout(Stdio::null())
            .stderr(log)
            // An interrupt typed at the terminal is for the tests; they stop the server themselves.
            .process_group(0);
        self.account.apply_to(&mut server);
        let mut child = server.spawn().map_err(|source| {
            Error::new(ErrorKind::Io, "cannot run mariadbd").with_source(source)
        })?;
        match wait_until_ready(&mut child, &log_path) {
            Ok(()) => Ok(child),
            Err(error) => {
                end(&mut child, Signal::KILL);
                Err(error)
            }
        }
    }
}

fn wait_until_ready(child: &mut Child, log_path: &Path) -> Result<()> {
    let started = Instant::now();
    while started.elapsed() < DEADLINE {
        let log = std::fs::read_to_string(log_path).unwrap_or_default();
        if log.contains("ready for connections") {
            return Ok(());
        }
        if let Ok(Some(status)) = child.try_wait() {
            return Err(Error::new(
                ErrorKind::Command,
                format!(
                    "mariadbd ended with {status}: {}",
                    log.trim().replace('\n', " | ")
                ),
            ));
        }
        std::thread::sleep(POLL_PAUSE);
    }
    Err(Error::new(
        ErrorKind::Deadline,
        "mariadbd did not become ready",
    ))
}

/// A MariaDB of our own, with nothing durable about it, that ends with this value, panic or not.
///
/// It listens on a free port of `127.0.0.1` and on a socket in its own folder; both ask for a password. When the tests
/// run as root, the server runs as `postgres` or `nobody`. Its methods block.
pub struct PrivateMariaDb {
    setup: Setup,
    child: Option<Child>,
}

impl fmt::Debug for PrivateMariaDb {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("PrivateMariaDb")
            .field("port", &self.setup.port)
            .field("folder", &self.setup.folder.path())
            .field("running", &self.child.is_some())
            .finish_non_exhaustive()
    }
}

impl PrivateMariaDb {
    /// Starts one with ordinary settings.
    ///
    /// # Errors
    /// As [`MariaDbBuilder::start`].
    pub fn start() -> Result<Self> {
        Self::builder().start()
    }

    /// Begins to choose settings.
    pub fn builder() -> MariaDbBuilder {
        MariaDbBuilder::default()
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

    /// The TCP port. Stays the same over [`restart`](Self::restart).
    pub fn port(&self) -> u16 {
        self.setup.port
    }

    /// The path of the Unix socket.
    pub fn socket(&self) -> PathBuf {
        self.setup.socket()
    }

    /// The folder of the server, which goes away with it.
    pub fn folder(&self) -> &Path {
        self.setup.folder.path()
    }

    /// The administrator's name: `root`.
    pub fn superuser(&self) -> &'static str {
        "root"
    }

    /// The administrator's password.
    pub fn password(&self) -> &str {
        &self.setup.password
    }

    /// The server's process id, or `None` while it is stopped.
    pub fn pid(&self) -> Option<u32> {
        self.child.as_ref().map(Child::id)
    }

    /// Makes an account that may come from everywhere, with a password and no privileges.
    ///
    /// # Errors
    /// [`ErrorKind::Command`] when the server refuses.
    pub fn create_user(&self, name: &str, password: &str) -> Result<()> {
        let sql = format!(
            "CREATE USER {}@'%' IDENTIFIED BY {};",
            quote_text(name),
            quote_text(password)
        );
        self.sql("mysql", &sql).map(drop)
    }

    /// Makes an empty database as Bitbucket wants it: utf8mb4, compared byte by byte.
    ///
    /// # Errors
    /// [`ErrorKind::Command`] when the server refuses.
    pub fn create_database(&self, name: &str) -> Result<()> {
        let sql = format!(
            "CREATE DATABASE {} CHARACTER SET utf8mb4 COLLATE utf8mb4_bin;",
            quote_name(name)
        );
        self.sql("mysql", &sql).map(drop)
    }

    /// Fills a database with Bitbucket-like tables: `push` for the live application, users with names of all letters,
    /// repositories with foreign keys, pictures, indexes and a view.
    ///
    /// # Errors
    /// [`ErrorKind::Command`] when the server refuses.
    pub fn create_schema(&self, database: &str) -> Result<()> {
        self.sql(database, schema::SQL).map(drop)
    }

    /// The rows of table `push` as the administrator sees them now: push id and payload.
    ///
    /// # Errors
    /// [`ErrorKind::Command`] when the server refuses, so also when there is no such table.
    pub fn pushes(&self, database: &str) -> Result<Pushes> {
        let output = self.sql(
            database,
            "SELECT push_id, payload FROM push ORDER BY push_id;",
        )?;
        Ok(output
            .lines()
            .filter_map(|line| line.split_once('\t'))
            .map(|(id, payload)| (id.to_owned(), payload.to_owned()))
            .collect())
    }

    /// The place where the live application writes its rows, as the administrator.
    ///
    /// # Errors
    /// [`ErrorKind::Io`] when the option file for the client cannot be written.
    pub fn rows(&self, database: &str) -> Result<MariaDbRows> {
        Ok(MariaDbRows::new(self.client(database)?))
    }

    /// Runs SQL as the administrator and returns what the client prints: columns parted by tabs, one row on each line.
    ///
    /// # Errors
    /// [`ErrorKind::Command`] with what the client complains about; the first failing statement ends the script.
    pub fn sql(&self, database: &str, sql: &str) -> Result<String> {
        let output = command::run_with_input(&mut self.client(database)?, sql.as_bytes())?;
        Ok(String::from_utf8_lossy(&output).trim_end().to_owned())
    }

    /// A client program of the server, told by an option file to connect over the socket as the administrator.
    ///
    /// # Errors
    /// [`ErrorKind::Io`] when the option file cannot be written.
    pub fn tool(&self, program: &str) -> Result<Command> {
        self.tool_as(program, self.superuser(), self.password())
    }

    /// Stops the server in order, ending every session; does nothing when it is stopped.
    pub fn stop(&mut self) {
        self.end_with(Signal::TERM);
    }

    /// Kills the server at once, as a crash of the machine would.
    pub fn kill(&mut self) {
        self.end_with(Signal::KILL);
    }

    /// Starts the server again on the same port, stopping it first if it runs.
    ///
    /// # Errors
    /// As [`MariaDbBuilder::start`].
    pub fn restart(&mut self) -> Result<()> {
        self.stop();
        self.child = Some(self.setup.launch()?);
        Ok(())
    }

    pub(super) fn set_root_password(&self) -> Result<()> {
        let mut client = self.tool_as("mariadb", self.superuser(), "")?;
        command::run_with_input(&mut client, root_sql(&self.setup.password).as_bytes()).map(drop)
    }

    fn client(&self, database: &str) -> Result<Command> {
        let mut client = self.tool("mariadb")?;
        client
            .args(["--batch", "--raw", "--skip-column-names", "--unbuffered"])
            .arg(format!("--database={database}"));
        Ok(client)
    }

    fn tool_as(&self, program: &str, user: &str, password: &str) -> Result<Command> {
        let name = if password.is_empty() {
            "first.cnf"
        } else {
            "client.cnf"
        };
        let path = self.folder().join(name);
        if !path.is_file() {
            let text = format!(
                "[client]\nprotocol=SOCKET\nsocket={}\nuser={}\npassword={}\ndefault-character-set=utf8mb4\n",
                option_value(&self.socket().to_string_lossy()),
                option_value(user),
                option_value(password)
            );
            // Other threads may be about to read it.
            let new = self
                .folder()
                .join(format!("{name}.{:08x}", fastrand::u32(..)));
            std::fs::write(&new, text).doing("write", &new)?;
            std::fs::rename(&new, &path).doing("rename", &new)?;
        }
        let mut options = std::ffi::OsString::from("--defaults-file=");
        options.push(path);
        let mut command = Command::new(program);
        command.arg(options).env("LC_ALL", "C");
        Ok(command)
    }

    fn end_with(&mut self, first: Signal) {
        if let Some(mut child) = self.child.take() {
            end(&mut child, first);
        }
    }
}

impl Drop for PrivateMariaDb {
    fn drop(&mut self) {
        // The data directory goes away with us, so nothing has to be put in order.
        self.end_with(Signal::KILL);
    }
}

/// Ends a server with a signal, and with SIGKILL after the deadline.
fn end(child: &mut Child, first: Signal) {
    if let Some(pid) = i32::try_from(child.id()).ok().and_then(Pid::from_raw) {
        // Gone already is what we want.
        let _ = kill_process(pid, first);
    }
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

pub(super) fn quote_name(name: &str) -> String {
    format!("`{}`", name.replace('`', "``"))
}

pub(super) fn quote_text(text: &str) -> String {
    format!("'{}'", text.replace('\\', "\\\\").replace('\'', "\\'"))
}

/// A value in an option file.
pub(super) fn option_value(value: &str) -> String {
    format!("\"{}\"", value.replace('\\', "\\\\").replace('"', "\\\""))
}
