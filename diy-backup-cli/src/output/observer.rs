//! The observer of a run: a thread of its own prints, so that a slow terminal never lengthens the lock window.

use std::sync::mpsc::{Receiver, Sender, channel};
use std::sync::{Mutex, PoisonError};
use std::thread::JoinHandle;
use std::time::{Duration, Instant};

use diy_backup_core::{Event, Observer};

use super::plain::PlainView;
use super::{Format, json};

/// How often a JSON status line tells the progress.
const STATUS_EVERY: Duration = Duration::from_millis(500);

/// Prints the events of a run.
#[derive(Debug)]
pub(crate) struct Printer {
    events: Mutex<Option<Sender<Event>>>,
    thread: Mutex<Option<JoinHandle<()>>>,
}

impl Printer {
    pub(crate) fn start(format: Format) -> Self {
        let (sender, receiver) = channel();
        let thread = std::thread::Builder::new()
            .name("printer".into())
            .spawn(move || print_all(format, &receiver))
            .ok();
        Self {
            events: Mutex::new(Some(sender)),
            thread: Mutex::new(thread),
        }
    }

    /// Prints what is left and ends. What comes later is not printed.
    pub(crate) fn finish(&self) {
        self.events
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
            .take();
        let thread = self
            .thread
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
            .take();
        if let Some(thread) = thread {
            let _ = thread.join();
        }
    }
}

impl Observer for Printer {
    fn observe(&self, event: &Event) {
        if let Some(events) = &*self.events.lock().unwrap_or_else(PoisonError::into_inner) {
            let _ = events.send(event.clone());
        }
    }
}

fn print_all(format: Format, events: &Receiver<Event>) {
    match format {
        Format::Json => {
            let mut view = JsonView::default();
            for event in events {
                view.show(&event);
            }
        }
        Format::Plain(detail) => {
            let mut view = PlainView::new(detail);
            for event in events {
                view.show(&event);
            }
            view.end();
        }
    }
}

#[derive(Default)]
struct JsonView {
    last_status: Option<Instant>,
}

impl JsonView {
    fn show(&mut self, event: &Event) {
        match event {
            Event::PhaseStarted { phase } => json::phase(*phase, "started", None),
            Event::PhaseFinished { phase, elapsed } => {
                json::phase(*phase, "finished", Some(elapsed.as_secs_f64()));
            }
            Event::Message { text } => json::log("info", text),
            Event::Warning { text } => json::log("warning", text),
            Event::Progress(at) if self.is_due() => json::progress(at),
            _ => {}
        }
    }

    fn is_due(&mut self) -> bool {
        let due = self
            .last_status
            .is_none_or(|last| last.elapsed() >= STATUS_EVERY);
        if due {
            self.last_status = Some(Instant::now());
        }
        due
    }
}
