//! The server as the tools reach it: by an option file that holds host, account and password.

use diy_backup_core::{Control, Error, ErrorKind, Result, Tool};
use secrecy::SecretString;

use crate::client::Client;
use crate::config::{MysqlConfig, SslMode};
use crate::facts::Facts;
use crate::failure;
use crate::option_file::{self, Hideout, OptionFile};
use crate::tools::{Flavour, Release, Tools};

/// How the tools reach the server: made for one step or session, not kept.
#[derive(Debug)]
pub(crate) struct Server {
    config: MysqlConfig,
    tools: Tools,
    options: OptionFile,
}

impl Server {
    /// Finds the tools that go with the server best, and logs in once.
    pub(crate) async fn reach(
        config: &MysqlConfig,
        hideout: Hideout<'_>,
        control: &Control,
    ) -> Result<(Self, Facts)> {
        let password = match &config.password {
            Some(secret) => Some(secret.reveal().await?),
            None => None,
        };
        let (mut missing, mut refused) = (None, None);
        let mut seen = Vec::new();
        let mut second_best = None;
        for flavour in Flavour::ALL {
            let tools = match Tools::look(config, flavour, control).await {
                Ok(tools) => tools,
                Err(error) if error.kind() == ErrorKind::Cancelled => return Err(error),
                Err(error) => {
                    missing = Some(error);
                    continue;
                }
            };
            let theirs = tools.release.flavour;
            if seen.contains(&theirs) {
                continue;
            }
            seen.push(theirs);
            let server = Self::with(config, tools, password.as_ref(), hideout)?;
            match Facts::of(&server.client(control)).await {
                Ok(facts) => {
                    server.ensure_encrypted(&facts)?;
                    if facts.release.flavour == theirs {
                        return Ok((server, facts));
                    }
                    second_best = Some((server, facts));
                }
                Err(failure) => {
                    refused = refused.or(Some(failure::cannot_log_in(&server, failure)));
                }
            }
        }
        let nothing = || Error::new(ErrorKind::Internal, "there are no tools");
        second_best.ok_or_else(|| refused.or(missing).unwrap_or_else(nothing))
    }

    /// MariaDB's tools before 11.4 go on without TLS where a server has none, whatever they are told.
    fn ensure_encrypted(&self, facts: &Facts) -> Result<()> {
        let insists = match self.config.ssl_mode {
            Some(SslMode::Disable | SslMode::Prefer) => false,
            Some(SslMode::Require | SslMode::VerifyCa | SslMode::VerifyFull) => true,
            None => self.config.ssl_ca.is_some(),
        };
        if facts.is_encrypted || !insists {
            return Ok(());
        }
        let message = format!("the connection to {} is not encrypted", self.address());
        Err(Error::new(ErrorKind::Database, message).with_hint(
            "Set up TLS on the server (`ssl_cert` and `ssl_key`), or correct `ssl-mode` in the section [database].",
        ))
    }

    fn with(
        config: &MysqlConfig,
        tools: Tools,
        password: Option<&SecretString>,
        hideout: Hideout<'_>,
    ) -> Result<Self> {
        let content = option_file::content(config, password, tools.release.flavour);
        Ok(Self {
            config: config.clone(),
            tools,
            options: OptionFile::create(hideout, &content)?,
        })
    }

    pub(crate) fn config(&self) -> &MysqlConfig {
        &self.config
    }

    pub(crate) fn tools(&self) -> &Tools {
        &self.tools
    }

    pub(crate) fn release(&self) -> Release {
        self.tools.release
    }

    /// Where it is, for messages.
    pub(crate) fn address(&self) -> String {
        if self.config.is_socket() {
            self.config.host.clone()
        } else {
            format!("{} port {}", self.config.host, self.config.port)
        }
    }

    /// A session with the server, as far as the client goes.
    pub(crate) fn client(&self, control: &Control) -> Client {
        Client::new(self.connected(&self.tools.client), control)
    }

    /// The dump program.
    pub(crate) fn dump_tool(&self) -> Tool {
        self.connected(&self.tools.dump)
    }

    /// Removes the option file, and what the journal says of it.
    pub(crate) fn forget(&mut self) -> Result<()> {
        self.options.remove()
    }

    /// The option file has to be the first argument. No other one is read: an `ignore-table` or `where` there would
    /// make a dump that lacks rows.
    fn connected(&self, tool: &Tool) -> Tool {
        let path = self.options.path();
        let mut first = std::ffi::OsString::from("--defaults-file=");
        first.push(&path);
        tool.clone()
            .arg(first)
            // MySQL's tools read logins from this file even so; there is none of this name.
            .env("MYSQL_TEST_LOGIN_FILE", path.with_extension("login"))
    }
}
