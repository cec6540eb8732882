//! JSON lines on standard output, each with a `message_type`.

use std::io::Write;

use diy_backup_core::{Error, Phase, ProgressSnapshot};
use serde::Serialize;

#[derive(Serialize)]
#[serde(tag = "message_type", rename_all = "kebab-case")]
enum Line<'a, T: Serialize> {
    Status {
        phase: Phase,
        #[serde(skip_serializing_if = "Option::is_none")]
        state: Option<&'a str>,
        #[serde(skip_serializing_if = "Option::is_none")]
        seconds: Option<f64>,
        #[serde(skip_serializing_if = "Option::is_none")]
        percent_done: Option<f64>,
        #[serde(skip_serializing_if = "Option::is_none")]
        bytes_done: Option<u64>,
        #[serde(skip_serializing_if = "Option::is_none")]
        bytes_total: Option<u64>,
    },
    Log {
        level: &'a str,
        message: &'a str,
    },
    Error {
        message: String,
        causes: Vec<String>,
        hint: Option<&'a str>,
        phase: Option<Phase>,
        exit_code: u8,
    },
    Summary(&'a T),
}

/// A line without a summary.
type Bare<'a> = Line<'a, ()>;

fn print<T: Serialize>(line: &Line<'_, T>) {
    if let Ok(mut text) = serde_json::to_vec(line) {
        text.push(b'\n');
        let mut stdout = std::io::stdout().lock();
        // A reader that has gone must not fail a good backup.
        let _ = stdout.write_all(&text).and_then(|()| stdout.flush());
    }
}

pub(super) fn log(level: &str, message: &str) {
    print(&Bare::Log { level, message });
}

pub(super) fn phase(phase: Phase, state: &str, seconds: Option<f64>) {
    let state = Some(state);
    print(&Bare::Status {
        phase,
        state,
        seconds,
        percent_done: None,
        bytes_done: None,
        bytes_total: None,
    });
}

pub(super) fn progress(at: &ProgressSnapshot) {
    print(&Bare::Status {
        phase: at.phase,
        state: None,
        seconds: None,
        percent_done: Some(at.overall_percent),
        bytes_done: Some(at.done_bytes),
        bytes_total: Some(at.total_bytes),
    });
}

pub(super) fn error(error: &Error, exit_code: u8) {
    let causes = std::iter::successors(std::error::Error::source(error), |cause| cause.source());
    print(&Bare::Error {
        message: error.to_string(),
        causes: causes.map(ToString::to_string).collect(),
        hint: error.hint(),
        phase: error.phase(),
        exit_code,
    });
}

pub(super) fn summary(summary: &impl Serialize) {
    print(&Line::Summary(summary));
}
