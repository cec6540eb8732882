//! Proof of what state an instance is in: capturing after the unlock, or completing before it, does not compile.

use std::time::{Duration, Instant};

use bitbucket_maintenance_client::Client;

use crate::control::{CancelReason, Control};
use crate::error::{Error, Result};
use crate::maintenance::MaintenanceLock;
use crate::patience::Patience;
use crate::strategy::BackupContext;

/// How often the time is compared that has passed while the machine was suspended.
const LOOK: Duration = Duration::from_secs(1);

/// How long things may take while an instance is locked.
#[derive(Debug, Clone, Copy)]
pub struct LockLimits {
    /// The drain.
    pub drain: Duration,
    /// The whole time from lock to unlock.
    pub locked: Duration,
}

/// Proof that the instance is locked and drained: nothing writes to home or database.
///
/// Only locking and draining makes one, and releasing it uses it up.
#[derive(Debug)]
#[must_use = "the instance stays locked until the window is released"]
pub struct LockWindow {
    held: Hold,
    opened_at: Instant,
}

/// What a window is over.
#[derive(Debug)]
enum Hold {
    /// A lock that is given back through this window.
    Lock(Box<Held>),
    /// A lock that is given back elsewhere: what a part is shown during its capture.
    Shown,
    /// Nothing: people go on working.
    Nothing,
}

#[derive(Debug)]
struct Held {
    lock: MaintenanceLock,
    longest: Duration,
}

/// Proof that the instance has been unlocked after the capture, and people work again.
#[derive(Debug)]
pub struct Released {
    locked_for: Duration,
    open_for: Duration,
}

/// A release that failed; the window is given back for another try.
#[derive(Debug)]
#[non_exhaustive]
pub struct ReleaseFailed {
    /// The window, still open.
    pub window: LockWindow,
    /// Why.
    pub error: Error,
}

impl LockWindow {
    /// Locks the instance behind `client`, starts its backup task and waits until it is drained: the three steps of a
    /// backup in one call, for the tests of strategies. What fails on the way is unlocked again.
    ///
    /// # Errors
    /// Like a backup: [`Bitbucket`](crate::ErrorKind::Bitbucket), [`Cancelled`](crate::ErrorKind::Cancelled), or
    /// [`StillLocked`](crate::ErrorKind::StillLocked).
    pub async fn lock(client: &Client, cx: &BackupContext, limits: LockLimits) -> Result<Self> {
        let control = cx.control();
        let mut lock = MaintenanceLock::acquire(
            client,
            Patience::default(),
            cx.journal(),
            cx.events(),
            control,
        )
        .await?;
        if let Err(error) = lock.start_task(limits, control).await {
            lock.abandon(&control.for_cleanup()).await?;
            return Err(error);
        }
        match lock.drained(limits, control).await {
            Ok(window) => Ok(window),
            Err(failed) => {
                failed.lock.abandon(&control.for_cleanup()).await?;
                Err(failed.error)
            }
        }
    }

    pub(crate) fn over(lock: MaintenanceLock, longest: Duration) -> Self {
        Self {
            held: Hold::Lock(Box::new(Held { lock, longest })),
            opened_at: Instant::now(),
        }
    }

    /// A window over an instance that is in use: for backups without downtime. Its sessions must pin atomically,
    /// which the core has made sure of.
    pub(crate) fn zero_downtime() -> Self {
        Self {
            held: Hold::Nothing,
            opened_at: Instant::now(),
        }
    }

    /// The same proof for a part that captures on a thread of its own. The lock stays here, so that it can be given
    /// back while that thread hangs.
    pub(crate) fn shown(&self) -> Self {
        Self {
            held: if self.is_locked() {
                Hold::Shown
            } else {
                Hold::Nothing
            },
            opened_at: self.opened_at,
        }
    }

    /// Whether people are kept out. False only in a backup without downtime.
    pub fn is_locked(&self) -> bool {
        !matches!(self.held, Hold::Nothing)
    }

    /// When the instance was seen to be drained.
    pub fn opened_at(&self) -> Instant {
        self.opened_at
    }

    /// Gives the lock back: makes sure that the instance was drained all the while, tells Bitbucket that the backup
    /// is done, unlocks, and proves it.
    ///
    /// # Errors
    /// When any of that fails, with the window.
    pub async fn release(self, control: &Control) -> Result<Released, ReleaseFailed> {
        let open_for = self.opened_at.elapsed();
        let Hold::Lock(held) = self.held else {
            return Ok(Released {
                locked_for: Duration::ZERO,
                open_for,
            });
        };
        let Held { lock, longest } = *held;
        let failed = |lock, error| ReleaseFailed {
            window: Self {
                held: Hold::Lock(Box::new(Held { lock, longest })),
                opened_at: self.opened_at,
            },
            error,
        };
        let held_before = lock.held_for();
        if let Err(error) = lock.ensure_drained().await {
            return Err(failed(lock, error));
        }
        match lock.release(control).await {
            Ok(locked_for) => Ok(Released {
                locked_for,
                // Up to the proof: what is recorded after it keeps nobody waiting.
                open_for: open_for + locked_for.saturating_sub(held_before),
            }),
            Err((lock, error)) => Err(failed(lock, error)),
        }
    }

    /// Gives the lock back without a backup: cancels the task, unlocks, and proves it.
    ///
    /// # Errors
    /// [`StillLocked`](crate::ErrorKind::StillLocked), with what to do.
    pub async fn abandon(self, control: &Control) -> Result<()> {
        match self.held {
            Hold::Lock(held) => held.lock.abandon(control).await.map(|_| ()),
            Hold::Shown | Hold::Nothing => Ok(()),
        }
    }

    /// The lock behind the window, if there is one.
    pub(crate) fn held(&self) -> Option<&MaintenanceLock> {
        match &self.held {
            Hold::Lock(held) => Some(&held.lock),
            Hold::Shown | Hold::Nothing => None,
        }
    }

    /// Waits until the window must not stay open any longer; for ever if nothing forbids it.
    pub(crate) async fn overdue(&self) -> CancelReason {
        match &self.held {
            Hold::Lock(held) => {
                loop {
                    let left = held.longest.saturating_sub(held.lock.held_for());
                    if left.is_zero() {
                        return CancelReason::LockedTooLong(held.longest);
                    }
                    // Timers stand still while the machine is suspended, and the lock does not.
                    tokio::time::sleep(left.min(LOOK)).await;
                }
            }
            _ => std::future::pending().await,
        }
    }
}

impl Released {
    /// For how long the instance was locked; zero in a backup without downtime.
    pub fn locked_for(&self) -> Duration {
        self.locked_for
    }

    /// For how long the window was open: from the drain to the proof of the unlock.
    pub fn open_for(&self) -> Duration {
        self.open_for
    }
}
