//! Disks that fill up while a run is at work, from another process and after the check for room.

use std::fs::File;
use std::io;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

use rustix::fs::{FallocateFlags, fallocate, statvfs};

use super::Result;
use super::audit::Wrong;
use super::lab::Lab;
use super::probes::{self, JournalWatch};
use super::program::Exit;
use super::report::{Report, Tally, say};
use super::stage::{Archive, Config, Options, Stage};

const TITLE: &str = "full disks";
const DISK: &str = "size=96m,mode=0700";
const PROVE_EVERY: usize = 4;

/// A small file system of our own. Unmounted when it is dropped.
struct Disk {
    path: PathBuf,
}

impl Disk {
    fn mount(path: PathBuf) -> io::Result<Self> {
        std::fs::create_dir(&path)?;
        let mounted = Command::new("mount")
            .args(["-t", "tmpfs", "-o", DISK, "torture"])
            .arg(&path)
            .stderr(Stdio::null())
            .status()?;
        if mounted.success() {
            return Ok(Self { path });
        }
        Err(io::Error::other("a tmpfs cannot be mounted here"))
    }

    fn filler(&self) -> PathBuf {
        self.path.join("filler")
    }

    /// Leaves so many bytes free.
    fn fill(&self, leave: u64) -> io::Result<()> {
        let room = statvfs(&self.path)?;
        let free = room.f_bavail * room.f_frsize;
        let file = File::create(self.filler())?;
        match free.saturating_sub(leave) {
            0 => Ok(()),
            bytes => Ok(fallocate(file, FallocateFlags::empty(), 0, bytes)?),
        }
    }

    fn relieve(&self) {
        // It is not there when the run was over before the disk could be filled.
        let _ = std::fs::remove_file(self.filler());
    }
}

impl Drop for Disk {
    fn drop(&mut self) {
        let lazily = Command::new("umount").arg("-l").arg(&self.path).status();
        if !lazily.is_ok_and(|status| status.success()) {
            say(&format!("{} is still mounted", self.path.display()));
        }
    }
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Full {
    State,
    Staging,
    Archives,
}

const FULL: [Full; 3] = [Full::State, Full::Staging, Full::Archives];

pub(crate) fn run(lab: &Lab, rounds: usize, seed: u64) -> Result<Report> {
    let (_, folder) = lab.next_stage();
    std::fs::create_dir(&folder)?;
    if !rustix::process::geteuid().is_root() {
        return Ok(Report::skipped(TITLE, "only root can mount a small disk"));
    }
    let tally = Tally::default();
    for (number, full) in FULL.into_iter().enumerate() {
        let disk = match Disk::mount(folder.join(format!("{full:?}"))) {
            Ok(disk) => disk,
            Err(error) => return Ok(Report::skipped(TITLE, error.to_string())),
        };
        let rounds = rounds / FULL.len() + usize::from(number < rounds % FULL.len());
        fill_up(lab, full, &disk, rounds, seed, &tally)?;
    }
    let mut report = tally.into_report(format!("{TITLE}, {rounds} times"), "disk of");
    report.notes.push(format!("seed {seed}"));
    Ok(report)
}

fn fill_up(lab: &Lab, full: Full, disk: &Disk, rounds: usize, seed: u64, tally: &Tally) -> Result {
    if rounds == 0 {
        return Ok(());
    }
    let mut options = Options::new(Archive::Tar, seed);
    let on_disk = Some(disk.path.clone());
    match full {
        Full::State => options.state = on_disk,
        Full::Staging => options.staging = on_disk,
        Full::Archives => options.archives = on_disk,
    }
    let mut stage = Stage::set(lab, &options)?;
    let mut watch = JournalWatch::new(stage.journal());
    let good = stage
        .start(Config::Original, &["backup"])?
        .wait_looking(|_| watch.look())?;
    if !good.is(0) {
        return Err(format!("an undisturbed run failed: {}", good.words()).into());
    }
    stage.remember_new(&std::collections::BTreeSet::new())?;
    let used = used_bytes(&disk.path);
    for round in 0..rounds {
        let mut rng = fastrand::Rng::with_seed(seed ^ (round as u64).wrapping_mul(0x9e37_79b9));
        // None at all at first, then anything from very little to nearly enough.
        let leave = if round == 0 {
            0
        } else {
            let most = used >> rng.u8(0..10);
            rng.u64(..most.max(1))
        };
        let change = rng.usize(1..=watch.changes.max(1));
        let name = format!(
            "disk of {full:?} full {round}: {leave} bytes left from change {change} of the journal on"
        );
        let mut wrong = Wrong::new();
        once(&mut stage, full, disk, leave, change, tally, &mut wrong)
            .map_err(|error| format!("{name}: {error}"))?;
        say(&name);
        tally.violate_all(&format!("{name}, seed {seed}"), wrong);
        if round % PROVE_EVERY == PROVE_EVERY - 1 || round + 1 == rounds {
            prove(&mut stage, &name, tally)?;
        }
    }
    Ok(())
}

fn used_bytes(path: &Path) -> u64 {
    let sizes = probes::files_below(path);
    let sizes = sizes.iter().filter_map(|file| file.metadata().ok());
    sizes.map(|metadata| metadata.len().max(4096)).sum()
}

fn once(
    stage: &mut Stage<'_>,
    full: Full,
    disk: &Disk,
    leave: u64,
    change: usize,
    tally: &Tally,
    wrong: &mut Wrong,
) -> Result {
    let before = stage.ids()?;
    let mut watch = JournalWatch::new(stage.journal());
    let mut filled = Ok(false);
    let ended = stage
        .start(Config::Original, &["backup"])?
        .wait_looking(|_| {
            watch.look();
            if matches!(filled, Ok(false)) && watch.changes >= change {
                filled = disk.fill(leave).map(|()| true);
            }
        })?;
    filled?;
    let row = format!("{full:?}");
    let step = watch.step.as_deref().unwrap_or("nothing");
    tally.count(&row, format!("exit {}", ended.exit));
    if !ended.is(0) {
        tally.count(&row, format!("after {step}"));
    }
    if !matches!(ended.exit, Exit::Code(0 | 1 | 5)) {
        wrong.push(format!("an unexpected end; {}", ended.words()));
    }
    if stage.simulator.is_locked() {
        wrong.push(format!("it was left LOCKED; {}", ended.words()));
    }
    // The disk is still full: what was there is as good as ever.
    let now = stage.ids()?;
    if !ended.is(0) && !ended.is(5) && now != before {
        wrong.push(format!(
            "it failed, and the list changed; {}",
            ended.words()
        ));
    }
    stage.all_listed_verify(wrong)?;
    disk.relieve();
    let recovered = stage.run(Config::Original, &["recover"])?;
    if !recovered.is(0) {
        wrong.push(format!("`recover` failed: {}", recovered.words()));
    }
    stage.remember_new(&before)?;
    stage.is_at_rest(wrong);
    stage.has_no_debris(wrong)?;
    wrong.extend(probes::strays(&watch.runs, &stage.root));
    Ok(())
}

fn prove(stage: &mut Stage<'_>, name: &str, tally: &Tally) -> Result {
    let mut wrong = Wrong::new();
    match stage.back_up()? {
        Ok(id) => stage.restores(&id, &mut wrong)?,
        Err(ended) => wrong.push(format!("no backup: {}", ended.words())),
    }
    tally.violate_all(&format!("after {name}"), wrong);
    Ok(())
}
