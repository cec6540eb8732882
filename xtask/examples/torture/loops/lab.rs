//! What all loops share: the program, a private PostgreSQL, a folder.

use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicUsize, Ordering};

use diy_backup_testkit::{PrivatePostgres, RoleKind, tree};
use tempfile::TempDir;

use super::Result;

pub(crate) const DATABASE_USER: &str = "bitbucketuser";
pub(crate) const DATABASE_PASSWORD: &str = "it's \"secret\" ä $HOME \\ %41";

pub(crate) struct Lab {
    pub(crate) program: PathBuf,
    pub(crate) postgres: PrivatePostgres,
    folder: TempDir,
    stages: AtomicUsize,
}

impl Lab {
    /// A server for a laboratory.
    ///
    /// # Errors
    /// Also when the machine has no PostgreSQL.
    pub(crate) fn postgres() -> diy_backup_testkit::Result<PrivatePostgres> {
        PrivatePostgres::builder().max_connections(200).start()
    }

    pub(crate) fn open(program: &Path, postgres: PrivatePostgres) -> Result<Self> {
        postgres.create_role(DATABASE_USER, DATABASE_PASSWORD, RoleKind::CreateDatabase)?;
        Ok(Self {
            program: program.to_owned(),
            postgres,
            folder: tempfile::Builder::new()
                .prefix("diy-backup-torture-")
                .tempdir()?,
            stages: AtomicUsize::new(0),
        })
    }

    /// A folder and a number for another stage.
    pub(crate) fn next_stage(&self) -> (usize, PathBuf) {
        let number = self.stages.fetch_add(1, Ordering::Relaxed);
        (number, self.folder.path().join(format!("stage-{number}")))
    }
}

impl Drop for Lab {
    fn drop(&mut self) {
        // Homes have read-only folders; what cannot be removed is left to the cleaner of the temporary folder.
        let _ = tree::make_removable(self.folder.path());
    }
}
