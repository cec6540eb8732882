//! Moments that a clock which is set, and a machine that is suspended, leave as they are.

use std::time::{Duration, Instant};

use serde::{Deserialize, Serialize};

use crate::platform;

/// A moment that another process on the same machine can measure from, until the machine restarts.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub(crate) struct Moment {
    boot: String,
    /// Since the machine started, suspended or not.
    uptime_millis: u64,
}

impl Moment {
    /// The present moment, where the platform can tell boots apart.
    pub(crate) fn now() -> Option<Self> {
        Some(Self {
            boot: platform::boot_id()?,
            uptime_millis: u64::try_from(platform::uptime()?.as_millis()).ok()?,
        })
    }

    /// The time since then; `None` if the machine has restarted meanwhile, or if it is another one.
    pub(crate) fn elapsed(&self) -> Option<Duration> {
        let now = Self::now()?;
        let millis = now.uptime_millis.checked_sub(self.uptime_millis)?;
        (now.boot == self.boot).then(|| Duration::from_millis(millis))
    }
}

/// Measures time that goes on while the machine sleeps: Bitbucket stays locked meanwhile.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Stopwatch {
    started: Instant,
    uptime: Option<Duration>,
}

impl Stopwatch {
    /// Starts to measure.
    pub(crate) fn start() -> Self {
        Self {
            started: Instant::now(),
            uptime: platform::uptime(),
        }
    }

    /// The time since the start.
    pub(crate) fn elapsed(&self) -> Duration {
        // `Instant` stands still on Linux while the machine is suspended.
        let uptime = platform::uptime().zip(self.uptime);
        let with_sleep = uptime.and_then(|(now, then)| now.checked_sub(then));
        self.started.elapsed().max(with_sleep.unwrap_or_default())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_moment_of_another_boot_or_of_the_future_cannot_be_measured_from() {
        let Some(now) = Moment::now() else {
            return;
        };
        assert!(now.elapsed().is_some());
        let other = Moment {
            boot: "another".to_owned(),
            ..now.clone()
        };
        let ahead = Moment {
            uptime_millis: u64::MAX,
            ..now
        };
        assert_eq!((other.elapsed(), ahead.elapsed()), (None, None));
    }
}
