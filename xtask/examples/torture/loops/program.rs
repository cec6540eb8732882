//! Running `diy-backup`.

use std::fmt;
use std::fs::File;
use std::io;
use std::os::unix::process::{CommandExt, ExitStatusExt};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, ExitStatus, Stdio};
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

use rustix::process::{Pid, Signal, kill_process, kill_process_group};

use super::Result;

/// After this long a run counts as hanging. Core waits 100 s for an answer, and 120 s for an unlock.
const DEADLINE: Duration = Duration::from_mins(8);
const POLL: Duration = Duration::from_micros(300);

/// Set when somebody wants all loops to end: every run is killed, and every server stopped, before the process ends.
pub(crate) static INTERRUPTED: AtomicBool = AtomicBool::new(false);

/// How a run ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) enum Exit {
    Code(i32),
    Signal(i32),
}

impl From<ExitStatus> for Exit {
    fn from(status: ExitStatus) -> Self {
        match (status.code(), status.signal()) {
            (Some(code), _) => Self::Code(code),
            (None, signal) => Self::Signal(signal.unwrap_or(0)),
        }
    }
}

impl fmt::Display for Exit {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Code(code) => write!(f, "{code}"),
            Self::Signal(signal) => write!(f, "SIG{signal}"),
        }
    }
}

/// A run that has ended.
#[derive(Debug)]
pub(crate) struct Ended {
    pub(crate) exit: Exit,
    pub(crate) stdout: String,
    pub(crate) stderr: String,
}

impl Ended {
    pub(crate) fn is(&self, code: i32) -> bool {
        self.exit == Exit::Code(code)
    }

    /// What it said of its failure, in one line.
    pub(crate) fn words(&self) -> String {
        let lines: Vec<_> = self.stderr.lines().map(str::trim).collect();
        let from = lines.len().saturating_sub(5);
        format!("exit {}: {}", self.exit, lines[from..].join(" | "))
    }
}

/// A run that goes on. Killed when it is dropped.
pub(crate) struct Running {
    child: Child,
    output: PathBuf,
    errors: PathBuf,
    started: Instant,
}

/// Who gets a signal.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) enum Target {
    Process,
    Group,
    /// The process and all that descend from it, as a service manager stops a unit.
    Tree,
}

/// Starts the program in a process group of its own; its output goes to files, which children that outlive it do not
/// hold back. The umask lets everybody read, so that modes come from the program alone.
pub(crate) fn start(
    program: &Path,
    logs: &Path,
    config: &Path,
    args: &[&str],
) -> io::Result<Running> {
    let (output, errors) = (logs.join("stdout"), logs.join("stderr"));
    let child = Command::new("sh")
        .args(["-c", "umask 0; exec \"$0\" \"$@\""])
        .arg(program)
        .arg("-c")
        .arg(config)
        .args(args)
        .stdin(Stdio::null())
        .stdout(File::create(&output)?)
        .stderr(File::create(&errors)?)
        .process_group(0)
        .spawn()?;
    Ok(Running {
        child,
        output,
        errors,
        started: Instant::now(),
    })
}

impl Running {
    pub(crate) fn pid(&self) -> u32 {
        self.child.id()
    }

    pub(crate) fn elapsed(&self) -> Duration {
        self.started.elapsed()
    }

    pub(crate) fn signal(&self, signal: Signal, target: Target) {
        let Some(pid) = Pid::from_raw(self.pid().cast_signed()) else {
            return;
        };
        // Whoever is gone needs no signal.
        match target {
            Target::Process => drop(kill_process(pid, signal)),
            Target::Group => drop(kill_process_group(pid, signal)),
            Target::Tree => {
                let tree = diy_backup_testkit::process::descendants(self.pid());
                let tree = tree
                    .into_iter()
                    .filter_map(|pid| Pid::from_raw(pid.cast_signed()));
                for pid in std::iter::once(pid).chain(tree) {
                    let _ = kill_process(pid, signal);
                }
            }
        }
    }

    /// Waits for the end, and looks at the world now and then.
    pub(crate) fn wait_looking(mut self, mut look: impl FnMut(&Self)) -> Result<Ended> {
        let status = loop {
            if let Some(status) = self.child.try_wait()? {
                break status;
            }
            if INTERRUPTED.load(Ordering::Relaxed) {
                return Err("interrupted".into());
            }
            if self.elapsed() > DEADLINE {
                let log = std::fs::read_to_string(&self.errors).unwrap_or_default();
                return Err(format!("the program hangs; it said: {log}").into());
            }
            look(&self);
            std::thread::sleep(POLL);
        };
        Ok(Ended {
            exit: status.into(),
            stdout: read(&self.output)?,
            stderr: read(&self.errors)?,
        })
    }

    pub(crate) fn wait(self) -> Result<Ended> {
        self.wait_looking(|_| std::thread::sleep(Duration::from_millis(2)))
    }
}

impl Drop for Running {
    fn drop(&mut self) {
        if matches!(self.child.try_wait(), Ok(None)) {
            self.signal(Signal::KILL, Target::Tree);
            let _ = self.child.wait();
        }
    }
}

fn read(path: &Path) -> io::Result<String> {
    Ok(String::from_utf8_lossy(&std::fs::read(path)?).into_owned())
}
