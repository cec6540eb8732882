//! What a loop has found.

use std::collections::BTreeMap;
use std::fmt;
use std::io::Write;
use std::sync::{Mutex, PoisonError};

/// The outcome of a loop.
#[derive(Debug, Default)]
pub(crate) struct Report {
    pub(crate) title: String,
    /// The first row is the head.
    pub(crate) table: Vec<Vec<String>>,
    pub(crate) notes: Vec<String>,
    pub(crate) violations: Vec<String>,
    /// Why the loop could not run.
    pub(crate) skipped: Option<String>,
}

impl Report {
    pub(crate) fn new(title: impl Into<String>) -> Self {
        Self {
            title: title.into(),
            ..Self::default()
        }
    }

    pub(crate) fn skipped(title: &str, reason: impl Into<String>) -> Self {
        Self {
            skipped: Some(reason.into()),
            ..Self::new(title)
        }
    }

    pub(crate) fn is_good(&self) -> bool {
        self.violations.is_empty()
    }
}

impl fmt::Display for Report {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        writeln!(f, "\n=== {}", self.title)?;
        if let Some(reason) = &self.skipped {
            return writeln!(f, "skipped: {reason}");
        }
        let columns = self.table.iter().map(Vec::len).max().unwrap_or(0);
        let width = |column: usize| {
            let cells = self.table.iter().filter_map(|row| row.get(column));
            cells
                .map(|cell| cell.chars().count())
                .max()
                .unwrap_or_default()
        };
        let widths: Vec<_> = (0..columns).map(width).collect();
        for row in &self.table {
            for (cell, width) in row.iter().zip(&widths) {
                write!(f, "{cell:width$}  ")?;
            }
            writeln!(f)?;
        }
        for note in &self.notes {
            writeln!(f, "{note}")?;
        }
        for violation in &self.violations {
            writeln!(f, "VIOLATION {violation}")?;
        }
        write!(f, "{} violations", self.violations.len())
    }
}

/// What several workers have counted, and what they have found wrong.
#[derive(Debug, Default)]
pub(crate) struct Tally {
    counts: Mutex<BTreeMap<(String, String), usize>>,
    violations: Mutex<Vec<String>>,
}

impl Tally {
    pub(crate) fn count(&self, row: impl Into<String>, column: impl Into<String>) {
        let mut counts = self.counts.lock().unwrap_or_else(PoisonError::into_inner);
        *counts.entry((row.into(), column.into())).or_default() += 1;
    }

    pub(crate) fn violate(&self, violation: impl Into<String>) {
        let violation = violation.into();
        say(&format!("VIOLATION {violation}"));
        self.violations
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
            .push(violation);
    }

    pub(crate) fn violate_all(&self, what: &str, violations: impl IntoIterator<Item = String>) {
        for violation in violations {
            self.violate(format!("{what}: {violation}"));
        }
    }

    /// A table of all counts, and the violations.
    pub(crate) fn into_report(self, title: impl Into<String>, first_column: &str) -> Report {
        let counts = self
            .counts
            .into_inner()
            .unwrap_or_else(PoisonError::into_inner);
        let unique = |part: fn(&(String, String)) -> &String| {
            let mut names: Vec<_> = counts.keys().map(part).cloned().collect();
            names.sort();
            names.dedup();
            names
        };
        let (rows, columns) = (unique(|key| &key.0), unique(|key| &key.1));
        let mut report = Report::new(title);
        let mut head = vec![first_column.to_owned()];
        head.extend(columns.iter().cloned());
        report.table.push(head);
        for row in rows {
            let cells = columns.iter().map(|column| {
                let count = counts.get(&(row.clone(), column.clone()));
                count.map_or_else(|| ".".to_owned(), ToString::to_string)
            });
            let cells: Vec<_> = cells.collect();
            report.table.push([vec![row], cells].concat());
        }
        report.violations = self
            .violations
            .into_inner()
            .unwrap_or_else(PoisonError::into_inner);
        report
    }
}

/// Tells how it goes.
pub(crate) fn say(line: &str) {
    // A closed standard error hides the progress, and the report comes all the same.
    let _ = writeln!(std::io::stderr(), "{line}");
}
