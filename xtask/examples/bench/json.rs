//! Results for programs.

use serde_json::{Map, Value, json};

use crate::contender::Contender;
use crate::machine::Machine;
use crate::sample::{METRICS, Sample, median, typical};
use crate::series::{Measured, Series};

pub(crate) fn of(machine: &Machine, all: &[Series]) -> Value {
    json!({
        "machine": {
            "processor": machine.processor,
            "cores": machine.cores,
            "memory_gigabytes": machine.memory_gigabytes,
            "kernel": machine.kernel,
            "file_system": machine.file_system,
            "tools": machine.tools,
        },
        "series": all.iter().map(series).collect::<Vec<_>>(),
    })
}

fn series(series: &Series) -> Value {
    let contenders: Map<_, _> = series
        .results
        .iter()
        .map(|m| (m.contender.key().to_owned(), contender(m, series)))
        .collect();
    let skipped: Map<_, _> = series
        .skipped
        .iter()
        .map(|(contender, why)| (contender.key().to_owned(), json!(why)))
        .collect();
    json!({
        "scale": series.scale,
        "files": series.size.files,
        "entries": series.entries,
        "pack_megabytes": series.size.pack_megabytes,
        "rows": series.size.rows,
        "database_bytes": series.database_bytes,
        "contenders": contenders,
        "skipped": skipped,
    })
}

fn contender(measured: &Measured, series: &Series) -> Value {
    let base = series
        .of(Contender::Scripts)
        .filter(|base| base.contender != measured.contender);
    let metrics: Map<_, _> = METRICS
        .iter()
        .map(|metric| {
            let values = metric.values(&measured.samples);
            let ratio = base.and_then(|base| metric.ratio(&measured.samples, &base.samples));
            let summary = json!({
                "median": median(&values),
                "values": values,
                "ratio_to_scripts": ratio,
            });
            (metric.key.to_owned(), summary)
        })
        .collect();
    json!({
        "metrics": metrics,
        "first_backup_seconds": measured.first.backup.as_secs_f64(),
        "first_window_seconds": measured.first.window.as_secs_f64(),
        "typical_phases": typical(&measured.samples).map(|sample| {
            let phases = sample.phases.iter();
            phases
                .map(|(name, seconds)| json!({ "name": name, "seconds": seconds }))
                .collect::<Vec<_>>()
        }),
        "typical_timeline": typical(&measured.samples).map(timeline),
    })
}

/// Seconds since DRAINED.
fn timeline(sample: &Sample) -> Value {
    let spans = sample.timeline.spans.iter();
    spans
        .map(|span| json!({ "step": span.step.name(), "from": span.from, "to": span.to }))
        .collect()
}
