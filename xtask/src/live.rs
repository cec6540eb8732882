//! What runs servers: the examples `demo`, `torture` and `simulate` of this crate.
//!
//! They need the testkit, which would make every other command wait until it is compiled.

use std::ffi::OsString;
use std::process::Command;

use crate::failure::Result;
use crate::setup;
use crate::shell;
use crate::workspace::Workspace;

/// Sets up, builds the program and the demo, and becomes the demo.
pub(crate) fn demo(args: Vec<OsString>) -> Result {
    with_program("demo", args)
}

/// Sets up, builds the program and what tortures it, and becomes that.
pub(crate) fn torture(args: Vec<OsString>) -> Result {
    with_program("torture", args)
}

fn with_program(name: &str, args: Vec<OsString>) -> Result {
    setup::run()?;
    let workspace = Workspace::load()?;
    shell::run(workspace.cargo("build").args([
        "--package=diy-backup-cli",
        "--bin=diy-backup",
        "--package=xtask",
        "--example",
        name,
    ]))?;
    let program = workspace.target.join("debug/diy-backup");
    shell::become_program(
        example(&workspace, name)
            .arg("--program")
            .arg(program)
            .args(args),
    )
}

/// Builds the simulator and becomes it.
pub(crate) fn simulate(args: Vec<OsString>) -> Result {
    let workspace = Workspace::load()?;
    shell::run(
        workspace
            .cargo("build")
            .args(["--package=xtask", "--example=simulate"]),
    )?;
    shell::become_program(example(&workspace, "simulate").args(args))
}

fn example(workspace: &Workspace, name: &str) -> Command {
    Command::new(workspace.target.join("debug/examples").join(name))
}
