//! The section `[database]` with `strategy = "postgresql"`.

use std::num::NonZeroU16;
use std::time::Duration;

use diy_backup_core::{
    AbsolutePath, DatabaseAddress, DatabaseKind, HumanDuration, Result, Secret, Section,
};
use serde::Deserialize;

/// The longest name that PostgreSQL keeps, in bytes.
pub(crate) const MAX_NAME_BYTES: usize = 63;

/// What the strategy `postgresql` is told in the configuration.
#[derive(Debug, Clone, Deserialize)]
#[serde(deny_unknown_fields, rename_all = "kebab-case")]
#[non_exhaustive]
pub struct PostgresConfig {
    /// The database of the instance.
    pub name: String,
    /// The server's host name or address, or the folder of its Unix socket; `localhost` unless set.
    #[serde(default = "default_host")]
    pub host: String,
    /// The server's port; 5432 unless set.
    #[serde(default = "default_port")]
    pub port: u16,
    /// The role that logs in.
    pub username: String,
    /// Its password. Without one, what libpq finds by itself is used: `~/.pgpass`, `PGPASSFILE`, peer, certificates.
    #[serde(default)]
    pub password: Option<Secret>,
    /// How many connections dump and restore work with; 4 unless set. With 1, the one connection of the dump locks
    /// every table when it starts, and a statement such as `ALTER TABLE` waits; with more, it makes the dump fail.
    #[serde(default = "default_jobs")]
    pub jobs: NonZeroU16,
    /// The role that owns everything that a restore makes. Unless set, everything belongs to whom it belonged; in an
    /// empty database that was made for an ordinary role other than the original's, to that role.
    #[serde(default)]
    pub owner: Option<String>,
    /// The database that a restore is connected to while it creates and renames others; `postgres` unless set.
    #[serde(default = "default_maintenance_database")]
    pub maintenance_database: String,
    /// The folder of `psql`, `pg_dump` and `pg_restore`; unless set, they are looked for in `PATH`.
    #[serde(default)]
    pub tools: Option<AbsolutePath>,
    /// How far TLS is insisted on; unless set, libpq's own default.
    #[serde(default)]
    pub ssl_mode: Option<SslMode>,
    /// The certificates that the server's is checked against, as a PEM file.
    #[serde(default)]
    pub ssl_root_cert: Option<AbsolutePath>,
    /// How long a lock on a table may take before the backup does without it; 10 seconds unless set.
    #[serde(default = "default_lock_timeout")]
    pub lock_timeout: HumanDuration,
    /// How `pg_dump --compress` is to compress, such as `"1"` or `"zstd:3"`; unless set, not at all, as
    /// the archive compresses what it holds.
    #[serde(default)]
    pub dump_compression: Option<String>,
}

/// How far TLS is insisted on: the values of libpq's `sslmode`.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "kebab-case")]
#[non_exhaustive]
pub enum SslMode {
    /// Never.
    Disable,
    /// Only if the server insists.
    Allow,
    /// If the server can.
    Prefer,
    /// Always, whoever the server is.
    Require,
    /// Always, with a certificate that a known authority has signed.
    VerifyCa,
    /// Always, with a certificate that is for this host.
    VerifyFull,
}

impl SslMode {
    pub(crate) fn as_str(self) -> &'static str {
        match self {
            Self::Disable => "disable",
            Self::Allow => "allow",
            Self::Prefer => "prefer",
            Self::Require => "require",
            Self::VerifyCa => "verify-ca",
            Self::VerifyFull => "verify-full",
        }
    }
}

impl PostgresConfig {
    /// Reads the section.
    ///
    /// # Errors
    /// [`ErrorKind::Config`](diy_backup_core::ErrorKind::Config) with file and line.
    pub fn from_section(section: &Section) -> Result<Self> {
        let config: Self = section.parse()?;
        config.validate(section)?;
        Ok(config)
    }

    /// Returns where the database is.
    pub(crate) fn address(&self) -> DatabaseAddress {
        DatabaseAddress::new(DatabaseKind::PostgreSql, &self.host, &self.name).with_port(self.port)
    }

    /// That names and host are what PostgreSQL takes them for.
    pub(crate) fn validate(&self, section: &Section) -> Result<()> {
        for (key, name) in self.names() {
            if name.is_empty() || name.contains('\0') || name.len() > MAX_NAME_BYTES {
                let message =
                    format!("must be a name of 1 to {MAX_NAME_BYTES} bytes without NUL in it");
                return Err(section.error_at_key(key, &message));
            }
        }
        if self.host.is_empty() || self.host.contains([',', '\0']) {
            return Err(section.error_at_key("host", "must name one host or socket folder"));
        }
        Ok(())
    }

    fn names(&self) -> impl Iterator<Item = (&'static str, &str)> {
        [
            ("name", Some(self.name.as_str())),
            ("username", Some(self.username.as_str())),
            ("owner", self.owner.as_deref()),
            (
                "maintenance-database",
                Some(self.maintenance_database.as_str()),
            ),
        ]
        .into_iter()
        .filter_map(|(key, name)| Some((key, name?)))
    }
}

fn default_host() -> String {
    "localhost".to_owned()
}

fn default_port() -> u16 {
    5432
}

fn default_jobs() -> NonZeroU16 {
    const FOUR: NonZeroU16 = NonZeroU16::new(4).unwrap();
    FOUR
}

fn default_maintenance_database() -> String {
    "postgres".to_owned()
}

fn default_lock_timeout() -> HumanDuration {
    Duration::from_secs(10).into()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn parse(text: &str) -> Result<PostgresConfig> {
        PostgresConfig::from_section(&Section::from_text("database", text)?)
    }

    #[test]
    fn name_and_user_are_enough() {
        let config = parse("name = 'bitbucket'\nusername = 'u'").unwrap();
        assert_eq!((config.host.as_str(), config.port), ("localhost", 5432));
        assert_eq!(
            (config.jobs.get(), config.maintenance_database.as_str()),
            (4, "postgres")
        );
        assert!(config.password.is_none() && config.owner.is_none());
    }

    #[test]
    fn names_that_postgresql_would_cut_or_misread_are_refused() {
        let long = "x".repeat(64);
        for name in ["", "a\\u0000b", long.as_str()] {
            let error = parse(&format!("name = \"{name}\"\nusername = 'u'")).unwrap_err();
            assert!(error.to_string().contains("`name` must be"), "{error}");
        }
        let hosts = parse("name = 'b'\nusername = 'u'\nhost = 'a,b'").unwrap_err();
        assert!(hosts.to_string().contains("`host`"), "{hosts}");
    }

    #[test]
    fn ssl_modes_are_those_of_libpq() {
        let config = parse("name = 'b'\nusername = 'u'\nssl-mode = 'verify-full'").unwrap();
        assert_eq!(config.ssl_mode.map(SslMode::as_str), Some("verify-full"));
    }
}
