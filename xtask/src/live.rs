//! What runs servers: the examples `demo`, `torture`, `bench` and `simulate` of this crate.
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
    with_program("demo", Profile::Debug, args)
}

/// Sets up, builds the program and what tortures it, and becomes that.
pub(crate) fn torture(args: Vec<OsString>) -> Result {
    with_program("torture", Profile::Debug, args)
}

/// Sets up, builds the program and what measures it, both optimised, and becomes that.
pub(crate) fn bench(args: Vec<OsString>) -> Result {
    with_program("bench", Profile::Release, args)
}

/// How something is built.
#[derive(Clone, Copy)]
enum Profile {
    Debug,
    Release,
}

impl Profile {
    fn arguments(self) -> &'static [&'static str] {
        match self {
            Self::Debug => &[],
            Self::Release => &["--release"],
        }
    }

    /// Where cargo puts it, within its target folder.
    fn folder(self) -> &'static str {
        match self {
            Self::Debug => "debug",
            Self::Release => "release",
        }
    }
}

fn with_program(name: &str, profile: Profile, args: Vec<OsString>) -> Result {
    setup::run()?;
    let workspace = Workspace::load()?;
    shell::run(workspace.cargo("build").args(profile.arguments()).args([
        "--package=diy-backup-cli",
        "--bin=diy-backup",
        "--package=xtask",
        "--example",
        name,
    ]))?;
    let program = workspace.target.join(profile.folder()).join("diy-backup");
    shell::become_program(
        example(&workspace, name, profile)
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
    shell::become_program(example(&workspace, "simulate", Profile::Debug).args(args))
}

fn example(workspace: &Workspace, name: &str, profile: Profile) -> Command {
    let folder = workspace.target.join(profile.folder());
    Command::new(folder.join("examples").join(name))
}
