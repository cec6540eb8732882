//! Pauses between attempts.

use std::time::Duration;

use crate::error::Error;

/// The longest pause that a server may ask for while people wait.
const LONGEST_ASKED: Duration = Duration::from_mins(1);
/// How many times as long as the first pause the others become.
const GROWTH: u32 = 4;

/// Pauses that grow from `first` to four times as much, unless the server asks for longer ones.
#[derive(Debug)]
pub(super) struct Pauses {
    next: Duration,
    longest: Duration,
}

impl Pauses {
    pub(super) fn from(first: Duration) -> Self {
        Self {
            next: first,
            longest: first.saturating_mul(GROWTH),
        }
    }

    /// The next pause, after `errors`.
    pub(super) fn after<'a>(&mut self, errors: impl IntoIterator<Item = &'a Error>) -> Duration {
        let pause = self.next;
        self.next = (self.next.saturating_mul(5) / 4).min(self.longest);
        pause.max(asked_for(errors))
    }
}

/// The longest pause that a server has asked for in one of `errors`.
pub(super) fn asked_for<'a>(errors: impl IntoIterator<Item = &'a Error>) -> Duration {
    let asked = errors
        .into_iter()
        .filter_map(|error| super::client_error(error)?.retry_after());
    asked.max().unwrap_or_default().min(LONGEST_ASKED)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn pauses_grow_to_four_times_the_first() {
        let mut pauses = Pauses::from(Duration::from_millis(100));
        let taken: Vec<_> = (0..20).map(|_| pauses.after([])).collect();
        assert!(taken.is_sorted());
        assert_eq!(taken[0], Duration::from_millis(100));
        assert_eq!(taken[19], Duration::from_millis(400));
    }
}
