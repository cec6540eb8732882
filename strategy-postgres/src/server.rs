//! The server as the tools reach it: host, role, password and TLS, handed over by environment.

use std::ffi::OsString;
use std::path::Path;

use diy_backup_core::{Result, Tool};
use secrecy::SecretString;

use crate::config::PostgresConfig;
use crate::release::Release;
use crate::sql;

const PACKAGE: &str = "postgresql-client";

/// What libpq reads of our own environment that the configuration has no key for. Services are not among them: one
/// would silently lead to another server.
const PASSED: &[&str] = &[
    "PGPASSFILE",
    "PGCONNECT_TIMEOUT",
    "PGCHANNELBINDING",
    "PGREQUIREAUTH",
    "PGSSLMODE",
    "PGSSLNEGOTIATION",
    "PGSSLCERT",
    "PGSSLKEY",
    "PGSSLROOTCERT",
    "PGSSLCRL",
    "PGSSLCRLDIR",
    "PGSSLMINPROTOCOLVERSION",
    "PGSSLMAXPROTOCOLVERSION",
    "PGGSSENCMODE",
    "PGGSSLIB",
    "PGKRBSRVNAME",
    "KRB5CCNAME",
    "KRB5_CONFIG",
    "KRB5_CLIENT_KTNAME",
];

/// How the tools reach the server, with the password revealed: made for one step, not kept.
#[derive(Debug, Clone)]
pub(crate) struct Server {
    config: PostgresConfig,
    password: Option<SecretString>,
}

impl Server {
    pub(crate) async fn reach(config: &PostgresConfig) -> Result<Self> {
        let password = match &config.password {
            Some(secret) => Some(secret.reveal().await?),
            None => None,
        };
        Ok(Self {
            config: config.clone(),
            password,
        })
    }

    pub(crate) fn config(&self) -> &PostgresConfig {
        &self.config
    }

    /// Where it is, for messages.
    pub(crate) fn address(&self) -> String {
        format!("{} port {}", self.config.host, self.config.port)
    }

    /// A tool that connects to `database`.
    pub(crate) fn tool(&self, program: &str, database: &str) -> Tool {
        let config = &self.config;
        let mut tool = local_tool(config, program);
        for (name, value) in passed_environment() {
            tool = tool.env(name, value);
        }
        tool = tool
            .env("PGHOST", &config.host)
            .env("PGPORT", config.port.to_string())
            .env("PGUSER", &config.username)
            .arg(format!("--dbname={}", sql::connection_to(database)))
            .env("PGAPPNAME", "diy-backup");
        if let Some(mode) = config.ssl_mode {
            tool = tool.env("PGSSLMODE", mode.as_str());
        }
        if let Some(path) = &config.ssl_root_cert {
            tool = tool.env("PGSSLROOTCERT", path.as_path());
        }
        if let Some(password) = &self.password {
            tool = tool.secret_env("PGPASSWORD", password);
        }
        tool
    }
}

/// A tool that connects to nothing and so is given no password.
pub(crate) fn local_tool(config: &PostgresConfig, program: &str) -> Tool {
    let directory = config.tools.as_ref().map(AsRef::<Path>::as_ref);
    // What went wrong is told apart by what the tools say, so they say it in English.
    Tool::in_directory(directory, program)
        .from_package(PACKAGE)
        .env("LC_ALL", "C")
}

/// The release of an installed tool.
pub(crate) async fn tool_release(
    config: &PostgresConfig,
    program: &str,
    control: &diy_backup_core::Control,
) -> Result<Release> {
    let line = local_tool(config, program).version(control).await?;
    Release::from_version_line(&line).ok_or_else(|| {
        diy_backup_core::Error::new(
            diy_backup_core::ErrorKind::Tool,
            format!("`{program} --version` says {line:?}, which names no release"),
        )
    })
}

fn passed_environment() -> Vec<(&'static str, OsString)> {
    let mut passed: Vec<_> = PASSED
        .iter()
        .filter_map(|&name| Some((name, std::env::var_os(name)?)))
        .collect();
    if !passed.iter().any(|(name, _)| *name == "PGCONNECT_TIMEOUT") {
        passed.push(("PGCONNECT_TIMEOUT", "15".into()));
    }
    passed
}
