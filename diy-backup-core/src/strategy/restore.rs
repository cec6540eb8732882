use std::fmt::Debug;
use std::path::{Path, PathBuf};

use async_trait::async_trait;

use crate::error::Result;
use crate::strategy::{Leftover, RestoreContext};

/// The way back of a strategy.
///
/// A restore validates every part before any part changes anything, then applies all, then commits all.
#[async_trait]
pub trait Restore: Debug + Send + Sync {
    /// Makes sure that the target is absent or empty and that everything needed is there. Changes nothing.
    ///
    /// # Errors
    /// [`TargetNotEmpty`](crate::ErrorKind::TargetNotEmpty), [`Check`](crate::ErrorKind::Check), or what the tools say.
    async fn prepare_restore(&self, cx: &RestoreContext) -> Result<Box<dyn RestoreSession>>;

    /// After a crash between the commits of two parts: whether this part, whose leftover is given, was committed.
    ///
    /// # Errors
    /// When that cannot be found out now.
    async fn was_committed(&self, leftover: &Leftover) -> Result<Committed>;

    /// After a crash between the commits of two parts: commits this part, which was applied wholly. Does nothing for
    /// one that is committed already.
    ///
    /// # Errors
    /// When it could not be committed.
    async fn resume_commit(&self, leftover: &Leftover) -> Result<()>;
}

/// Whether a part of a restore has reached its final place.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[non_exhaustive]
pub enum Committed {
    /// It stands where it belongs.
    Yes,
    /// It is still beside its target.
    No,
}

/// One part's work in one restore.
///
/// The order is [`intake`](Self::intake), [`apply`](Self::apply), [`commit`](Self::commit), [`verify`](Self::verify);
/// [`abort`](Self::abort) instead of any of the first three, or after an error of one.
#[async_trait]
pub trait RestoreSession: Debug + Send {
    /// Where the archive should unpack this part, so that it is written once: for the home directory, and for data
    /// stores by their number in the backup, folders beside the targets; for the database none, as the core has a work
    /// folder for it.
    ///
    /// The folders do not exist yet. What is made there is recorded as a leftover here.
    ///
    /// # Errors
    /// When the leftover could not be recorded.
    async fn intake(&mut self) -> Result<Vec<PathBuf>> {
        Ok(Vec::new())
    }

    /// Builds the part beside its target: nothing that users see changes. On return it is durable.
    ///
    /// # Errors
    /// Any: every part is aborted, and the targets are as they were.
    async fn apply(&mut self, source: &RestoreSource) -> Result<()>;

    /// Moves what was built into its final place, in as short and as certain a step as there is.
    ///
    /// # Errors
    /// Any; the target is as it was.
    async fn commit(&mut self) -> Result<()>;

    /// Looks once more at what stands there now.
    ///
    /// # Errors
    /// When it is not what was restored.
    async fn verify(&mut self) -> Result<()> {
        Ok(())
    }

    /// Takes back everything that is not committed.
    ///
    /// # Errors
    /// When something is left over; it is named in the error.
    async fn abort(self: Box<Self>) -> Result<()>;
}

/// Where the content of a backup lies, unpacked and checked, during a restore.
#[derive(Debug, Clone)]
#[non_exhaustive]
pub struct RestoreSource {
    /// The dump of the database, if the backup holds one.
    pub database: Option<PathBuf>,
    /// The home directory, if the backup holds one.
    pub home: Option<PathBuf>,
    /// The data stores, in the order of [`intake`](RestoreSession::intake).
    pub data_stores: Vec<PathBuf>,
}

impl RestoreSource {
    /// A source with nothing in it.
    pub fn new() -> Self {
        Self {
            database: None,
            home: None,
            data_stores: Vec::new(),
        }
    }

    /// Whether `intake` is where the home directory lies: then it has been written already.
    pub fn home_is(&self, intake: &Path) -> bool {
        self.home.as_deref() == Some(intake)
    }
}

impl Default for RestoreSource {
    fn default() -> Self {
        Self::new()
    }
}
