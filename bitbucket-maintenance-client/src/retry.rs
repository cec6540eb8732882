//! When and how long a failed call is repeated.

use std::time::Duration;

use tokio::time::Instant;

/// A server that asks for a longer pause is asked again after this one: a locked instance must not wait for hours.
const LONGEST_REQUESTED_PAUSE: Duration = Duration::from_mins(1);

/// How long a call that failed for a transient reason is repeated, and at what pace.
///
/// The pause doubles from [`initial_backoff`](Self::initial_backoff) to [`max_backoff`](Self::max_backoff) and is
/// shortened at random by up to a half, so that several clients do not ask in step. A `Retry-After` of the server
/// takes its place, up to one minute. No attempt starts after the deadline, which counts from the start of the
/// call; the last one starts at the deadline itself, and an attempt that has started always gets its whole
/// request timeout.
///
/// Whatever the policy, a refusal (401, 403, a redirect, any other definite answer) ends the call at once, and
/// locking and starting a backup are repeated only if no connection came about.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct RetryPolicy {
    deadline: Duration,
    initial_backoff: Duration,
    max_backoff: Duration,
}

impl Default for RetryPolicy {
    /// 10 s in all: enough for a proxy that changes its mind, short enough for somebody who waits for an answer.
    fn default() -> Self {
        Self {
            deadline: Duration::from_secs(10),
            initial_backoff: Duration::from_millis(200),
            max_backoff: Duration::from_secs(2),
        }
    }
}

impl RetryPolicy {
    /// One attempt.
    pub const fn none() -> Self {
        Self {
            deadline: Duration::ZERO,
            initial_backoff: Duration::ZERO,
            max_backoff: Duration::ZERO,
        }
    }

    /// Attempts until `deadline`, with pauses from half a second to 10 s: for what must succeed, such as an unlock.
    pub const fn patient(deadline: Duration) -> Self {
        Self {
            deadline,
            initial_backoff: Duration::from_millis(500),
            max_backoff: Duration::from_secs(10),
        }
    }

    /// Replaces the time after which no attempt starts any more. Zero means one attempt.
    #[must_use]
    pub const fn with_deadline(mut self, deadline: Duration) -> Self {
        self.deadline = deadline;
        self
    }

    /// Replaces the first and the longest pause between two attempts.
    #[must_use]
    pub const fn with_backoff(mut self, initial: Duration, max: Duration) -> Self {
        self.initial_backoff = initial;
        self.max_backoff = max;
        self
    }

    /// The time after which no attempt starts any more, counted from the start of the call.
    pub const fn deadline(&self) -> Duration {
        self.deadline
    }

    /// The pause after the first failure.
    pub const fn initial_backoff(&self) -> Duration {
        self.initial_backoff
    }

    /// The longest pause.
    pub const fn max_backoff(&self) -> Duration {
        self.max_backoff
    }
}

/// The pauses of one call.
#[derive(Debug)]
pub(crate) struct Schedule {
    policy: RetryPolicy,
    started: Instant,
    backoff: Duration,
}

impl Schedule {
    pub(crate) fn start(policy: RetryPolicy) -> Self {
        Self {
            policy,
            started: Instant::now(),
            backoff: policy.initial_backoff.min(policy.max_backoff),
        }
    }

    /// How long to wait before the next attempt, or `None` if there is none.
    pub(crate) fn next_pause(&mut self, requested: Option<Duration>) -> Option<Duration> {
        self.pause_after(self.started.elapsed(), requested)
    }

    fn pause_after(&mut self, elapsed: Duration, requested: Option<Duration>) -> Option<Duration> {
        let left = self.policy.deadline.checked_sub(elapsed)?;
        if left.is_zero() {
            return None;
        }
        let pause = match requested {
            Some(requested) => requested.min(LONGEST_REQUESTED_PAUSE),
            None => self.backoff.mul_f64(1.0 - fastrand::f64() / 2.0),
        };
        self.backoff = self.backoff.saturating_mul(2).min(self.policy.max_backoff);
        Some(pause.min(left))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const SECOND: Duration = Duration::from_secs(1);

    #[test]
    fn no_policy_means_one_attempt() {
        let mut schedule = Schedule::start(RetryPolicy::none());
        assert_eq!(schedule.pause_after(Duration::ZERO, Some(SECOND)), None);
    }

    #[test]
    fn pauses_double_up_to_the_longest_and_are_never_halved_twice() {
        let policy = RetryPolicy::patient(3600 * SECOND).with_backoff(SECOND, 4 * SECOND);
        let mut schedule = Schedule::start(policy);
        for longest in [1, 2, 4, 4] {
            let pause = schedule.pause_after(SECOND, None).unwrap();
            assert!(
                pause * 2 >= longest * SECOND && pause <= longest * SECOND,
                "{pause:?} after a backoff of {longest} s"
            );
        }
    }

    #[test]
    fn the_last_attempt_starts_at_the_deadline() {
        let mut schedule = Schedule::start(RetryPolicy::patient(10 * SECOND));
        let asked = Some(30 * SECOND);
        assert_eq!(schedule.pause_after(4 * SECOND, asked), Some(6 * SECOND));
        assert_eq!(schedule.pause_after(10 * SECOND, asked), None);
        assert_eq!(schedule.pause_after(11 * SECOND, asked), None);
    }

    #[test]
    fn a_requested_pause_is_bounded() {
        let mut schedule = Schedule::start(RetryPolicy::patient(Duration::MAX));
        let pause = schedule.pause_after(SECOND, Some(Duration::MAX));
        assert_eq!(pause, Some(LONGEST_REQUESTED_PAUSE));
    }
}
