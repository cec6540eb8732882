//! The two ways of knowing what has changed without looking at both sides.

use std::sync::Arc;

use diy_backup_core::Control;

use crate::folder::Folder;
use crate::times::ChangeTimes;
use crate::track::{Dirty, Tracker, Unavailable};
use crate::tracked::Setback;
use crate::walk::{Stop, blocking};

/// Tells what has changed in some folders.
#[derive(Debug, Clone)]
pub(crate) enum Changes {
    /// The kernel tells: that takes as long as there are changes.
    Told(Arc<Tracker>),
    /// The times of all originals are looked at.
    Seen(Arc<ChangeTimes>),
}

/// What is known of changes since the capture.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Known<T> {
    /// The kernel tells them all, and this of them.
    Told(T),
    /// The kernel told them until it lost track.
    Lost,
    /// Change times alone tell. All originals were looked at in the capture.
    Looked,
}

impl Changes {
    /// # Errors
    /// When this machine, this user or these folders do not allow it.
    pub(crate) fn told(folders: &[Folder]) -> Result<Self, Unavailable> {
        Tracker::start(folders).map(|tracker| Self::Told(Arc::new(tracker)))
    }

    /// # Errors
    /// When the times of these folders cannot be relied on.
    pub(crate) fn seen(folders: &[Folder]) -> Result<Self, Unavailable> {
        ChangeTimes::new(folders).map(|times| Self::Seen(Arc::new(times)))
    }

    /// What has changed since the last time, for each folder. Whatever ended before the call is in it.
    ///
    /// # Errors
    /// When that cannot be known.
    pub(crate) async fn take(&self, control: &Control) -> Result<Vec<Dirty>, Setback> {
        match self {
            // It looks folders up, which may have to wait: nothing that is captured at the same time waits with it.
            Self::Told(tracker) => {
                let tracker = Arc::clone(tracker);
                let taken = blocking(move || Ok(tracker.take())).await;
                Ok(taken.map_err(|error| Setback::of(error, control))??)
            }
            Self::Seen(times) => look(times, control, ChangeTimes::take).await,
        }
    }

    /// Ends to follow them, and closes all that was open for it.
    pub(crate) async fn end(self) {
        let ended = blocking(move || {
            if let Self::Told(tracker) = self {
                tracker.end();
            }
            Ok(())
        });
        if let Err(error) = ended.await {
            tracing::debug!(%error, "a tracker has not ended well");
        }
    }

    /// Whether the kernel tells them.
    pub(crate) fn are_told(&self) -> bool {
        matches!(self, Self::Told(_))
    }

    /// Whether a [`take`](Self::take) now leaves much less to the next one.
    pub(crate) fn is_worth_while(&self) -> bool {
        match self {
            Self::Told(_) => true,
            Self::Seen(times) => times.is_worth_while(),
        }
    }

    /// Takes changes for new that a folder's copy does not have yet.
    ///
    /// # Errors
    /// When they are too many.
    pub(crate) async fn give_back(
        &self,
        folder: usize,
        dirty: Dirty,
        control: &Control,
    ) -> Result<(), Setback> {
        // Both may be looking at a file system that does not answer.
        let this = self.clone();
        let given = blocking(move || {
            Ok(match this {
                Self::Told(tracker) => {
                    tracker.give_back(folder, dirty);
                    true
                }
                Self::Seen(times) => times.give_back(folder, dirty).is_ok(),
            })
        });
        if given.await.map_err(|error| Setback::of(error, control))? {
            return Ok(());
        }
        let reason = "more has changed than can be remembered";
        Err(Setback::LookAtAll(reason.to_owned()))
    }

    /// Forgets all changes so far: a pass over everything follows.
    ///
    /// # Errors
    /// When it cannot be known what changes from now on.
    pub(crate) async fn start_again(&self, control: &Control) -> Result<(), Setback> {
        match self {
            Self::Told(tracker) => {
                let tracker = Arc::clone(tracker);
                let started = blocking(move || {
                    tracker.start_again();
                    Ok(())
                });
                started.await.map_err(|error| Setback::of(error, control))
            }
            Self::Seen(times) => look(times, control, ChangeTimes::start_again).await,
        }
    }

    /// Returns what `ask` says of what is known to have changed in a folder since the last [`take`](Self::take).
    pub(crate) fn ask<T>(&self, folder: usize, ask: impl FnOnce(&Dirty) -> T) -> Known<T> {
        match self {
            Self::Told(tracker) => tracker.ask(folder, ask).map_or(Known::Lost, Known::Told),
            Self::Seen(_) => Known::Looked,
        }
    }
}

async fn look<T: Send + 'static>(
    times: &Arc<ChangeTimes>,
    control: &Control,
    how: impl FnOnce(&ChangeTimes, &Stop) -> diy_backup_core::Result<T> + Send + 'static,
) -> Result<T, Setback> {
    let (times, stop) = (Arc::clone(times), Stop::new(control));
    let _stop_with_us = stop.on_drop();
    blocking(move || how(&times, &stop))
        .await
        .map_err(|error| Setback::of(error, control))
}
