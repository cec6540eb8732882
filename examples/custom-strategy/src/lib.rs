//! A database strategy of a site's own: `sqlite`, for a database that is one file.
//!
//! ```toml
//! [database]
//! strategy = "sqlite"
//! path = "/var/lib/acme/bitbucket.sqlite"
//! ```
//!
//! It shows what a strategy has to do, on a tool that everybody knows. `sqlite3` cannot pin a state for later, so the
//! copy is made in the lock window; a strategy that can pin does that in [`Session::capture`] and copies in
//! [`Session::complete`].

mod restore;
mod session;

use std::path::{Path, PathBuf};
use std::sync::Arc;

use diy_backup_core::{
    AbsolutePath, BackupContext, CheckContext, DbStrategy, Error, ErrorKind, Findings, Leftover,
    Registry, Restore, Result, Session, StrategyConfig, Tool, async_trait,
};
use serde::Deserialize;

use restore::{RESTORED_FILE, remove_if_there};
use session::SqliteSession;

/// The name that a configuration chooses this strategy by.
pub const NAME: &str = "sqlite";

/// The copy's name in the staging folder of the database.
const DUMP: &str = "database.sqlite";

/// Adds the database strategy `sqlite` to `registry`.
///
/// # Errors
/// [`ErrorKind::Config`] when it has one of that name already.
pub fn register(registry: &mut Registry) -> Result<()> {
    registry.register_database(NAME, |config| Ok(Arc::new(Sqlite::from_config(config)?)))
}

/// The keys of the section `[database]`.
#[derive(Debug, Clone, Deserialize)]
#[serde(deny_unknown_fields, rename_all = "kebab-case")]
#[non_exhaustive]
pub struct SqliteConfig {
    /// The database file.
    pub path: AbsolutePath,
}

/// The strategy `sqlite`.
#[derive(Debug, Clone)]
pub struct Sqlite {
    path: PathBuf,
}

impl Sqlite {
    /// Reads its section of the configuration.
    ///
    /// # Errors
    /// [`ErrorKind::Config`] with file and line.
    pub fn from_config(config: &StrategyConfig) -> Result<Self> {
        let config: SqliteConfig = config.section.parse()?;
        Ok(Self {
            path: config.path.as_path().to_owned(),
        })
    }
}

#[async_trait]
impl DbStrategy for Sqlite {
    fn name(&self) -> &'static str {
        NAME
    }

    async fn check(&self, cx: &CheckContext) -> Result<Findings> {
        let mut findings = Findings::new();
        match sqlite3().version(&cx.control).await {
            Ok(version) => findings.info("sqlite3", format!("version {version}")),
            Err(error) => findings.failure("sqlite3", &error),
        }
        let copy = cx.staging.database();
        match std::fs::metadata(&self.path) {
            Ok(metadata) => {
                findings.staged_bytes += metadata.len();
                findings.staged_files += 1;
                findings.need_space(copy, metadata.len(), 1, "the copy of the database");
            }
            Err(source) => findings.failure("database", &cannot("read", &self.path, source)),
        }
        Ok(findings)
    }

    async fn prepare(&self, cx: &BackupContext) -> Result<Box<dyn Session>> {
        Ok(Box::new(SqliteSession::new(&self.path, cx)))
    }

    fn restore(&self) -> Option<&dyn Restore> {
        Some(self)
    }

    async fn discard(&self, leftover: &Leftover) -> Result<()> {
        if leftover.kind == RESTORED_FILE {
            remove_if_there(Path::new(&leftover.id))?;
        }
        Ok(())
    }
}

fn sqlite3() -> Tool {
    Tool::new("sqlite3").from_package("sqlite3")
}

/// Text of SQL that means the path itself, whatever is in it.
fn sql_text(path: &Path) -> Result<String> {
    let text = path.to_str().ok_or_else(|| {
        let message = format!("{} is no UTF-8, which sqlite3 needs", path.display());
        Error::new(ErrorKind::Unsupported, message)
    })?;
    Ok(format!("'{}'", text.replace('\'', "''")))
}

fn cannot(doing: &str, path: &Path, source: std::io::Error) -> Error {
    Error::io(format!("cannot {doing} {}", path.display()), source)
}

/// Compiles the examples of the README with the tests of the documentation.
#[cfg(doctest)]
#[doc = include_str!("../../../README.md")]
struct Readme;
