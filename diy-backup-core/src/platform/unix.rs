mod move_up;
mod ownership;
#[cfg(target_os = "linux")]
mod processes;

use std::fs::{File, Metadata, OpenOptions};
use std::io;
use std::os::unix::fs::{DirBuilderExt, MetadataExt, OpenOptionsExt, PermissionsExt};
use std::os::unix::process::ExitStatusExt;
use std::path::Path;
use std::process::ExitStatus;

use rustix::process::{Pid, Signal, kill_process_group};
use tokio::process::{Child, Command};

pub(crate) use move_up::move_up;
pub(crate) use ownership::{Distrust, distrust, open_own_file, open_private_file};
#[cfg(target_os = "linux")]
pub(crate) use processes::{born, kill_processes_marked};

/// Puts the child into a process group of its own, so that signals to ours do not reach it and ours reach its children.
pub(crate) fn own_process_group(command: &mut Command) {
    command.process_group(0);
}

/// The signal that ended a process.
pub(crate) fn signal_of(status: ExitStatus) -> Option<i32> {
    status.signal()
}

/// The process group of a child; killed when dropped, unless disarmed.
#[derive(Debug)]
pub(crate) struct ProcessGroup {
    leader: Option<Pid>,
}

impl ProcessGroup {
    /// The group that `child` leads; `None` when it has been waited for already.
    pub(crate) fn of(child: &Child) -> Option<Self> {
        let pid = i32::try_from(child.id()?).ok()?;
        Some(Self {
            leader: Some(Pid::from_raw(pid)?),
        })
    }

    pub(crate) fn terminate(&self) {
        self.signal(Signal::TERM);
    }

    pub(crate) fn kill(&self) {
        self.signal(Signal::KILL);
    }

    /// Says that the group has ended by itself: its number may belong to somebody else soon.
    pub(crate) fn disarm(&mut self) {
        self.leader = None;
    }

    fn signal(&self, signal: Signal) {
        if let Some(leader) = self.leader {
            // The one way to fail is that nobody is left, which is what is wanted.
            let _ = kill_process_group(leader, signal);
        }
    }
}

impl Drop for ProcessGroup {
    fn drop(&mut self) {
        self.kill();
    }
}

/// The name of this machine.
pub(crate) fn host_name() -> Option<String> {
    let name = rustix::system::uname().nodename().to_str().ok()?.to_owned();
    (!name.is_empty()).then_some(name)
}

/// The number of a file on its device.
pub(crate) fn inode_of(metadata: &Metadata) -> u64 {
    metadata.ino()
}

/// The permission bits of a file that others than its owner have.
pub(crate) fn others_permissions(metadata: &Metadata) -> u32 {
    metadata.mode() & 0o077
}

/// The device a file is on: two paths with the same number share their free space.
pub(crate) fn device_of(metadata: &Metadata) -> u64 {
    metadata.dev()
}

/// Returns `true` if `device` is a number that a file system without a device of its own was given when it was mounted.
pub(crate) fn is_anonymous(device: u64) -> bool {
    cfg!(target_os = "linux") && rustix::fs::major(device as rustix::fs::Dev) == 0
}

/// Opens a new file for writing that is its owner's alone from its creation; fails if there is one.
pub(crate) fn create_private_file(path: &Path) -> io::Result<File> {
    OpenOptions::new()
        .write(true)
        .create_new(true)
        .mode(0o600)
        .open(path)
}

/// Opens a file for reading, also when it is a pipe that nobody writes to.
pub(crate) fn open_without_waiting(path: &Path) -> io::Result<File> {
    use rustix::fs::{Mode, OFlags};
    let flags = OFlags::RDONLY | OFlags::NONBLOCK | OFlags::NOCTTY | OFlags::CLOEXEC;
    Ok(rustix::fs::open(path, flags, Mode::empty())?.into())
}

/// Makes a folder and its missing parents, its owner's alone from their creation.
pub(crate) fn create_private_directory(path: &Path) -> io::Result<()> {
    std::fs::DirBuilder::new()
        .recursive(true)
        .mode(0o700)
        .create(path)
}

/// Takes the permissions of others away from a folder that was there before us.
pub(crate) fn make_private(path: &Path) -> io::Result<()> {
    let metadata = std::fs::metadata(path)?;
    if others_permissions(&metadata) == 0 {
        return Ok(());
    }
    std::fs::set_permissions(
        path,
        std::fs::Permissions::from_mode(metadata.mode() & 0o700),
    )
}

/// Makes what was written into a folder (new names, renames) durable.
pub(crate) fn sync_directory(path: &Path) -> io::Result<()> {
    File::open(path)?.sync_all()
}

/// Writes everything of the file system that `path` is on to its disk.
pub(crate) fn sync_file_system(path: &Path) -> io::Result<()> {
    let file = File::open(path)?;
    #[cfg(target_os = "linux")]
    rustix::fs::syncfs(&file)?;
    #[cfg(not(target_os = "linux"))]
    {
        rustix::fs::sync();
        file.sync_all()?;
    }
    Ok(())
}

/// Free bytes for us, and free inodes where the file system counts them, at `path`.
pub(crate) fn free_space(path: &Path) -> io::Result<(u64, Option<u64>)> {
    let stat = rustix::fs::statvfs(path)?;
    let inodes = (stat.f_files > 0).then_some(stat.f_favail);
    Ok((stat.f_bavail.saturating_mul(stat.f_frsize), inodes))
}

#[cfg(not(target_os = "linux"))]
pub(crate) fn born() -> Option<String> {
    None
}

#[cfg(not(target_os = "linux"))]
pub(crate) fn kill_processes_marked(_: &str, _: &str, _: Option<&str>) -> u32 {
    0
}

/// The time since the machine started, with the time in which it was suspended.
#[cfg(target_os = "linux")]
pub(crate) fn uptime() -> Option<std::time::Duration> {
    let time = rustix::time::clock_gettime(rustix::time::ClockId::Boottime);
    std::time::Duration::try_from(time).ok()
}

/// What tells one start of the machine from the next.
#[cfg(target_os = "linux")]
pub(crate) fn boot_id() -> Option<String> {
    let id = std::fs::read_to_string("/proc/sys/kernel/random/boot_id").ok()?;
    Some(id.trim().to_owned())
}

#[cfg(not(target_os = "linux"))]
pub(crate) fn uptime() -> Option<std::time::Duration> {
    None
}

#[cfg(not(target_os = "linux"))]
pub(crate) fn boot_id() -> Option<String> {
    None
}
