use std::fmt::Debug;

use async_trait::async_trait;

use crate::error::Result;
use crate::strategy::Artifact;
use crate::window::{LockWindow, Released};

/// One part's work in one backup: pin while the instance is locked, copy out when people work again.
///
/// Made by `prepare` of a [`HomeStrategy`](crate::HomeStrategy) or [`DbStrategy`](crate::DbStrategy). The core calls
/// `capture` at most once, then `complete` at most once and only after a `capture` that succeeded. After an error, or
/// instead of the next step, it calls [`abort`](Self::abort). When a deadline makes it drop the future of a step, the
/// session goes with it: child processes of [`Tool`](crate::Tool) are killed then, and what was recorded with
/// [`BackupContext::record_leftover`](crate::BackupContext::record_leftover) is handed to `discard`.
#[async_trait]
pub trait Session: Debug + Send {
    /// Pins the state of this instant. Every second here is a second in which people are kept out.
    ///
    /// On entry the instance is locked and drained: nothing writes to home or database (unless the window says that
    /// it is a [zero-downtime](LockWindow::is_locked) one). On return the state is pinned: whatever happens to the
    /// instance afterwards, `complete` yields the state of a moment inside this call. What cannot be pinned must be
    /// copied here. Home and database are captured at the same time.
    ///
    /// # Errors
    /// Any. The instance is unlocked, the session aborted, and the backup fails.
    async fn capture(&mut self, window: &LockWindow) -> Result<()>;

    /// Copies the pinned state out and makes sure of it. The instance is in use again. What goes to the staging folder
    /// need not be durable: the archive strategy sees to that.
    ///
    /// # Errors
    /// Any. The backup fails; nothing of it is ever listed.
    async fn complete(&mut self, released: &Released) -> Result<Artifact>;

    /// Takes back what the session has made outside the staging folder, in whatever state it is.
    ///
    /// The run may have been cancelled: tools that clean up run under
    /// [`Control::for_cleanup`](crate::Control::for_cleanup).
    ///
    /// # Errors
    /// When something is left over; it is named in the error, and what was recorded as a leftover stays recorded.
    async fn abort(self: Box<Self>) -> Result<()>;
}
