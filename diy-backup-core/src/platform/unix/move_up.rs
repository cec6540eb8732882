use std::ffi::{OsStr, OsString};
use std::io;
use std::os::fd::{AsFd, OwnedFd};
use std::os::unix::ffi::OsStrExt;
use std::path::{Component, Path};

use rustix::fs::{AtFlags, Gid, Mode, OFlags, Uid};

/// Moves everything in the directory `below`, which lies in `top`, up into `top`, which takes over its owner, mode and
/// times. `top` must hold nothing else; what was between them is removed.
///
/// No link is followed: what the directories belong to may belong to somebody else by now.
pub(crate) fn move_up(top: &Path, below: &Path) -> io::Result<()> {
    const ASIDE: &str = ".diy-backup-moving-up";
    let top = open_directory(rustix::fs::CWD, top)?;
    let mut parts = below.components().map(Component::as_os_str);
    let first = parts.next().ok_or(io::ErrorKind::InvalidInput)?;
    // What is moved up may have that name itself.
    rename(&top, first, &top, OsStr::new(ASIDE))?;
    let mut chain = vec![(OsStr::new(ASIDE), open_directory(&top, ASIDE)?)];
    for part in parts {
        let next = open_directory(&chain[chain.len() - 1].1, part)?;
        chain.push((part, next));
    }
    let inner = &chain[chain.len() - 1].1;
    let stat = rustix::fs::fstat(inner)?;
    let mode = Mode::from_raw_mode(stat.st_mode);
    rustix::fs::fchmod(inner, mode | Mode::RWXU)?;
    let names = rustix::fs::Dir::read_from(inner)?
        .map(|entry| entry.map(|entry| OsStr::from_bytes(entry.file_name().to_bytes()).to_owned()))
        .collect::<rustix::io::Result<Vec<OsString>>>()?;
    for name in names.iter().filter(|name| *name != "." && *name != "..") {
        rename(inner, name, &top, name)?;
    }
    for number in (0..chain.len()).rev() {
        let above = number.checked_sub(1).map_or(&top, |above| &chain[above].1);
        rustix::fs::unlinkat(above, chain[number].0, AtFlags::REMOVEDIR)?;
    }
    let now = rustix::fs::fstat(&top)?;
    if (now.st_uid, now.st_gid) != (stat.st_uid, stat.st_gid) {
        let (owner, group) = (Uid::from_raw(stat.st_uid), Gid::from_raw(stat.st_gid));
        rustix::fs::fchown(&top, Some(owner), Some(group))?;
    }
    rustix::fs::fchmod(&top, mode)?;
    let time = |seconds, nanoseconds: u64| rustix::fs::Timespec {
        tv_sec: seconds,
        tv_nsec: i64::try_from(nanoseconds).unwrap_or(0),
    };
    let times = rustix::fs::Timestamps {
        last_access: time(stat.st_atime, stat.st_atime_nsec),
        last_modification: time(stat.st_mtime, stat.st_mtime_nsec),
    };
    Ok(rustix::fs::futimens(&top, &times)?)
}

fn open_directory(at: impl AsFd, path: impl rustix::path::Arg) -> io::Result<OwnedFd> {
    let flags = OFlags::RDONLY | OFlags::DIRECTORY | OFlags::NOFOLLOW | OFlags::CLOEXEC;
    Ok(rustix::fs::openat(at, path, flags, Mode::empty())?)
}

fn rename(from: &OwnedFd, name: &OsStr, to: &OwnedFd, new_name: &OsStr) -> io::Result<()> {
    match rustix::fs::renameat(from, name, to, new_name) {
        // A directory that its owner may not write to cannot get another parent.
        Err(rustix::io::Errno::ACCESS) => {
            let moved = open_directory(from, name)?;
            let mode = Mode::from_raw_mode(rustix::fs::fstat(&moved)?.st_mode);
            rustix::fs::fchmod(&moved, mode | Mode::RWXU)?;
            let renamed = rustix::fs::renameat(from, name, to, new_name);
            rustix::fs::fchmod(&moved, mode)?;
            Ok(renamed?)
        }
        other => Ok(other?),
    }
}
