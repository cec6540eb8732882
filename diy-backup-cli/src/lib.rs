//! The command `diy-backup`: a configuration file becomes a site, and a command line becomes calls of
//! [`diy_backup_core`].
//!
//! A site that has strategies of its own builds its own binary:
//!
//! ```no_run
//! use std::process::ExitCode;
//!
//! fn main() -> ExitCode {
//!     let registry = diy_backup_cli::default_registry();
//!     // acme_netapp::register(&mut registry)?;
//!     match registry {
//!         Ok(registry) => diy_backup_cli::run(&registry),
//!         Err(error) => diy_backup_cli::fail(&error),
//!     }
//! }
//! ```

mod args;
mod commands;
mod config;
mod exit;
mod output;
mod signals;

use std::process::ExitCode;

use clap::Parser;
use diy_backup_core::{Error, Registry, Result};

pub use config::load;
pub use exit::Exit;

/// A registry with all strategies of this workspace.
///
/// # Errors
/// Never, as their names differ; [`Registry`] has no other way to say so.
pub fn default_registry() -> Result<Registry> {
    let mut registry = Registry::with_builtins();
    strategy_rsync::register(&mut registry)?;
    strategy_postgres::register(&mut registry)?;
    strategy_mysql::register(&mut registry)?;
    strategy_mssql::register(&mut registry)?;
    strategy_elasticsearch::register(&mut registry)?;
    strategy_tar::register(&mut registry)?;
    Ok(registry)
}

/// Parses the command line of this process and does what it says, with the strategies of `registry`.
pub fn run(registry: &Registry) -> ExitCode {
    let args = match args::Args::try_parse() {
        Ok(args) => args,
        Err(error) => {
            // Also the way that `--help` and `--version` take, which are no errors.
            let _ = error.print();
            return if error.use_stderr() {
                Exit::Usage.into()
            } else {
                Exit::Good.into()
            };
        }
    };
    output::start_logging(&args);
    keep_private();
    let runtime = match tokio::runtime::Builder::new_multi_thread()
        // One that hangs in a call of the operating system must not be the last: something has to drive the timers.
        .worker_threads(WORKERS.max(available_cores()))
        .enable_all()
        .build()
    {
        Ok(runtime) => runtime,
        Err(error) => return fail(&Error::io("cannot start the asynchronous runtime", error)),
    };
    let exit = runtime.block_on(commands::run(&args, registry));
    // A blocking read that nobody waits for any more must not keep the process alive.
    runtime.shutdown_background();
    exit.into()
}

/// How many threads there are at least for what does not block.
const WORKERS: usize = 4;

fn available_cores() -> usize {
    std::thread::available_parallelism().map_or(1, std::num::NonZero::get)
}

/// Whatever this process and its tools create is for its owner alone, unless they say otherwise.
#[cfg(unix)]
fn keep_private() {
    rustix::process::umask(rustix::fs::Mode::RWXG | rustix::fs::Mode::RWXO);
}

#[cfg(not(unix))]
fn keep_private() {}

/// Prints an error as the command does, and gives its exit code.
pub fn fail(error: &Error) -> ExitCode {
    output::print_error(error);
    Exit::of(error).into()
}
