//! What SQL Server refuses, and what to do about it.

use std::fmt;

use diy_backup_core::{Error, ErrorKind};

/// Numbers of messages: see `sys.messages`.
pub(crate) const NO_BASE: u32 = 3035;
pub(crate) const CANNOT_OPEN_DEVICE: u32 = 3201;
pub(crate) const PERMISSION_DENIED: u32 = 262;
pub(crate) const IN_USE: u32 = 3702;
const DAMAGED: &[u32] = &[3183, 3189, 3203, 3241, 3242, 3243, 3256, 3270, 3624, 3187];

/// A statement that the server refused.
#[derive(Debug)]
pub(crate) struct Refusal {
    pub(crate) number: u32,
    message: String,
}

impl fmt::Display for Refusal {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.message)
    }
}

impl std::error::Error for Refusal {}

/// Why a script gave no answer.
#[derive(Debug)]
pub(crate) enum Failure {
    /// The server refused a statement.
    Refused(Refusal),
    /// The server was not reached, or `sqlcmd` did not run.
    Lost(Error),
}

impl From<Error> for Failure {
    fn from(error: Error) -> Self {
        Self::Lost(error)
    }
}

impl Failure {
    /// What became of a `sqlcmd` that did not succeed.
    pub(crate) fn of(error: Error) -> Self {
        let said = error.to_string();
        match number_in(&said) {
            Some(number) if error.kind() == ErrorKind::Tool => Self::Refused(Refusal {
                number,
                message: message_in(&said),
            }),
            _ => Self::Lost(error),
        }
    }

    /// The error of a step that says what it was `doing`.
    pub(crate) fn doing(self, doing: impl fmt::Display) -> Error {
        match self {
            Self::Refused(refusal) => {
                let kind = if DAMAGED.contains(&refusal.number) {
                    ErrorKind::Damaged
                } else {
                    ErrorKind::Database
                };
                let hint = hint_for(&refusal);
                let error = Error::new(kind, format!("cannot {doing}")).with_source(refusal);
                match hint {
                    Some(hint) => error.with_hint(hint),
                    None => error,
                }
            }
            Self::Lost(error) if error.kind() == ErrorKind::Cancelled || error.hint().is_some() => {
                error
            }
            Self::Lost(error) if error.kind() != ErrorKind::Tool => {
                let kind = error.kind();
                Error::new(kind, format!("cannot {doing}")).with_source(error)
            }
            Self::Lost(error) => {
                let hint = login_hint(&error.to_string());
                Error::new(ErrorKind::Database, format!("cannot {doing}"))
                    .with_source(error)
                    .with_hint(hint)
                    .transient()
            }
        }
    }
}

/// The first number: what follows it, such as "terminating abnormally", says less.
fn number_in(said: &str) -> Option<u32> {
    let (_, rest) = said.split_once("Msg ")?;
    let number = rest.split(',').next()?.parse().ok()?;
    // The server says this of a login, which is no statement.
    (number != 18456).then_some(number)
}

fn message_in(said: &str) -> String {
    let from = said.find("Msg ").unwrap_or(0);
    said[from..].to_owned()
}

fn hint_for(refusal: &Refusal) -> Option<&'static str> {
    const FOLDER: &str = "`server-directory` and `directory` must be the same folder, seen from the server and from here, and the account \
         of the SQL Server service must be able to read and write in it.";
    Some(match refusal.number {
        911 => "Correct `name` in the section [database].",
        PERMISSION_DENIED | 229 | 300 | 916 | 5011 => {
            "`diy-backup check` names the statement that grants it."
        }
        CANNOT_OPEN_DEVICE | 3202 | 3271 => FOLDER,
        3169 => {
            "A backup restores to the same or a newer release of SQL Server, never to an older one."
        }
        5133 | 1834 | 5170 => "See `data-directory` and `log-directory` in the section [database].",
        33111 => {
            "The database was encrypted (TDE): create its certificate on this server first, from the copy that was made of it."
        }
        IN_USE | 5030 | 3101 | 3102 => {
            "Somebody is connected to the database: stop Bitbucket and other clients first."
        }
        112 | 1105 | 1101 | 3257 => "The server's disk is full.",
        1801 => "A database of that name has come into being meanwhile.",
        _ => return None,
    })
}

fn login_hint(said: &str) -> &'static str {
    let has = |sign: &str| said.contains(sign);
    if has("Login failed") || has("18456") {
        "Check `username` and `password` in the section [database], and that the server allows SQL logins."
    } else if has("certificate") || has("SSL") || has("TLS") {
        "Make the server's certificate known to this machine, or set `trust-server-certificate` or `encrypt` in the section [database]."
    } else {
        "Is the server up, and are `host` and `port` in the section [database] right?"
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_first_number_tells_what_was_wrong() {
        let said = "`sqlcmd` failed with exit status 1: Msg 3035, Level 16, State 1, Server s, Line 1 | Cannot perform a \
            differential backup | Msg 3013, Level 16, State 1";
        let failure = Failure::of(Error::new(ErrorKind::Tool, said));
        assert!(matches!(&failure, Failure::Refused(refusal) if refusal.number == NO_BASE));
        assert_eq!(failure.doing("back up").kind(), ErrorKind::Database);
        let damaged = Failure::of(Error::new(
            ErrorKind::Tool,
            "x: Msg 3189, Level 16 | Damage",
        ));
        assert_eq!(damaged.doing("verify").kind(), ErrorKind::Damaged);
    }

    #[test]
    fn a_refused_login_is_not_a_refused_statement() {
        let said = "`sqlcmd` failed with exit status 1: Sqlcmd: Error: Login failed for user 'x'.";
        let failure = Failure::of(Error::new(ErrorKind::Tool, said));
        assert!(matches!(&failure, Failure::Lost(_)));
        assert!(
            failure
                .doing("log in")
                .hint()
                .unwrap()
                .contains("`username`")
        );
    }
}
