//! Everything that has to pass before a change goes in.

use std::time::{Duration, Instant};

use crate::failure::{Failure, Result};
use crate::licences::{self, Scope};
use crate::package::{self, Changes};
use crate::shell;
use crate::test;
use crate::workspace::Workspace;

type Step<'a> = (&'static str, Box<dyn Fn() -> Result + 'a>);

/// Runs every step, also after one that fails: one look at the end shows all there is to do.
pub(crate) fn run(changes: Changes) -> Result {
    let workspace = Workspace::load()?;
    let steps: [Step<'_>; 6] = [
        ("format", Box::new(|| format(&workspace))),
        ("lint", Box::new(|| lint(&workspace))),
        ("test", Box::new(|| test::run(&test::Options::all()))),
        ("documentation", Box::new(|| documentation(&workspace))),
        ("licences", Box::new(|| licences::run(Scope::Offline))),
        ("packages", Box::new(|| package::run(changes))),
    ];
    let mut done = Vec::new();
    for (name, step) in &steps {
        println!("\n=== {name}");
        let started = Instant::now();
        let result = step();
        if let Err(failure) = &result {
            println!("{name}: {failure}");
        }
        done.push((*name, started.elapsed(), result.is_ok()));
    }
    report(&done)
}

fn report(done: &[(&str, Duration, bool)]) -> Result {
    println!("\n=== summary");
    for (name, took, is_good) in done {
        let verdict = if *is_good { "ok" } else { "FAILED" };
        println!("{name:<14} {verdict:<7} {:>6.1} s", took.as_secs_f64());
    }
    let total: Duration = done.iter().map(|(_, took, _)| *took).sum();
    println!("{:<22} {:>6.1} s", "in all", total.as_secs_f64());
    let failed: Vec<_> = done
        .iter()
        .filter(|(_, _, is_good)| !is_good)
        .map(|(name, _, _)| *name)
        .collect();
    if failed.is_empty() {
        return Ok(());
    }
    Err(Failure::Failed(format!("failed: {}", failed.join(", "))))
}

fn format(workspace: &Workspace) -> Result {
    shell::run(workspace.cargo("fmt").args(["--all", "--check"]))
}

fn lint(workspace: &Workspace) -> Result {
    shell::run(workspace.cargo("clippy").args([
        "--workspace",
        "--all-targets",
        "--locked",
        "--",
        "-D",
        "warnings",
    ]))
}

fn documentation(workspace: &Workspace) -> Result {
    shell::run(
        workspace
            .cargo("doc")
            .args(["--workspace", "--no-deps"])
            .env("RUSTDOCFLAGS", "-D warnings"),
    )
}
