//! The two programs that are called `sqlcmd`.

use diy_backup_core::{Control, Error, ErrorKind, Result, Tool};

use crate::config::Encryption;

/// Which of them it is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Flavour {
    /// The one of the ODBC driver, with its major version.
    Odbc(u32),
    /// The one written in Go.
    Go,
}

/// The first ODBC version whose `-N` takes a value.
const ENCRYPTION_WITH_VALUE: u32 = 18;

impl Flavour {
    /// Asks the program itself.
    pub(crate) async fn of(tool: &Tool, control: &Control) -> Result<Self> {
        let output = tool
            .clone()
            .arg("-?")
            .accept_exit(&[1])
            .run(control)
            .await?;
        let said = format!("{}\n{}", output.stdout_text(), output.stderr_tail);
        Self::from_help(&said).ok_or_else(|| {
            Error::new(
                ErrorKind::Tool,
                "`sqlcmd -?` prints neither a version nor options: it is not Microsoft's sqlcmd",
            )
            .with_hint("Name the folder of sqlcmd with `tools` in the section [database].")
        })
    }

    /// Option names are not translated, and only the one written in Go has long ones.
    fn from_help(said: &str) -> Option<Self> {
        if said.contains("--trust-server-certificate") {
            return Some(Self::Go);
        }
        let mut numbers = said.split_whitespace().filter(|word| word.contains('.'));
        numbers
            .find_map(|word| word.split('.').next()?.parse().ok())
            .map(Self::Odbc)
    }

    /// The option that insists on encryption.
    pub(crate) fn encryption(self, encryption: Encryption) -> Result<Option<&'static str>> {
        Ok(Some(match (self, encryption) {
            (Self::Odbc(version), encryption) if version < ENCRYPTION_WITH_VALUE => {
                match encryption {
                    Encryption::Optional => return Ok(None),
                    Encryption::Mandatory => "-N",
                    Encryption::Strict => {
                        let message = format!(
                            "`encrypt = \"strict\"` needs sqlcmd 18 or newer, and this is {version}"
                        );
                        return Err(Error::new(ErrorKind::Check, message).with_hint(
                            "Install the package mssql-tools18, or set `encrypt = \"mandatory\"`.",
                        ));
                    }
                }
            }
            (_, Encryption::Optional) => "-No",
            (_, Encryption::Mandatory) => "-Nm",
            (_, Encryption::Strict) => "-Ns",
        }))
    }
}

impl std::fmt::Display for Flavour {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            Self::Odbc(version) => write!(f, "sqlcmd {version} (ODBC)"),
            Self::Go => f.write_str("sqlcmd (Go)"),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_is_known_by_its_help_in_any_language() {
        let odbc = "Microsoft (R) SQL Server-Befehlszeilentool\nVersion 17.10.0001.1 Linux\n\nSyntax: sqlcmd [-U login]";
        assert_eq!(Flavour::from_help(odbc), Some(Flavour::Odbc(17)));
        let go = "sqlcmd: Install/Create\n\nVersion: 1.8.2\n\nFlags:\n-C,--trust-server-certificate\n   Implicitly";
        assert_eq!(Flavour::from_help(go), Some(Flavour::Go));
        assert_eq!(Flavour::from_help("usage: something else"), None);
    }

    #[test]
    fn encryption_is_said_in_the_words_of_each() {
        let said = |flavour: Flavour, encryption| flavour.encryption(encryption).unwrap();
        assert_eq!(said(Flavour::Odbc(17), Encryption::Mandatory), Some("-N"));
        assert_eq!(said(Flavour::Odbc(17), Encryption::Optional), None);
        assert_eq!(said(Flavour::Odbc(18), Encryption::Optional), Some("-No"));
        assert_eq!(said(Flavour::Go, Encryption::Strict), Some("-Ns"));
        assert!(Flavour::Odbc(17).encryption(Encryption::Strict).is_err());
    }
}
