//! Scripts, run by the site's own `sqlcmd`.

use std::io::Write;
use std::path::{Path, PathBuf};

use diy_backup_core::{Control, Error, Meter, OutputLine, Result, ResultExt, Tool};
use secrecy::SecretString;

use crate::config::MssqlConfig;
use crate::failure::Failure;
use crate::flavour::Flavour;
use crate::rows::{self, Row, SEPARATOR};
use crate::shared::create_private;

/// What the drivers read of our own environment to log in with a Kerberos ticket.
const PASSED: &[&str] = &["KRB5CCNAME", "KRB5_CONFIG", "KRB5_CLIENT_KTNAME"];

/// The name of every script; it has no comma, which `-i` would take for the end of a name.
const SCRIPT: &str = "script.sql";

/// How long a login may take.
const LOGIN_SECONDS: &str = "30";

/// The server as `sqlcmd` reaches it, with the password revealed: made for one step, not kept.
#[derive(Debug, Clone)]
pub(crate) struct Server {
    config: MssqlConfig,
    password: Option<SecretString>,
    flavour: Flavour,
    encryption: Option<&'static str>,
    scratch: PathBuf,
    control: Control,
}

impl Server {
    /// Scripts are written to folders of their own in `scratch`, for as long as they run.
    pub(crate) async fn reach(
        config: &MssqlConfig,
        scratch: &Path,
        control: &Control,
    ) -> Result<Self> {
        let password = match &config.password {
            Some(secret) => Some(secret.reveal().await?),
            None => None,
        };
        let flavour = Flavour::of(&program(config), control).await?;
        let encryption = match config.encrypt {
            Some(encryption) => flavour.encryption(encryption)?,
            None => None,
        };
        Ok(Self {
            config: config.clone(),
            password,
            flavour,
            encryption,
            scratch: scratch.to_owned(),
            control: control.clone(),
        })
    }

    /// For what has no folder of its own all the while: checks, restores, and putting right what a dead run left.
    pub(crate) async fn reach_for_now(config: &MssqlConfig, control: &Control) -> Result<Self> {
        Self::reach(config, &std::env::temp_dir(), control).await
    }

    /// The same under other levers.
    pub(crate) fn under(&self, control: Control) -> Self {
        Self {
            control,
            ..self.clone()
        }
    }

    pub(crate) fn config(&self) -> &MssqlConfig {
        &self.config
    }

    pub(crate) fn flavour(&self) -> Flavour {
        self.flavour
    }

    /// Runs statements. The first that is refused ends the script.
    pub(crate) async fn execute(&self, statements: &str) -> Result<(), Failure> {
        self.run(statements, |_| {}).await.map(drop)
    }

    /// Runs one statement that tells how far it is, and shows that by `meter`.
    pub(crate) async fn execute_metered(
        &self,
        statement: &str,
        meter: &Meter,
        total_bytes: u64,
    ) -> Result<(), Failure> {
        meter.set_total_bytes(total_bytes);
        let watch = |line: OutputLine<'_>| {
            if let Some(percent) = percent_in(line.text) {
                meter.set_done_bytes(total_bytes / 100 * percent);
            }
        };
        self.run(statement, watch).await?;
        meter.set_done_bytes(total_bytes);
        Ok(())
    }

    /// Runs a query and returns its rows.
    pub(crate) async fn query(&self, statements: &str) -> Result<Vec<Row>, Failure> {
        let output = self.run(statements, |_| {}).await?;
        Ok(rows::parse(&output)?)
    }

    /// Runs a query that has exactly one row.
    pub(crate) async fn one(&self, statements: &str) -> Result<Row, Failure> {
        let mut rows = self.query(statements).await?;
        match (rows.pop(), rows.is_empty()) {
            (Some(row), true) => Ok(row),
            _ => Err(Failure::Lost(Error::new(
                diy_backup_core::ErrorKind::Database,
                "sqlcmd has answered another number of rows than one",
            ))),
        }
    }

    async fn run(
        &self,
        statements: &str,
        watch: impl FnMut(OutputLine<'_>) + Send,
    ) -> Result<String, Failure> {
        let folder = tempfile::Builder::new()
            .prefix(".diy-backup-sql-")
            .tempdir_in(&self.scratch)
            .map_err(|error| {
                Error::io(
                    format!("cannot make a folder in {}", self.scratch.display()),
                    error,
                )
            })?;
        let script = format!("SET NOCOUNT ON;\n{statements}\nGO\n");
        // Not made durable: it is of use to nobody after a crash, and people may be waiting.
        create_private(&folder.path().join(SCRIPT))
            .and_then(|mut file| file.write_all(script.as_bytes()))
            .io_context(|| format!("cannot write a script to {}", folder.path().display()))?;
        let tool = self.tool().current_directory(folder.path());
        match tool.run_watched(&self.control, watch).await {
            Ok(output) => Ok(output.stdout_text().into_owned()),
            Err(error) => Err(Failure::of(error)),
        }
    }

    fn tool(&self) -> Tool {
        let config = &self.config;
        let address = match config.port {
            Some(port) => format!("{},{port}", config.host),
            None => config.host.clone(),
        };
        let mut tool = program(config)
            .args(["-S", &address, "-d", "master", "-l", LOGIN_SECONDS])
            // A name with `$(` in it is a name; errors end the script, and go to standard error.
            .args(["-x", "-b", "-V", "11", "-r0"])
            .args(["-W", "-w", "65535", "-s", &SEPARATOR.to_string()])
            .args(["-i", SCRIPT]);
        if cfg!(windows) {
            // There, no locale says that scripts are in UTF-8.
            tool = tool.args(["-f", "65001"]);
        }
        if let Some(option) = self.encryption {
            tool = tool.arg(option);
        }
        if config.trust_server_certificate {
            tool = tool.arg("-C");
        }
        match (&config.username, &self.password) {
            (Some(username), Some(password)) => tool
                .args(["-U", username])
                .secret_env("SQLCMDPASSWORD", password),
            _ => tool.arg("-E"),
        }
    }
}

fn program(config: &MssqlConfig) -> Tool {
    let directory = config.tools.as_ref().map(AsRef::<Path>::as_ref);
    let mut tool = Tool::in_directory(directory, "sqlcmd")
        .from_package("mssql-tools18")
        // Scripts and answers are in UTF-8, messages in English.
        .env("LC_ALL", "C.UTF-8");
    for name in PASSED {
        if let Some(value) = std::env::var_os(name) {
            tool = tool.env(name, value);
        }
    }
    tool
}

/// The number in `45 percent processed.`
fn percent_in(line: &str) -> Option<u64> {
    line.strip_suffix(" percent processed.")?
        .trim()
        .parse()
        .ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn progress_is_read_from_what_the_server_says() {
        assert_eq!(percent_in("45 percent processed."), Some(45));
        assert_eq!(percent_in("Processed 344 pages for database 'b'."), None);
    }
}
