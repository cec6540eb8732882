//! Where a lock window went.

use std::time::Instant;

use diy_backup_testkit::simulator::{CallKind, RecordedRequest, Window};

use crate::contender::Contender;
use crate::run::Run;

/// What people wait for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Step {
    /// Until Bitbucket has locked.
    Lock,
    /// Until Bitbucket has let running requests end.
    Drain,
    /// Until the drain is noticed.
    Notice,
    Home,
    Database,
    /// Until Bitbucket is unlocked.
    Release,
}

impl Step {
    pub(crate) const ALL: [Self; 6] = [
        Self::Lock,
        Self::Drain,
        Self::Notice,
        Self::Home,
        Self::Database,
        Self::Release,
    ];

    pub(crate) fn name(self) -> &'static str {
        match self {
            Self::Lock => "lock",
            Self::Drain => "drain",
            Self::Notice => "notice",
            Self::Home => "home",
            Self::Database => "database",
            Self::Release => "release",
        }
    }
}

/// A step, in seconds since DRAINED.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Span {
    pub(crate) step: Step,
    pub(crate) from: f64,
    pub(crate) to: f64,
}

impl Span {
    pub(crate) fn seconds(&self) -> f64 {
        self.to - self.from
    }
}

/// The steps of one lock window.
#[derive(Debug, Clone)]
pub(crate) struct Timeline {
    pub(crate) spans: Vec<Span>,
}

impl Timeline {
    /// Puts together what the simulator saw and what the run said. `None` when something is missing.
    pub(crate) fn of(
        contender: Contender,
        run: &Run,
        window: &Window,
        requests: &[RecordedRequest],
    ) -> Option<Self> {
        let (drained, unlocked) = (window.drained?, window.unlocked?);
        let marks = Marks::of(contender, run)?;
        let asked = requests
            .iter()
            .find(|request| request.call == CallKind::Lock && request.at <= window.locked)
            .map_or(window.locked, |request| request.at);
        let span = |step, from, to| Span {
            step,
            from: seconds(drained, from),
            to: seconds(drained, to),
        };
        Some(Self {
            spans: vec![
                span(Step::Lock, asked, window.locked),
                span(Step::Drain, window.locked, drained),
                span(Step::Notice, drained, marks.noticed),
                span(Step::Home, marks.noticed, marks.home),
                span(Step::Database, marks.noticed, marks.database),
                span(Step::Release, marks.captured, unlocked),
            ],
        })
    }

    pub(crate) fn begin(&self) -> f64 {
        self.spans.iter().map(|span| span.from).fold(0.0, f64::min)
    }

    pub(crate) fn end(&self) -> f64 {
        self.spans.iter().map(|span| span.to).fold(0.0, f64::max)
    }
}

/// What a run tells of its own progress.
struct Marks {
    noticed: Instant,
    home: Instant,
    database: Instant,
    captured: Instant,
}

impl Marks {
    fn of(contender: Contender, run: &Run) -> Option<Self> {
        if contender == Contender::Scripts {
            return Some(Self {
                noticed: run.when(&["mark drained"])?,
                home: run.when(&["mark home"])?,
                database: run.when(&["mark database"])?,
                captured: run.when(&["mark captured"])?,
            });
        }
        let captured = run.when(&["\"phase\":\"capture\"", "finished"])?;
        // The dump starts when the state is pinned. What else is captured is the home.
        let pinned = run.when(&["starting a child process", "pg_dump", "--snapshot"])?;
        Some(Self {
            noticed: run.when(&["\"phase\":\"capture\"", "started"])?,
            home: captured,
            database: pinned.min(captured),
            captured,
        })
    }
}

fn seconds(zero: Instant, at: Instant) -> f64 {
    if at >= zero {
        (at - zero).as_secs_f64()
    } else {
        -(zero - at).as_secs_f64()
    }
}
