//! Signals at random instants and at every step of the journal, in backups and restores.

use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

use diy_backup_testkit::simulator::{EndedTask, UnlockWhileRunning};
use rustix::process::Signal;

use super::Result;
use super::audit::{Targets, Wrong};
use super::lab::Lab;
use super::probes::{self, JournalWatch};
use super::program::{Ended, Exit, Target};
use super::report::{Report, Tally, say};
use super::stage::{Archive, Config, Options, Stage};

const WORKERS: usize = 4;
/// After every so many kills, a backup has to succeed and to be restored.
const PROVE_EVERY: usize = 4;
const SIGNALS: [(Signal, &str); 4] = [
    (Signal::KILL, "KILL"),
    (Signal::TERM, "TERM"),
    (Signal::INT, "INT"),
    (Signal::HUP, "HUP"),
];

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Operation {
    Backup,
    Restore,
}

/// When the signal comes.
#[derive(Debug, Clone, Copy)]
enum Instant {
    After(Duration),
    /// At this change of the journal, and so much later.
    Change(usize, Duration),
}

/// How long an undisturbed run takes, and how often it writes its journal.
#[derive(Debug, Clone, Copy)]
struct Pace {
    took: Duration,
    changes: usize,
}

struct Plan {
    operation: Operation,
    signal: (Signal, &'static str),
    target: Target,
    /// More signals of the same kind come after the first.
    signals: usize,
    pause: Duration,
    at: Instant,
}

impl Plan {
    fn draw(rng: &mut fastrand::Rng, backup: Pace, restore: Pace) -> Self {
        let operation = if rng.u8(..3) == 0 {
            Operation::Restore
        } else {
            Operation::Backup
        };
        let pace = match operation {
            Operation::Backup => backup,
            Operation::Restore => restore,
        };
        let at = if rng.bool() {
            Instant::After(pace.took.mul_f64(rng.f64()))
        } else {
            let later = [0, 0, 1_000, 20_000][rng.usize(..4)];
            let later = Duration::from_micros(rng.u64(0..=later));
            Instant::Change(rng.usize(1..=pace.changes), later)
        };
        // Half of them cannot be caught.
        let signal = SIGNALS[rng.usize(..8).saturating_sub(4)];
        Self {
            operation,
            signal,
            target: [Target::Process, Target::Group, Target::Tree][rng.usize(..3)],
            signals: [1, 1, 1, 2, 3][rng.usize(..5)],
            pause: Duration::from_millis(rng.u64(0..150)),
            at,
        }
    }

    fn name(&self) -> String {
        format!(
            "{:?}, {} × {} to the {:?}, {:?}",
            self.operation, self.signals, self.signal.1, self.target, self.at
        )
        .to_lowercase()
    }

    fn can_be_caught(&self) -> bool {
        self.signal.0 != Signal::KILL
    }
}

pub(crate) fn run(lab: &Lab, kills: usize, workers: Option<usize>, seed: u64) -> Result<Report> {
    let tally = Tally::default();
    let next = AtomicUsize::new(0);
    let workers = workers.unwrap_or(WORKERS);
    std::thread::scope(|scope| {
        let handles: Vec<_> = (0..workers)
            .map(|worker| {
                let (tally, next) = (&tally, &next);
                scope.spawn(move || work(lab, worker, kills, next, tally, seed))
            })
            .collect();
        handles.into_iter().try_for_each(|handle| {
            handle
                .join()
                .unwrap_or_else(|_| Err("a worker panicked".into()))
        })
    })?;
    let mut report = tally.into_report(format!("{kills} kills"), "operation, signal");
    report.notes.push(format!(
        "exit codes of the killed runs, and what became of them; seed {seed}"
    ));
    Ok(report)
}

fn work(
    lab: &Lab,
    worker: usize,
    kills: usize,
    next: &AtomicUsize,
    tally: &Tally,
    seed: u64,
) -> Result {
    // The staging folder as the one backup has other ways to die: every third worker tries them.
    let archive = [Archive::Tar, Archive::Tar, Archive::Staging][worker % 3];
    let mut options = Options::new(archive, seed.wrapping_add(worker as u64));
    // Releases differ in both.
    if worker % 2 == 1 {
        options.unlock_while_running = UnlockWhileRunning::Refused;
        options.ended_task = EndedTask::Stays;
    }
    let mut stage = Stage::set(lab, &options)?;
    let (backup, restore) = paces(&mut stage)?;
    loop {
        let number = next.fetch_add(1, Ordering::Relaxed);
        if number >= kills {
            return prove(&mut stage, tally, "at the end");
        }
        let mut rng = fastrand::Rng::with_seed(seed ^ (number as u64).wrapping_mul(0x9e37_79b9));
        let plan = Plan::draw(&mut rng, backup, restore);
        let name = format!("kill {number} ({archive:?}): {}", plan.name());
        let mut wrong = Wrong::new();
        kill(&mut stage, &plan, &mut rng, tally, &mut wrong)
            .map_err(|error| format!("{name}: {error}"))?;
        say(&name);
        tally.violate_all(&name, wrong);
        if number % PROVE_EVERY == PROVE_EVERY - 1 {
            prove(&mut stage, tally, &name)?;
        }
    }
}

/// A good backup and a good restore, watched.
fn paces(stage: &mut Stage<'_>) -> Result<(Pace, Pace)> {
    let pace = |config, args: &[&str]| -> Result<Pace> {
        let mut watch = JournalWatch::new(stage.journal());
        let running = stage.start(config, args)?;
        let mut took = Duration::ZERO;
        let ended = running.wait_looking(|running| {
            watch.look();
            took = running.elapsed();
        })?;
        if !ended.is(0) {
            return Err(format!("an undisturbed run failed: {}", ended.words()).into());
        }
        let changes = watch.changes.max(1);
        Ok(Pace { took, changes })
    };
    let backup = pace(Config::Original, &["backup"])?;
    let restore = pace(Config::Restored, &["restore", "latest"])?;
    let before = std::collections::BTreeSet::new();
    stage.remember_new(&before)?;
    stage.clear_targets()?;
    Ok((backup, restore))
}

fn kill(
    stage: &mut Stage<'_>,
    plan: &Plan,
    rng: &mut fastrand::Rng,
    tally: &Tally,
    wrong: &mut Wrong,
) -> Result {
    let mut before = stage.ids()?;
    if plan.operation == Operation::Restore && before.is_empty() {
        // The staging folder is no backup after a run that failed.
        if let Err(ended) = stage.back_up()? {
            wrong.push(format!("a backup failed: {}", ended.words()));
            return Ok(());
        }
        before = stage.ids()?;
    }
    let latest = before.last().cloned().unwrap_or_default();
    let (config, args) = match plan.operation {
        Operation::Backup => (Config::Original, vec!["backup"]),
        Operation::Restore => (Config::Restored, vec!["restore", latest.as_str()]),
    };
    let mut watch = JournalWatch::new(stage.journal());
    let ended = strike(stage, plan, config, &args, &mut watch)?;
    after(stage, plan, &ended, wrong);
    let died_at = watch.step.clone().unwrap_or_else(|| "before".to_owned());
    let died = if stage.journal().exists() {
        format!("in {died_at}")
    } else {
        "clean".to_owned()
    };
    let row = format!("{:?} {}", plan.operation, plan.signal.1).to_lowercase();
    tally.count(&row, format!("exit {}", ended.exit));
    tally.count(&row, died);

    recover(stage, config, plan, rng, &row, tally, wrong)?;
    wrong.extend(probes::strays(&watch.runs, &stage.root));
    stage.is_at_rest(wrong);
    stage.has_no_debris(wrong)?;
    match plan.operation {
        Operation::Backup => {
            let new = stage.remember_new(&before)?;
            // The third signal ends the process where it stands, which may be after the backup was stored.
            let in_order = plan.signals < 3;
            if in_order && new.is_some() && matches!(ended.exit, Exit::Code(1 | 130)) {
                wrong.push(format!("it failed, and is listed; {}", ended.words()));
            }
            if new.is_none() && ended.is(0) {
                wrong.push("it says that it is good, and is not listed".to_owned());
            }
            if new.is_some() {
                tally.count(&row, "listed");
            }
            stage.all_listed_verify(wrong)?;
        }
        Operation::Restore => {
            let targets = stage.targets(&latest, wrong)?;
            tally.count(&row, format!("targets {targets:?}").to_lowercase());
            if ended.is(0) && targets != Targets::Whole {
                wrong.push("it says that it is restored, and is not".to_owned());
            }
            stage.clear_targets()?;
        }
    }
    Ok(())
}

/// Runs the program and strikes it.
fn strike(
    stage: &Stage<'_>,
    plan: &Plan,
    config: Config,
    args: &[&str],
    watch: &mut JournalWatch,
) -> Result<Ended> {
    let running = stage.start(config, args)?;
    let mut next_at = match plan.at {
        Instant::After(after) => Some(after),
        Instant::Change(..) => None,
    };
    let mut left = plan.signals;
    running.wait_looking(|running| {
        watch.look();
        if let Instant::Change(change, later) = plan.at
            && next_at.is_none()
            && watch.changes >= change
        {
            next_at = Some(running.elapsed() + later);
        }
        if left > 0 && next_at.is_some_and(|at| running.elapsed() >= at) {
            running.signal(plan.signal.0, plan.target);
            left -= 1;
            next_at = Some(running.elapsed() + plan.pause);
        }
    })
}

/// What the exit code promises.
fn after(stage: &Stage<'_>, plan: &Plan, ended: &Ended, wrong: &mut Wrong) {
    let locked = stage.simulator.is_locked();
    let Exit::Code(code) = ended.exit else {
        if plan.can_be_caught() && (locked || stage.journal().exists()) {
            wrong.push(format!("the signal was not caught; {}", ended.words()));
        }
        return;
    };
    let known = match plan.operation {
        Operation::Backup => [0, 1, 5, 10, 130].contains(&code),
        Operation::Restore => [0, 1, 4, 130].contains(&code),
    };
    if !known {
        wrong.push(format!("an unexpected end; {}", ended.words()));
    }
    // The third signal ends the process where it stands.
    let in_order = plan.signals < 3;
    if locked && code != 10 {
        wrong.push(format!("locked without exit 10; {}", ended.words()));
    }
    if locked && in_order {
        wrong.push(format!("it was left LOCKED; {}", ended.words()));
    }
    if in_order && stage.journal().exists() {
        wrong.push(format!("it left its journal; {}", ended.words()));
    }
}

fn recover(
    stage: &Stage<'_>,
    config: Config,
    plan: &Plan,
    rng: &mut fastrand::Rng,
    row: &str,
    tally: &Tally,
    wrong: &mut Wrong,
) -> Result {
    if rng.u8(..4) == 0 {
        let at = Duration::from_micros(rng.u64(..120_000));
        let mut struck = false;
        stage.start(config, &["recover"])?.wait_looking(|running| {
            if !struck && running.elapsed() >= at {
                running.signal(Signal::KILL, Target::Process);
                struck = true;
            }
        })?;
        tally.count(row, "recover killed");
    }
    let mut ended = stage.run(config, &["recover"])?;
    if ended.is(10) && ended.stderr.contains("unlock --token") {
        tally.count(row, "token lost");
        if plan.can_be_caught() && plan.signals < 3 {
            wrong.push("the token was lost, and nothing was killed".to_owned());
        }
        let token = stage.simulator.unlock_token().unwrap_or_default();
        let unlocked = stage.run(config, &["unlock", "--token", &token])?;
        if !unlocked.is(0) {
            wrong.push(format!("`unlock` failed: {}", unlocked.words()));
        }
        ended = stage.run(config, &["recover"])?;
    }
    if !ended.is(0) {
        wrong.push(format!("`recover` failed: {}", ended.words()));
    }
    Ok(())
}

/// All is as good as ever: a backup succeeds, and what it holds comes back.
fn prove(stage: &mut Stage<'_>, tally: &Tally, name: &str) -> Result {
    let mut wrong = Wrong::new();
    match stage.back_up()? {
        Ok(id) => stage.restores(&id, &mut wrong)?,
        Err(ended) => wrong.push(format!("no backup: {}", ended.words())),
    }
    tally.violate_all(&format!("after {name}"), wrong);
    tally.count("proof", "restored, equal");
    Ok(())
}
