//! What holds pushes back while a backup is taken.

use std::sync::Arc;

use tokio::sync::watch;

/// Lets pushes begin while it is open, and knows how many are in flight.
#[derive(Debug)]
pub struct Latch {
    state: watch::Sender<State>,
}

#[derive(Debug, Clone, Copy)]
struct State {
    closed: bool,
    in_flight: usize,
}

/// The right to push. The push is in flight until this is dropped.
#[derive(Debug)]
pub struct PushPermit {
    latch: Arc<Latch>,
}

impl Default for Latch {
    fn default() -> Self {
        Self::new()
    }
}

impl Latch {
    /// An open latch with nothing in flight.
    pub fn new() -> Self {
        Self {
            state: watch::Sender::new(State {
                closed: false,
                in_flight: 0,
            }),
        }
    }

    /// Waits until the latch is open, and begins a push.
    pub async fn begin_push(self: &Arc<Self>) -> PushPermit {
        let mut changes = self.state.subscribe();
        loop {
            let begun = self.state.send_if_modified(|state| {
                if state.closed {
                    return false;
                }
                state.in_flight += 1;
                true
            });
            if begun {
                return PushPermit {
                    latch: Arc::clone(self),
                };
            }
            // The sender lives as long as `self`, so this ends only when the latch opens.
            let _ = changes.wait_for(|state| !state.closed).await;
        }
    }

    /// No new push begins from now on; those in flight go on.
    pub fn close(&self) {
        self.state.send_modify(|state| state.closed = true);
    }

    /// Pushes begin again.
    pub fn open(&self) {
        self.state.send_modify(|state| state.closed = false);
    }

    /// True while no new push begins.
    pub fn is_closed(&self) -> bool {
        self.state.borrow().closed
    }

    /// How many pushes are in flight.
    pub fn in_flight(&self) -> usize {
        self.state.borrow().in_flight
    }

    /// Waits until no push is in flight.
    pub async fn drained(&self) {
        let mut changes = self.state.subscribe();
        // The sender lives as long as `self`.
        let _ = changes.wait_for(|state| state.in_flight == 0).await;
    }
}

impl Drop for PushPermit {
    fn drop(&mut self) {
        self.latch.state.send_modify(|state| state.in_flight -= 1);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn a_closed_latch_drains_when_the_last_push_ends() {
        let latch = Arc::new(Latch::new());
        let first = latch.begin_push().await;
        let second = latch.begin_push().await;
        latch.close();
        let waiting = tokio::spawn({
            let latch = Arc::clone(&latch);
            async move { latch.drained().await }
        });
        drop(first);
        assert_eq!(latch.in_flight(), 1);
        assert!(!waiting.is_finished());
        drop(second);
        waiting.await.unwrap();
    }

    #[tokio::test]
    async fn no_push_begins_while_the_latch_is_closed() {
        let latch = Arc::new(Latch::new());
        latch.close();
        let pushing = tokio::spawn({
            let latch = Arc::clone(&latch);
            async move { drop(latch.begin_push().await) }
        });
        tokio::task::yield_now().await;
        assert_eq!(latch.in_flight(), 0);
        assert!(!pushing.is_finished());
        latch.open();
        pushing.await.unwrap();
    }
}
