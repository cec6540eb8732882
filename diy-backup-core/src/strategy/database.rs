use std::fmt::Debug;

use async_trait::async_trait;

use crate::error::Result;
use crate::findings::Findings;
use crate::strategy::{BackupContext, CheckContext, Leftover, Restore, Session};

/// How the database of an instance is backed up and restored.
#[async_trait]
pub trait DbStrategy: Debug + Send + Sync + 'static {
    /// The name that the configuration chooses it by.
    fn name(&self) -> &str;

    /// Whether the database's files are part of the home directory.
    fn location(&self) -> DatabaseLocation {
        DatabaseLocation::External
    }

    /// Returns the database that the configuration names, for comparison with what the instance says of its own.
    ///
    /// `None` for strategies that reach no server.
    fn address(&self) -> Option<DatabaseAddress> {
        None
    }

    /// Finds everything that can be known to fail: tools and their versions, logins, grants, room. Changes nothing.
    ///
    /// # Errors
    /// When the check itself could not be done; what it finds wrong is a finding.
    async fn check(&self, cx: &CheckContext) -> Result<Findings>;

    /// Does all that can be done while people work, opens connections and starts tools, so that `capture` has
    /// nothing left to do but pin. The staging folder for the database exists and is empty.
    ///
    /// # Errors
    /// Any: the backup fails before anything is locked.
    async fn prepare(&self, cx: &BackupContext) -> Result<Box<dyn Session>>;

    /// The way back, for strategies that have one.
    fn restore(&self) -> Option<&dyn Restore> {
        None
    }

    /// Removes what a run that died left outside the staging folder. Called again if it fails, and also for what is gone already.
    ///
    /// # Errors
    /// When it is still there.
    async fn discard(&self, leftover: &Leftover) -> Result<()> {
        let _ = leftover;
        Ok(())
    }
}

/// Where the files of a database are.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[non_exhaustive]
pub enum DatabaseLocation {
    /// On a server: `data/db*` in the home directory is left over from earlier times and is not backed up.
    External,
    /// In the home directory (H2, HSQL): those files are the database and must be in the backup.
    InHome,
}

/// The database of an instance, as the configuration names it.
#[derive(Debug, Clone, PartialEq, Eq)]
#[non_exhaustive]
pub struct DatabaseAddress {
    /// The database management system.
    pub kind: DatabaseKind,
    /// The host name or address of the server, or the path of its Unix socket or of the directory with that.
    pub host: String,
    /// The port; `None` where another name stands for it, such as that of a named instance of SQL Server.
    pub port: Option<u16>,
    /// The name of the database.
    pub name: String,
}

impl DatabaseAddress {
    /// Returns the address of a database whose port is not known.
    pub fn new(kind: DatabaseKind, host: impl Into<String>, name: impl Into<String>) -> Self {
        Self {
            kind,
            host: host.into(),
            port: None,
            name: name.into(),
        }
    }

    /// Sets the port.
    #[must_use]
    pub fn with_port(mut self, port: u16) -> Self {
        self.port = Some(port);
        self
    }

    /// Returns `true` if the server is reached through a Unix socket, so runs on this machine.
    pub fn is_socket(&self) -> bool {
        self.host.starts_with(['/', '@'])
    }
}

/// A database management system.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[non_exhaustive]
pub enum DatabaseKind {
    /// PostgreSQL.
    PostgreSql,
    /// MySQL or MariaDB.
    MySql,
    /// Microsoft SQL Server.
    SqlServer,
}
