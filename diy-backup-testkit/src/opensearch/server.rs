//! The running node and what tests do with it.

use std::fmt;
use std::fs::File;
use std::net::TcpListener;
use std::os::unix::process::CommandExt;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

use rustix::process::{Pid, Signal, kill_process};
use tempfile::TempDir;

use super::http;
use super::install::Installation;
use crate::error::{Error, ErrorKind, IoContext, Result};
use crate::postgres::Account;

/// How long the node may take to start, or to stop in order.
const DEADLINE: Duration = Duration::from_mins(2);
/// How often a starting or stopping node is looked at.
const POLL_PAUSE: Duration = Duration::from_millis(50);
/// How often another port is tried when somebody takes the one that was free.
const PORT_ATTEMPTS: usize = 5;
/// How much of the log an error keeps, in bytes.
const LOG_KEPT: usize = 2_000;

/// A file system in memory, on Linux.
const MEMORY: &str = "/dev/shm";

const LOGGING: &str = "\
status = error\n\
appender.console.type = Console\n\
appender.console.name = console\n\
appender.console.layout.type = PatternLayout\n\
appender.console.layout.pattern = [%p] %c{1.}: %m%n\n\
rootLogger.level = warn\n\
rootLogger.appenderRef.console.ref = console\n";

/// What stays the same over restarts.
#[derive(Debug)]
struct Setup {
    java: PathBuf,
    account: Account,
    folder: TempDir,
    /// Data and repositories. In memory where that can be: the server syncs so often that a disk makes tests slow.
    storage: TempDir,
    port: u16,
}

impl Setup {
    fn path(&self, name: &str) -> PathBuf {
        self.folder.path().join(name)
    }

    fn write_settings(&self) -> Result<()> {
        let storage = self.storage.path().display();
        let text = format!(
            "cluster.name: private\nnode.name: private\nnetwork.host: 127.0.0.1\nhttp.port: {}\ntransport.port: 0\n\
             discovery.type: single-node\npath.data: {storage}/data\npath.repo: [\"{storage}/repositories\"]\n\
             cluster.routing.allocation.disk.threshold_enabled: false\n",
            self.port
        );
        let path = self.path("config/opensearch.yml");
        std::fs::write(&path, text).doing("write", &path)?;
        let path = self.path("config/log4j2.properties");
        std::fs::write(&path, LOGGING).doing("write", &path)
    }

    fn launch(&self) -> Result<Child> {
        let log_path = self.path("server.log");
        let log = File::create(&log_path).doing("create", &log_path)?;
        let errors = log.try_clone().doing("write", &log_path)?;
        let home = self.folder.path().display();
        let mut node = Command::new(&self.java);
        // The account's own Java options are for other programs.
        node.env_remove("JAVA_TOOL_OPTIONS")
            .args([
                "-Xms256m",
                "-Xmx256m",
                "-XX:+UseSerialGC",
                "-XX:TieredStopAtLevel=1",
            ])
            .args([
                "-Djava.security.manager=allow",
                "-Dlog4j2.disable.jmx=true",
                "-Djna.nosys=true",
            ])
            .args([
                "-Dopensearch.distribution.type=tar",
                "-Dopensearch.bundled_jdk=false",
            ])
            .arg(format!("-Djava.io.tmpdir={home}/tmp"))
            .arg(format!("-Djna.tmpdir={home}/tmp"))
            .arg(format!("-Dopensearch.path.home={home}"))
            .arg(format!("-Dopensearch.path.conf={home}/config"))
            .arg("-cp")
            .arg(format!("{home}/lib/*"))
            .arg("org.opensearch.bootstrap.OpenSearch")
            .current_dir(self.folder.path())
            .stdin(Stdio::null())
            .stdout(log)
            .stderr(errors)
            // An interrupt typed at the terminal is for the tests; they stop the node themselves.
            .process_group(0);
        self.account.apply_to(&mut node);
        let mut child = node
            .spawn()
            .map_err(|source| Error::new(ErrorKind::Io, "cannot run java").with_source(source))?;
        match self.wait_until_ready(&mut child, &log_path) {
            Ok(()) => Ok(child),
            Err(error) => {
                end(&mut child, Signal::KILL);
                Err(error)
            }
        }
    }

    fn wait_until_ready(&self, child: &mut Child, log_path: &Path) -> Result<()> {
        let started = Instant::now();
        while started.elapsed() < DEADLINE {
            let health = "/_cluster/health?wait_for_status=yellow&timeout=5s";
            if matches!(http::call(self.port, "GET", health, ""), Ok((200, _))) {
                return Ok(());
            }
            if let Ok(Some(status)) = child.try_wait() {
                let log = std::fs::read(log_path).unwrap_or_default();
                let log = String::from_utf8_lossy(&log[log.len().saturating_sub(LOG_KEPT)..])
                    .replace('\n', " | ");
                let message = format!("opensearch ended with {status}: {log}");
                return Err(Error::new(ErrorKind::Command, message));
            }
            std::thread::sleep(POLL_PAUSE);
        }
        Err(Error::new(
            ErrorKind::Deadline,
            "opensearch did not become ready",
        ))
    }
}

/// An OpenSearch node of our own that ends with this value, panic or not.
///
/// It listens on a free port of `127.0.0.1`, without TLS and without a login, and may keep snapshot repositories of type
/// `fs` below [`repositories`](Self::repositories). When the tests run as root, it runs as an unprivileged account. Its
/// methods block.
pub struct PrivateOpenSearch {
    setup: Setup,
    child: Option<Child>,
}

impl fmt::Debug for PrivateOpenSearch {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("PrivateOpenSearch")
            .field("port", &self.setup.port)
            .field("folder", &self.setup.folder.path())
            .field("running", &self.child.is_some())
            .finish_non_exhaustive()
    }
}

impl PrivateOpenSearch {
    /// Starts a node; returns when it answers (three seconds or more).
    ///
    /// # Errors
    /// [`ErrorKind::Missing`] without Java or without the parts of the server; [`ErrorKind::Command`] when it does not
    /// start, with the end of its log.
    pub fn start() -> Result<Self> {
        let installation = Installation::find()?;
        let account = Account::choose()?;
        let folder = private_folder(&std::env::temp_dir())?;
        let storage =
            private_folder(Path::new(MEMORY)).or_else(|_| private_folder(&std::env::temp_dir()))?;
        installation.copy_to(folder.path())?;
        let home = ["", "config", "logs", "plugins", "tmp"].map(|name| folder.path().join(name));
        let stored = ["", "data", "repositories"].map(|name| storage.path().join(name));
        for path in home.iter().chain(&stored) {
            std::fs::create_dir_all(path).doing("make the folder", path)?;
            account.give(path)?;
        }
        let mut setup = Setup {
            java: installation.java,
            account,
            folder,
            storage,
            port: 0,
        };
        for attempt in 1.. {
            setup.port = free_port()?;
            setup.write_settings()?;
            match setup.launch() {
                Ok(child) => {
                    return Ok(Self {
                        setup,
                        child: Some(child),
                    });
                }
                Err(error)
                    if attempt < PORT_ATTEMPTS
                        && error.to_string().contains("BindHttpException") => {}
                Err(error) => return Err(error),
            }
        }
        Err(Error::new(ErrorKind::Io, "no port is free"))
    }

    /// The base URL. Stays the same over [`restart`](Self::restart).
    pub fn url(&self) -> String {
        format!("http://127.0.0.1:{}", self.setup.port)
    }

    /// The folder that `path.repo` names: snapshot repositories of type `fs` may lie in it. It belongs to the account
    /// that the node runs under.
    pub fn repositories(&self) -> PathBuf {
        self.setup.storage.path().join("repositories")
    }

    /// Gives a file or folder to the account that the node runs under.
    ///
    /// # Errors
    /// [`ErrorKind::Io`].
    pub fn give(&self, path: &Path) -> Result<()> {
        self.setup.account.give(path)
    }

    /// The node's process id, or `None` while it is stopped.
    pub fn pid(&self) -> Option<u32> {
        self.child.as_ref().map(Child::id)
    }

    /// Sends one request with a JSON body, or an empty one, and returns status and body of the answer.
    ///
    /// # Errors
    /// [`ErrorKind::Io`] when the node cannot be reached.
    pub fn call(&self, method: &str, path: &str, body: &str) -> Result<(u16, String)> {
        http::call(self.setup.port, method, path, body).map_err(|source| {
            let message = format!("cannot send {method} {path} to opensearch");
            Error::new(ErrorKind::Io, message).with_source(source)
        })
    }

    /// As [`call`](Self::call), for what must succeed.
    ///
    /// # Errors
    /// Also [`ErrorKind::Command`] when the node refuses.
    pub fn must(&self, method: &str, path: &str, body: &str) -> Result<String> {
        match self.call(method, path, body)? {
            (200..=299, answer) => Ok(answer),
            (status, answer) => {
                let message = format!("opensearch answers {status} to {method} {path}: {answer}");
                Err(Error::new(ErrorKind::Command, message))
            }
        }
    }

    /// Kills the node at once, as a crash of the machine would.
    pub fn kill(&mut self) {
        if let Some(mut child) = self.child.take() {
            end(&mut child, Signal::KILL);
        }
    }

    /// Starts the node again on the same port and with the same data, killing it first if it runs.
    ///
    /// # Errors
    /// As [`start`](Self::start).
    pub fn restart(&mut self) -> Result<()> {
        self.kill();
        self.child = Some(self.setup.launch()?);
        Ok(())
    }
}

impl Drop for PrivateOpenSearch {
    fn drop(&mut self) {
        // The data goes away with us.
        self.kill();
    }
}

fn private_folder(parent: &Path) -> Result<TempDir> {
    tempfile::Builder::new()
        .prefix("private-os-")
        .tempdir_in(parent)
        .doing("make a folder in", parent)
}

fn free_port() -> Result<u16> {
    let failed = |source| Error::new(ErrorKind::Io, "no port is free").with_source(source);
    let listener = TcpListener::bind(("127.0.0.1", 0)).map_err(failed)?;
    Ok(listener.local_addr().map_err(failed)?.port())
}

fn end(child: &mut Child, signal: Signal) {
    let pid = i32::try_from(child.id()).ok().and_then(Pid::from_raw);
    if let Some(pid) = pid {
        // Gone already is what we want.
        let _ = kill_process(pid, signal);
    }
    let _ = child.wait();
}
