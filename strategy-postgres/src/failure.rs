//! What PostgreSQL refuses, and what to do about it.

use std::fmt;

use diy_backup_core::{Error, ErrorKind};

use crate::server::Server;

/// A statement that the server refused.
#[derive(Debug)]
pub(crate) struct Refusal {
    pub(crate) sqlstate: String,
    pub(crate) message: String,
}

impl fmt::Display for Refusal {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} (SQLSTATE {})", self.message, self.sqlstate)
    }
}

impl std::error::Error for Refusal {}

/// Why a statement gave no answer.
#[derive(Debug)]
pub(crate) enum Failure {
    /// The server refused it; the session goes on.
    Refused(Refusal),
    /// The session is over.
    Lost(Error),
}

impl Failure {
    /// The code of a refusal; empty when the session is over.
    pub(crate) fn sqlstate(&self) -> &str {
        match self {
            Self::Refused(refusal) => &refusal.sqlstate,
            Self::Lost(_) => "",
        }
    }

    /// The error of a step that says what it was `doing`.
    pub(crate) fn doing(self, doing: impl fmt::Display) -> Error {
        match self {
            Self::Refused(refusal) => {
                let hint = hint_for(&refusal.sqlstate);
                let error =
                    Error::new(ErrorKind::Database, format!("cannot {doing}")).with_source(refusal);
                match hint {
                    Some(hint) => error.with_hint(hint),
                    None => error,
                }
            }
            Self::Lost(error) if error.kind() == ErrorKind::Cancelled => error,
            Self::Lost(error) => Error::new(ErrorKind::Database, format!("cannot {doing}"))
                .with_source(error)
                .transient(),
        }
    }
}

/// SQLSTATEs: see appendix A of PostgreSQL's manual.
pub(crate) const LOCK_NOT_AVAILABLE: &str = "55P03";
pub(crate) const INSUFFICIENT_PRIVILEGE: &str = "42501";
pub(crate) const UNDEFINED_TABLE: &str = "42P01";
pub(crate) const INVALID_SCHEMA: &str = "3F000";

fn hint_for(sqlstate: &str) -> Option<&'static str> {
    Some(match sqlstate {
        INSUFFICIENT_PRIVILEGE => {
            "`diy-backup check` names what the role may not read, with the GRANT statement."
        }
        LOCK_NOT_AVAILABLE => {
            "A statement such as ALTER TABLE or VACUUM FULL holds a table: see pg_stat_activity, or raise `lock-timeout`."
        }
        "55006" => "Somebody is connected to the database: stop Bitbucket and other clients first.",
        "53300" => "The server has no connection left: raise max_connections, or lower `jobs`.",
        "53100" => "The server's disk is full.",
        _ => return None,
    })
}

/// What a tool that could not log in has said, made into an error that says what to do.
pub(crate) fn cannot_log_in(server: &Server, database: &str, error: Error) -> Error {
    if error.kind() == ErrorKind::Cancelled || error.hint().is_some() {
        return error;
    }
    let config = server.config();
    let said = error.to_string();
    let user = &config.username;
    let message = format!(
        "cannot log in to the database {database:?} as {user:?} on {}",
        server.address()
    );
    let transient = [
        "Connection refused",
        "starting up",
        "not yet accepting connections",
        "timeout expired",
    ]
    .iter()
    .any(|sign| said.contains(sign));
    let hint = login_hint(&said, database, config);
    let error = Error::new(ErrorKind::Database, message)
        .with_source(error)
        .with_hint(hint);
    if transient { error.transient() } else { error }
}

fn login_hint(said: &str, database: &str, config: &crate::PostgresConfig) -> String {
    let user = &config.username;
    let has = |sign: &str| said.contains(sign);
    if has("no password supplied") {
        format!(
            "Set `password` in the section [database], or write a line for {user} into ~/.pgpass."
        )
    } else if has("password authentication failed") || has("Peer authentication failed") {
        format!(
            "Check `username` and `password` in the section [database], and the line for {user} in the server's pg_hba.conf."
        )
    } else if has("no pg_hba.conf entry") {
        format!(
            "Add a line to the server's pg_hba.conf and reload it: `host {} {} ADDRESS scram-sha-256`.",
            crate::sql::identifier(database),
            crate::sql::identifier(user)
        )
    } else if has("role ") && has("does not exist") {
        format!(
            "Create the role: `CREATE ROLE {} LOGIN PASSWORD '…';`, or correct `username`.",
            crate::sql::identifier(user)
        )
    } else if has("database ") && has("does not exist") {
        "Correct `name` in the section [database]; `psql -l` lists the databases there are."
            .to_owned()
    } else if has("could not translate host name") {
        "Correct `host` in the section [database].".to_owned()
    } else if has("Connection refused")
        || has("No such file or directory")
        || has("timeout expired")
    {
        "Start the server, or correct `host` and `port` in the section [database]; a socket's folder is named as `host`.".to_owned()
    } else if has("SSL") || has("certificate") {
        "Check `ssl-mode` and `ssl-root-cert` in the section [database], and the server's certificate.".to_owned()
    } else if has("too many connections") || has("remaining connection slots") {
        "Raise the server's max_connections or the role's connection limit, or lower `jobs`."
            .to_owned()
    } else {
        format!(
            "Try it by hand: `psql -h {} -p {} -U {user} -d '{database}'`.",
            config.host, config.port
        )
    }
}
