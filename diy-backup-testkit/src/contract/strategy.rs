//! Home, database and search strategies, as the same thing.

use std::path::PathBuf;
use std::sync::Arc;

use diy_backup_core::{
    Artifact, BackupContext, CheckContext, Committed, DatabaseLocation, DbStrategy,
    ElasticsearchStrategy, Findings, HomeStrategy, Leftover, LockWindow, PartName, Released,
    Restore, RestoreContext, RestoreSession, Result, SearchSession, Session, async_trait,
};

/// A strategy for a part.
#[derive(Debug, Clone)]
pub(super) enum Strategy {
    Home(Arc<dyn HomeStrategy>),
    Database(Arc<dyn DbStrategy>),
    Search(Arc<dyn ElasticsearchStrategy>),
}

impl Strategy {
    /// Whether it pins the state of one instant, and restores beside the target. The search index can be built anew,
    /// so that its strategies need not.
    pub(super) fn pins(&self) -> bool {
        !matches!(self, Self::Search(_))
    }

    pub(super) fn role(&self) -> PartName {
        match self {
            Self::Home(_) => PartName::Home,
            Self::Database(_) => PartName::Database,
            Self::Search(_) => PartName::Elasticsearch,
        }
    }

    pub(super) fn name(&self) -> &str {
        match self {
            Self::Home(home) => home.name(),
            Self::Database(database) => database.name(),
            Self::Search(search) => search.name(),
        }
    }

    pub(super) fn data_stores(&self) -> &[PathBuf] {
        match self {
            Self::Home(home) => home.data_stores(),
            Self::Database(_) | Self::Search(_) => &[],
        }
    }

    pub(super) fn location(&self) -> DatabaseLocation {
        match self {
            Self::Home(_) | Self::Search(_) => DatabaseLocation::External,
            Self::Database(database) => database.location(),
        }
    }

    pub(super) async fn check(&self, cx: &CheckContext) -> Result<Findings> {
        match self {
            Self::Home(home) => home.check(cx).await,
            Self::Database(database) => database.check(cx).await,
            Self::Search(search) => search.check(cx).await,
        }
    }

    pub(super) async fn prepare(&self, cx: &BackupContext) -> Result<Box<dyn Session>> {
        match self {
            Self::Home(home) => home.prepare(cx).await,
            Self::Database(database) => database.prepare(cx).await,
            Self::Search(search) => Ok(Box::new(Begun(search.begin(cx).await?))),
        }
    }

    pub(super) async fn discard(&self, leftover: &Leftover) -> Result<()> {
        match self {
            Self::Home(home) => home.discard(leftover).await,
            Self::Database(database) => database.discard(leftover).await,
            Self::Search(search) => search.discard(leftover).await,
        }
    }

    pub(super) fn restore(&self) -> Option<&dyn Restore> {
        match self {
            Self::Home(home) => home.restore(),
            Self::Database(database) => database.restore(),
            Self::Search(search) => search.restore(),
        }
    }
}

/// A search snapshot that has begun, as a session that has nothing to capture.
#[derive(Debug)]
struct Begun(Box<dyn SearchSession>);

#[async_trait]
impl Session for Begun {
    async fn capture(&mut self, _: &LockWindow) -> Result<()> {
        Ok(())
    }

    async fn complete(&mut self, released: &Released) -> Result<Artifact> {
        self.0.complete(released).await
    }

    async fn abort(self: Box<Self>) -> Result<()> {
        self.0.abort().await
    }
}

/// The way back of a strategy that has one.
#[derive(Debug, Clone, Copy)]
pub(super) struct WayBack<'a>(pub(super) &'a dyn Restore);

impl WayBack<'_> {
    pub(super) async fn prepare(&self, cx: &RestoreContext) -> Result<Box<dyn RestoreSession>> {
        self.0.prepare_restore(cx).await
    }

    /// Whether one of the leftovers says that the part stands in its place.
    pub(super) async fn is_committed(&self, leftovers: &[Leftover]) -> Result<bool> {
        for leftover in leftovers {
            if self.0.was_committed(leftover).await? == Committed::Yes {
                return Ok(true);
            }
        }
        Ok(false)
    }

    pub(super) async fn resume(&self, leftovers: &[Leftover]) -> Result<()> {
        for leftover in leftovers {
            self.0.resume_commit(leftover).await?;
        }
        Ok(())
    }
}
