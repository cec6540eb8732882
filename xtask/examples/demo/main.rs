//! `cargo xtask demo`: a whole backup and restore with real servers, while people push.
#![expect(
    clippy::print_stdout,
    clippy::print_stderr,
    reason = "a command line program talks to its user"
)]

mod configuration;
mod instance;
mod program;
mod verdict;

use std::error::Error;
use std::path::{Path, PathBuf};
use std::process::ExitCode;
use std::time::Instant;

use diy_backup_testkit::tree;
use lexopt::prelude::*;

use configuration::{Configuration, Target};
use instance::Instance;
use program::{Interrupt, Interrupted, Program};
use verdict::Verdict;

type Result<T, E = Box<dyn Error>> = std::result::Result<T, E>;

/// How many pushes there are between two steps, so that each backup has something of its own.
const PUSHES_BETWEEN: u64 = 200;

struct Options {
    program: PathBuf,
    keeps_folder: bool,
}

fn main() -> ExitCode {
    let options = match parse() {
        Ok(options) => options,
        Err(error) => {
            eprintln!("error: {error}");
            return ExitCode::from(2);
        }
    };
    match show(&options) {
        Ok(verdict) if verdict.is_good() => ExitCode::SUCCESS,
        Ok(_) => ExitCode::FAILURE,
        Err(error) if error.is::<Interrupted>() => {
            eprintln!("{error}");
            ExitCode::from(130)
        }
        Err(error) => {
            eprintln!("error: {error}");
            let mut source = error.source();
            while let Some(cause) = source {
                eprintln!("  because: {cause}");
                source = cause.source();
            }
            ExitCode::FAILURE
        }
    }
}

fn parse() -> Result<Options, lexopt::Error> {
    let mut program = None;
    let mut keeps_folder = false;
    let mut parser = lexopt::Parser::from_env();
    while let Some(arg) = parser.next()? {
        match arg {
            Long("program") => program = Some(parser.value()?.into()),
            Long("keep") => keeps_folder = true,
            other => return Err(other.unexpected()),
        }
    }
    Ok(Options {
        program: program.ok_or("start this with `cargo xtask demo`")?,
        keeps_folder,
    })
}

fn show(options: &Options) -> Result<Verdict> {
    let runtime = tokio::runtime::Builder::new_multi_thread()
        .enable_all()
        .build()?;
    let mut folder = tempfile::Builder::new()
        .prefix("diy-backup-demo-")
        .tempdir()?;
    folder.disable_cleanup(options.keeps_folder);
    let result = runtime.block_on(async {
        let interrupt = Interrupt::watch()?;
        let program = Program::new(&options.program, interrupt);
        back_up_and_restore(folder.path(), &program).await
    });
    if options.keeps_folder {
        println!("\nEverything is left in {}", folder.path().display());
    } else {
        // Homes have read-only folders, which only root removes as they are.
        tree::make_removable(folder.path())?;
    }
    result
}

async fn back_up_and_restore(folder: &Path, program: &Program) -> Result<Verdict> {
    let started = Instant::now();
    title("A Bitbucket with people at work");
    let instance = Instance::start(folder).await?;
    println!("{instance}");
    let application = instance.application()?;
    application.wait_for_pushes(PUSHES_BETWEEN).await?;

    let configuration = Configuration::write(folder, &instance, Target::Original)?;
    title(&format!(
        "Its configuration, {}",
        configuration.path.display()
    ));
    print!("{}", configuration.text);

    title("Two backups; people go on pushing");
    program.run(&configuration.path, &["check"]).await?;
    program.run(&configuration.path, &["backup"]).await?;
    application.wait_for_pushes(PUSHES_BETWEEN).await?;
    program.run(&configuration.path, &["backup"]).await?;
    application.wait_for_pushes(PUSHES_BETWEEN).await?;
    program.run(&configuration.path, &["list"]).await?;
    program
        .run(&configuration.path, &["verify", "--all"])
        .await?;

    title("A restore into another home and another database");
    let restored = Configuration::write(folder, &instance, Target::Restored)?;
    println!("The configuration is the same but for [home] and [database]:");
    println!("{}", restored.difference(&configuration));
    program.run(&restored.path, &["restore", "latest"]).await?;

    title("What came back");
    let verdict = Verdict::of(&instance, &restored, started)?;
    println!("{verdict}");
    instance.stop().await;
    Ok(verdict)
}

fn title(text: &str) {
    println!("\n=== {text}");
}
