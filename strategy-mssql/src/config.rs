//! The section `[database]` with `strategy = "mssql"`.

use diy_backup_core::{AbsolutePath, DatabaseAddress, DatabaseKind, Result, Secret, Section};
use serde::Deserialize;

/// The longest name that SQL Server keeps, in UTF-16 units.
pub(crate) const MAX_NAME_UNITS: usize = 128;

/// What the strategy `mssql` is told in the configuration.
#[derive(Debug, Clone, Deserialize)]
#[serde(deny_unknown_fields, rename_all = "kebab-case")]
#[non_exhaustive]
pub struct MssqlConfig {
    /// The database of the instance.
    pub name: String,
    /// The server's host name or address, or `host\INSTANCE`; `localhost` unless set.
    #[serde(default = "default_host")]
    pub host: String,
    /// The server's port; unless set, the driver's own default, 1433.
    #[serde(default)]
    pub port: Option<u16>,
    /// The SQL login; without it, the account that the program runs under logs in (Windows or Kerberos).
    #[serde(default)]
    pub username: Option<String>,
    /// The password of the SQL login.
    #[serde(default)]
    pub password: Option<Secret>,
    /// The folder that server and program share, as the server names it: `D:\diy-backup`, `\\nas\backup`.
    pub server_directory: String,
    /// The same folder as this machine names it.
    pub directory: AbsolutePath,
    /// The folder of `sqlcmd`; unless set, it is looked for in `PATH`.
    #[serde(default)]
    pub tools: Option<AbsolutePath>,
    /// How far TLS is insisted on; unless set, the default of `sqlcmd`.
    #[serde(default)]
    pub encrypt: Option<Encryption>,
    /// Whether the server's certificate is believed without a look at who has signed it.
    #[serde(default)]
    pub trust_server_certificate: bool,
    /// Whether the server compresses its backups.
    #[serde(default)]
    pub compression: Compression,
    /// Where a restore puts data files, as the server names it; unless set, the server's own default folder.
    #[serde(default)]
    pub data_directory: Option<String>,
    /// Where a restore puts log files, as the server names it; unless set, the server's own default folder.
    #[serde(default)]
    pub log_directory: Option<String>,
}

/// How far TLS is insisted on: the values of `sqlcmd -N`.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "kebab-case")]
#[non_exhaustive]
pub enum Encryption {
    /// Only for the login, unless the server insists.
    Optional,
    /// Always.
    Mandatory,
    /// Always, from the first byte on, as SQL Server 2022 and newer can.
    Strict,
}

/// Whether the server compresses its backups.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Deserialize)]
#[serde(rename_all = "kebab-case")]
#[non_exhaustive]
pub enum Compression {
    /// If its edition can.
    #[default]
    Auto,
    /// Never.
    Never,
}

impl MssqlConfig {
    /// Reads the section.
    ///
    /// # Errors
    /// [`ErrorKind::Config`](diy_backup_core::ErrorKind::Config) with file and line.
    pub fn from_section(section: &Section) -> Result<Self> {
        let config: Self = section.parse()?;
        let units = config.name.encode_utf16().count();
        if units == 0 || units > MAX_NAME_UNITS || config.name.chars().any(char::is_control) {
            let message = format!(
                "must have 1 to {MAX_NAME_UNITS} letters, none of them a control character"
            );
            return Err(section.error_at_key("name", &message));
        }
        for (key, text) in config.texts() {
            if text.is_empty() || text.chars().any(char::is_control) {
                return Err(
                    section.error_at_key(key, "must not be empty or have control characters")
                );
            }
        }
        if config.port.is_some() && config.host.contains([',', '\\']) {
            return Err(section.error_at_key(
                "port",
                "does not go with a `host` that names a port or an instance",
            ));
        }
        if config.username.is_some() != config.password.is_some() {
            return Err(section.error(
                "needs `username` and `password` for a SQL login, or neither for a login with the program's own account",
            ));
        }
        Ok(config)
    }

    /// Returns where the database is. A named instance has a port that only its server knows.
    pub(crate) fn address(&self) -> DatabaseAddress {
        const DEFAULT_PORT: u16 = 1433;

        // What `sqlcmd -S` takes: `[protocol:]host[\\instance][,port]`.
        let host = self
            .host
            .split_once(':')
            .map_or(self.host.as_str(), |(protocol, rest)| {
                if matches!(protocol, "tcp" | "np" | "lpc" | "admin") {
                    rest
                } else {
                    self.host.as_str()
                }
            });
        let (host, port) = match host.split_once(',') {
            Some((host, port)) => (host, port.trim().parse().ok()),
            None => (host, self.port),
        };
        let (host, port) = match host.split_once('\\') {
            Some((host, _)) => (host, port),
            None => (host, port.or(Some(DEFAULT_PORT))),
        };
        let address = DatabaseAddress::new(DatabaseKind::SqlServer, host, &self.name);
        match port {
            Some(port) => address.with_port(port),
            None => address,
        }
    }

    fn texts(&self) -> impl Iterator<Item = (&'static str, &str)> {
        [
            ("host", Some(self.host.as_str())),
            ("username", self.username.as_deref()),
            ("server-directory", Some(self.server_directory.as_str())),
            ("data-directory", self.data_directory.as_deref()),
            ("log-directory", self.log_directory.as_deref()),
        ]
        .into_iter()
        .filter_map(|(key, text)| Some((key, text?)))
    }
}

fn default_host() -> String {
    "localhost".to_owned()
}

#[cfg(test)]
mod tests {
    use super::*;

    const LEAST: &str = "name = 'bitbucket'\nserver-directory = 'D:\\b'\ndirectory = '/mnt/b'\n";

    fn parse(more: &str) -> Result<MssqlConfig> {
        MssqlConfig::from_section(&Section::from_text("database", &format!("{LEAST}{more}"))?)
    }

    #[test]
    fn a_name_and_the_shared_folder_are_enough() {
        let config = parse("").unwrap();
        assert_eq!(config.host, "localhost");
        assert_eq!(config.compression, Compression::Auto);
        assert!(config.username.is_none() && !config.trust_server_certificate);
    }

    #[test]
    fn the_address_is_what_sqlcmd_takes_the_host_for() {
        let address = |host: &str| {
            let address = parse(&format!("host = '{host}'")).unwrap().address();
            (address.host, address.port)
        };
        assert_eq!(address("db"), ("db".to_owned(), Some(1433)));
        assert_eq!(address("tcp:db,1500"), ("db".to_owned(), Some(1500)));
        assert_eq!(address("db\\X"), ("db".to_owned(), None));
        assert_eq!(address("db\\X,1501"), ("db".to_owned(), Some(1501)));
    }

    #[test]
    fn a_login_is_whole_or_not_there() {
        assert!(
            parse("username = 'sa'")
                .unwrap_err()
                .to_string()
                .contains("`password`")
        );
        assert!(parse("username = 'sa'\npassword = { value = 'x' }").is_ok());
    }

    #[test]
    fn what_a_script_would_misread_is_refused() {
        let name = "name = \"a\\nGO\"\nserver-directory = '/b'\ndirectory = '/b'";
        let section = Section::from_text("database", name).unwrap();
        let error = MssqlConfig::from_section(&section).unwrap_err().to_string();
        assert!(error.contains("`name`"), "{error}");
        assert!(parse("data-directory = ''").is_err());
        assert!(parse("host = 'db\\INSTANCE'\nport = 1433").is_err());
    }
}
