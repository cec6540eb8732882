//! Room: what all parts need on one file system, against what is free there.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};

use crate::findings::{Findings, SpaceNeed};
use crate::platform;

/// What is needed on one file system.
#[derive(Default)]
struct Demand {
    path: PathBuf,
    bytes: u64,
    inodes: u64,
    purposes: Vec<String>,
}

pub(super) fn check(findings: &mut Findings) {
    let mut demands: BTreeMap<u64, Demand> = BTreeMap::new();
    for need in &findings.space {
        let Some((device, path)) = file_system_of(need) else {
            continue;
        };
        let demand = demands.entry(device).or_default();
        demand.path = path;
        demand.bytes = demand.bytes.saturating_add(need.bytes);
        demand.inodes = demand.inodes.saturating_add(need.inodes);
        demand.purposes.push(need.purpose.clone());
    }
    for demand in demands.into_values() {
        compare(&demand, findings);
    }
}

fn compare(demand: &Demand, findings: &mut Findings) {
    let Ok((bytes, inodes)) = platform::free_space(&demand.path) else {
        return;
    };
    let subject = demand.path.display().to_string();
    let purposes = demand.purposes.join(" and ");
    if bytes < demand.bytes {
        findings.error(
            subject,
            format!(
                "{purposes} may need {}, and {} are free",
                human_bytes(demand.bytes),
                human_bytes(bytes)
            ),
            "Make room on this file system, or choose a larger one in the configuration.",
        );
    } else if let Some(free) = inodes
        && free < demand.inodes
    {
        findings.error(
            subject,
            format!(
                "{purposes} may need {} files and folders, and the file system has {free} left",
                demand.inodes
            ),
            "Choose a file system with more inodes.",
        );
    }
}

/// The device of the nearest folder that exists.
fn file_system_of(need: &SpaceNeed) -> Option<(u64, PathBuf)> {
    let existing = need
        .path
        .ancestors()
        .find(|path| path.exists())
        .unwrap_or(Path::new("/"));
    let metadata = std::fs::metadata(existing).ok()?;
    Some((platform::device_of(&metadata), existing.to_owned()))
}

/// A size as people read it: `1.5 GiB`.
fn human_bytes(bytes: u64) -> String {
    const UNITS: [&str; 5] = ["bytes", "KiB", "MiB", "GiB", "TiB"];
    #[expect(clippy::cast_precision_loss, reason = "one decimal is shown")]
    let mut value = bytes as f64;
    let mut unit = 0;
    while value >= 1024.0 && unit + 1 < UNITS.len() {
        value /= 1024.0;
        unit += 1;
    }
    if unit == 0 {
        format!("{bytes} bytes")
    } else {
        format!("{value:.1} {}", UNITS[unit])
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn needs_on_one_file_system_are_added_up() {
        let directory = tempfile::tempdir().unwrap();
        let (free, _) = platform::free_space(directory.path()).unwrap();
        let mut findings = Findings::new();
        findings.need_space(directory.path().join("a/b"), free / 2 + 1, 0, "one thing");
        check(&mut findings);
        assert!(!findings.has_errors());
        findings.need_space(
            directory.path().join("c"),
            free / 2 + (1 << 20),
            0,
            "another",
        );
        check(&mut findings);
        let error = &findings.findings[0];
        assert!(
            error.message.starts_with("one thing and another may need"),
            "{}",
            error.message
        );
    }

    #[test]
    fn sizes_are_shown_as_people_read_them() {
        assert_eq!(
            [0, 1023, 1024, 1536 << 20].map(human_bytes),
            ["0 bytes", "1023 bytes", "1.0 KiB", "1.5 GiB"]
        );
    }
}
