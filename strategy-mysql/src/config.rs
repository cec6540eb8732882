//! The section `[database]` with `strategy = "mysql"`.

use diy_backup_core::{AbsolutePath, DatabaseAddress, DatabaseKind, Result, Secret, Section};
use serde::Deserialize;

/// The longest name of a database, in characters.
pub(crate) const MAX_NAME_CHARS: usize = 64;

/// What the strategy `mysql` is told in the configuration.
#[derive(Debug, Clone, Deserialize)]
#[serde(deny_unknown_fields, rename_all = "kebab-case")]
#[non_exhaustive]
pub struct MysqlConfig {
    /// The database of the instance.
    pub name: String,
    /// The server's host name or address, always reached over TCP, or the path of its Unix socket; `localhost` unless
    /// set.
    #[serde(default = "default_host")]
    pub host: String,
    /// The server's port; 3306 unless set.
    #[serde(default = "default_port")]
    pub port: u16,
    /// The account that logs in.
    pub username: String,
    /// Its password. Without one, the account must need none: `unix_socket`, `auth_socket`.
    #[serde(default)]
    pub password: Option<Secret>,
    /// The folder of the client and the dump program; unless set, they are looked for in `PATH`.
    #[serde(default)]
    pub tools: Option<AbsolutePath>,
    /// How far TLS is insisted on; unless set, the tools' own default.
    #[serde(default)]
    pub ssl_mode: Option<SslMode>,
    /// The certificates that the server's is checked against, as a PEM file.
    #[serde(default)]
    pub ssl_ca: Option<AbsolutePath>,
}

/// How far TLS is insisted on.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "kebab-case")]
#[non_exhaustive]
pub enum SslMode {
    /// Never.
    Disable,
    /// If the server can; MariaDB's tools have no such choice and keep their default.
    Prefer,
    /// Always, whoever the server is.
    Require,
    /// Always, with a certificate that a known authority has signed; with MariaDB's tools the same as `verify-full`.
    VerifyCa,
    /// Always, with a certificate that is for this host.
    VerifyFull,
}

impl MysqlConfig {
    /// Reads the section.
    ///
    /// # Errors
    /// [`ErrorKind::Config`](diy_backup_core::ErrorKind::Config) with file and line.
    pub fn from_section(section: &Section) -> Result<Self> {
        let config: Self = section.parse()?;
        for (key, name) in [("name", &config.name), ("username", &config.username)] {
            let length = name.chars().count();
            if !(1..=MAX_NAME_CHARS).contains(&length) || name.contains('\0') {
                let message =
                    format!("must be a name of 1 to {MAX_NAME_CHARS} characters without NUL in it");
                return Err(section.error_at_key(key, &message));
            }
        }
        if config.name.ends_with(' ') {
            return Err(section.error_at_key("name", "must not end with a blank"));
        }
        if config.host.is_empty() || config.host.contains('\0') {
            return Err(section.error_at_key("host", "must name a host or the path of a socket"));
        }
        if config.ssl_ca.is_some() && config.ssl_mode == Some(SslMode::Disable) {
            return Err(section.error_at_key("ssl-ca", "contradicts `ssl-mode = \"disable\"`"));
        }
        Ok(config)
    }

    /// Returns where the database is.
    pub(crate) fn address(&self) -> DatabaseAddress {
        DatabaseAddress::new(DatabaseKind::MySql, &self.host, &self.name).with_port(self.port)
    }

    /// Whether `host` is the path of a socket.
    pub(crate) fn is_socket(&self) -> bool {
        self.host.starts_with('/')
    }
}

fn default_host() -> String {
    "localhost".to_owned()
}

fn default_port() -> u16 {
    3306
}

#[cfg(test)]
mod tests {
    use super::*;

    fn parse(text: &str) -> Result<MysqlConfig> {
        MysqlConfig::from_section(&Section::from_text("database", text)?)
    }

    #[test]
    fn name_and_user_are_enough() {
        let config = parse("name = 'bitbucket'\nusername = 'u'").unwrap();
        assert_eq!((config.host.as_str(), config.port), ("localhost", 3306));
        assert!(!config.is_socket() && config.password.is_none());
    }

    #[test]
    fn names_that_the_server_would_refuse_are_refused() {
        let long = "ä".repeat(65);
        for name in ["", "a\\u0000b", "blank ", long.as_str()] {
            let error = parse(&format!("name = \"{name}\"\nusername = 'u'")).unwrap_err();
            assert!(error.to_string().contains("`name` must"), "{error}");
        }
        assert!(parse(&format!("name = '{}'\nusername = 'u'", "ä".repeat(64))).is_ok());
    }

    #[test]
    fn a_certificate_without_tls_is_a_contradiction() {
        let text = "name = 'b'\nusername = 'u'\nssl-mode = 'disable'\nssl-ca = '/ca.pem'";
        assert!(parse(text).unwrap_err().to_string().contains("`ssl-ca`"));
    }
}
