//! What the last run did, for `status`.

use std::path::{Path, PathBuf};

use serde::{Deserialize, Serialize};

use crate::durable;
use crate::error::{Error, ErrorKind, Result, ResultExt, printable};
use crate::id::BackupId;
use crate::journal::Operation;

/// How the last run ended.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[non_exhaustive]
pub struct LastRun {
    /// What it did.
    pub operation: Operation,
    /// The backup it took or restored; none when it failed before there was one.
    pub backup_id: Option<BackupId>,
    /// When it ended, as RFC 3339 in UTC.
    pub ended: String,
    /// Why it failed; none when it succeeded.
    pub error: Option<String>,
    /// Whether it left the instance locked.
    pub instance_locked: bool,
}

impl LastRun {
    pub(crate) fn new(
        operation: Operation,
        backup_id: Option<BackupId>,
        error: Option<&Error>,
    ) -> Self {
        Self {
            operation,
            backup_id,
            ended: chrono::Utc::now().to_rfc3339_opts(chrono::SecondsFormat::Secs, true),
            error: error.map(|error| crate::error::chain(error)),
            instance_locked: error.is_some_and(|error| error.kind() == ErrorKind::StillLocked),
        }
    }

    /// Reads how the last run of the instance with this state folder ended; `None` when there was none.
    ///
    /// # Errors
    /// [`ErrorKind::Io`] when it cannot be read, [`ErrorKind::Damaged`] when it is not a record of a run.
    pub fn read(state: &Path) -> Result<Option<Self>> {
        let path = path_in(state);
        let shown = path.display();
        match durable::read_own(&path) {
            Ok(Some(text)) => serde_json::from_slice(&text).map(Some).map_err(|error| {
                Error::new(
                    ErrorKind::Damaged,
                    format!("{shown} is not the record of a run"),
                )
                .with_source(printable(&error.to_string()))
            }),
            Ok(None) => Ok(None),
            Err(error) => Err(error).io_context(|| format!("cannot read {shown}")),
        }
    }

    pub(crate) fn write(&self, state: &Path) -> Result<()> {
        let text = serde_json::to_vec_pretty(self).map_err(|error| {
            Error::new(ErrorKind::Internal, "cannot write the record of a run").with_source(error)
        })?;
        durable::write_private(&path_in(state), &text)
    }
}

/// Where the record stands in the state folder.
pub(crate) fn path_in(state: &Path) -> PathBuf {
    state.join("last-run.json")
}
