//! One file system that is watched: the kernel's queue of its events.

use std::fs::File;
use std::io::{self, Read};
use std::os::fd::{AsFd, BorrowedFd};
use std::path::Path;

use super::place::WITHOUT;
use super::{Unavailable, event, mounts, sys};
use crate::walk::READ_EVERYTHING;

/// A folder on the file system, and the queue.
#[derive(Debug)]
pub(super) struct Queue {
    /// A folder that was opened through the mount in question: handles are looked up from there.
    pub(super) mount: File,
    pub(super) mount_id: u64,
    group: File,
}

impl Queue {
    /// Lets the kernel queue every change of the file system that `folder` is on, from now on.
    ///
    /// # Errors
    /// When it refuses, with the reason.
    pub(super) fn open(folder: &Path) -> Result<Self, Unavailable> {
        let subject = folder.display();
        let mount = File::open(folder).map_err(|error| {
            Unavailable::new(
                format!("{subject} cannot be opened: {error}"),
                READ_EVERYTHING,
            )
        })?;
        let mount_id = mounts::id_of(&mount).map_err(|error| no_proc(&error))?;
        let group = sys::fanotify_init().map_err(|error| cannot_watch(&error))?;
        sys::fanotify_mark(&group, event::MASK, mount.as_fd()).map_err(|error| {
            Unavailable::new(
                format!("the kernel cannot watch the file system of {subject}: {error}"),
                format!("Put the files on a local ext4, XFS or Btrfs file system, or {WITHOUT}"),
            )
        })?;
        sys::probe_handles(&mount).map_err(|error| match error.raw_os_error() {
            Some(libc::EPERM) => missing_capability("CAP_DAC_READ_SEARCH"),
            _ => Unavailable::new(
                format!("the file system of {subject} gives no handles of its folders: {error}"),
                format!("Put the files on a local ext4, XFS or Btrfs file system, or {WITHOUT}"),
            ),
        })?;
        Ok(Self {
            mount,
            mount_id,
            group,
        })
    }

    /// Reads queued events into `buffer`: how many bytes, or `None` when there are none.
    pub(super) fn read(&self, buffer: &mut [u8]) -> io::Result<Option<usize>> {
        loop {
            match (&self.group).read(buffer) {
                Ok(length) => return Ok(Some(length)),
                Err(error) if error.kind() == io::ErrorKind::WouldBlock => return Ok(None),
                Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
                Err(error) => return Err(error),
            }
        }
    }
}

impl AsFd for Queue {
    /// Readable when there are events.
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.group.as_fd()
    }
}

pub(super) fn no_proc(error: &io::Error) -> Unavailable {
    Unavailable::new(
        format!("/proc does not tell what is mounted: {error}"),
        format!("Mount /proc, or {WITHOUT}"),
    )
}

fn cannot_watch(error: &io::Error) -> Unavailable {
    match error.raw_os_error() {
        Some(libc::EPERM) => missing_capability("CAP_SYS_ADMIN"),
        Some(libc::EINVAL | libc::ENOSYS) => Unavailable::new(
            "the kernel does not tell the names of changed files: that takes Linux 5.9 with CONFIG_FANOTIFY",
            format!("Run a newer kernel, or {WITHOUT}"),
        ),
        _ => Unavailable::new(
            format!("the kernel refuses to watch file systems: {error}"),
            format!("Raise the limits in /proc/sys/fs/fanotify, or {WITHOUT}"),
        ),
    }
}

fn missing_capability(name: &str) -> Unavailable {
    Unavailable::new(
        format!("watching file systems takes root's rights, and {name} is missing"),
        "Run as root, or give the service the capabilities: in its systemd unit `AmbientCapabilities=CAP_SYS_ADMIN CAP_DAC_READ_SEARCH`.",
    )
}
