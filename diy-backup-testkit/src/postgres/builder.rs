//! Choosing how a private PostgreSQL is to be, and starting it.

use std::fmt;
use std::net::TcpListener;
use std::path::{Path, PathBuf};
use std::process::Command;

use super::account::Account;
use super::server::{PrivatePostgres, Setup};
use crate::command;
use crate::error::{Error, ErrorKind, IoContext, Result};

/// The Debian package that holds the servers.
const PACKAGE: &str = "postgresql";

/// How often another port is tried when somebody takes the one that was free.
const PORT_ATTEMPTS: usize = 5;

/// The settings of a private PostgreSQL.
#[derive(Clone)]
pub struct PostgresBuilder {
    superuser: String,
    password: String,
    max_connections: u32,
    settings: Vec<(String, String)>,
    bin_dir: Option<PathBuf>,
}

impl fmt::Debug for PostgresBuilder {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("PostgresBuilder")
            .field("superuser", &self.superuser)
            .field("max_connections", &self.max_connections)
            .field("settings", &self.settings)
            .field("bin_dir", &self.bin_dir)
            .finish_non_exhaustive()
    }
}

impl Default for PostgresBuilder {
    fn default() -> Self {
        Self {
            superuser: "postgres".to_owned(),
            password: "s'über \"geh\\eim: $x%41 @/#".to_owned(),
            max_connections: 40,
            settings: Vec::new(),
            bin_dir: None,
        }
    }
}

impl PostgresBuilder {
    /// The name of the superuser; `postgres` unless set.
    #[must_use]
    pub fn superuser(mut self, name: impl Into<String>) -> Self {
        self.superuser = name.into();
        self
    }

    /// The superuser's password; unless set, one full of quotes, blanks and non-ASCII letters. No newline in it.
    #[must_use]
    pub fn password(mut self, password: impl Into<String>) -> Self {
        self.password = password.into();
        self
    }

    /// `max_connections`; 40 unless set.
    #[must_use]
    pub fn max_connections(mut self, number: u32) -> Self {
        self.max_connections = number;
        self
    }

    /// One more line of `postgresql.conf`, for example `("idle_in_transaction_session_timeout", "1s")`.
    #[must_use]
    pub fn setting(mut self, name: impl Into<String>, value: impl Into<String>) -> Self {
        self.settings.push((name.into(), value.into()));
        self
    }

    /// The folder of `initdb` and `postgres`, to choose among several releases.
    #[must_use]
    pub fn bin_dir(mut self, path: impl Into<PathBuf>) -> Self {
        self.bin_dir = Some(path.into());
        self
    }

    /// Makes a data directory and starts the server; returns when it accepts connections (one to two seconds, blocking).
    ///
    /// # Errors
    /// [`ErrorKind::Missing`], naming the Debian package, when the servers are not installed;
    /// [`ErrorKind::Command`] when `initdb` or the server fails, with the end of its log.
    pub fn start(self) -> Result<PrivatePostgres> {
        if self.password.contains('\n') || self.password.is_empty() {
            return Err(Error::new(
                ErrorKind::Invalid,
                "the password is empty or has a newline",
            ));
        }
        let bin_dir = match &self.bin_dir {
            Some(path) => path.clone(),
            None => find_bin_dir()?,
        };
        let account = Account::choose()?;
        let folder = tempfile::Builder::new()
            .prefix("private-pg-")
            .tempdir()
            .doing("make a folder in", &std::env::temp_dir())?;
        account.give(folder.path())?;
        self.init(&bin_dir, account, folder.path())?;
        let mut setup = Setup {
            bin_dir,
            account,
            folder,
            port: 0,
            superuser: self.superuser,
            password: self.password,
        };
        write_settings(
            setup.folder.path(),
            account,
            self.max_connections,
            &self.settings,
        )?;
        for attempt in 1.. {
            setup.port = free_port()?;
            match setup.launch() {
                Ok(child) => return Ok(PrivatePostgres::new(setup, child)),
                Err(error) if attempt < PORT_ATTEMPTS && port_was_taken(&error) => {}
                Err(error) => return Err(error),
            }
        }
        Err(Error::new(ErrorKind::Io, "no port is free"))
    }

    fn init(&self, bin_dir: &Path, account: Account, folder: &Path) -> Result<()> {
        let password_file = folder.join("password");
        std::fs::write(&password_file, format!("{}\n", self.password))
            .doing("write", &password_file)?;
        account.give(&password_file)?;
        let mut initdb = Command::new(bin_dir.join("initdb"));
        initdb
            .arg("--pgdata")
            .arg(folder.join("data"))
            .arg("--username")
            .arg(&self.superuser)
            .arg("--pwfile")
            .arg(&password_file)
            .args(["--auth=scram-sha-256", "--encoding=UTF8", "--locale=C"])
            .args(["--no-sync", "--no-instructions"])
            .env("LC_ALL", "C")
            .current_dir(folder);
        account.apply_to(&mut initdb);
        command::run(&mut initdb)?;
        std::fs::remove_file(&password_file).doing("remove", &password_file)
    }
}

fn port_was_taken(error: &Error) -> bool {
    error.to_string().contains("could not create any TCP/IP")
}

fn free_port() -> Result<u16> {
    let failed = |source| Error::new(ErrorKind::Io, "no port is free").with_source(source);
    let listener = TcpListener::bind(("127.0.0.1", 0)).map_err(failed)?;
    Ok(listener.local_addr().map_err(failed)?.port())
}

fn write_settings(
    folder: &Path,
    account: Account,
    max_connections: u32,
    extra: &[(String, String)],
) -> Result<()> {
    use std::fmt::Write as _;

    let mut text = String::from(
        "fsync = off\nsynchronous_commit = off\nfull_page_writes = off\nautovacuum = off\n\
         listen_addresses = '127.0.0.1'\nshared_buffers = '32MB'\ndynamic_shared_memory_type = mmap\n",
    );
    let mut line = |name: &str, value: &str| {
        // Writing to a string cannot fail.
        let _ = writeln!(text, "{name} = '{}'", value.replace('\'', "''"));
    };
    line("max_connections", &max_connections.to_string());
    line("unix_socket_directories", &folder.display().to_string());
    for (name, value) in extra {
        line(name, value);
    }
    let path = folder.join("data/private.conf");
    std::fs::write(&path, text).doing("write", &path)?;
    account.give(&path)?;
    let main = folder.join("data/postgresql.conf");
    let mut conf = std::fs::read_to_string(&main).doing("read", &main)?;
    conf.push_str("\ninclude = 'private.conf'\n");
    std::fs::write(&main, conf).doing("write", &main)
}

fn find_bin_dir() -> Result<PathBuf> {
    let has_servers = |dir: &Path| dir.join("initdb").is_file() && dir.join("postgres").is_file();
    // A link in PATH leads to the folder where the client programs of the same release are, too.
    let linked = command::find_in_path("initdb").and_then(|path| path.canonicalize().ok());
    if let Some(dir) = linked.as_deref().and_then(Path::parent)
        && has_servers(dir)
    {
        return Ok(dir.to_owned());
    }
    let mut releases: Vec<(u32, PathBuf)> = std::fs::read_dir("/usr/lib/postgresql")
        .into_iter()
        .flatten()
        .flatten()
        .filter_map(|entry| {
            let release = entry.file_name().to_str()?.parse().ok()?;
            Some((release, entry.path().join("bin")))
        })
        .filter(|(_, dir)| has_servers(dir))
        .collect();
    releases.sort();
    releases
        .pop()
        .map(|(_, dir)| dir)
        .ok_or_else(|| Error::missing("a PostgreSQL server", PACKAGE))
}
