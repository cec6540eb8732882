//! `cargo xtask bench`: the program beside the shell pipeline that it replaces, on the same simulated instance.
#![expect(
    clippy::print_stdout,
    clippy::print_stderr,
    reason = "a command line program talks to its user"
)]

mod contender;
mod instance;
mod json;
mod machine;
mod proof;
mod run;
mod sample;
mod series;
mod svg;
mod table;
mod timeline;

use std::error::Error;
use std::path::PathBuf;
use std::process::ExitCode;
use std::sync::atomic::Ordering;

use lexopt::prelude::*;
use tokio::runtime::Runtime;
use tokio::signal::unix::{SignalKind, signal};

use contender::Contender;
use instance::Size;
use machine::Machine;
use run::INTERRUPTED;
use series::{Plan, Restores, Series};

type Result<T = (), E = Box<dyn Error + Send + Sync>> = std::result::Result<T, E>;

const HELP: &str = "\
Usage: cargo xtask bench [OPTIONS]

Backs up and restores a simulated Bitbucket with people who push, by the shell pipeline and by `diy-backup`, in turns.
Change tracking needs root; without it, what needs it is skipped.

  --files N      loose objects in the home; 50000 unless given
  --packs MB     megabytes of packs in the home; 200 unless given
  --rows N       rows of 1 KB in the database; 200000 unless given
  --runs N       how often each is measured, after one first backup of each; 5 unless given
  --growth       measure with two and four times the files and rows, too
  --json FILE    write all numbers
  --svg FILE     draw where the lock windows went
";

struct Options {
    program: PathBuf,
    size: Size,
    runs: usize,
    scales: &'static [usize],
    json: Option<PathBuf>,
    svg: Option<PathBuf>,
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
    match bench(&options) {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) if INTERRUPTED.load(Ordering::Relaxed) => {
            eprintln!("{error}: all servers are stopped");
            ExitCode::from(130)
        }
        Err(error) => {
            let cause = error.source().map(|cause| format!(": {cause}"));
            eprintln!("error: {error}{}", cause.unwrap_or_default());
            ExitCode::FAILURE
        }
    }
}

/// `None` when help is asked for.
fn parse() -> Result<Option<Options>, lexopt::Error> {
    let mut program = None;
    let mut options = Options {
        program: PathBuf::new(),
        size: Size {
            files: 50_000,
            pack_megabytes: 200,
            rows: 200_000,
        },
        runs: 5,
        scales: &[1],
        json: None,
        svg: None,
    };
    let mut parser = lexopt::Parser::from_env();
    while let Some(arg) = parser.next()? {
        match arg {
            Long("program") => program = Some(parser.value()?.into()),
            Long("files") => options.size.files = parser.value()?.parse()?,
            Long("packs") => options.size.pack_megabytes = parser.value()?.parse()?,
            Long("rows") => options.size.rows = parser.value()?.parse()?,
            Long("runs") => options.runs = parser.value()?.parse()?,
            Long("growth") => options.scales = &[1, 2, 4],
            Long("json") => options.json = Some(parser.value()?.into()),
            Long("svg") => options.svg = Some(parser.value()?.into()),
            Long("help") | Short('h') => return Ok(None),
            other => return Err(other.unexpected()),
        }
    }
    if options.runs == 0 {
        return Err("a median needs one run at least".into());
    }
    options.program = program.ok_or("start this with `cargo xtask bench`")?;
    Ok(Some(options))
}

fn bench(options: &Options) -> Result {
    let runtime = tokio::runtime::Builder::new_multi_thread()
        .worker_threads(1)
        .enable_all()
        .build()?;
    listen_for_interrupts(&runtime)?;
    contender::require_tools()?;
    let machine = Machine::describe()?;
    println!("{machine}");
    let mut all: Vec<Series> = Vec::new();
    for &scale in options.scales {
        let plan = Plan {
            program: options.program.clone(),
            scale,
            size: options.size.times(scale),
            runs: options.runs,
            restores: if scale == 1 {
                Restores::EveryRun
            } else {
                Restores::LastRun
            },
        };
        series::measure(&plan, &runtime, |measured| {
            println!("\n{}", table::of(&measured));
            all.push(measured);
            if all.len() > 1 {
                println!("\n{}", table::growth(&all));
            }
            keep(options, &machine, &all)
        })?;
    }
    Ok(())
}

/// Writes the files that are asked for, with all that is known so far.
fn keep(options: &Options, machine: &Machine, all: &[Series]) -> Result {
    if let Some(path) = &options.json {
        let text = serde_json::to_string_pretty(&json::of(machine, all))?;
        std::fs::write(path, text + "\n")?;
    }
    if let (Some(path), Some(first)) = (&options.svg, all.first()) {
        std::fs::write(path, svg::of(first))?;
    }
    Ok(())
}

/// From the first of these signals on every run ends soon, and the servers with it.
fn listen_for_interrupts(runtime: &Runtime) -> Result {
    let entered = runtime.enter();
    for kind in [SignalKind::interrupt(), SignalKind::terminate()] {
        let mut signals = signal(kind)?;
        tokio::spawn(async move {
            signals.recv().await;
            INTERRUPTED.store(true, Ordering::Relaxed);
        });
    }
    drop(entered);
    Ok(())
}

/// Everything that is compared, in the order of the tables.
const CONTENDERS: [Contender; 3] = [Contender::Scripts, Contender::Tracked, Contender::Untracked];
