//! Where the lock windows went, as a picture.

use std::fmt::Write as _;

use crate::contender::Contender;
use crate::sample::{Sample, Unit, readable, typical};
use crate::series::Series;
use crate::timeline::{Span, Step};

const WIDTH: f64 = 900.0;
const LEFT: f64 = 170.0;
const RIGHT: f64 = 90.0;
const LANE: f64 = 16.0;
const BLOCK: f64 = LANE * 3.0 + 22.0;
const TITLE: f64 = 54.0;
const AXIS: f64 = 40.0;

/// About so many marks on an axis.
const TICKS: f64 = 8.0;

/// A window to draw.
struct Bar<'a> {
    name: &'a str,
    sample: &'a Sample,
}

/// All windows on one scale, and below them those of `diy-backup` on a scale of their own.
pub(crate) fn of(series: &Series) -> String {
    let bars = |keep: fn(Contender) -> bool| -> Vec<Bar<'_>> {
        let kept = series.results.iter().filter(|m| keep(m.contender));
        kept.filter_map(|m| {
            Some(Bar {
                name: m.contender.name(),
                sample: typical(&m.samples)?,
            })
        })
        .collect()
    };
    let panels = [
        ("Where the lock window went", bars(|_| true)),
        (
            "diy-backup alone, enlarged",
            bars(|contender| contender != Contender::Scripts),
        ),
    ];
    let mut body = String::new();
    let mut top = 0.0;
    for (title, bars) in panels.iter().filter(|(_, bars)| !bars.is_empty()) {
        top = panel(&mut body, title, bars, top);
    }
    let height = top + 34.0;
    legend(&mut body, top + 8.0);
    format!(
        "<svg xmlns=\"http://www.w3.org/2000/svg\" viewBox=\"0 0 {WIDTH} {height}\" width=\"{WIDTH}\" height=\"{height}\" \
         font-family=\"sans-serif\" font-size=\"12\">\n\
         <rect width=\"{WIDTH}\" height=\"{height}\" fill=\"#ffffff\"/>\n{body}</svg>\n"
    )
}

/// Draws from `top` on, and returns where it ends.
fn panel(out: &mut String, title: &str, bars: &[Bar<'_>], top: f64) -> f64 {
    let begin = bars
        .iter()
        .map(|bar| bar.sample.timeline.begin())
        .fold(0.0, f64::min);
    let end = bars
        .iter()
        .map(|bar| bar.sample.timeline.end())
        .fold(0.001, f64::max);
    let x = |seconds: f64| LEFT + (seconds - begin) / (end - begin) * (WIDTH - LEFT - RIGHT);
    text(
        out,
        16.0,
        top + 26.0,
        "font-size=\"15\" font-weight=\"bold\"",
        title,
    );
    let bottom = bars.iter().fold(top + TITLE, |y, _| y + BLOCK);
    axis(out, begin, end, x, top + TITLE - 12.0, bottom);
    let mut y = top + TITLE;
    for bar in bars {
        text(out, 16.0, y + LANE * 1.8, "", bar.name);
        for span in &bar.sample.timeline.spans {
            rect(out, span, x, y + lane(span.step) * LANE);
        }
        let window = readable(bar.sample.window.as_secs_f64(), Unit::Seconds);
        let end = x(bar.sample.timeline.end()) + 6.0;
        text(out, end, y + LANE * 1.8, "font-weight=\"bold\"", &window);
        y += BLOCK;
    }
    bottom + AXIS
}

fn axis(out: &mut String, begin: f64, end: f64, x: impl Fn(f64) -> f64, top: f64, bottom: f64) {
    let step = round_step((end - begin) / TICKS);
    let mut tick = (begin / step).ceil() * step;
    while tick <= end {
        let (at, is_zero) = (x(tick), tick.abs() < step / 2.0);
        let colour = if is_zero { "#444444" } else { "#dddddd" };
        let _ = writeln!(
            out,
            "<line x1=\"{at:.1}\" y1=\"{top:.1}\" x2=\"{at:.1}\" y2=\"{bottom:.1}\" stroke=\"{colour}\"/>"
        );
        let label = match () {
            () if is_zero => "DRAINED".to_owned(),
            () if step < 1.0 && end < 2.0 => format!("{:.0} ms", tick * 1e3),
            () => format!("{tick:.1} s"),
        };
        let style = "text-anchor=\"middle\" fill=\"#444444\"";
        text(out, at, bottom + 16.0, style, &label);
        tick += step;
    }
}

/// The next larger of 1, 2, 5, 10, 20, 50 … and their fractions.
fn round_step(least: f64) -> f64 {
    let magnitude = 10_f64.powf(least.log10().floor());
    let factors = [1.0, 2.0, 5.0, 10.0];
    let factor = factors
        .into_iter()
        .find(|factor| factor * magnitude >= least);
    factor.unwrap_or(10.0) * magnitude
}

fn legend(out: &mut String, top: f64) {
    let mut x = LEFT;
    for step in Step::ALL {
        let _ = writeln!(
            out,
            "<rect x=\"{x:.1}\" y=\"{top:.1}\" width=\"12\" height=\"12\" fill=\"{}\"/>",
            colour(step)
        );
        text(out, x + 17.0, top + 10.5, "", step.name());
        x += 100.0;
    }
}

fn rect(out: &mut String, span: &Span, x: impl Fn(f64) -> f64, y: f64) {
    let (from, to) = (x(span.from), x(span.to));
    let _ = writeln!(
        out,
        "<rect x=\"{from:.1}\" y=\"{y:.1}\" width=\"{:.1}\" height=\"{:.1}\" fill=\"{}\"><title>{}: {:.1} ms</title></rect>",
        (to - from).max(1.0),
        LANE - 2.0,
        colour(span.step),
        span.step.name(),
        span.seconds() * 1e3
    );
}

/// Home and database are captured at once, so each has a lane.
fn lane(step: Step) -> f64 {
    match step {
        Step::Lock | Step::Drain | Step::Notice | Step::Release => 0.0,
        Step::Home => 1.0,
        Step::Database => 2.0,
    }
}

fn colour(step: Step) -> &'static str {
    match step {
        Step::Lock => "#7f7f7f",
        Step::Drain => "#c7c7c7",
        Step::Notice => "#d0b000",
        Step::Home => "#1f77b4",
        Step::Database => "#d62728",
        Step::Release => "#2ca02c",
    }
}

fn text(out: &mut String, x: f64, y: f64, style: &str, text: &str) {
    let _ = writeln!(out, "<text x=\"{x:.1}\" y=\"{y:.1}\" {style}>{text}</text>");
}
