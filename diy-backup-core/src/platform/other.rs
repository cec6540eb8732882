use std::fs::{File, Metadata, OpenOptions};
use std::io;
use std::path::Path;
use std::process::ExitStatus;

use tokio::process::{Child, Command};

pub(crate) fn own_process_group(_: &mut Command) {}

pub(crate) fn signal_of(_: ExitStatus) -> Option<i32> {
    None
}

/// Without process groups the child alone is killed, by tokio's `kill_on_drop`.
#[derive(Debug)]
pub(crate) struct ProcessGroup;

impl ProcessGroup {
    pub(crate) fn of(_: &Child) -> Option<Self> {
        Some(Self)
    }

    pub(crate) fn terminate(&self) {}

    pub(crate) fn kill(&self) {}

    pub(crate) fn disarm(&mut self) {}
}

/// Access lists decide here, which the installation has to see to.
pub(crate) fn others_permissions(_: &Metadata) -> u32 {
    0
}

pub(crate) fn host_name() -> Option<String> {
    std::env::var("COMPUTERNAME").ok()
}

/// Unknown: when a directory was made has to do.
pub(crate) fn inode_of(_: &Metadata) -> u64 {
    0
}

pub(crate) fn device_of(_: &Metadata) -> u64 {
    0
}

pub(crate) fn is_anonymous(_: u64) -> bool {
    false
}

pub(crate) fn create_private_file(path: &Path) -> io::Result<File> {
    OpenOptions::new().write(true).create_new(true).open(path)
}

pub(crate) fn open_private_file(path: &Path) -> io::Result<File> {
    OpenOptions::new()
        .read(true)
        .write(true)
        .create(true)
        .truncate(false)
        .open(path)
}

/// Who owns what cannot be told here.
pub(crate) type Distrust = std::convert::Infallible;

pub(crate) fn distrust(_: &Path) -> io::Result<Option<Distrust>> {
    Ok(None)
}

pub(crate) fn open_own_file(path: &Path) -> io::Result<File> {
    File::open(path)
}

pub(crate) fn open_without_waiting(path: &Path) -> io::Result<File> {
    File::open(path)
}

pub(crate) fn create_private_directory(path: &Path) -> io::Result<()> {
    std::fs::create_dir_all(path)
}

pub(crate) fn make_private(_: &Path) -> io::Result<()> {
    Ok(())
}

pub(crate) fn move_up(top: &Path, below: &Path) -> io::Result<()> {
    const ASIDE: &str = ".diy-backup-moving-up";
    let first = below
        .components()
        .next()
        .ok_or(io::ErrorKind::InvalidInput)?;
    let aside = top.join(ASIDE);
    // What is moved up may have that name itself.
    std::fs::rename(top.join(first), &aside)?;
    let inner = aside.join(below.strip_prefix(first).map_err(io::Error::other)?);
    for entry in std::fs::read_dir(&inner)? {
        let entry = entry?;
        std::fs::rename(entry.path(), top.join(entry.file_name()))?;
    }
    std::fs::remove_dir_all(aside)
}

pub(crate) fn sync_directory(_: &Path) -> io::Result<()> {
    Ok(())
}

/// Unknown: nothing is refused for want of space here.
pub(crate) fn free_space(_: &Path) -> io::Result<(u64, Option<u64>)> {
    Ok((u64::MAX, None))
}

pub(crate) fn born() -> Option<String> {
    None
}

pub(crate) fn kill_processes_marked(_: &str, _: &str, _: Option<&str>) -> u32 {
    0
}

pub(crate) fn uptime() -> Option<std::time::Duration> {
    None
}

pub(crate) fn boot_id() -> Option<String> {
    None
}
