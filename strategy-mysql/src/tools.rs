//! The client and the dump program: whose they are, how new, and what they know.

use std::fmt;
use std::path::Path;

use diy_backup_core::{Control, Error, ErrorKind, Result, Tool};

use crate::config::MysqlConfig;

/// Who makes a server or a tool.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Flavour {
    MySql,
    MariaDb,
}

impl Flavour {
    pub(crate) const ALL: [Self; 2] = [Self::MariaDb, Self::MySql];

    /// Names of the client and the dump program, and the Debian package that has them.
    fn programs(self) -> (&'static str, &'static str, &'static str) {
        match self {
            Self::MySql => ("mysql", "mysqldump", "mysql-client"),
            Self::MariaDb => ("mariadb", "mariadb-dump", "mariadb-client"),
        }
    }

    pub(crate) fn package(self) -> &'static str {
        self.programs().2
    }
}

impl fmt::Display for Flavour {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::MySql => "MySQL",
            Self::MariaDb => "MariaDB",
        })
    }
}

/// A release of one flavour, as exact as compatibility goes.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Release {
    pub(crate) flavour: Flavour,
    major: u32,
    minor: u32,
}

impl Release {
    /// From what a server says: `8.0.36-0ubuntu0.22.04.1`, `10.11.19-MariaDB-0+deb12u1`, `5.5.5-10.6.1-MariaDB`.
    pub(crate) fn of_server(version: &str) -> Option<Self> {
        let flavour = if version.contains("MariaDB") {
            Flavour::MariaDb
        } else {
            Flavour::MySql
        };
        // Older MariaDB put this before its own version, for replicas that knew no 10.
        let version = version.strip_prefix("5.5.5-").unwrap_or(version);
        Self::parse(flavour, version)
    }

    /// From what a tool says of itself: `mysqldump  Ver 8.0.36 for Linux`, `mariadb-dump  Ver 10.19 Distrib
    /// 10.11.19-MariaDB, for …`, `mariadb-dump from 11.4.2-MariaDB, client 10.19 for Linux`.
    pub(crate) fn of_tool(line: &str) -> Option<Self> {
        let flavour = if line.contains("MariaDB") {
            Flavour::MariaDb
        } else {
            Flavour::MySql
        };
        let version = ["Distrib ", " from ", "Ver "]
            .iter()
            .find_map(|mark| Some(line.split_once(mark)?.1))?;
        Self::parse(flavour, version)
    }

    fn parse(flavour: Flavour, version: &str) -> Option<Self> {
        let mut parts = version.trim_start().split(|c: char| !c.is_ascii_digit());
        Some(Self {
            flavour,
            major: parts.next()?.parse().ok()?,
            minor: parts.next()?.parse().ok()?,
        })
    }

    /// The oldest that this strategy works with.
    pub(crate) fn oldest(flavour: Flavour) -> Self {
        let (major, minor) = match flavour {
            Flavour::MySql => (8, 0),
            Flavour::MariaDb => (10, 6),
        };
        Self {
            flavour,
            major,
            minor,
        }
    }

    /// Whether it is older than another one of the same flavour.
    pub(crate) fn is_older_than(self, other: Self) -> bool {
        self.flavour == other.flavour && (self.major, self.minor) < (other.major, other.minor)
    }
}

impl fmt::Display for Release {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} {}.{}", self.flavour, self.major, self.minor)
    }
}

/// A dump to a slow disk lets the server wait, and limits on statements are meant for others. MariaDB passes over comments
/// with the numbers of MySQL 5.7, and has a limit of another name, which its own dump program lifts.
const UNHURRIED: &str = "--init-command=SET SESSION net_read_timeout = 86400, net_write_timeout = 86400 \
    /*!50708 , max_execution_time = 0 */";

/// A client and a dump program of one release.
#[derive(Debug, Clone)]
pub(crate) struct Tools {
    pub(crate) client: Tool,
    pub(crate) dump: Tool,
    pub(crate) release: Release,
}

impl Tools {
    /// Those under the names of a flavour; whose they are, only they can say: MariaDB's bear MySQL's names, too.
    pub(crate) async fn look(
        config: &MysqlConfig,
        flavour: Flavour,
        control: &Control,
    ) -> Result<Self> {
        let (client, dump, package) = flavour.programs();
        let tool = |program| {
            Tool::in_directory(config.tools.as_ref().map(AsRef::<Path>::as_ref), program)
                .from_package(package)
                // What went wrong is told apart by what the tools say, so they say it in English.
                .env("LC_ALL", "C")
        };
        let (client, dump) = (tool(client), tool(dump));
        let line = dump.version(control).await?;
        let release = Release::of_tool(&line).ok_or_else(|| {
            Error::new(
                ErrorKind::Tool,
                format!(
                    "`{} --version` says {line:?}, which names no release",
                    dump.name()
                ),
            )
        })?;
        Ok(Self {
            client,
            dump,
            release,
        })
    }

    /// What only some dump programs have to be told, as far as this one knows it: counters of replication are for the
    /// server they come from, statistics of columns for a table that MariaDB does not have, and masking policies for
    /// the whole server, whose tables an ordinary account does not see.
    pub(crate) async fn dump_arguments(&self, control: &Control) -> Result<Vec<&'static str>> {
        let help = help(&self.dump, control).await?;
        let all = [
            ("init-command", UNHURRIED),
            ("set-gtid-purged", "--set-gtid-purged=OFF"),
            ("column-statistics", "--column-statistics=0"),
            ("masking-policies", "--skip-masking-policies"),
        ];
        Ok(all
            .into_iter()
            .filter(|(option, _)| knows(&help, option))
            .map(|(_, argument)| argument)
            .collect())
    }

    /// What keeps the client from obeying commands in a dump, as far as this one knows it.
    pub(crate) async fn sandbox_argument(&self, control: &Control) -> Result<Option<&'static str>> {
        let help = help(&self.client, control).await?;
        Ok(knows(&help, "sandbox").then_some("--sandbox"))
    }
}

async fn help(tool: &Tool, control: &Control) -> Result<String> {
    let output = tool
        .clone()
        .args(["--no-defaults", "--help"])
        .run(control)
        .await?;
    Ok(output.stdout_text().into_owned())
}

fn knows(help: &str, name: &str) -> bool {
    let option = format!("--{name}");
    help.match_indices(&option).any(|(at, _)| {
        let rest = &help[at + option.len()..];
        !rest.starts_with(|c: char| c.is_ascii_alphanumeric() || c == '-')
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn tools_and_servers_of_both_flavours_are_told_apart() {
        let tool = |line| Release::of_tool(line).unwrap().to_string();
        let old = "mysqldump  Ver 10.19 Distrib 10.11.19-MariaDB, for debian-linux-gnu (x86_64)";
        assert_eq!(tool(old), "MariaDB 10.11");
        let new = "mariadb-dump from 11.4.2-MariaDB, client 10.19 for Linux (x86_64)";
        assert_eq!(tool(new), "MariaDB 11.4");
        let mysql = "mysqldump  Ver 8.0.36 for Linux on x86_64 (MySQL Community Server - GPL)";
        assert_eq!(tool(mysql), "MySQL 8.0");
        let older = "mysqldump  Ver 10.13 Distrib 5.7.44, for Linux (x86_64)";
        assert_eq!(tool(older), "MySQL 5.7");
        assert_eq!(Release::of_tool("mysqldump: what?"), None);
        let server = |version| Release::of_server(version).unwrap().to_string();
        assert_eq!(server("10.11.19-MariaDB-0+deb12u1-log"), "MariaDB 10.11");
        assert_eq!(server("5.5.5-10.6.1-MariaDB"), "MariaDB 10.6");
        assert_eq!(server("9.7.0-commercial"), "MySQL 9.7");
    }

    #[test]
    fn releases_compare_within_their_flavour() {
        let mysql = |text| Release::of_server(text).unwrap();
        assert!(mysql("5.7.44").is_older_than(Release::oldest(Flavour::MySql)));
        assert!(!mysql("8.4.0").is_older_than(mysql("8.0.36")));
        assert!(!mysql("8.0.36").is_older_than(mysql("10.11.1-MariaDB")));
    }

    #[test]
    fn an_option_is_known_by_its_whole_name() {
        let help = "  --set-gtid-purged[=name]\n  --ssl-mode=name ";
        assert!(knows(help, "set-gtid-purged") && knows(help, "ssl-mode"));
        assert!(!knows(help, "set-gtid") && !knows(help, "ssl"));
    }
}
