//! Lines and a progress bar for people.

use std::io::Write;
use std::time::{Duration, Instant};

use diy_backup_core::{Event, Phase, ProgressSnapshot};
use indicatif::{HumanBytes, ProgressBar, ProgressDrawTarget, ProgressStyle};

use super::Detail;

/// Prints a line to standard output. A reader that has gone must not fail a good backup.
pub(super) fn line(text: &str) {
    let mut stdout = std::io::stdout().lock();
    let _ = writeln!(stdout, "{text}").and_then(|()| stdout.flush());
}

fn warning(text: &str) {
    let _ = writeln!(std::io::stderr(), "warning: {text}");
}

/// Shows the events of a run.
#[derive(Debug)]
pub(super) struct PlainView {
    detail: Detail,
    bar: ProgressBar,
    rate: Rate,
}

impl PlainView {
    /// The bar shows on a terminal alone.
    pub(super) fn new(detail: Detail) -> Self {
        let target = match detail {
            Detail::Quiet => ProgressDrawTarget::hidden(),
            Detail::Normal => ProgressDrawTarget::stderr(),
        };
        let bar = ProgressBar::with_draw_target(Some(1000), target);
        if let Ok(style) = ProgressStyle::with_template("{percent:>3}% [{bar:30}] {msg}") {
            bar.set_style(style);
        }
        Self {
            detail,
            bar,
            rate: Rate::default(),
        }
    }

    pub(super) fn show(&mut self, event: &Event) {
        match event {
            Event::PhaseStarted { phase } => self.tell(&format!("{phase}: begins")),
            Event::PhaseFinished { phase, elapsed } => {
                self.tell(&format!("{phase}: done in {:.2} s", elapsed.as_secs_f64()));
            }
            Event::Message { text } => self.tell(text),
            Event::Warning { text } => self.bar.suspend(|| warning(text)),
            Event::Progress(at) => self.advance(at),
            _ => {}
        }
    }

    pub(super) fn end(&self) {
        self.bar.finish_and_clear();
    }

    fn tell(&self, text: &str) {
        if self.detail == Detail::Normal {
            self.bar.suspend(|| line(text));
        }
    }

    fn advance(&mut self, at: &ProgressSnapshot) {
        #[expect(
            clippy::cast_possible_truncation,
            clippy::cast_sign_loss,
            reason = "0 to 100 becomes 0 to 1000"
        )]
        self.bar.set_position((at.overall_percent * 10.0) as u64);
        let rate = self.rate.after(at);
        self.bar.set_message(format!(
            "{}: {} of {}, {}/s",
            at.phase,
            HumanBytes(at.done_bytes),
            HumanBytes(at.total_bytes),
            HumanBytes(rate)
        ));
    }
}

/// Bytes per second, over the last seconds of one phase.
#[derive(Debug, Default)]
struct Rate {
    phase: Option<Phase>,
    since: Option<(Instant, u64)>,
    bytes_per_second: u64,
}

impl Rate {
    const SPAN: Duration = Duration::from_secs(2);

    fn after(&mut self, at: &ProgressSnapshot) -> u64 {
        let now = Instant::now();
        if self.phase != Some(at.phase) {
            *self = Self {
                phase: Some(at.phase),
                since: Some((now, at.done_bytes)),
                bytes_per_second: 0,
            };
        }
        let (then, before) = *self.since.get_or_insert((now, at.done_bytes));
        let elapsed = now - then;
        if elapsed >= Self::SPAN {
            let millis = u64::try_from(elapsed.as_millis())
                .unwrap_or(u64::MAX)
                .max(1);
            self.bytes_per_second =
                at.done_bytes.saturating_sub(before).saturating_mul(1000) / millis;
            self.since = Some((now, at.done_bytes));
        }
        self.bytes_per_second
    }
}
