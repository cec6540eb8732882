//! Choosing how a private MariaDB is to be, and starting it.

use std::fmt;
use std::io::Write as _;
use std::net::TcpListener;
use std::path::{Path, PathBuf};
use std::process::Command;

use super::server::{PrivateMariaDb, Setup, option_value, quote_text};
use crate::command;
use crate::error::{Error, ErrorKind, IoContext, Result};
use crate::postgres::Account;

/// The Debian packages that hold the server and its tools.
const SERVER_PACKAGE: &str = "mariadb-server-core";
const CLIENT_PACKAGE: &str = "mariadb-client";

/// Where the scripts that make a data directory are.
const SHARES: [&str; 4] = [
    "/usr/share/mysql",
    "/usr/share/mariadb",
    "/usr/local/share/mysql",
    "/opt/homebrew/share/mysql",
];

/// How often another port is tried when somebody takes the one that was free.
const PORT_ATTEMPTS: usize = 5;

/// The settings of a private MariaDB.
#[derive(Clone)]
pub struct MariaDbBuilder {
    password: String,
    settings: Vec<(String, String)>,
    tls: Option<(String, String)>,
}

impl fmt::Debug for MariaDbBuilder {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("MariaDbBuilder")
            .field("settings", &self.settings)
            .field("tls", &self.tls.is_some())
            .finish_non_exhaustive()
    }
}

impl Default for MariaDbBuilder {
    fn default() -> Self {
        Self {
            password: "s'über \"geh\\eim: $x%41 @/#".to_owned(),
            settings: Vec::new(),
            tls: None,
        }
    }
}

impl MariaDbBuilder {
    /// The password of `root`; unless set, one full of quotes, blanks and non-ASCII letters. No newline in it.
    #[must_use]
    pub fn password(mut self, password: impl Into<String>) -> Self {
        self.password = password.into();
        self
    }

    /// One more line of the server's option file, for example `("lower_case_table_names", "1")`.
    #[must_use]
    pub fn setting(mut self, name: impl Into<String>, value: impl Into<String>) -> Self {
        self.settings.push((name.into(), value.into()));
        self
    }

    /// Offers TLS, with a certificate and its key as PEM texts.
    #[must_use]
    pub fn tls(mut self, certificate: impl Into<String>, key: impl Into<String>) -> Self {
        self.tls = Some((certificate.into(), key.into()));
        self
    }

    /// Makes a data directory and starts the server; returns when it accepts connections (two seconds or so, blocking).
    ///
    /// # Errors
    /// [`ErrorKind::Missing`], naming the Debian package, when the server or its tools are not installed;
    /// [`ErrorKind::Command`] when the server fails, with the end of its log.
    pub fn start(self) -> Result<PrivateMariaDb> {
        if self.password.contains(['\n', '\0']) || self.password.is_empty() {
            return Err(Error::new(
                ErrorKind::Invalid,
                "the password is empty or has a newline",
            ));
        }
        let program = find_server()?;
        let share = find_share()?;
        command::require("mariadb", CLIENT_PACKAGE)?;
        let account = Account::choose()?;
        let folder = tempfile::Builder::new()
            .prefix("private-maria-")
            .tempdir()
            .doing("make a folder in", &std::env::temp_dir())?;
        account.give(folder.path())?;
        let mut setup = Setup {
            program,
            account,
            folder,
            port: 0,
            password: self.password,
        };
        init(&setup, &share)?;
        for attempt in 1.. {
            setup.port = free_port()?;
            write_options(&setup, &share, &self.settings, self.tls.as_ref())?;
            match setup.launch() {
                Ok(child) => {
                    let server = PrivateMariaDb::new(setup, child);
                    server.set_root_password()?;
                    return Ok(server);
                }
                Err(error) if attempt < PORT_ATTEMPTS && port_was_taken(&error) => {}
                Err(error) => return Err(error),
            }
        }
        Err(Error::new(ErrorKind::Io, "no port is free"))
    }
}

/// Runs the scripts that make the system tables, without a network and without waiting for the disk.
fn init(setup: &Setup, share: &Path) -> Result<()> {
    let data = setup.data_dir();
    for folder in [&data, &setup.temporary_dir()] {
        std::fs::create_dir(folder).doing("create", folder)?;
        setup.account.give(folder)?;
    }
    let mut script = Vec::new();
    let _ = writeln!(script, "CREATE DATABASE mysql;\nUSE mysql;");
    for name in [
        "mysql_system_tables.sql",
        "mysql_performance_tables.sql",
        "mysql_system_tables_data.sql",
    ] {
        let path = share.join(name);
        if name.contains("system") || path.is_file() {
            script.extend(std::fs::read(&path).doing("read", &path)?);
        }
    }
    let mut server = Command::new(&setup.program);
    let mut datadir = std::ffi::OsString::from("--datadir=");
    datadir.push(&data);
    let mut messages = std::ffi::OsString::from("--lc-messages-dir=");
    messages.push(share);
    let mut temporary = std::ffi::OsString::from("--tmpdir=");
    temporary.push(setup.temporary_dir());
    server
        .args(["--no-defaults", "--bootstrap", "--skip-log-bin"])
        .args(["--innodb-log-file-size=4M", "--innodb-buffer-pool-size=16M"])
        .args(["--innodb-flush-method=nosync", "--innodb-fast-shutdown=2"])
        .args(["--loose-innodb-doublewrite=0", "--loose-sync-frm=0"])
        .args(["--innodb-temp-data-file-path=ibtmp1:4M:autoextend"])
        .arg(datadir)
        .arg(temporary)
        .arg(messages)
        .env("LC_ALL", "C")
        .current_dir(setup.folder.path());
    setup.account.apply_to(&mut server);
    command::run_with_input(&mut server, &script).map(drop)
}

fn write_options(
    setup: &Setup,
    share: &Path,
    extra: &[(String, String)],
    tls: Option<&(String, String)>,
) -> Result<()> {
    let folder = setup.folder.path();
    let mut lines = vec![
        "[mysqld]".to_owned(),
        "bind-address=127.0.0.1".to_owned(),
        "skip-name-resolve".to_owned(),
        "skip-log-bin".to_owned(),
        "innodb-log-file-size=4M".to_owned(),
        "innodb-buffer-pool-size=16M".to_owned(),
        "innodb-flush-method=nosync".to_owned(),
        "innodb-flush-log-at-trx-commit=0".to_owned(),
        "loose-innodb-doublewrite=0".to_owned(),
        "loose-sync-frm=0".to_owned(),
        "innodb-temp-data-file-path=ibtmp1:4M:autoextend".to_owned(),
        "performance-schema=OFF".to_owned(),
        "character-set-server=utf8mb4".to_owned(),
        format!("port={}", setup.port),
    ];
    let mut path = |name: &str, path: PathBuf| {
        lines.push(format!("{name}={}", option_value(&path.to_string_lossy())));
    };
    path("datadir", setup.data_dir());
    path("socket", setup.socket());
    path("pid-file", folder.join("pid"));
    // Servers remove each other's temporary tables from a folder that they share.
    path("tmpdir", setup.temporary_dir());
    path("lc-messages-dir", share.to_owned());
    if let Some((certificate, key)) = tls {
        for (name, file, text) in [
            ("ssl-cert", "server.pem", certificate),
            ("ssl-key", "server.key", key),
        ] {
            let file = folder.join(file);
            std::fs::write(&file, text).doing("write", &file)?;
            setup.account.give(&file)?;
            path(name, file);
        }
    }
    lines.extend(
        extra
            .iter()
            .map(|(name, value)| format!("{name}={}", option_value(value))),
    );
    let file = setup.options();
    std::fs::write(&file, lines.join("\n") + "\n").doing("write", &file)?;
    setup.account.give(&file)
}

fn port_was_taken(error: &Error) -> bool {
    error.to_string().contains("Bind on TCP/IP port")
}

fn free_port() -> Result<u16> {
    let failed = |source| Error::new(ErrorKind::Io, "no port is free").with_source(source);
    let listener = TcpListener::bind(("127.0.0.1", 0)).map_err(failed)?;
    Ok(listener.local_addr().map_err(failed)?.port())
}

/// Debian keeps servers where only root's `PATH` leads.
fn find_server() -> Result<PathBuf> {
    let elsewhere = ["/usr/sbin/mariadbd", "/usr/libexec/mariadbd"].map(PathBuf::from);
    command::find_in_path("mariadbd")
        .or_else(|| elsewhere.into_iter().find(|path| path.is_file()))
        .ok_or_else(|| Error::missing("a MariaDB server", SERVER_PACKAGE))
}

fn find_share() -> Result<PathBuf> {
    SHARES
        .iter()
        .map(PathBuf::from)
        .find(|share| share.join("mysql_system_tables.sql").is_file())
        .ok_or_else(|| Error::missing("a MariaDB server with its scripts", SERVER_PACKAGE))
}

/// What `root` is given once the server runs: a password, and a way in over TCP.
pub(super) fn root_sql(password: &str) -> String {
    let password = quote_text(password);
    format!(
        "CREATE OR REPLACE USER root@'127.0.0.1' IDENTIFIED BY {password};\n\
         GRANT ALL PRIVILEGES ON *.* TO root@'127.0.0.1' WITH GRANT OPTION;\n\
         SET PASSWORD FOR root@localhost = PASSWORD({password});\n"
    )
}
