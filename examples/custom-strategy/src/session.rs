//! One backup.

use std::fs::OpenOptions;
use std::os::unix::fs::OpenOptionsExt;
use std::path::{Path, PathBuf};

use diy_backup_core::{
    Artifact, BackupContext, Control, Error, ErrorKind, LockWindow, Released, Result, Session,
    async_trait,
};

use crate::{DUMP, cannot, sql_text, sqlite3};

#[derive(Debug)]
pub(crate) struct SqliteSession {
    database: PathBuf,
    copy: PathBuf,
    control: Control,
}

impl SqliteSession {
    pub(crate) fn new(database: &Path, cx: &BackupContext) -> Self {
        Self {
            database: database.to_owned(),
            copy: cx.staging().database().join(DUMP),
            control: cx.control().clone(),
        }
    }
}

#[async_trait]
impl Session for SqliteSession {
    async fn capture(&mut self, _: &LockWindow) -> Result<()> {
        // VACUUM INTO takes an empty file, and it keeps the file's mode.
        OpenOptions::new()
            .write(true)
            .create_new(true)
            .mode(0o600)
            .open(&self.copy)
            .map_err(|source| cannot("create", &self.copy, source))?;
        let vacuum = format!("VACUUM INTO {}", sql_text(&self.copy)?);
        sqlite3()
            .args(["-bail", "-readonly"])
            .arg(&self.database)
            .arg(vacuum)
            .run(&self.control)
            .await?;
        Ok(())
    }

    async fn complete(&mut self, _: &Released) -> Result<Artifact> {
        ensure_whole(&self.copy, &self.control).await?;
        let copy = std::fs::metadata(&self.copy);
        let bytes = copy
            .map_err(|source| cannot("read", &self.copy, source))?
            .len();
        Ok(Artifact::staged(bytes))
    }

    /// There is nothing outside of the staging folder.
    async fn abort(self: Box<Self>) -> Result<()> {
        Ok(())
    }
}

/// Lets `sqlite3` look at every page.
pub(crate) async fn ensure_whole(database: &Path, control: &Control) -> Result<()> {
    let output = sqlite3()
        .args(["-bail", "-readonly"])
        .arg(database)
        .arg("PRAGMA integrity_check")
        .run(control)
        .await?;
    let verdict = output.stdout_text();
    if verdict.trim() == "ok" {
        return Ok(());
    }
    let first = verdict.lines().next().unwrap_or_default();
    let message = format!("{} is damaged: {first}", database.display());
    Err(Error::new(ErrorKind::Damaged, message))
}
