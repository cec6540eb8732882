//! What other processes can see of ours: descendants, and secrets in argument lists and environments.

use std::collections::{BTreeMap, BTreeSet};
use std::fmt;
use std::path::Path;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::thread::JoinHandle;
use std::time::Duration;

use crate::error::{Error, ErrorKind, Result};

/// How long the watch rests between two looks at `/proc`.
const SAMPLING_PAUSE: Duration = Duration::from_millis(1);

/// The place in which a secret was seen.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum SeenIn {
    /// The argument list, which every user of the machine can read.
    CommandLine,
    /// The environment, which the same user and root can read.
    Environment,
}

/// One secret in one process.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub struct Sighting {
    /// The process that showed it.
    pub pid: u32,
    /// The name of its program.
    pub program: String,
    /// Where it stood.
    pub seen_in: SeenIn,
    /// Which of the watched secrets it was, counted from 0; the secret itself is not repeated here.
    pub secret: usize,
}

impl fmt::Display for Sighting {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let place = match self.seen_in {
            SeenIn::CommandLine => "argument list",
            SeenIn::Environment => "environment",
        };
        write!(
            f,
            "secret {} in the {place} of {} (pid {})",
            self.secret, self.program, self.pid
        )
    }
}

/// A background thread that reads `/proc/*/cmdline` and `/proc/*/environ` of all our descendants, over and over.
///
/// A process that lives for less than a millisecond can be missed, so watch something that takes a while.
/// Linux only: elsewhere [`SecretWatch::start`] fails with [`ErrorKind::Missing`].
#[derive(Debug)]
pub struct SecretWatch {
    shared: Arc<Shared>,
    thread: Option<JoinHandle<()>>,
}

#[derive(Debug, Default)]
struct Shared {
    stop: AtomicBool,
    rounds: AtomicU64,
    sightings: Mutex<BTreeSet<Sighting>>,
    programs: Mutex<BTreeSet<String>>,
}

impl SecretWatch {
    /// Starts to watch the descendants of this process for any of the secrets.
    ///
    /// # Errors
    /// [`ErrorKind::Missing`] without `/proc`, [`ErrorKind::Invalid`] for an empty secret (which everything contains).
    pub fn start<S: AsRef<str>>(secrets: &[S]) -> Result<Self> {
        if !Path::new("/proc/self/cmdline").exists() {
            return Err(Error::new(
                ErrorKind::Missing,
                "there is no /proc on this machine",
            ));
        }
        let needles: Vec<Vec<u8>> = secrets
            .iter()
            .map(|secret| secret.as_ref().as_bytes().to_vec())
            .collect();
        if needles.iter().any(Vec::is_empty) {
            return Err(Error::new(
                ErrorKind::Invalid,
                "an empty secret cannot be watched for",
            ));
        }
        let shared = Arc::new(Shared::default());
        let watched = Arc::clone(&shared);
        let thread = std::thread::spawn(move || {
            while !watched.stop.load(Ordering::Relaxed) {
                sample(&watched, &needles);
                watched.rounds.fetch_add(1, Ordering::Relaxed);
                std::thread::sleep(SAMPLING_PAUSE);
            }
        });
        Ok(Self {
            shared,
            thread: Some(thread),
        })
    }

    /// The programs seen so far among the descendants: shows that the watch looked at what it should.
    pub fn programs(&self) -> BTreeSet<String> {
        self.shared
            .programs
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
            .clone()
    }

    /// How often all descendants were looked at so far.
    pub fn rounds(&self) -> u64 {
        self.shared.rounds.load(Ordering::Relaxed)
    }

    /// Stops and returns every sighting.
    pub fn finish(mut self) -> Vec<Sighting> {
        self.stop();
        let sightings = self
            .shared
            .sightings
            .lock()
            .unwrap_or_else(PoisonError::into_inner);
        sightings.iter().cloned().collect()
    }

    fn stop(&mut self) {
        self.shared.stop.store(true, Ordering::Relaxed);
        if let Some(thread) = self.thread.take() {
            // The thread reads files only; had it panicked, the sightings so far still count.
            let _ = thread.join();
        }
    }
}

impl Drop for SecretWatch {
    fn drop(&mut self) {
        self.stop();
    }
}

fn sample(shared: &Shared, needles: &[Vec<u8>]) {
    for pid in descendants(std::process::id()) {
        let Some(program) = program_of(pid) else {
            continue;
        };
        for (file, seen_in) in [
            ("cmdline", SeenIn::CommandLine),
            ("environ", SeenIn::Environment),
        ] {
            // A process that ended, or one of another user, shows nothing.
            let Ok(bytes) = std::fs::read(format!("/proc/{pid}/{file}")) else {
                continue;
            };
            for (secret, needle) in needles.iter().enumerate() {
                if bytes.windows(needle.len()).any(|window| window == needle) {
                    let mut sightings = shared
                        .sightings
                        .lock()
                        .unwrap_or_else(PoisonError::into_inner);
                    sightings.insert(Sighting {
                        pid,
                        program: program.clone(),
                        seen_in,
                        secret,
                    });
                }
            }
        }
        shared
            .programs
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
            .insert(program);
    }
}

fn program_of(pid: u32) -> Option<String> {
    let name = std::fs::read_to_string(format!("/proc/{pid}/comm")).ok()?;
    Some(name.trim_end().to_owned())
}

/// The processes that descend from `root` at this moment, without `root`; empty where there is no `/proc`.
pub fn descendants(root: u32) -> Vec<u32> {
    let mut children: BTreeMap<u32, Vec<u32>> = BTreeMap::new();
    for pid in all_pids() {
        if let Some(status) = Status::of(pid) {
            children.entry(status.parent).or_default().push(pid);
        }
    }
    let mut found = Vec::new();
    let mut pending = vec![root];
    while let Some(parent) = pending.pop() {
        for &child in children.get(&parent).map_or(&[][..], Vec::as_slice) {
            found.push(child);
            pending.push(child);
        }
    }
    found
}

/// True if a process exists and has not ended; one that ended and waits for its parent counts as gone.
pub fn is_running(pid: u32) -> bool {
    Status::of(pid).is_some_and(|status| !status.ended)
}

fn all_pids() -> impl Iterator<Item = u32> {
    std::fs::read_dir("/proc")
        .into_iter()
        .flatten()
        .flatten()
        .filter_map(|entry| entry.file_name().to_str()?.parse().ok())
}

struct Status {
    parent: u32,
    ended: bool,
}

impl Status {
    fn of(pid: u32) -> Option<Self> {
        let stat = std::fs::read_to_string(format!("/proc/{pid}/stat")).ok()?;
        // The name stands in parentheses and may hold spaces and parentheses itself.
        let (_, rest) = stat.rsplit_once(')')?;
        let mut fields = rest.split_whitespace();
        let state = fields.next()?;
        let parent = fields.next()?.parse().ok()?;
        Some(Self {
            parent,
            ended: matches!(state, "Z" | "X"),
        })
    }
}
