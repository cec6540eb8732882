//! What a run tells about itself while it goes on.

use std::fmt::Debug;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, PoisonError, Weak};
use std::time::Duration;

use crate::phase::Phase;

/// Something that happened in a run.
#[derive(Debug, Clone)]
#[non_exhaustive]
pub enum Event {
    /// A phase begins.
    PhaseStarted {
        /// Which.
        phase: Phase,
    },
    /// A phase has ended well.
    PhaseFinished {
        /// Which.
        phase: Phase,
        /// How long it took.
        elapsed: Duration,
    },
    /// Something that users follow a run by.
    Message {
        /// One line.
        text: String,
    },
    /// Something is not as it should be; the run goes on.
    Warning {
        /// One line.
        text: String,
    },
    /// Work was done since the last event of this kind.
    Progress(ProgressSnapshot),
}

/// How far a run has come, in units of work that are bytes wherever there are any.
#[derive(Debug, Clone, Copy, PartialEq)]
#[non_exhaustive]
pub struct ProgressSnapshot {
    /// The phase that works.
    pub phase: Phase,
    /// Bytes done in this phase.
    pub done_bytes: u64,
    /// Bytes there are to do in this phase, as far as is known.
    pub total_bytes: u64,
    /// How far the whole run has come, 0 to 100; never falls.
    pub overall_percent: f64,
}

/// Who is told. Called from several threads, sometimes within the lock window: it must return at once.
pub trait Observer: Debug + Send + Sync {
    /// Takes note of `event`.
    fn observe(&self, event: &Event);
}

/// An observer that ignores everything.
#[derive(Debug, Clone, Copy, Default)]
pub struct Silent;

impl Observer for Silent {
    fn observe(&self, _: &Event) {}
}

/// The way from the parts of a run to its observer. Clones lead to the same one.
#[derive(Debug, Clone)]
pub struct Events {
    inner: Arc<Inner>,
}

#[derive(Debug)]
struct Inner {
    observer: Arc<dyn Observer>,
    warnings: Mutex<Vec<String>>,
    progress: Mutex<Overall>,
    meters: Mutex<Vec<Weak<MeterState>>>,
}

/// Work done over all phases, against the work that was announced before it began.
#[derive(Debug, Default)]
struct Overall {
    announced: u64,
    finished: u64,
    percent: f64,
}

impl Events {
    /// Events that go to `observer`.
    pub fn new(observer: Arc<dyn Observer>) -> Self {
        Self {
            inner: Arc::new(Inner {
                observer,
                warnings: Mutex::default(),
                progress: Mutex::default(),
                meters: Mutex::default(),
            }),
        }
    }

    /// Tells the observer something that users follow a run by.
    pub fn message(&self, text: impl Into<String>) {
        self.send(&Event::Message { text: text.into() });
    }

    /// Tells the observer that something is not as it should be, and keeps it for the report.
    pub fn warning(&self, text: impl Into<String>) {
        let text = text.into();
        lock(&self.inner.warnings).push(text.clone());
        self.send(&Event::Warning { text });
    }

    /// The warnings so far.
    pub fn warnings(&self) -> Vec<String> {
        lock(&self.inner.warnings).clone()
    }

    /// A meter for the work of one part in `phase`.
    pub fn meter(&self, phase: Phase) -> Meter {
        let shared = Arc::new(MeterState {
            events: self.clone(),
            phase,
            done: AtomicU64::new(0),
            total: AtomicU64::new(0),
        });
        let mut meters = lock(&self.inner.meters);
        meters.retain(|meter| meter.strong_count() > 0);
        meters.push(Arc::downgrade(&shared));
        Meter { shared }
    }

    /// The share of the work of all meters of `phase` that is done, 0.0 to 1.0.
    pub(crate) fn fraction(&self, phase: Phase) -> f64 {
        let meters = lock(&self.inner.meters);
        let states = meters
            .iter()
            .filter_map(Weak::upgrade)
            .filter(|state| state.phase == phase);
        let (done, total) = states.fold((0, 0), |(done, total), state| {
            let (part, whole) = state.counts();
            (done + part, total + whole)
        });
        share(done, total)
    }

    pub(crate) fn send(&self, event: &Event) {
        self.inner.observer.observe(event);
    }

    /// Says how many bytes of work the whole run will have, as far as is known.
    pub(crate) fn announce_work(&self, bytes: u64) {
        lock(&self.inner.progress).announced = bytes;
    }

    /// The share of the run that is done can only be less than whole before its last event.
    fn overall(&self, newly_done: u64) -> f64 {
        let mut progress = lock(&self.inner.progress);
        progress.finished = progress.finished.saturating_add(newly_done);
        if progress.announced > 0 {
            #[expect(
                clippy::cast_precision_loss,
                reason = "a percentage needs no more than 52 bits"
            )]
            let percent = progress.finished as f64 * 100.0 / progress.announced as f64;
            progress.percent = progress.percent.max(percent.min(99.0));
        }
        progress.percent
    }
}

fn lock<T>(mutex: &Mutex<T>) -> std::sync::MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

/// Counts the bytes of one part's work in one phase. Clones count together.
#[derive(Debug, Clone)]
pub struct Meter {
    shared: Arc<MeterState>,
}

#[derive(Debug)]
struct MeterState {
    events: Events,
    phase: Phase,
    done: AtomicU64,
    total: AtomicU64,
}

impl Meter {
    /// Says how many bytes there are to do; may be corrected as more is known.
    pub fn set_total_bytes(&self, total: u64) {
        self.shared.total.store(total, Ordering::Relaxed);
    }

    /// Says that `bytes` more are done.
    pub fn advance(&self, bytes: u64) {
        let done = self.shared.done.fetch_add(bytes, Ordering::Relaxed) + bytes;
        self.report(done, bytes);
    }

    /// Says that `bytes` are done in all; a smaller number than before is ignored.
    pub fn set_done_bytes(&self, bytes: u64) {
        let before = self.shared.done.fetch_max(bytes, Ordering::Relaxed);
        if bytes > before {
            self.report(bytes, bytes - before);
        }
    }

    fn report(&self, done: u64, newly: u64) {
        let state = &self.shared;
        state.events.send(&Event::Progress(ProgressSnapshot {
            phase: state.phase,
            done_bytes: done,
            total_bytes: state.total.load(Ordering::Relaxed).max(done),
            overall_percent: state.events.overall(newly),
        }));
    }
}

impl MeterState {
    fn counts(&self) -> (u64, u64) {
        let total = self.total.load(Ordering::Relaxed);
        (self.done.load(Ordering::Relaxed).min(total), total)
    }
}

#[expect(
    clippy::cast_precision_loss,
    reason = "a share needs no more than 52 bits"
)]
fn share(done: u64, total: u64) -> f64 {
    if total == 0 {
        0.0
    } else {
        done as f64 / total as f64
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[derive(Debug, Default)]
    struct Recorder(Mutex<Vec<Event>>);

    impl Observer for Recorder {
        fn observe(&self, event: &Event) {
            lock(&self.0).push(event.clone());
        }
    }

    #[test]
    fn the_overall_percentage_never_falls_and_is_not_whole_before_the_end() {
        let recorder = Arc::new(Recorder::default());
        let events = Events::new(recorder.clone());
        events.announce_work(1000);
        let first = events.meter(Phase::Prepare);
        first.set_total_bytes(500);
        first.advance(250);
        events.announce_work(2000);
        first.set_done_bytes(100);
        first.set_done_bytes(500);
        events.meter(Phase::Archive).advance(5000);
        let percents: Vec<f64> = lock(&recorder.0)
            .iter()
            .filter_map(|event| {
                if let Event::Progress(at) = event {
                    Some(at.overall_percent)
                } else {
                    None
                }
            })
            .collect();
        assert_eq!(percents, [25.0, 25.0, 99.0]);
    }
}
