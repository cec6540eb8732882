//! `cargo xtask`: set-up, demo, tests and packaging of the workspace.
#![expect(
    clippy::print_stdout,
    clippy::print_stderr,
    reason = "a command line program talks to its user"
)]

mod ci;
mod failure;
mod licences;
mod live;
mod opensearch;
mod package;
mod setup;
mod shell;
mod test;
mod workspace;

use std::process::ExitCode;

use lexopt::prelude::*;

use failure::{Failure, Result};

const HELP: &str = "\
Usage: cargo xtask COMMAND

  setup                        make sure that the programs which demo and tests need are installed
  demo [--keep]                show a whole backup and restore with real servers; --keep leaves its folder
  test [--quick] [-- ARGS]     run the tests; --quick those without servers; ARGS go to `cargo test`
  ci [--allow-dirty]           format, lint, test, documentation, licences, packages: what has to pass
  licences [--advisories]      check licences and sources of the dependencies, and known vulnerabilities
  package [--allow-dirty]      package every published crate and compile the packages, with a strategy of a site's own
  torture [OPTIONS]            hurt a whole backup and restore in every way; `torture --help` lists the options
  bench [OPTIONS]              measure the program beside shell scripts; `bench --help` lists the options
  simulate [OPTIONS]           run a Bitbucket simulator until Ctrl-C; `simulate --help` lists the options
";

fn main() -> ExitCode {
    match dispatch(&mut lexopt::Parser::from_env()) {
        Ok(()) => ExitCode::SUCCESS,
        Err(failure) => {
            eprintln!("error: {failure}");
            failure.exit_code()
        }
    }
}

fn dispatch(parser: &mut lexopt::Parser) -> Result {
    let command = match parser.next()? {
        Some(Value(command)) => command.to_string_lossy().into_owned(),
        Some(Long("help") | Short('h')) => {
            print!("{HELP}");
            return Ok(());
        }
        Some(other) => return Err(other.unexpected().into()),
        None => return Err(Failure::Usage(format!("which command?\n\n{HELP}"))),
    };
    match command.as_str() {
        "setup" => {
            switches(parser, [])?;
            setup::run()
        }
        "demo" => live::demo(parser.raw_args()?.collect()),
        "torture" => live::torture(parser.raw_args()?.collect()),
        "bench" => live::bench(parser.raw_args()?.collect()),
        "simulate" => live::simulate(parser.raw_args()?.collect()),
        "test" => test::run(&test::Options::parse(parser)?),
        "ci" => {
            let [allow_dirty] = switches(parser, ["allow-dirty"])?;
            ci::run(package::Changes::allowed_if(allow_dirty))
        }
        "licences" => {
            let [advisories] = switches(parser, ["advisories"])?;
            licences::run(licences::Scope::with_advisories_if(advisories))
        }
        "package" => {
            let [allow_dirty] = switches(parser, ["allow-dirty"])?;
            package::run(package::Changes::allowed_if(allow_dirty))
        }
        unknown => Err(Failure::Usage(format!("no command `{unknown}`\n\n{HELP}"))),
    }
}

/// Reads the rest of the command line, which consists of these switches: whether each was given.
fn switches<const N: usize>(parser: &mut lexopt::Parser, names: [&str; N]) -> Result<[bool; N]> {
    let mut given = [false; N];
    while let Some(arg) = parser.next()? {
        let position = match &arg {
            Long(name) => names.iter().position(|known| known == name),
            _ => None,
        };
        match position {
            Some(position) => given[position] = true,
            None => return Err(arg.unexpected().into()),
        }
    }
    Ok(given)
}
