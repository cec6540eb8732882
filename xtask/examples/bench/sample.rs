//! What is measured, and what is made of several measurements.

use std::time::Duration;

use crate::run::Memory;
use crate::timeline::Timeline;

/// One backup, and its restore where there was one.
#[derive(Debug, Clone)]
pub(crate) struct Sample {
    /// From DRAINED to the unlock, by the simulator's clock.
    pub(crate) window: Duration,
    pub(crate) backup: Duration,
    pub(crate) backup_memory: Memory,
    pub(crate) archive_bytes: u64,
    pub(crate) restore: Option<(Duration, Memory)>,
    pub(crate) timeline: Timeline,
    /// Seconds of the phases of a whole backup, where it tells them.
    pub(crate) phases: Vec<(String, f64)>,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Unit {
    Seconds,
    Bytes,
}

/// One number of a sample.
#[derive(Clone, Copy)]
pub(crate) struct Metric {
    pub(crate) key: &'static str,
    pub(crate) label: &'static str,
    pub(crate) unit: Unit,
    of: fn(&Sample) -> Option<f64>,
}

#[expect(
    clippy::cast_precision_loss,
    reason = "sizes are far below the 8 PB from which on bytes are lost"
)]
pub(crate) const METRICS: [Metric; 8] = [
    Metric {
        key: "window_seconds",
        label: "window beyond the drain",
        unit: Unit::Seconds,
        of: |sample| Some(sample.window.as_secs_f64()),
    },
    Metric {
        key: "backup_seconds",
        label: "whole backup",
        unit: Unit::Seconds,
        of: |sample| Some(sample.backup.as_secs_f64()),
    },
    Metric {
        key: "restore_seconds",
        label: "restore",
        unit: Unit::Seconds,
        of: |sample| Some(sample.restore?.0.as_secs_f64()),
    },
    Metric {
        key: "archive_bytes",
        label: "archive",
        unit: Unit::Bytes,
        of: |sample| Some(sample.archive_bytes as f64),
    },
    Metric {
        key: "backup_memory_bytes",
        label: "memory of a backup",
        unit: Unit::Bytes,
        of: |sample| Some(sample.backup_memory.all as f64),
    },
    Metric {
        key: "backup_largest_process_bytes",
        label: "  its largest process",
        unit: Unit::Bytes,
        of: |sample| Some(sample.backup_memory.largest as f64),
    },
    Metric {
        key: "restore_memory_bytes",
        label: "memory of a restore",
        unit: Unit::Bytes,
        of: |sample| Some(sample.restore?.1.all as f64),
    },
    Metric {
        key: "restore_largest_process_bytes",
        label: "  its largest process",
        unit: Unit::Bytes,
        of: |sample| Some(sample.restore?.1.largest as f64),
    },
];

impl Metric {
    /// The numbers of all samples that have one.
    pub(crate) fn values(&self, samples: &[Sample]) -> Vec<f64> {
        samples.iter().filter_map(self.of).collect()
    }

    /// The median of how many times as much as `base` the `samples` are, each compared with that of its own round.
    pub(crate) fn ratio(&self, samples: &[Sample], base: &[Sample]) -> Option<f64> {
        let ratios = samples.iter().zip(base).filter_map(|(sample, base)| {
            let (value, base) = ((self.of)(sample)?, (self.of)(base)?);
            Some(value / base)
        });
        median(&ratios.collect::<Vec<_>>())
    }
}

/// The middle value, or the mean of the two in the middle.
pub(crate) fn median(values: &[f64]) -> Option<f64> {
    let mut sorted = values.to_vec();
    sorted.sort_by(f64::total_cmp);
    let middle = sorted.len() / 2;
    let upper = *sorted.get(middle)?;
    if sorted.len() % 2 == 1 {
        return Some(upper);
    }
    Some(f64::midpoint(sorted[middle - 1], upper))
}

/// The sample whose window is the median, or just above it.
pub(crate) fn typical(samples: &[Sample]) -> Option<&Sample> {
    let mut sorted: Vec<_> = samples.iter().collect();
    sorted.sort_by_key(|sample| sample.window);
    sorted.get(sorted.len() / 2).copied()
}

/// As people read it, with the unit.
pub(crate) fn readable(value: f64, unit: Unit) -> String {
    match unit {
        Unit::Seconds if value < 1.0 => format!("{:.0} ms", value * 1e3),
        Unit::Seconds if value < 10.0 => format!("{value:.2} s"),
        Unit::Seconds => format!("{value:.1} s"),
        Unit::Bytes => format!("{:.1} MB", value / 1e6),
    }
}
