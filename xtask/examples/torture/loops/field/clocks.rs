//! Clocks that jump: a backup dated next year, and a night with the clock behind.

use std::path::Path;
use std::process::{Command, Stdio};

use super::super::Result;
use super::super::audit::Wrong;
use super::super::lab::Lab;
use super::super::program::Ended;
use super::super::stage::{Config, Stage};
use super::{Cases, configuration, quiet_stage};

/// The program that sets the clock of another one; the torture command installs it where it may.
const FAKETIME: &str = "faketime";

pub(super) fn play(lab: &Lab, seed: u64, cases: &mut Cases) -> Result {
    let there = Command::new(FAKETIME)
        .arg("--version")
        .stdout(Stdio::null())
        .stderr(Stdio::null())
        .status();
    if there.is_err() {
        cases.skip("clocks that jump", "faketime is not installed");
        return Ok(());
    }
    let stage = quiet_stage(lab, seed)?;
    let keep_two = configuration(&stage, "keep-two", &[("keep-last = 3", "keep-last = 2")])?;
    for (case, offset) in [
        ("the clock is right", "+0"),
        ("the clock is a year ahead, once", "+400d"),
        ("and once more", "+400d"),
        ("the clock is right again", "+0"),
        ("a later night", "+0"),
        ("the clock is a day behind", "-1d"),
        ("right again", "+0"),
    ] {
        let (ended, wrong) = night(&stage, &keep_two, offset)?;
        cases.keep(case, &ended, wrong);
    }
    Ok(())
}

/// Takes a backup by a clock that is off by `offset`: it is there afterwards, and the latest.
fn night(stage: &Stage<'_>, config: &Path, offset: &str) -> Result<(Ended, Wrong)> {
    let before = stage.ids()?;
    let output = Command::new(FAKETIME)
        .args(["-f", offset])
        .arg(&stage.lab.program)
        .arg("-c")
        .arg(config)
        .args(["--json", "backup"])
        // Only the time of day jumps; files and deadlines are real.
        .env("DONT_FAKE_MONOTONIC", "1")
        .env("FAKETIME_DONT_FAKE_MONOTONIC", "1")
        .env("NO_FAKE_STAT", "1")
        .stdin(Stdio::null())
        .output()?;
    let ended = Ended {
        exit: output.status.into(),
        stdout: String::from_utf8_lossy(&output.stdout).into_owned(),
        stderr: String::from_utf8_lossy(&output.stderr).into_owned(),
    };
    let mut wrong = Wrong::new();
    if !ended.is(0) {
        wrong.push(ended.words());
        return Ok((ended, wrong));
    }
    let summary: serde_json::Value = ended
        .stdout
        .lines()
        .last()
        .map_or(Ok(serde_json::Value::Null), serde_json::from_str)?;
    let archive = summary["archive"].as_str().unwrap_or_default();
    if !Path::new(archive).is_file() {
        wrong.push(format!("the summary names {archive:?}, which is gone"));
    }
    let id = summary["backup_id"].as_str().unwrap_or_default().to_owned();
    if before.iter().any(|earlier| *earlier >= id) {
        wrong.push(format!("{id} is not later than all of {before:?}"));
    }
    let listed = stage.list()?;
    if listed.last().is_none_or(|last| last.id != id) {
        wrong.push(format!("{id} is not the last one listed: {listed:?}"));
    }
    if listed.len() > 2 {
        wrong.push(format!("more than two are kept: {listed:?}"));
    }
    let verified = stage.run(Config::Original, &["verify", "latest"])?;
    if !verified.is(0) || !verified.stdout.contains(&id) {
        wrong.push(format!(
            "`verify latest` is about another one: {}",
            verified.stdout
        ));
    }
    stage.is_at_rest(&mut wrong);
    Ok((ended, wrong))
}
