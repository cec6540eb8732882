//! Every REST call of a backup × everything that can go wrong with it × once, always.

use std::sync::Mutex;
use std::sync::PoisonError;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::{Duration, Instant};

use diy_backup_testkit::simulator::{
    CallKind, DrainOutcome, Fault, FaultBody, FaultKind, Times, When,
};

use super::Result;
use super::audit::Wrong;
use super::lab::Lab;
use super::program::{Ended, Exit};
use super::report::{Report, say};
use super::stage::{Archive, Config, Options, Stage};

/// Nearly all cells wait for something most of the time.
const WORKERS: usize = 10;
const STALL: Duration = Duration::from_secs(3);
/// Every so many cells with a good backup, that is restored and compared.
const RESTORE_EVERY: usize = 10;

/// A call at one place in a backup.
struct Row {
    name: &'static str,
    call: CallKind,
    /// How many of these calls pass before the fault strikes.
    first: u64,
}

const fn row(name: &'static str, call: CallKind, first: u64) -> Row {
    Row { name, call, first }
}

const ROWS: [Row; 12] = [
    row("status", CallKind::Status, 0),
    row("lock state, check", CallKind::LockState, 0),
    row("properties", CallKind::ApplicationProperties, 0),
    row("cluster", CallKind::Cluster, 0),
    row("lock", CallKind::Lock, 0),
    row("start", CallKind::StartBackup, 0),
    row("drain", CallKind::MaintenanceState, 0),
    row("still drained", CallKind::MaintenanceState, 2),
    row("progress", CallKind::Progress, 0),
    row("unlock", CallKind::Unlock, 0),
    row("lock state, proof", CallKind::LockState, 1),
    row("cancel", CallKind::Cancel, 0),
];

struct Column {
    name: &'static str,
    kind: FaultKind,
    when: When,
}

const fn column(name: &'static str, kind: FaultKind, when: When) -> Column {
    Column { name, kind, when }
}

const fn status(status: u16, body: FaultBody) -> FaultKind {
    FaultKind::Status { status, body }
}

/// A name that ends in `>` is of a fault that strikes after the call has had its effect.
const COLUMNS: [Column; 17] = [
    column("silence", FaultKind::Hang, When::Before),
    column("401", status(401, FaultBody::Json), When::Before),
    column("403", status(403, FaultBody::Json), When::Before),
    column("409", status(409, FaultBody::Json), When::Before),
    column("500", status(500, FaultBody::Html), When::Before),
    column("502", status(502, FaultBody::Html), When::Before),
    column("503", status(503, FaultBody::Html), When::Before),
    column("302", FaultKind::LoginRedirect, When::Before),
    column("stall", FaultKind::Stall(STALL), When::Before),
    column("reset", FaultKind::Reset, When::Before),
    column("html", FaultKind::HtmlOk, When::Before),
    column("502>", status(502, FaultBody::Html), When::After),
    column("503>", status(503, FaultBody::Html), When::After),
    column("stall>", FaultKind::Stall(STALL), When::After),
    column("reset>", FaultKind::Reset, When::After),
    column("half>", FaultKind::HalfBody, When::After),
    column("json>", FaultKind::MalformedJson, When::After),
];

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Often {
    Once,
    Always,
}

#[derive(Debug, Clone, Copy)]
struct Cell {
    row: usize,
    column: usize,
    often: Often,
}

impl Cell {
    fn name(self) -> String {
        let (row, column) = (ROWS[self.row].name, COLUMNS[self.column].name);
        format!("{row} × {column} × {:?}", self.often).to_lowercase()
    }

    fn fault(self) -> Fault {
        let (row, column) = (&ROWS[self.row], &COLUMNS[self.column]);
        let times = match self.often {
            Often::Once => Times::Nth(row.first + 1),
            Often::Always => Times::After(row.first),
        };
        Fault {
            times,
            when: column.when,
            ..Fault::once(row.call, column.kind)
        }
    }

    /// The lock is taken, and its token is lost on the way.
    fn loses_token(self) -> bool {
        ROWS[self.row].call == CallKind::Lock && COLUMNS[self.column].when == When::After
    }

    /// No program could unlock, or know that it has unlocked.
    fn keeps_locked(self) -> bool {
        let forever = self.often == Often::Always;
        let row = &ROWS[self.row];
        // The check lets some of these pass, and then the proof of the unlock meets them.
        let is_proof = row.call == CallKind::LockState;
        self.loses_token() || forever && (row.call == CallKind::Unlock || is_proof)
    }
}

/// How a cell came out.
struct Outcome {
    exit: Exit,
    struck: u64,
    locked: bool,
    wrong: Wrong,
}

/// Which cells are played; all of them unless set.
#[derive(Debug, Clone, Default)]
pub(crate) struct Choice {
    /// So many of those that end quickly.
    pub(crate) sample: Option<usize>,
    /// Those whose name contains one of these: what an earlier run has named.
    pub(crate) named: Vec<String>,
}

pub(crate) fn run(lab: &Lab, choice: &Choice, seed: u64) -> Result<Report> {
    let mut rng = fastrand::Rng::with_seed(seed);
    let mut cells: Vec<_> = (0..ROWS.len())
        .flat_map(|row| (0..COLUMNS.len()).map(move |column| (row, column)))
        .flat_map(|(row, column)| {
            [Often::Once, Often::Always].map(|often| Cell { row, column, often })
        })
        .collect();
    rng.shuffle(&mut cells);
    if !choice.named.is_empty() {
        let is_named = |cell: &Cell| choice.named.iter().any(|name| cell.name().contains(name));
        cells.retain(is_named);
    }
    let mut workers = WORKERS.min(cells.len());
    if let Some(number) = choice.sample {
        cells.retain(|cell| is_quick(*cell));
        cells.truncate(number);
        workers = 2;
    }
    // What takes longest begins first.
    cells.sort_by_key(|cell| COLUMNS[cell.column].kind != FaultKind::Hang);
    let next = AtomicUsize::new(0);
    let outcomes: Mutex<Vec<(Cell, Outcome)>> = Mutex::default();
    std::thread::scope(|scope| {
        let handles: Vec<_> = (0..workers)
            .map(|worker| {
                let (cells, next, outcomes) = (&cells, &next, &outcomes);
                scope.spawn(move || -> Result {
                    let options = Options::new(Archive::Tar, seed.wrapping_add(worker as u64));
                    let mut stage = Stage::set(lab, &options)?;
                    loop {
                        let number = next.fetch_add(1, Ordering::Relaxed);
                        let Some(cell) = cells.get(number).copied() else {
                            return Ok(());
                        };
                        let started = Instant::now();
                        let outcome = play(&mut stage, cell, number.is_multiple_of(RESTORE_EVERY))
                            .map_err(|error| format!("{}: {error}", cell.name()))?;
                        tell(number, cells.len(), cell, &outcome, started.elapsed());
                        let mut outcomes = outcomes.lock().unwrap_or_else(PoisonError::into_inner);
                        outcomes.push((cell, outcome));
                    }
                })
            })
            .collect();
        handles.into_iter().try_for_each(|handle| {
            handle
                .join()
                .unwrap_or_else(|_| Err("a worker panicked".into()))
        })
    })?;
    let outcomes = outcomes
        .into_inner()
        .unwrap_or_else(PoisonError::into_inner);
    Ok(report(&outcomes, seed))
}

fn is_quick(cell: Cell) -> bool {
    let kind = COLUMNS[cell.column].kind;
    let waits = matches!(kind, FaultKind::Hang | FaultKind::Stall(_));
    !waits && (cell.often == Often::Once || !cell.keeps_locked() && ROWS[cell.row].name != "drain")
}

fn play(stage: &mut Stage<'_>, cell: Cell, restore: bool) -> Result<Outcome> {
    let before = stage.ids()?;
    let config = if ROWS[cell.row].call == CallKind::Cancel {
        stage.simulator.set_drain(DrainOutcome::Never);
        Config::Impatient
    } else {
        Config::Original
    };
    let fault = stage.simulator.inject(cell.fault());
    let ended = stage.run(config, &["backup"])?;
    let struck = stage.simulator.struck(fault);
    let locked = stage.simulator.is_locked();
    stage.simulator.clear_faults();
    stage.simulator.clear_captcha();
    stage.simulator.set_drain(DrainOutcome::Drains {
        scm: Duration::from_millis(30),
        database: Duration::from_millis(60),
    });

    let mut wrong = Wrong::new();
    judge(cell, &ended, locked, &mut wrong);
    if struck == 0 && !ended.is(0) && ROWS[cell.row].call != CallKind::Cancel {
        wrong.push(format!("it failed without a fault; {}", ended.words()));
    }
    recover(stage, cell, locked, &mut wrong)?;
    stage.is_at_rest(&mut wrong);
    stage.has_no_debris(&mut wrong)?;
    let new = stage.remember_new(&before)?;
    match (&new, ended.exit) {
        (Some(_), Exit::Code(0 | 5)) => stage.all_listed_verify(&mut wrong)?,
        (None, Exit::Code(0 | 5)) => {
            wrong.push("it says that it is good, and is not listed".into());
        }
        (Some(id), _) => wrong.push(format!("it failed, and {id} is listed; {}", ended.words())),
        (None, _) => {}
    }
    if let Some(id) = new.filter(|_| restore) {
        stage.restores(&id, &mut wrong)?;
    }
    Ok(Outcome {
        exit: ended.exit,
        struck,
        locked,
        wrong,
    })
}

fn judge(cell: Cell, ended: &Ended, locked: bool, wrong: &mut Wrong) {
    if !matches!(ended.exit, Exit::Code(0 | 1 | 4 | 10)) {
        wrong.push(format!("an unexpected end; {}", ended.words()));
    }
    if locked && !cell.keeps_locked() {
        wrong.push(format!("it was left LOCKED; {}", ended.words()));
    }
    if locked && !ended.is(10) {
        wrong.push(format!("locked without exit 10; {}", ended.words()));
    }
    // What cannot be proven to be unlocked counts as locked.
    if !locked && ended.is(10) && !cell.keeps_locked() {
        wrong.push(format!("exit 10, and not locked; {}", ended.words()));
    }
    let names_the_way = ["diy-backup recover", "diy-backup unlock"]
        .iter()
        .any(|command| ended.stderr.contains(command));
    if ended.is(10) && !names_the_way {
        wrong.push(format!("no command that unlocks; {}", ended.words()));
    }
}

/// The way back that the message named.
fn recover(stage: &Stage<'_>, cell: Cell, locked: bool, wrong: &mut Wrong) -> Result {
    let mut ended = stage.run(Config::Original, &["recover"])?;
    if locked && cell.loses_token() {
        if !ended.is(10) {
            wrong.push(format!("`recover` of a lost token: {}", ended.words()));
        }
        let token = stage.simulator.unlock_token().unwrap_or_default();
        let unlocked = stage.run(Config::Original, &["unlock", "--token", &token])?;
        if !unlocked.is(0) {
            wrong.push(format!("`unlock` failed: {}", unlocked.words()));
        }
        ended = stage.run(Config::Original, &["recover"])?;
    }
    if !ended.is(0) {
        wrong.push(format!("`recover` failed: {}", ended.words()));
    }
    Ok(())
}

fn tell(number: usize, all: usize, cell: Cell, outcome: &Outcome, took: Duration) {
    let locked = if outcome.locked { ", locked" } else { "" };
    let seconds = took.as_secs();
    say(&format!(
        "[{number}/{all}] {}: exit {}{locked}, struck {} times, {seconds} s",
        cell.name(),
        outcome.exit,
        outcome.struck
    ));
    for wrong in &outcome.wrong {
        say(&format!("  VIOLATION {wrong}"));
    }
}

fn report(outcomes: &[(Cell, Outcome)], seed: u64) -> Report {
    let mut report = Report::new(format!("fault matrix, {} cells", outcomes.len()));
    let mut head = vec!["once/always".to_owned()];
    head.extend(COLUMNS.iter().map(|column| column.name.to_owned()));
    report.table.push(head);
    for (number, row) in ROWS.iter().enumerate() {
        let mut line = vec![row.name.to_owned()];
        for column in 0..COLUMNS.len() {
            let half = |often| {
                let found = outcomes.iter().find(|(cell, _)| {
                    cell.row == number && cell.column == column && cell.often == often
                });
                found.map_or_else(|| ".".to_owned(), |(_, outcome)| in_short(outcome))
            };
            line.push(format!("{}/{}", half(Often::Once), half(Often::Always)));
        }
        report.table.push(line);
    }
    report.notes = vec![
        "The exit codes, with L for locked until `recover` or `unlock`, - for a call that was not made, ! for a violation."
            .to_owned(),
        "A > marks faults that strike after the call has had its effect.".to_owned(),
        format!("seed {seed}"),
    ];
    for (cell, outcome) in outcomes {
        let wrong = outcome.wrong.iter();
        report
            .violations
            .extend(wrong.map(|wrong| format!("{}: {wrong}", cell.name())));
    }
    report
}

fn in_short(outcome: &Outcome) -> String {
    if outcome.struck == 0 && outcome.wrong.is_empty() {
        return "-".to_owned();
    }
    let locked = if outcome.locked { "L" } else { "" };
    let bad = if outcome.wrong.is_empty() { "" } else { "!" };
    format!("{}{locked}{bad}", outcome.exit)
}
