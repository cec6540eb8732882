//! What sites really have: sources that are not there, clocks that jump, slow servers and gateways, other people's archives.
//!
//! Each case is one situation with the one right outcome. Nothing here is random but the content of the home.

mod archives;
mod clocks;
mod server;
mod sources;

use std::collections::BTreeSet;
use std::path::{Path, PathBuf};
use std::time::Duration;

use super::Result;
use super::audit::Wrong;
use super::lab::Lab;
use super::probes::files_below;
use super::program::{self, Ended};
use super::report::{Report, say};
use super::stage::{Archive, Config, Options, Stage};

/// The slowest steps of a server that sites reported: they slept this long between two of them.
pub(crate) const SLOW: Duration = Duration::from_secs(15);

/// Plays every case, with a server that takes `slow` for each of its steps. Those that last for minutes, as the program
/// is patient, are played from [`SLOW`] on.
pub(crate) fn run(lab: &Lab, slow: Duration, seed: u64) -> Result<Report> {
    let mut cases = Cases::default();
    sources::play(lab, seed, &mut cases)?;
    clocks::play(lab, seed, &mut cases)?;
    server::play(lab, slow, seed, &mut cases)?;
    archives::play(lab, seed, &mut cases)?;
    Ok(cases.into_report())
}

/// The cases that were played.
#[derive(Debug, Default)]
struct Cases {
    rows: Vec<Vec<String>>,
    violations: Vec<String>,
    notes: Vec<String>,
}

impl Cases {
    /// Keeps the outcome of a case, and tells it.
    fn keep(&mut self, case: &str, ended: &Ended, wrong: Wrong) {
        let verdict = if wrong.is_empty() { "kept" } else { "BROKEN" };
        say(&format!("{case}: exit {}, {verdict}", ended.exit));
        self.rows.push(vec![
            case.to_owned(),
            ended.exit.to_string(),
            verdict.to_owned(),
        ]);
        for wrong in wrong {
            say(&format!("  VIOLATION {wrong}"));
            self.violations.push(format!("{case}: {wrong}"));
        }
    }

    /// Says why some cases were not played.
    fn skip(&mut self, cases: &str, reason: &str) {
        self.notes.push(format!("skipped: {cases}: {reason}"));
    }

    fn into_report(self) -> Report {
        let mut report = Report::new(format!("the field, {} cases", self.rows.len()));
        report.table = vec![["case", "exit", "promises"].map(str::to_owned).to_vec()];
        report.table.extend(self.rows);
        report.notes = self.notes;
        report.violations = self.violations;
        report
    }
}

/// A stage on which nobody pushes, so that its home may be moved and cut.
fn quiet_stage(lab: &Lab, seed: u64) -> Result<Stage<'_>> {
    let options = Options {
        writers: 0,
        ..Options::new(Archive::Tar, seed)
    };
    Stage::set(lab, &options)
}

/// What must be there afterwards as it was before.
struct Kept {
    ids: BTreeSet<String>,
    staged: usize,
}

impl Kept {
    fn of(stage: &Stage<'_>) -> Result<Self> {
        Ok(Self {
            ids: stage.ids()?,
            staged: files_below(&stage.staging).len(),
        })
    }

    /// Compares with what is there now; the staging copy must not have lost a file.
    fn compare(&self, stage: &Stage<'_>, wrong: &mut Wrong) -> Result {
        let ids = stage.ids()?;
        if ids != self.ids {
            wrong.push(format!("the list was {:?} and is {ids:?}", self.ids));
        }
        let staged = files_below(&stage.staging).len();
        if staged < self.staged {
            wrong.push(format!(
                "the staging copy had {} files and has {staged}",
                self.staged
            ));
        }
        let verified = stage.run(Config::Original, &["verify", "latest"])?;
        if !verified.is(0) {
            wrong.push(format!("`verify latest` failed: {}", verified.words()));
        }
        Ok(())
    }
}

/// Takes a backup that has to be refused with `code`, leaving everything as it is.
fn refuses(stage: &Stage<'_>, config: &Path, code: i32, says: &[&str]) -> Result<(Ended, Wrong)> {
    let ended = run_with(stage, config, &["backup"])?;
    let mut wrong = Wrong::new();
    if !ended.is(code) {
        wrong.push(format!("it must be exit {code}; {}", ended.words()));
    }
    for word in says {
        if !ended.stderr.contains(word) {
            wrong.push(format!("it does not say {word:?}; {}", ended.words()));
        }
    }
    stage.is_at_rest(&mut wrong);
    Ok((ended, wrong))
}

/// Runs the program with a configuration of the case's own.
fn run_with(stage: &Stage<'_>, config: &Path, args: &[&str]) -> Result<Ended> {
    program::start(&stage.lab.program, &stage.logs(), config, args)?.wait()
}

/// Writes the stage's configuration with some pieces replaced, each of which must be there.
fn configuration(stage: &Stage<'_>, name: &str, changes: &[(&str, &str)]) -> Result<PathBuf> {
    let mut text = std::fs::read_to_string(stage.config(Config::Original))?;
    for (from, to) in changes {
        if !text.contains(from) {
            return Err(format!("the configuration has no {from:?}").into());
        }
        text = text.replace(from, to);
    }
    let path = stage.root.join(format!("{name}.toml"));
    std::fs::write(&path, text)?;
    Ok(path)
}

/// Takes a backup that has to succeed before a case begins.
fn first_backup(stage: &mut Stage<'_>) -> Result<String> {
    stage
        .back_up()?
        .map_err(|ended| format!("no backup to begin with: {}", ended.words()).into())
}
