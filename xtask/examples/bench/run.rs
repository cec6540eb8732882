//! Running one command: how long it takes, how much memory, and when it says what.

use std::collections::BTreeMap;
use std::io::{BufRead, BufReader, Read};
use std::os::unix::process::CommandExt;
use std::process::{Child, Command, Stdio};
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread::JoinHandle;
use std::time::{Duration, Instant};

use diy_backup_testkit::process::descendants;
use rustix::process::{Pid, Signal, kill_process_group};
use serde_json::Value;

use crate::Result;

/// How exactly the end of a run is known.
const POLL: Duration = Duration::from_millis(2);

/// Looking at `/proc` costs the measured run some time, too.
const MEMORY_POLL: Duration = Duration::from_millis(100);

/// How long a run may take to end in order.
const GRACE: Duration = Duration::from_secs(20);

/// Set when somebody wants the bench to end.
pub(crate) static INTERRUPTED: AtomicBool = AtomicBool::new(false);

/// A run that ended well.
#[derive(Debug, Clone)]
pub(crate) struct Run {
    pub(crate) wall: Duration,
    pub(crate) memory: Memory,
    pub(crate) lines: Vec<Line>,
}

/// The most memory that was in use, in bytes.
#[derive(Debug, Clone, Copy, Default)]
pub(crate) struct Memory {
    /// Of the process and its descendants together at one moment; what they share counts once.
    pub(crate) all: u64,
    /// Of the one process that used most.
    pub(crate) largest: u64,
}

/// A line that the process wrote, and when it arrived.
#[derive(Debug, Clone)]
pub(crate) struct Line {
    pub(crate) at: Instant,
    pub(crate) text: String,
}

impl Run {
    /// When the first line arrived that has all of these words in it.
    pub(crate) fn when(&self, words: &[&str]) -> Option<Instant> {
        let line = self
            .lines
            .iter()
            .find(|line| words.iter().all(|word| line.text.contains(word)))?;
        Some(line.at)
    }

    /// The seconds of the phases that the program's summary tells; the scripts have none.
    pub(crate) fn phases(&self) -> Vec<(String, f64)> {
        let summary = self
            .lines
            .iter()
            .filter_map(|line| serde_json::from_str::<Value>(&line.text).ok())
            .find(|line| line["message_type"] == "summary");
        let phases = summary
            .as_ref()
            .and_then(|summary| summary["phases"].as_array());
        let phase = |phase: &Value| {
            Some((
                phase["name"].as_str()?.to_owned(),
                phase["seconds"].as_f64()?,
            ))
        };
        phases.into_iter().flatten().filter_map(phase).collect()
    }
}

/// Runs a command to its good end.
pub(crate) fn run(name: &str, command: &mut Command) -> Result<Run> {
    let started = Instant::now();
    // In a process group of its own, so that Ctrl-C reaches it once, through us.
    let mut child = command
        .stdin(Stdio::null())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .process_group(0)
        .spawn()
        .map_err(|error| format!("cannot run {name}: {error}"))?;
    let output = child.stdout.take().map(read);
    let errors = child.stderr.take().map(read);
    let (status, memory) = watch(&mut child)?;
    let wall = started.elapsed();
    let mut lines = Vec::new();
    for reader in [output, errors].into_iter().flatten() {
        lines.extend(reader.join().map_err(|_| "a reader has panicked")?);
    }
    lines.sort_by_key(|line| line.at);
    if INTERRUPTED.load(Ordering::Relaxed) {
        return Err("interrupted".into());
    }
    if !status.success() {
        let last = lines.iter().rev().take(8).rev();
        let said: Vec<_> = last.map(|line| line.text.as_str()).collect();
        return Err(format!("{name} ended with {status}:\n  {}", said.join("\n  ")).into());
    }
    Ok(Run {
        wall,
        memory,
        lines,
    })
}

fn watch(child: &mut Child) -> Result<(std::process::ExitStatus, Memory)> {
    let mut memory = Memory::default();
    let mut looked: Option<Instant> = None;
    let mut told: Option<Instant> = None;
    loop {
        if let Some(status) = child.try_wait()? {
            return Ok((status, memory));
        }
        if INTERRUPTED.load(Ordering::Relaxed) {
            match told {
                None => {
                    signal_group(child, Signal::TERM)?;
                    told = Some(Instant::now());
                }
                Some(told) if told.elapsed() > GRACE => signal_group(child, Signal::KILL)?,
                Some(_) => {}
            }
        }
        if looked.is_none_or(|looked| looked.elapsed() >= MEMORY_POLL) {
            memory.look(child.id());
            looked = Some(Instant::now());
        }
        std::thread::sleep(POLL);
    }
}

fn signal_group(child: &Child, signal: Signal) -> Result {
    match Pid::from_raw(child.id().cast_signed()) {
        Some(group) => Ok(kill_process_group(group, signal)?),
        None => Ok(()),
    }
}

impl Memory {
    fn look(&mut self, root: u32) {
        let mut all = 0;
        for pid in std::iter::once(root).chain(descendants(root)) {
            // Who has ended meanwhile uses none.
            all += bytes_of(&format!("/proc/{pid}/smaps_rollup"), "Pss").unwrap_or(0);
            let most = bytes_of(&format!("/proc/{pid}/status"), "VmHWM").unwrap_or(0);
            self.largest = self.largest.max(most);
        }
        self.all = self.all.max(all);
    }
}

/// A line such as `VmHWM:   1234 kB`.
fn bytes_of(file: &str, name: &str) -> Option<u64> {
    let text = std::fs::read_to_string(file).ok()?;
    let fields: BTreeMap<_, _> = text
        .lines()
        .filter_map(|line| line.split_once(':'))
        .collect();
    let kilobytes = fields.get(name)?.trim().strip_suffix(" kB")?;
    Some(kilobytes.parse::<u64>().ok()? * 1024)
}

fn read(pipe: impl Read + Send + 'static) -> JoinHandle<Vec<Line>> {
    std::thread::spawn(move || {
        let text = BufReader::new(pipe)
            .lines()
            .map_while(std::result::Result::ok);
        text.map(|text| Line {
            at: Instant::now(),
            text,
        })
        .collect()
    })
}
