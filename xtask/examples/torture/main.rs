//! `cargo xtask torture`: whether the program keeps its promises, whatever is done to it.
#![expect(
    clippy::print_stdout,
    clippy::print_stderr,
    reason = "a command line program talks to its user"
)]

mod loops;

use std::path::PathBuf;
use std::process::ExitCode;
use std::sync::atomic::Ordering;
use std::time::Instant;

use lexopt::prelude::*;
use tokio::signal::unix::{SignalKind, signal};

use loops::lab::Lab;
use loops::program::INTERRUPTED;
use loops::report::Report;
use loops::{corruption, disk_full, faults, field, kills, secrets};

const HELP: &str = "\
Usage: cargo xtask torture [OPTIONS]

Runs `diy-backup` against a Bitbucket simulator, a private PostgreSQL and people who push, and hurts it.
Without any of the loops named, all of them.

  --faults           every REST call of a backup with every fault, once and always (some ten minutes)
  --cell NAME        of these, the cells with this in their name, such as `unlock × 503 × once`; can be repeated
  --kills N          N signals in backups and restores
  --corruptions N    N damages to archives, manifests and staged files
  --disk-full[=N]    N disks that fill up during a backup (as root)
  --field            what sites really have: absent sources, clocks, slow servers, archives of the scripts
  --secrets          who shows passwords and tokens, and who may read what is written
  --seed S           repeats the random choices of an earlier run
";

#[derive(Debug, Default)]
struct Options {
    program: PathBuf,
    faults: bool,
    cells: Vec<String>,
    kills: usize,
    corruptions: usize,
    disks: usize,
    secrets: bool,
    field: bool,
    seed: Option<u64>,
}

fn main() -> ExitCode {
    let options = match parse() {
        Ok(Some(options)) => options,
        Ok(None) => {
            print!("{HELP}");
            return ExitCode::SUCCESS;
        }
        Err(error) => {
            eprintln!("error: {error}\n\n{HELP}");
            return ExitCode::from(2);
        }
    };
    match torture(&options) {
        Ok(true) => ExitCode::SUCCESS,
        Ok(false) => ExitCode::FAILURE,
        Err(error) => {
            let cause = error.source().map(|cause| format!(": {cause}"));
            eprintln!("error: {error}{}", cause.unwrap_or_default());
            ExitCode::FAILURE
        }
    }
}

/// `None` when help is asked for.
fn parse() -> Result<Option<Options>, lexopt::Error> {
    let mut options = Options::default();
    let mut chosen = false;
    let mut parser = lexopt::Parser::from_env();
    while let Some(arg) = parser.next()? {
        match arg {
            Long("program") => {
                options.program = parser.value()?.into();
                continue;
            }
            Long("seed") => {
                options.seed = Some(parser.value()?.parse()?);
                continue;
            }
            Long("faults") => options.faults = true,
            Long("cell") => {
                options.faults = true;
                options.cells.push(parser.value()?.string()?);
            }
            Long("kills") => options.kills = parser.value()?.parse()?,
            Long("corruptions") => options.corruptions = parser.value()?.parse()?,
            Long("disk-full") => {
                let number = parser.optional_value();
                options.disks = number.map_or(Ok(DISKS), |number| number.parse())?;
            }
            Long("secrets") => options.secrets = true,
            Long("field") => options.field = true,
            Long("help") | Short('h') => return Ok(None),
            other => return Err(other.unexpected()),
        }
        chosen = true;
    }
    if !chosen {
        options = Options {
            faults: true,
            kills: 200,
            corruptions: 200,
            disks: DISKS,
            secrets: true,
            field: true,
            ..options
        };
    }
    Ok(Some(options))
}

const DISKS: usize = 30;

/// Waits for the usual signals from now on.
fn listen_for_interrupts() -> loops::Result {
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build()?;
    let entered = runtime.enter();
    let mut interrupt = signal(SignalKind::interrupt())?;
    let mut terminate = signal(SignalKind::terminate())?;
    drop(entered);
    std::thread::spawn(move || {
        runtime.block_on(async {
            tokio::select! {
                _ = interrupt.recv() => {}
                _ = terminate.recv() => {}
            }
        });
        INTERRUPTED.store(true, Ordering::Relaxed);
    });
    Ok(())
}

/// Whether no promise was broken.
fn torture(options: &Options) -> loops::Result<bool> {
    let started = Instant::now();
    listen_for_interrupts()?;
    let seed = options.seed.unwrap_or_else(|| fastrand::u64(..));
    println!("seed {seed}");
    let lab = Lab::open(&options.program, Lab::postgres()?)?;
    let mut reports: Vec<Report> = Vec::new();
    let mut keep = |report: Report| {
        println!("{report}");
        reports.push(report);
    };
    if options.secrets {
        keep(secrets::run(&lab, seed)?);
    }
    if options.field {
        keep(field::run(&lab, field::SLOW, seed)?);
    }
    if options.disks > 0 {
        keep(disk_full::run(&lab, options.disks, seed)?);
    }
    if options.corruptions > 0 {
        keep(corruption::run(&lab, options.corruptions, seed)?);
    }
    if options.kills > 0 {
        keep(kills::run(&lab, options.kills, None, seed)?);
    }
    if options.faults {
        let choice = faults::Choice {
            named: options.cells.clone(),
            ..faults::Choice::default()
        };
        keep(faults::run(&lab, &choice, seed)?);
    }
    let violations: usize = reports.iter().map(|report| report.violations.len()).sum();
    let good = reports.iter().all(Report::is_good);
    let verdict = if good {
        "every promise was kept".to_owned()
    } else {
        format!("{violations} PROMISES WERE BROKEN")
    };
    let minutes = started.elapsed().as_secs_f64() / 60.0;
    println!("\n{verdict} (seed {seed}, {minutes:.1} min)");
    Ok(good)
}
