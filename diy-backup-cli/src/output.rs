//! What users and programs read: plain lines, a progress bar, or JSON lines.

mod json;
mod observer;
mod plain;

use std::io::{IsTerminal, Write};

use diy_backup_core::Error;
use serde::Serialize;
use tracing_subscriber::filter::{LevelFilter, Targets};
use tracing_subscriber::prelude::*;

use crate::args::Args;
pub(crate) use observer::Printer;

/// Where the results of a command go.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Format {
    /// Lines for people, with a progress bar on a terminal.
    Plain(Detail),
    /// JSON lines.
    Json,
}

/// How much people want to read.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Detail {
    /// Results, warnings and errors.
    Quiet,
    /// The messages of a run too.
    Normal,
}

impl Format {
    pub(crate) fn of(args: &Args) -> Self {
        if args.json {
            Self::Json
        } else if args.quiet {
            Self::Plain(Detail::Quiet)
        } else {
            Self::Plain(Detail::Normal)
        }
    }

    /// Prints a result: `text` for people, `summary` for programs.
    pub(crate) fn result(self, text: &str, summary: impl Serialize) {
        match self {
            Self::Plain(_) => plain::line(text),
            Self::Json => json::summary(&summary),
        }
    }

    /// Prints an error with its causes and what to do.
    pub(crate) fn error(self, error: &Error, exit_code: u8) {
        match self {
            Self::Plain(_) => print_error(error),
            Self::Json => json::error(error, exit_code),
        }
    }
}

/// Prints an error for people.
pub(crate) fn print_error(error: &Error) {
    let causes = std::iter::successors(std::error::Error::source(error), |cause| cause.source());
    let causes = causes
        .enumerate()
        .map(|(index, cause)| format!("  {}: {cause}", index + 1));
    let lines = std::iter::once(format!("error: {error}"))
        .chain(causes)
        .chain(error.hint().map(|hint| format!("hint: {hint}")));
    let mut stderr = std::io::stderr().lock();
    for line in lines {
        // Nobody is left to be told when standard error is gone.
        let _ = writeln!(stderr, "{line}");
    }
}

/// Sends the log to standard error, as much of it as was asked for.
pub(crate) fn start_logging(args: &Args) {
    let level = match args.verbose {
        0 => LevelFilter::WARN,
        1 => LevelFilter::DEBUG,
        _ => LevelFilter::TRACE,
    };
    // Other crates log requests with their headers at TRACE: theirs are not wanted at any level.
    let filter = Targets::new()
        .with_default(LevelFilter::OFF)
        .with_target("bitbucket_maintenance_client", level)
        .with_target("diy_backup_core", level)
        .with_target("strategy_", level);
    let layer = tracing_subscriber::fmt::layer()
        .with_writer(std::io::stderr)
        .with_ansi(std::io::stderr().is_terminal());
    tracing_subscriber::registry()
        .with(layer.with_filter(filter))
        .init();
}
