//! Licences and sources of the dependencies, as `deny.toml` allows them.

use std::process::Command;

use crate::failure::Result;
use crate::shell;
use crate::workspace::Workspace;

/// The release that is installed where there is none.
const CARGO_DENY: &str = "0.20.2";

/// What is checked.
#[derive(Clone, Copy)]
pub(crate) enum Scope {
    /// What the registry alone tells: licences, sources, banned crates.
    Offline,
    /// Known vulnerabilities too, from a git repository that closed networks do not reach.
    WithAdvisories,
}

impl Scope {
    pub(crate) fn with_advisories_if(asked: bool) -> Self {
        if asked {
            Self::WithAdvisories
        } else {
            Self::Offline
        }
    }
}

pub(crate) fn run(scope: Scope) -> Result {
    let workspace = Workspace::load()?;
    let mut deny = cargo_deny(&workspace)?;
    deny.current_dir(&workspace.root).args([
        "check",
        "--hide-inclusion-graph",
        "licenses",
        "sources",
        "bans",
    ]);
    if let Scope::WithAdvisories = scope {
        deny.arg("advisories");
    }
    shell::run(&mut deny)
}

/// The cargo-deny in `PATH`, or one of our own below the target folder, compiled at the first call.
fn cargo_deny(workspace: &Workspace) -> Result<Command> {
    if let Some(program) = shell::find_program("cargo-deny") {
        return Ok(Command::new(program));
    }
    let root = workspace.target.join("tools");
    let program = root
        .join("bin")
        .join(format!("cargo-deny{}", std::env::consts::EXE_SUFFIX));
    if !program.is_file() {
        let build = root.join("build");
        shell::run(
            workspace
                .cargo("install")
                .args(["--locked", "cargo-deny", "--version", CARGO_DENY, "--root"])
                .arg(&root)
                .arg("--target-dir")
                .arg(&build),
        )?;
        // Some 500 MB that are of no more use; that they stay does no harm.
        let _ = std::fs::remove_dir_all(build);
    }
    Ok(Command::new(program))
}
