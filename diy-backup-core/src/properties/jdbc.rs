//! What a JDBC URL says of the database, without what is secret in it.

use crate::strategy::DatabaseKind;

/// The database that a JDBC URL leads to.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Target {
    /// One that lies in the home directory.
    Internal,
    Server(Server),
}

/// A database on a server.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Server {
    pub(super) kind: DatabaseKind,
    /// Each with its port, where there is one to know.
    pub(super) hosts: Vec<(String, Option<u16>)>,
    pub(super) name: Option<String>,
}

impl std::fmt::Display for Server {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let name = self.name.as_deref().unwrap_or("(default)");
        write!(f, "{name} on ")?;
        for (number, (host, port)) in self.hosts.iter().enumerate() {
            let comma = if number > 0 { "," } else { "" };
            write!(f, "{comma}{host}")?;
            if let Some(port) = port {
                write!(f, ":{port}")?;
            }
        }
        Ok(())
    }
}

/// Reads a URL; `None` for one whose form is not known.
pub(super) fn parse(url: &str) -> Option<Target> {
    // What a placeholder stands for is known to Bitbucket alone.
    let has_placeholder = url.contains("${") && !url.starts_with("jdbc:h");
    let rest = url
        .trim()
        .strip_prefix("jdbc:")
        .filter(|_| !has_placeholder)?;
    let rest = rest.strip_prefix("aws-wrapper:").unwrap_or(rest);
    let (scheme, rest) = rest.split_once(':')?;
    let server = match scheme.to_ascii_lowercase().as_str() {
        "h2" | "hsqldb" => return Some(Target::Internal),
        "postgresql" => with_path(DatabaseKind::PostgreSql, 5432, rest)?,
        "mysql" | "mariadb" => {
            // `jdbc:mysql:loadbalance://…`
            let start = rest.find("//")?;
            with_path(DatabaseKind::MySql, 3306, &rest[start..])?
        }
        "sqlserver" => of_sql_server(rest)?,
        "jtds" => {
            let rest = rest.strip_prefix("sqlserver:")?;
            let (path, properties) = rest.split_once(';').unwrap_or((rest, ""));
            let mut server = with_path(DatabaseKind::SqlServer, 1433, path)?;
            if property(properties, &["instance"]).is_some() {
                forget_ports(&mut server);
            }
            server
        }
        _ => return None,
    };
    Some(Target::Server(server))
}

/// `//host:port,host:port/name?…`, or the name alone for a server on this machine.
fn with_path(kind: DatabaseKind, default: u16, rest: &str) -> Option<Server> {
    let rest = rest.split(['?', '#']).next()?;
    let Some(rest) = rest.strip_prefix("//") else {
        return Some(Server {
            kind,
            hosts: vec![("localhost".to_owned(), Some(default))],
            name: named(rest.trim_start_matches('/')),
        });
    };
    let (authority, name) = rest.split_once('/').unwrap_or((rest, ""));
    // Whoever stands before the sign logs in, with a password perhaps.
    let authority = authority.rsplit('@').next()?;
    if authority.contains(['(', '=']) {
        return None;
    }
    let hosts = authority.split(',').map(|host| {
        let (host, port) = split_port(host)?;
        let host = if host.is_empty() { "localhost" } else { host };
        Some((host.to_owned(), Some(port.unwrap_or(default))))
    });
    Some(Server {
        kind,
        hosts: hosts.collect::<Option<_>>()?,
        name: named(name),
    })
}

/// `//host\instance:port;databaseName=name;…`
fn of_sql_server(rest: &str) -> Option<Server> {
    let rest = rest.strip_prefix("//")?;
    let (authority, properties) = rest.split_once(';').unwrap_or((rest, ""));
    let (host, mut port) = split_port(authority)?;
    let (host, mut instance) = match host.split_once('\\') {
        Some((host, instance)) => (host, Some(instance)),
        None => (host, None),
    };
    let host = if host.is_empty() {
        property(properties, &["servername", "server"]).unwrap_or("localhost")
    } else {
        host
    };
    let given = property(properties, &["portnumber", "port"]);
    port = port.or_else(|| given?.parse().ok());
    instance = instance.or_else(|| property(properties, &["instancename"]));
    let default = instance.is_none().then_some(1433);
    Some(Server {
        kind: DatabaseKind::SqlServer,
        hosts: vec![(host.to_owned(), port.or(default))],
        name: property(properties, &["databasename", "database"]).and_then(named),
    })
}

fn forget_ports(server: &mut Server) {
    for (_, port) in &mut server.hosts {
        *port = None;
    }
}

fn property<'a>(properties: &'a str, names: &[&str]) -> Option<&'a str> {
    properties.split(';').find_map(|property| {
        let (key, value) = property.split_once('=')?;
        let key = key.trim().to_ascii_lowercase();
        let value = value.trim().trim_matches(['{', '}']);
        names.contains(&key.as_str()).then_some(value)
    })
}

fn split_port(host: &str) -> Option<(&str, Option<u16>)> {
    if let Some(rest) = host.strip_prefix('[') {
        let (host, rest) = rest.split_once(']')?;
        let port = rest.strip_prefix(':').map(str::parse);
        return Some((host, port.transpose().ok()?));
    }
    match host.rsplit_once(':') {
        Some((host, port)) if !port.is_empty() => Some((host, Some(port.parse().ok()?))),
        Some((host, _)) => Some((host, None)),
        None => Some((host, None)),
    }
}

fn named(name: &str) -> Option<String> {
    (!name.is_empty()).then(|| name.to_owned())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn shown(url: &str) -> Option<String> {
        parse(url).map(|target| match target {
            Target::Internal => "internal".to_owned(),
            Target::Server(server) => format!("{:?} {server}", server.kind),
        })
    }

    #[test]
    fn urls_of_every_database_are_read() {
        for (url, expected) in [
            (
                "jdbc:postgresql://db.example.com:5433/bb?targetServerType=master",
                "PostgreSql bb on db.example.com:5433",
            ),
            ("jdbc:postgresql://[::1]/bb", "PostgreSql bb on ::1:5432"),
            ("jdbc:postgresql://a,b:1/bb", "PostgreSql bb on a:5432,b:1"),
            ("jdbc:postgresql:bb", "PostgreSql bb on localhost:5432"),
            (
                "jdbc:aws-wrapper:postgresql://a/bb",
                "PostgreSql bb on a:5432",
            ),
            (
                "jdbc:mysql://u:secret@a/bb?password=secret",
                "MySql bb on a:3306",
            ),
            (
                "jdbc:mysql:loadbalance://a:1,b/bb",
                "MySql bb on a:1,b:3306",
            ),
            ("jdbc:mariadb://a/bb", "MySql bb on a:3306"),
            (
                "jdbc:sqlserver://a:1444;databaseName=bb;password=secret",
                "SqlServer bb on a:1444",
            ),
            ("jdbc:sqlserver://a\\I;database={bb}", "SqlServer bb on a"),
            (
                "jdbc:sqlserver://;serverName=a;portNumber=7;databaseName=bb",
                "SqlServer bb on a:7",
            ),
            (
                "jdbc:jtds:sqlserver://a:1/bb;instance=I",
                "SqlServer bb on a",
            ),
            ("jdbc:h2:${bitbucket.shared.home}/data/db", "internal"),
        ] {
            assert_eq!(shown(url).as_deref(), Some(expected), "{url}");
        }
        for unknown in [
            "",
            "jdbc:",
            "jdbc:oracle:thin:@a:1521:bb",
            "postgresql://a/b",
            "jdbc:postgresql://a:x/b",
            "jdbc:mysql://address=(host=a)(port=1)/bb",
            "jdbc:postgresql://${HOST}:${PORT}/b",
            "jdbc:mysql://db/${NAME}",
            "jdbc:mysql:",
            "jdbc:sqlserver:",
        ] {
            assert_eq!(shown(unknown), None, "{unknown}");
        }
    }
}
