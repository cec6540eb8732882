//! What a server refuses, and what to do about it.

use std::fmt;

use diy_backup_core::{Error, ErrorKind, printable};

use crate::server::Server;

/// How much of a server's message is repeated, in characters: it may hold a piece of a statement.
const SHOWN: usize = 400;

/// A statement or a login that the server refused.
#[derive(Debug)]
pub(crate) struct Refusal {
    pub(crate) code: u32,
    message: String,
}

impl fmt::Display for Refusal {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} (error {})", self.message, self.code)
    }
}

impl std::error::Error for Refusal {}

/// Numbers of the error messages of both flavours.
const ACCESS_DENIED_TO_DATABASE: u32 = 1044;
const ACCESS_DENIED: u32 = 1045;
const UNKNOWN_DATABASE: u32 = 1049;
const TOO_MANY_CONNECTIONS: u32 = 1040;
const PACKET_TOO_LARGE: u32 = 1153;
const UNKNOWN_COLLATION: u32 = 1273;
const UNKNOWN_CHARACTER_SET: u32 = 1115;
const LOCK_WAIT_TIMEOUT: u32 = 1205;
const NO_SOCKET: u32 = 2002;
const NO_HOST: u32 = 2003;
const UNKNOWN_HOST: u32 = 2005;
const TLS: u32 = 2026;

impl Refusal {
    /// Reads `ERROR 1045 (28000) at line 3: Access denied …` from the last words of a client. What comes before it is
    /// the statement, which may be the content of a table.
    pub(crate) fn in_words(said: &str) -> Option<Self> {
        let (at, _) = said.match_indices("ERROR ").last()?;
        let rest = &said[at + "ERROR ".len()..];
        let (code, rest) = rest.split_once([' ', ':'])?;
        let message = match rest.split_once(": ") {
            Some((place, message)) if place.len() < 40 => message,
            _ => rest,
        };
        let message: String = message.trim().chars().take(SHOWN).collect();
        Some(Self {
            code: code.parse().ok()?,
            message: printable(&message),
        })
    }

    pub(crate) fn is_unknown_collation(&self) -> bool {
        matches!(self.code, UNKNOWN_COLLATION | UNKNOWN_CHARACTER_SET)
    }

    fn hint(&self) -> Option<&'static str> {
        Some(match self.code {
            ACCESS_DENIED_TO_DATABASE | 1142 | 1227 | 1370 => {
                "`diy-backup check` names what the account may not do, with the GRANT statement."
            }
            LOCK_WAIT_TIMEOUT => "Another session holds a table: see `SHOW PROCESSLIST`.",
            PACKET_TOO_LARGE => {
                "Raise it on the server: `SET GLOBAL max_allowed_packet = 1073741824;`."
            }
            UNKNOWN_COLLATION | UNKNOWN_CHARACTER_SET => {
                "The dump comes from a server of another kind or a newer one: restore it to such a server."
            }
            1419 => {
                "Triggers and functions need it where the server keeps a binary log: `SET GLOBAL log_bin_trust_function_creators = 1;`."
            }
            1021 | 1114 => "The server's disk is full.",
            _ => return None,
        })
    }
}

/// Why a statement gave no answer.
#[derive(Debug)]
pub(crate) enum Failure {
    /// The server refused it.
    Refused(Refusal),
    /// The client did not come to an answer.
    Lost(Error),
}

impl Failure {
    /// From the error of a client that has failed.
    pub(crate) fn of(error: Error) -> Self {
        if error.kind() != ErrorKind::Tool {
            return Self::Lost(error);
        }
        match Refusal::in_words(&error.to_string()) {
            Some(refusal) => Self::Refused(refusal),
            None => Self::Lost(error),
        }
    }

    /// The error of a step that says what it was `doing`.
    pub(crate) fn doing(self, doing: impl fmt::Display) -> Error {
        let message = format!("cannot {doing}");
        match self {
            Self::Refused(refusal) => {
                let hint = refusal.hint();
                let error = Error::new(ErrorKind::Database, message).with_source(refusal);
                match hint {
                    Some(hint) => error.with_hint(hint),
                    None => error,
                }
            }
            Self::Lost(error) if error.kind() == ErrorKind::Cancelled => error,
            Self::Lost(error) => Error::new(ErrorKind::Database, message)
                .with_source(error)
                .transient(),
        }
    }
}

/// A login that failed, as an error that says what to do.
pub(crate) fn cannot_log_in(server: &Server, failure: Failure) -> Error {
    let refusal = match failure {
        Failure::Refused(refusal) => refusal,
        Failure::Lost(error) => return error,
    };
    let config = server.config();
    let account = &config.username;
    let message = format!("cannot log in as {account:?} on {}", server.address());
    let hint = match refusal.code {
        ACCESS_DENIED | 1698 => format!(
            "Check `username` and `password` in the section [database]. If the account is missing: `CREATE USER {}@'%' IDENTIFIED BY '…';`.",
            crate::sql::literal(account)
        ),
        UNKNOWN_DATABASE => "Correct `name` in the section [database]; `SHOW DATABASES;` lists those there are.".to_owned(),
        NO_SOCKET | NO_HOST => {
            "Start the server, or correct `host` and `port` in the section [database]; a socket is named by its path as `host`.".to_owned()
        }
        UNKNOWN_HOST => "Correct `host` in the section [database].".to_owned(),
        TLS => "Check `ssl-mode` and `ssl-ca` in the section [database], and the server's certificate.".to_owned(),
        TOO_MANY_CONNECTIONS => "Raise the server's max_connections.".to_owned(),
        2059 | 1156 | 1251 => format!(
            "The installed client cannot log in this way: install that of the server's maker (on Debian and Ubuntu: `apt-get install {}`).",
            other_package(server)
        ),
        _ => format!("Try it by hand: `{} -h {} -u {account} -p`.", server.tools().client.name(), config.host),
    };
    let transient = matches!(refusal.code, NO_SOCKET | NO_HOST | TOO_MANY_CONNECTIONS);
    let error = Error::new(ErrorKind::Database, message)
        .with_source(refusal)
        .with_hint(hint);
    if transient { error.transient() } else { error }
}

fn other_package(server: &Server) -> &'static str {
    use crate::tools::Flavour;

    match server.tools().release.flavour {
        Flavour::MariaDb => Flavour::MySql.package(),
        Flavour::MySql => Flavour::MariaDb.package(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_a_client_says_last_is_read_without_the_statement() {
        let said = "`mariadb` failed with exit status 1: -------------- | INSERT secret 'ERROR' | ERROR 1452 (23000) at line 12: Cannot add: x";
        let refusal = Refusal::in_words(said).unwrap();
        assert_eq!(refusal.to_string(), "Cannot add: x (error 1452)");
        let login = Refusal::in_words("x: ERROR 1045 (28000): Access denied for user 'u'").unwrap();
        assert_eq!(
            (login.code, login.message.as_str()),
            (1045, "Access denied for user 'u'")
        );
        let lost = Refusal::in_words("ERROR 2013 (HY000) at line 1: Lost connection").unwrap();
        assert_eq!(
            (lost.code, lost.message.as_str()),
            (2013, "Lost connection")
        );
        assert!(Refusal::in_words("no such thing").is_none());
    }
}
