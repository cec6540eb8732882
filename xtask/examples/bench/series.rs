//! All runs on one instance.

use std::path::{Path, PathBuf};

use diy_backup_testkit::tree;
use tokio::runtime::Runtime;

use crate::contender::{Contender, Stand};
use crate::instance::{Instance, Size};
use crate::proof::{self, Depth};
use crate::sample::{Sample, Unit, readable};
use crate::timeline::Timeline;
use crate::{CONTENDERS, Result};

/// How many pushes there are between two runs, so that each has something of its own.
const PUSHES_BETWEEN: u64 = 20;

/// What is restored, apart from the first backups, which are not.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Restores {
    EveryRun,
    LastRun,
}

/// What is to be measured.
pub(crate) struct Plan {
    pub(crate) program: PathBuf,
    pub(crate) scale: usize,
    pub(crate) size: Size,
    pub(crate) runs: usize,
    pub(crate) restores: Restores,
}

/// What was measured.
pub(crate) struct Series {
    pub(crate) scale: usize,
    pub(crate) size: Size,
    pub(crate) entries: usize,
    pub(crate) database_bytes: u64,
    pub(crate) results: Vec<Measured>,
    pub(crate) skipped: Vec<(Contender, String)>,
}

/// All samples of one contender; those of the same round have the same index for everybody.
pub(crate) struct Measured {
    pub(crate) contender: Contender,
    /// The first backup, which copies everything.
    pub(crate) first: Sample,
    pub(crate) samples: Vec<Sample>,
}

impl Series {
    pub(crate) fn of(&self, contender: Contender) -> Option<&Measured> {
        self.results
            .iter()
            .find(|measured| measured.contender == contender)
    }
}

/// Measures, and reports before what was made is removed: of millions of files that takes minutes.
pub(crate) fn measure(
    plan: &Plan,
    runtime: &Runtime,
    report: impl FnOnce(Series) -> Result,
) -> Result {
    let folder = tempfile::Builder::new()
        .prefix("diy-backup-bench-")
        .tempdir()?;
    let reported = in_folder(plan, runtime, folder.path()).and_then(report);
    if let Err(error) = &reported {
        println!("failed: {error}");
    }
    println!("clearing up");
    tree::make_removable(folder.path())?;
    reported
}

fn in_folder(plan: &Plan, runtime: &Runtime, folder: &Path) -> Result<Series> {
    let size = plan.size;
    println!(
        "\nAn instance with {} files, {} MB of packs and {} rows",
        size.files, size.pack_megabytes, size.rows
    );
    let instance = Instance::start(folder, size)?;
    let mut series = Series {
        scale: plan.scale,
        size,
        entries: instance.contents.entries().len(),
        database_bytes: instance.database_bytes,
        results: Vec::new(),
        skipped: Vec::new(),
    };
    let mut stands = Vec::new();
    for contender in CONTENDERS {
        let stand = Stand::set_up(contender, &instance, &plan.program, folder)?;
        match stand.obstacle() {
            None => stands.push(stand),
            Some(obstacle) => {
                println!("skipped: {}: {obstacle}", contender.name());
                series.skipped.push((contender, obstacle));
            }
        }
    }
    for stand in &stands {
        let first = take(stand, &instance, runtime, None)?;
        series.results.push(Measured {
            contender: stand.contender,
            first,
            samples: Vec::new(),
        });
    }
    for round in 0..plan.runs {
        let is_last = round + 1 == plan.runs;
        let depth = match plan.restores {
            _ if is_last => Some(Depth::Everything),
            Restores::EveryRun => Some(Depth::Pushes),
            Restores::LastRun => None,
        };
        // Nobody is always the first one, or always the one after the same other.
        for turn in 0..stands.len() {
            let index = (turn + round) % stands.len();
            let sample = take(&stands[index], &instance, runtime, depth)?;
            println!("{}", in_words(round + 1, stands[index].contender, &sample));
            series.results[index].samples.push(sample);
        }
    }
    drop(stands);
    runtime.block_on(instance.simulator.shutdown());
    Ok(series)
}

/// One backup, and its restore if that is to be looked at.
fn take(
    stand: &Stand<'_>,
    instance: &Instance,
    runtime: &Runtime,
    restored: Option<Depth>,
) -> Result<Sample> {
    let pushed = instance.application()?;
    runtime.block_on(pushed.wait_for_pushes(PUSHES_BETWEEN))?;
    let simulator = &instance.simulator;
    let requests_before = simulator.requests().len();
    let locks_before = simulator.lock_count();
    let backup = stand.back_up()?;
    let name = stand.contender.name();
    if simulator.is_locked() || simulator.lock_count() != locks_before + 1 {
        return Err(format!("{name} has not locked and unlocked once").into());
    }
    let window = simulator.window().ok_or("there was no lock")?;
    let requests = simulator.requests().split_off(requests_before);
    let timeline = Timeline::of(stand.contender, &backup, &window, &requests)
        .ok_or_else(|| format!("{name} did not tell how far it was"))?;
    let archive_bytes = stand.archive_bytes()?;
    let restore = match restored {
        None => None,
        Some(depth) => {
            let restore = stand.restore()?;
            proof::require(stand, instance, depth)?;
            Some((restore.wall, restore.memory))
        }
    };
    stand.clear()?;
    Ok(Sample {
        window: window.drained_to_unlocked().ok_or("it was not unlocked")?,
        backup: backup.wall,
        backup_memory: backup.memory,
        archive_bytes,
        restore,
        timeline,
        phases: backup.phases(),
    })
}

fn in_words(round: usize, contender: Contender, sample: &Sample) -> String {
    let seconds = |duration: std::time::Duration| readable(duration.as_secs_f64(), Unit::Seconds);
    let restore = sample.restore.map_or_else(String::new, |(wall, _)| {
        format!(", restore {}", seconds(wall))
    });
    format!(
        "run {round}  {:22} window {}, backup {}{restore}",
        contender.name(),
        seconds(sample.window),
        seconds(sample.backup)
    )
}
