//! The parts of an OpenSearch server, which Debian does not have: Maven fetches them into the build folder.
//!
//! The tests of the search strategies need them. Where they cannot be had, those tests are skipped, and nothing else.

use std::path::Path;
use std::process::Command;

use crate::failure::{Context, Result};
use crate::setup;
use crate::shell;
use crate::workspace::Workspace;

/// Beside what uses it.
const POM: &str = include_str!("../../diy-backup-testkit/src/opensearch/pom.xml");

/// Fetches the parts unless they are there. Says so when they cannot be had.
pub(crate) fn set_up() -> Result {
    let target = Workspace::load()?.target;
    let tools = target.join("tools");
    let there = tools.join(format!("opensearch-{}", release()));
    if there.is_dir() {
        return Ok(());
    }
    if let Err(why) = fetch(&tools, &there) {
        println!("setup: no OpenSearch: {why}; the tests that need it will be skipped");
    }
    Ok(())
}

fn fetch(tools: &Path, there: &Path) -> Result {
    if shell::find_program("mvn").is_none() {
        // Brings Java with it.
        setup::install_if_possible("maven")?;
    }
    println!("setup: fetching OpenSearch {}", release());
    std::fs::create_dir_all(tools).context("make a folder for tools")?;
    let work = tempfile::tempdir_in(tools).context("make a temporary folder")?;
    let pom = work.path().join("pom.xml");
    std::fs::write(&pom, POM).context("write a temporary file")?;
    let jars = work.path().join("jars");
    let mut maven = Command::new("mvn");
    maven
        .args(["--batch-mode", "--quiet", "--file"])
        .arg(&pom)
        .args(["dependency:copy-dependencies", "-DincludeScope=runtime"])
        .arg(format!("-DoutputDirectory={}", jars.display()));
    shell::run(&mut maven)?;
    std::fs::rename(&jars, there).context("move the parts into place")
}

/// The release that the POM asks for.
fn release() -> &'static str {
    let after = POM
        .split_once("<opensearch>")
        .map_or("", |(_, after)| after);
    after.split_once('<').map_or("", |(release, _)| release)
}

#[cfg(test)]
mod tests {
    #[test]
    fn the_pom_names_a_release() {
        assert_eq!(super::release().split('.').count(), 3);
    }
}
