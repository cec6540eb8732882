//! All tests in one run of cargo, counted.

use std::collections::BTreeMap;
use std::ffi::OsString;
use std::fmt;
use std::io::{BufRead, BufReader, Write};
use std::process::Stdio;

use lexopt::prelude::*;

use crate::failure::{Context, Failure, Result};
use crate::setup;
use crate::workspace::Workspace;

/// Names the file that the testkit appends the reason of every skipped test to.
const SKIPS: &str = "DIY_BACKUP_SKIPS";

/// Which tests.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Tests {
    /// Unit tests, tests with servers, examples in the documentation.
    All,
    /// Unit tests.
    Quick,
}

pub(crate) struct Options {
    tests: Tests,
    cargo_args: Vec<OsString>,
}

impl Options {
    /// All tests of the workspace.
    pub(crate) fn all() -> Self {
        Self {
            tests: Tests::All,
            cargo_args: Vec::new(),
        }
    }

    /// Reads `[--quick] [-- ARGS]`.
    pub(crate) fn parse(parser: &mut lexopt::Parser) -> Result<Self> {
        let mut options = Self::all();
        loop {
            let mut rest = parser.raw_args()?;
            if rest.next_if(|arg| arg == "--").is_some() {
                options.cargo_args = rest.collect();
                return Ok(options);
            }
            match parser.next()? {
                Some(Long("quick")) => options.tests = Tests::Quick,
                Some(other) => return Err(other.unexpected().into()),
                None => return Ok(options),
            }
        }
    }

    fn chooses_packages(&self) -> bool {
        self.cargo_args.iter().any(|arg| {
            let arg = arg.to_string_lossy();
            arg == "-p" || arg == "--package" || arg.starts_with("--package=")
        })
    }
}

pub(crate) fn run(options: &Options) -> Result {
    if options.tests == Tests::All {
        setup::run()?;
    }
    let skips = tempfile::NamedTempFile::new().context("make a temporary file")?;
    let mut cargo = Workspace::load()?.cargo("test");
    cargo.arg("--no-fail-fast");
    if !options.chooses_packages() {
        cargo.arg("--workspace");
    }
    if options.tests == Tests::Quick {
        cargo.args(["--lib", "--bins"]);
    }
    let mut child = cargo
        .args(&options.cargo_args)
        .env(SKIPS, skips.path())
        .stdout(Stdio::piped())
        .spawn()
        .context("run cargo test")?;
    let mut count = Count::default();
    if let Some(stdout) = child.stdout.take() {
        pass_through(BufReader::new(stdout), |line| count.add(line))?;
    }
    let status = child.wait().context("wait for cargo test")?;
    let reasons = std::fs::read_to_string(skips.path()).context("read why tests were skipped")?;
    count.skip(&reasons);
    if !status.success() {
        // What does not compile or dies has no result line.
        count.failed = count.failed.max(1);
    }
    println!("\n{count}");
    if count.failed == 0 {
        return Ok(());
    }
    Err(Failure::Failed("the tests failed".to_owned()))
}

/// Prints every line as it comes, and shows it.
fn pass_through(mut from: impl BufRead, mut see: impl FnMut(&str)) -> Result {
    let mut stdout = std::io::stdout().lock();
    let mut line = Vec::new();
    loop {
        line.clear();
        if from
            .read_until(b'\n', &mut line)
            .context("read what the tests print")?
            == 0
        {
            return Ok(());
        }
        stdout.write_all(&line).context("print")?;
        see(&String::from_utf8_lossy(&line));
    }
}

#[derive(Debug, Default)]
struct Count {
    passed: usize,
    failed: usize,
    ignored: usize,
    /// How many tests were skipped for which reason. They are among those passed.
    skipped: BTreeMap<String, usize>,
}

impl Count {
    /// Counts a line like `test result: ok. 12 passed; 0 failed; 1 ignored; 0 measured; …`.
    fn add(&mut self, line: &str) {
        let Some(result) = line.strip_prefix("test result: ") else {
            return;
        };
        let (_, counts) = result.split_once(". ").unwrap_or_default();
        for part in counts.split(';') {
            let (number, what) = part.trim().split_once(' ').unwrap_or_default();
            let number: usize = number.parse().unwrap_or(0);
            match what {
                "passed" => self.passed += number,
                "failed" => self.failed += number,
                "ignored" => self.ignored += number,
                _ => {}
            }
        }
    }

    /// Takes the tests that could not run, one reason on each line.
    fn skip(&mut self, reasons: &str) {
        for reason in reasons.lines() {
            *self.skipped.entry(reason.to_owned()).or_default() += 1;
        }
    }
}

impl fmt::Display for Count {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for (reason, times) in &self.skipped {
            writeln!(f, "skipped: {reason} ({times})")?;
        }
        let skipped: usize = self.skipped.values().sum();
        write!(
            f,
            "{} passed, {} failed, {} skipped",
            self.passed.saturating_sub(skipped),
            self.failed,
            skipped + self.ignored
        )
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn results_of_all_binaries_add_up_and_the_skipped_did_not_pass() {
        let mut count = Count::default();
        count.add("test result: ok. 12 passed; 0 failed; 1 ignored; 0 measured; 0 filtered out; finished in 0.1s\n");
        count.add(
            "test result: FAILED. 3 passed; 2 failed; 0 ignored; 0 measured; 0 filtered out\n",
        );
        count.add("test some::test ... ok\n");
        count.skip("no rsync\nno rsync\n");
        assert_eq!(
            count.to_string(),
            "skipped: no rsync (2)\n13 passed, 2 failed, 3 skipped"
        );
    }

    #[test]
    fn what_follows_two_dashes_goes_to_cargo() {
        let mut parser =
            lexopt::Parser::from_args(["--quick", "--", "-p", "x", "--", "--nocapture"]);
        let options = Options::parse(&mut parser).unwrap();
        assert!(options.tests == Tests::Quick && options.chooses_packages());
        assert_eq!(options.cargo_args, ["-p", "x", "--", "--nocapture"]);
        assert!(Options::parse(&mut lexopt::Parser::from_args(["--quik"])).is_err());
    }
}
