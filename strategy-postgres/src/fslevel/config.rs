//! The section `[database]` with `strategy = "postgresql-fslevel"`.

use std::num::NonZeroU16;
use std::time::Duration;

use diy_backup_core::{AbsolutePath, HumanDuration, Result, Secret, Section};
use serde::Deserialize;

use crate::config::{PostgresConfig, SslMode};

/// What the strategy `postgresql-fslevel` is told in the configuration.
#[derive(Debug, Clone, Deserialize)]
#[serde(deny_unknown_fields, rename_all = "kebab-case")]
#[non_exhaustive]
pub struct FslevelConfig {
    /// The database of the instance.
    pub name: String,
    /// The server's host name or address, or the folder of its Unix socket; `localhost` unless set.
    #[serde(default = "default_host")]
    pub host: String,
    /// The server's port; 5432 unless set.
    #[serde(default = "default_port")]
    pub port: u16,
    /// The role that logs in; it needs to be a member of `pg_read_all_settings`.
    pub username: String,
    /// Its password. Without one, what libpq finds by itself is used: `~/.pgpass`, `PGPASSFILE`, peer, certificates.
    #[serde(default)]
    pub password: Option<Secret>,
    /// The server's data directory, on a volume of the home directory.
    pub data_directory: AbsolutePath,
    /// The command that starts the server.
    pub service_start: Vec<String>,
    /// The command that stops the server.
    pub service_stop: Vec<String>,
    /// The command that succeeds when the server runs, and fails when it does not.
    pub service_status: Vec<String>,
    /// How long the restored server may take to recover; 15 minutes unless set.
    #[serde(default = "default_recovery_timeout")]
    pub recovery_timeout: HumanDuration,
    /// Whether `full_page_writes = off` is right here, because the file system never writes half a page (ZFS).
    #[serde(default)]
    pub pages_are_written_whole: bool,
    /// The folder of `psql`; unless set, it is looked for in `PATH`.
    #[serde(default)]
    pub tools: Option<AbsolutePath>,
    /// How far TLS is insisted on; unless set, libpq's own default.
    #[serde(default)]
    pub ssl_mode: Option<SslMode>,
    /// The certificates that the server's is checked against, as a PEM file.
    #[serde(default)]
    pub ssl_root_cert: Option<AbsolutePath>,
}

impl FslevelConfig {
    /// Reads the section.
    ///
    /// # Errors
    /// [`ErrorKind::Config`](diy_backup_core::ErrorKind::Config) with file and line.
    pub fn from_section(section: &Section) -> Result<Self> {
        let config: Self = section.parse()?;
        for (key, command) in [
            ("service-start", &config.service_start),
            ("service-stop", &config.service_stop),
            ("service-status", &config.service_status),
        ] {
            if command.first().is_none_or(String::is_empty) {
                let example =
                    "must name a command, such as [\"systemctl\", \"start\", \"postgresql\"]";
                return Err(section.error_at_key(key, example));
            }
        }
        config.connection().validate(section)?;
        Ok(config)
    }

    /// How the server is reached.
    pub(super) fn connection(&self) -> PostgresConfig {
        PostgresConfig {
            name: self.name.clone(),
            host: self.host.clone(),
            port: self.port,
            username: self.username.clone(),
            password: self.password.clone(),
            jobs: NonZeroU16::MIN,
            owner: None,
            maintenance_database: "postgres".to_owned(),
            tools: self.tools.clone(),
            ssl_mode: self.ssl_mode,
            ssl_root_cert: self.ssl_root_cert.clone(),
            lock_timeout: Duration::from_secs(10).into(),
            dump_compression: None,
        }
    }
}

fn default_host() -> String {
    "localhost".to_owned()
}

fn default_port() -> u16 {
    5432
}

fn default_recovery_timeout() -> HumanDuration {
    Duration::from_mins(15).into()
}

#[cfg(test)]
mod tests {
    use super::*;

    const LEAST: &str = "name = 'b'\nusername = 'u'\ndata-directory = '/data/pg'\nservice-start = ['a']\nservice-stop = ['b']\n";

    fn parse(more: &str) -> Result<FslevelConfig> {
        FslevelConfig::from_section(&Section::from_text("database", &format!("{LEAST}{more}"))?)
    }

    #[test]
    fn commands_are_programs_with_arguments() {
        let config = parse("service-status = ['systemctl', 'is-active', 'postgresql']").unwrap();
        assert_eq!(config.connection().host, "localhost");
        for bad in ["", "service-status = []", "service-status = ['']"] {
            let error = parse(bad).unwrap_err().to_string();
            assert!(error.contains("service-status"), "{error}");
        }
    }
}
