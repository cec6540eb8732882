//! Child processes of a run that died: found by the mark in their environment, and ended.

use std::os::unix::fs::MetadataExt;

use rustix::process::{Pid, PidfdFlags, Signal};

/// When this process began, in words that a later process of the same boot can compare with: the boot, and the kernel's
/// clock ticks since. None where the kernel does not tell.
pub(crate) fn born() -> Option<String> {
    let ticks = started(std::process::id().cast_signed())?;
    Some(format!("{} {ticks}", boot()?))
}

fn boot() -> Option<String> {
    let boot = std::fs::read_to_string("/proc/sys/kernel/random/boot_id").ok()?;
    Some(boot.trim().to_owned())
}

/// When a process began, in clock ticks since the boot.
fn started(pid: i32) -> Option<u64> {
    let stat = std::fs::read_to_string(format!("/proc/{pid}/stat")).ok()?;
    // The name of the program may hold anything; it ends with the last parenthesis, and the 22nd field is the 20th after.
    let (_, fields) = stat.rsplit_once(')')?;
    fields.split_whitespace().nth(19)?.parse().ok()
}

/// Kills every process of ours whose environment holds `name=value` and that began no earlier than the run which was
/// `born` then: the children of a dead run, wherever they were adopted. Says how many there were. Elsewhere than on Linux
/// nobody can tell whose they are, and none is killed.
pub(crate) fn kill_processes_marked(name: &str, value: &str, born: Option<&str>) -> u32 {
    let Some(wanted) = Wanted::new(name, value, born) else {
        return 0;
    };
    let mut killed = 0;
    // A process that forks while we look, or that was about to begin when its parent died, is found in the next round.
    for round in 0..10 {
        let found = wanted.find();
        if found.is_empty() && round > 0 {
            break;
        }
        for pid in found {
            killed += u32::from(wanted.kill(pid));
        }
        std::thread::sleep(std::time::Duration::from_millis(50));
    }
    killed
}

/// What tells a child of the dead run.
struct Wanted {
    marker: Vec<u8>,
    since: u64,
    user: u32,
}

impl Wanted {
    /// None when no process of that run can be alive: the machine has been started anew since.
    fn new(name: &str, value: &str, born: Option<&str>) -> Option<Self> {
        let since = match born.and_then(|born| born.split_once(' ')) {
            Some((boot_then, _)) if boot().is_some_and(|now| now != boot_then) => return None,
            Some((_, ticks)) => ticks.parse().ok()?,
            // Of an earlier version, which did not write it down.
            None => 0,
        };
        Some(Self {
            marker: format!("{name}={value}").into_bytes(),
            since,
            user: rustix::process::geteuid().as_raw(),
        })
    }

    fn find(&self) -> Vec<Pid> {
        let Ok(entries) = std::fs::read_dir("/proc") else {
            return Vec::new();
        };
        let pids = entries
            .flatten()
            .filter_map(|entry| entry.file_name().to_str()?.parse().ok());
        pids.filter(|pid| self.matches(*pid))
            .filter_map(Pid::from_raw)
            .collect()
    }

    fn matches(&self, pid: i32) -> bool {
        let folder = format!("/proc/{pid}");
        let is_ours = std::fs::metadata(&folder).is_ok_and(|metadata| metadata.uid() == self.user);
        let is_marked = || {
            std::fs::read(format!("{folder}/environ")).is_ok_and(|environment| {
                environment
                    .split(|&byte| byte == 0)
                    .any(|entry| entry == self.marker)
            })
        };
        is_ours && is_marked() && started(pid).is_some_and(|ticks| ticks >= self.since)
    }

    fn kill(&self, pid: Pid) -> bool {
        // The number of a process that has ended may be another one's by now: hold on to it, then look once more.
        match rustix::process::pidfd_open(pid, PidfdFlags::empty()) {
            Ok(held) => {
                self.matches(pid.as_raw_nonzero().get())
                    && rustix::process::pidfd_send_signal(&held, Signal::KILL).is_ok()
            }
            Err(rustix::io::Errno::NOSYS) => {
                rustix::process::kill_process(pid, Signal::KILL).is_ok()
            }
            Err(_) => false,
        }
    }
}
