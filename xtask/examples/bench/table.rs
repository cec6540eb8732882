//! Results as people read them.

use crate::CONTENDERS;
use crate::contender::Contender;
use crate::sample::{METRICS, Metric, Unit, median, readable, typical};
use crate::series::{Measured, Series};
use crate::timeline::Step;

/// Medians, with the ratio to the scripts; then where the windows went.
pub(crate) fn of(series: &Series) -> String {
    let mut rows = vec![heading(series, "median")];
    for metric in &METRICS {
        let cells = series
            .results
            .iter()
            .map(|measured| cell(metric, measured, series));
        rows.push(
            std::iter::once(metric.label.to_owned())
                .chain(cells)
                .collect(),
        );
    }
    rows.push(first_backups(series));
    let mut steps = vec![heading(series, "in the lock, a typical run")];
    for step in Step::ALL {
        let cells = series
            .results
            .iter()
            .map(|measured| seconds_of(step, measured));
        steps.push(
            std::iter::once(step.name().to_owned())
                .chain(cells)
                .collect(),
        );
    }
    let phases = phases(series);
    format!(
        "{}\n\n{}\n\n{}",
        aligned(&rows),
        aligned(&steps),
        aligned(&phases)
    )
}

/// What a whole backup is made of, where it tells.
fn phases(series: &Series) -> Vec<Vec<String>> {
    let mut rows = vec![heading(series, "a whole backup, the same run")];
    let typical: Vec<_> = series
        .results
        .iter()
        .map(|measured| typical(&measured.samples))
        .collect();
    let longest = typical.iter().flatten().max_by_key(|s| s.phases.len());
    for (name, _) in longest.map_or(&[][..], |sample| &sample.phases) {
        let cells = typical.iter().map(|sample| {
            let mut phases = sample.iter().flat_map(|sample| &sample.phases);
            let found = phases.find(|(other, _)| other == name);
            found.map_or_else(
                || "–".to_owned(),
                |(_, seconds)| readable(*seconds, Unit::Seconds),
            )
        });
        rows.push(std::iter::once(name.clone()).chain(cells).collect());
    }
    rows
}

/// How the windows grow with the instance.
pub(crate) fn growth(all: &[Series]) -> String {
    let mut rows = vec![vec!["window beyond the drain".to_owned()]];
    rows[0].extend(CONTENDERS.map(|contender| contender.name().to_owned()));
    for series in all {
        let mut row = vec![format!(
            "×{}: {} files, {} rows",
            series.scale, series.size.files, series.size.rows
        )];
        row.extend(CONTENDERS.map(|contender| {
            series
                .of(contender)
                .map_or_else(|| "skipped".to_owned(), |m| cell(&METRICS[0], m, series))
        }));
        rows.push(row);
    }
    aligned(&rows)
}

fn heading(series: &Series, first: &str) -> Vec<String> {
    let names = series.results.iter().map(|m| m.contender.name().to_owned());
    std::iter::once(first.to_owned()).chain(names).collect()
}

fn cell(metric: &Metric, measured: &Measured, series: &Series) -> String {
    let Some(value) = median(&metric.values(&measured.samples)) else {
        return "–".to_owned();
    };
    let value = readable(value, metric.unit);
    let ratio = series
        .of(Contender::Scripts)
        .filter(|base| base.contender != measured.contender)
        .and_then(|base| metric.ratio(&measured.samples, &base.samples));
    match ratio {
        Some(ratio) => format!("{value} (×{})", significant(ratio)),
        None => value,
    }
}

fn first_backups(series: &Series) -> Vec<String> {
    let cells = series
        .results
        .iter()
        .map(|m| readable(m.first.backup.as_secs_f64(), Unit::Seconds));
    std::iter::once("the first backup of all".to_owned())
        .chain(cells)
        .collect()
}

fn seconds_of(step: Step, measured: &Measured) -> String {
    let span = typical(&measured.samples).and_then(|sample| {
        let mut spans = sample.timeline.spans.iter();
        spans.find(|span| span.step == step)
    });
    span.map_or_else(
        || "–".to_owned(),
        |span| format!("{:.1} ms", span.seconds() * 1e3),
    )
}

/// Two digits that say something.
fn significant(ratio: f64) -> String {
    let decimals = if ratio >= 9.95 {
        0
    } else if ratio >= 0.995 {
        1
    } else if ratio >= 0.0995 {
        2
    } else {
        3
    };
    format!("{ratio:.decimals$}")
}

fn aligned(rows: &[Vec<String>]) -> String {
    let columns = rows.iter().map(Vec::len).max().unwrap_or(0);
    let width = |column: usize| {
        let cells = rows.iter().filter_map(|row| row.get(column));
        cells.map(|cell| cell.chars().count()).max().unwrap_or(0)
    };
    let widths: Vec<_> = (0..columns).map(width).collect();
    let line = |row: &Vec<String>| {
        let cells = row
            .iter()
            .zip(&widths)
            .map(|(cell, &width)| format!("{cell:width$}"));
        let line = cells.collect::<Vec<_>>().join("   ");
        line.trim_end().to_owned()
    };
    rows.iter().map(line).collect::<Vec<_>>().join("\n")
}
