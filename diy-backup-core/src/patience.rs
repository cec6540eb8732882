//! How long Bitbucket and sessions are waited for.

use std::time::Duration;

use bitbucket_maintenance_client::RetryPolicy;

/// How long Bitbucket and sessions are waited for before they count as lost. The defaults suit clusters behind load
/// balancers; a program that embeds this crate may be less patient.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[non_exhaustive]
pub struct Patience {
    /// A single attempt at a call, from connecting to the end of its answer. 100 s: locking and unlocking a cluster
    /// may each take 60 s.
    pub request: Duration,
    /// The answer to a call that Bitbucket answers in milliseconds, while the instance is locked. 10 s: what takes
    /// longer has been lost by something in between.
    pub answer: Duration,
    /// How long a call that fails for reasons that pass is repeated; not locking and unlocking. 10 s.
    pub retry: Duration,
    /// How long an instance whose lock request has failed is asked whether it is locked. 30 s.
    pub proof: Duration,
    /// How long after a lock request was sent the lock may still arrive although nobody waits for its answer any more.
    /// A recovery, and a run whose request went unanswered, look for that long. 160 s: a request may take 100 s, and a
    /// cluster 60 s to lock.
    pub late_lock: Duration,
    /// How long a locked instance has to say, without a break, that no maintenance is going on before a run believes
    /// it. 5 s: a gateway that has taken the node out says the same.
    pub absence: Duration,
    /// How long the unlock is tried when it fails for reasons that pass. 120 s.
    pub unlock: Duration,
    /// The answer to one attempt to unlock. 20 s: a cluster may need longer, but then it says by itself that it is
    /// free, and an attempt that was lost must not keep people out for long.
    pub unlock_answer: Duration,
    /// The pause between two rounds of locking or unlocking. 500 ms.
    pub pause: Duration,
    /// How often a capture looks whether the instance is still drained. 500 ms.
    pub watch: Duration,
    /// How long sessions may take to stop when the window must close; then they are dropped where they stand. 10 s.
    pub stop: Duration,
}

impl Default for Patience {
    fn default() -> Self {
        Self {
            request: Duration::from_secs(100),
            answer: Duration::from_secs(10),
            retry: Duration::from_secs(10),
            proof: Duration::from_secs(30),
            late_lock: Duration::from_secs(160),
            absence: Duration::from_secs(5),
            unlock: Duration::from_mins(2),
            unlock_answer: Duration::from_secs(20),
            pause: Duration::from_millis(500),
            watch: Duration::from_millis(500),
            stop: Duration::from_secs(10),
        }
    }
}

impl Patience {
    /// The policy for calls while the instance is locked.
    pub(crate) fn short_retry(&self) -> RetryPolicy {
        RetryPolicy::none()
            .with_deadline(self.retry)
            .with_backoff(Duration::from_millis(20), Duration::from_secs(1))
    }
}
