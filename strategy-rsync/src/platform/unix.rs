use std::ffi::OsString;
use std::fs::{File, Metadata};
use std::io::{self, Read, Write};
use std::os::unix::ffi::OsStringExt;
use std::os::unix::fs::{DirBuilderExt, MetadataExt, OpenOptionsExt, PermissionsExt};
use std::path::Path;
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use rustix::fs::{Access, AtFlags, CWD, Mode, OFlags};
use rustix::io::Errno;
use xattr::FileExt as _;

use crate::owner::{Owner, OwnerName};

mod dir;

pub(crate) use dir::{Dir, EntryKind, is_link_or_no_directory};

/// How much of a file is copied at a time, in bytes.
const COPY_BYTES: usize = 256 << 10;

/// What a directory entry says about itself beyond what the standard library has for every system.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Facts {
    /// Device and inode.
    pub(crate) id: (u64, u64),
    pub(crate) links: u64,
    pub(crate) mode: u32,
    pub(crate) user: u32,
    /// When content or attributes changed last, by the file system's own clock; nobody can set it.
    pub(crate) changed: SystemTime,
    pub(crate) modified: (i64, i64),
    pub(crate) allocated_bytes: u64,
}

impl Facts {
    pub(crate) fn of(metadata: &Metadata) -> Self {
        Self {
            id: (metadata.dev(), metadata.ino()),
            links: metadata.nlink(),
            mode: metadata.mode(),
            user: metadata.uid(),
            changed: instant(metadata.ctime(), metadata.ctime_nsec()),
            modified: (metadata.mtime(), metadata.mtime_nsec()),
            allocated_bytes: metadata.blocks().saturating_mul(512),
        }
    }

    /// Returns the last instant at which something may have changed: old file systems keep whole seconds alone.
    pub(crate) fn latest_change(&self) -> SystemTime {
        let since_epoch = self.changed.duration_since(UNIX_EPOCH);
        match since_epoch {
            Ok(since) if since.subsec_nanos() == 0 => self.changed + Duration::from_secs(1),
            _ => self.changed,
        }
    }

    /// Returns `true` unless the times rule out that this directory was moved to where it is.
    pub(crate) fn may_have_moved(&self) -> bool {
        self.changed_after_modification() || self.latest_change() != self.changed
    }

    /// Whether attributes changed after the content did last: of a folder, that it may have been moved here.
    pub(crate) fn changed_after_modification(&self) -> bool {
        let (seconds, nanoseconds) = self.modified;
        self.changed != instant(seconds, nanoseconds)
    }
}

fn instant(seconds: i64, nanoseconds: i64) -> SystemTime {
    let seconds = u64::try_from(seconds).unwrap_or(0);
    let nanoseconds = u32::try_from(nanoseconds).unwrap_or(0);
    UNIX_EPOCH + Duration::new(seconds, nanoseconds)
}

/// A file name of these bytes.
pub(crate) fn os_string(bytes: Vec<u8>) -> OsString {
    OsString::from_vec(bytes)
}

/// Whether this process may read and write everything.
pub(crate) fn is_administrator() -> bool {
    rustix::process::geteuid().is_root()
}

/// The user that this process is.
pub(crate) fn own_user() -> u32 {
    rustix::process::geteuid().as_raw()
}

/// Whether a file or folder with these facts can be read by us.
pub(crate) fn is_readable(path: &Path, facts: &Facts, is_folder: bool) -> bool {
    let (wanted, bits) = if is_folder {
        (Access::READ_OK | Access::EXEC_OK, 0o500)
    } else {
        (Access::READ_OK, 0o400)
    };
    // The mode of files that are our own is answer enough, and saves a call for each.
    let own = facts.user == own_user() && facts.mode & bits == bits;
    own || is_administrator() || may(path, wanted)
}

/// Returns `true` if an entry with this metadata was made by root or by the user that this process is.
pub(crate) fn is_trustworthy(metadata: &Metadata) -> bool {
    metadata.uid() == 0 || metadata.uid() == own_user()
}

/// Whether we may make and remove names in a folder.
pub(crate) fn is_writable_folder(path: &Path) -> bool {
    may(path, Access::WRITE_OK | Access::EXEC_OK)
}

fn may(path: &Path, access: Access) -> bool {
    rustix::fs::accessat(CWD, path, access, AtFlags::EACCESS).is_ok()
}

/// Writes everything of the file system that `path` is on to its disk.
pub(crate) fn sync_file_system(path: &Path) -> io::Result<()> {
    let file = File::open(path)?;
    #[cfg(target_os = "linux")]
    {
        rustix::fs::syncfs(&file).map_err(io::Error::from)
    }
    #[cfg(not(target_os = "linux"))]
    {
        rustix::fs::sync();
        file.sync_all()
    }
}

/// Writes a file or a folder to its disk. What is gone needs none, and a link is part of its folder.
pub(crate) fn sync_entry(path: &Path) -> io::Result<()> {
    let flags = OFlags::NOFOLLOW | OFlags::NONBLOCK | OFlags::CLOEXEC;
    match rustix::fs::open(path, flags, Mode::empty()) {
        Ok(file) => Ok(rustix::fs::fsync(file)?),
        Err(Errno::NOENT | Errno::NOTDIR | Errno::LOOP) => Ok(()),
        Err(error) => Err(error.into()),
    }
}

/// Returns the time by the clock that the kernel stamps files with.
pub(crate) fn file_clock() -> SystemTime {
    // Not the standard library's: a process may be given another time than the machine's (`faketime`), files are not.
    let time = rustix::time::clock_gettime(rustix::time::ClockId::Realtime);
    u64::try_from(time.tv_sec).map_or(SystemTime::UNIX_EPOCH, |seconds| {
        let nanoseconds = u32::try_from(time.tv_nsec).unwrap_or_default();
        SystemTime::UNIX_EPOCH + Duration::new(seconds, nanoseconds)
    })
}

/// Returns `true` where a file may have another inode number when it is looked at the next time.
#[cfg(target_os = "linux")]
pub(crate) fn numbers_files_anew(path: &Path) -> bool {
    /// The type of FUSE, which forgets its own numbers when memory is short.
    const FUSE: u64 = 0x6573_5546;
    rustix::fs::statfs(path).is_ok_and(|found| u64::try_from(found.f_type) == Ok(FUSE))
}

#[cfg(not(target_os = "linux"))]
pub(crate) fn numbers_files_anew(_: &Path) -> bool {
    true
}

/// Whether the folder `path` is where a file system is mounted, so that it cannot be replaced.
pub(crate) fn is_mount_point(path: &Path) -> io::Result<bool> {
    let own = std::fs::metadata(path)?;
    let parent = path.parent().map_or(Ok(None), |parent| {
        std::fs::metadata(parent).map(|metadata| Some(metadata.dev()))
    })?;
    Ok(parent != Some(own.dev()) || is_mount_root(path))
}

/// A bind mount has the device number of the file system that it shows: the kernel has to be asked.
#[cfg(target_os = "linux")]
fn is_mount_root(path: &Path) -> bool {
    use rustix::fs::{StatxAttributes, StatxFlags};
    let stat = rustix::fs::statx(CWD, path, AtFlags::empty(), StatxFlags::BASIC_STATS);
    stat.is_ok_and(|stat| {
        stat.stx_attributes_mask
            .contains(StatxAttributes::MOUNT_ROOT)
            && stat.stx_attributes.contains(StatxAttributes::MOUNT_ROOT)
    })
}

#[cfg(not(target_os = "linux"))]
fn is_mount_root(_: &Path) -> bool {
    false
}

/// Bytes that we may still write to the file system of `path`, and its device number.
pub(crate) fn free_bytes(path: &Path) -> io::Result<(u64, u64)> {
    let stat = rustix::fs::statvfs(path)?;
    let device = std::fs::metadata(path)?.dev();
    Ok((device, stat.f_bavail.saturating_mul(stat.f_frsize)))
}

/// Makes a folder that is its owner's alone from its creation, with its missing parents.
pub(crate) fn create_private_folder(path: &Path) -> io::Result<()> {
    std::fs::DirBuilder::new()
        .recursive(true)
        .mode(0o700)
        .create(path)
}

/// Makes an empty file that is its owner's alone from its creation, in place of one that is there.
pub(crate) fn create_private_file(path: &Path) -> io::Result<File> {
    match std::fs::remove_file(path) {
        Err(error) if error.kind() != io::ErrorKind::NotFound => return Err(error),
        _ => {}
    }
    std::fs::OpenOptions::new()
        .write(true)
        .create_new(true)
        .mode(0o600)
        .open(path)
}

/// Copies the file at `from` to `to`, where nothing is yet, with owner, mode and modification time. `None` when it is
/// no plain file any more, or not as long as it was, or has what only rsync copies; then, and after an error, nothing of
/// it stays.
pub(crate) fn copy_new_file(
    from: &Path,
    to: &Path,
    may_go_on: &mut dyn FnMut() -> io::Result<()>,
) -> io::Result<Option<u64>> {
    let flags = OFlags::RDONLY | OFlags::NOFOLLOW | OFlags::NONBLOCK | OFlags::CLOEXEC;
    let mut original = File::from(rustix::fs::open(from, flags, Mode::empty())?);
    // Before the content is read: should that change meanwhile, the times of both differ.
    let metadata = original.metadata()?;
    if !metadata.is_file() || metadata.nlink() != 1 || has_more(original.list_xattr()) {
        return Ok(None);
    }
    let mut copy = std::fs::OpenOptions::new()
        .write(true)
        .create_new(true)
        .mode(0o600)
        .open(to)?;
    let copied = copy_open_file(&mut original, &metadata, &mut copy, may_go_on);
    if !matches!(copied, Ok(Some(_))) {
        // What is not whole must not look as if it were.
        let _ = std::fs::remove_file(to);
    }
    copied
}

fn copy_open_file(
    original: &mut File,
    metadata: &Metadata,
    copy: &mut File,
    may_go_on: &mut dyn FnMut() -> io::Result<()>,
) -> io::Result<Option<u64>> {
    let most = usize::try_from(metadata.len()).unwrap_or(usize::MAX);
    let mut buffer = vec![0; most.saturating_add(1).min(COPY_BYTES)];
    let mut copied = 0;
    loop {
        may_go_on()?;
        match original.read(&mut buffer) {
            Ok(0) => break,
            Ok(length) => {
                copy.write_all(&buffer[..length])?;
                copied += length as u64;
            }
            Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
            Err(error) => return Err(error),
        }
    }
    if copied != metadata.len() {
        return Ok(None);
    }
    copy_to_open(metadata, copy)?;
    // An access list comes from the folder, if from anywhere.
    let has_more = has_more(copy.list_xattr());
    Ok((!has_more).then_some(copied))
}

/// Whether a file could not be opened because it is a link.
pub(crate) fn is_link_in_the_way(error: &io::Error) -> bool {
    error.raw_os_error() == Some(Errno::LOOP.raw_os_error())
}

/// Gives us the right to change what is in a folder of our own.
pub(crate) fn make_changeable(folder: &Path) -> io::Result<()> {
    std::fs::set_permissions(folder, std::fs::Permissions::from_mode(0o700))
}

/// Gives the directory `to` the mode, the owner and the modification time of `from`; whoever is not root gives it to a
/// group of his own alone, as rsync does.
pub(crate) fn copy_what_we_may(from: &Metadata, to: &Path) -> io::Result<()> {
    copy_to_open(from, &File::open(to)?)
}

fn copy_to_open(from: &Metadata, to: &File) -> io::Result<()> {
    let own = to.metadata()?;
    if owner_of(from) != owner_of(&own) {
        let user = is_administrator().then(|| from.uid());
        match std::os::unix::fs::fchown(to, user, Some(from.gid())) {
            Err(error) if user.is_some() || error.kind() != io::ErrorKind::PermissionDenied => {
                return Err(error);
            }
            _ => {}
        }
    }
    // The owner first, as giving a file away takes bits of its mode.
    to.set_permissions(from.permissions())?;
    to.set_times(std::fs::FileTimes::new().set_modified(from.modified()?))
}

/// Sets the modification time of `path` itself, in seconds and nanoseconds.
pub(crate) fn set_modified(path: &Path, (seconds, nanoseconds): (i64, i64)) -> io::Result<()> {
    use rustix::fs::{Timespec, Timestamps, UTIME_OMIT};
    let keep = Timespec {
        tv_sec: 0,
        tv_nsec: UTIME_OMIT,
    };
    let times = Timestamps {
        last_access: keep,
        last_modification: Timespec {
            tv_sec: seconds,
            tv_nsec: nanoseconds,
        },
    };
    rustix::fs::utimensat(CWD, path, &times, AtFlags::SYMLINK_NOFOLLOW).map_err(io::Error::from)
}

/// User and group.
pub(crate) fn owner_of(metadata: &Metadata) -> (u32, u32) {
    (metadata.uid(), metadata.gid())
}

/// Looks an owner up in the system's databases; `None` when there is no such user or group.
pub(crate) fn find_owner(name: &OwnerName) -> Option<Owner> {
    let number = |text: &str| text.parse::<u32>().ok();
    let user = uzers::get_user_by_name(name.user())
        .or_else(|| uzers::get_user_by_uid(number(name.user())?));
    let user_id = user
        .as_ref()
        .map(uzers::User::uid)
        .or_else(|| number(name.user()))?;
    let group = match name.group() {
        Some(group) => uzers::get_group_by_name(group)
            .map(|group| group.gid())
            .or_else(|| number(group))?,
        None => user?.primary_group_id(),
    };
    Some(Owner {
        user: user_id,
        group,
    })
}

/// Whether the kernel will let us give files to `owner`.
pub(crate) fn may_give_to(owner: Owner) -> bool {
    let own_groups = || {
        let groups = rustix::process::getgroups().unwrap_or_default();
        let own = rustix::process::getegid();
        groups
            .into_iter()
            .chain([own])
            .any(|group| group.as_raw() == owner.group)
    };
    is_administrator() || (owner.user == own_user() && own_groups())
}

/// Whether there is anything about `path` itself that neither its mode nor its times say. The label of a security
/// module belongs to the machine, and every file has one where there is such a module.
pub(crate) fn has_attributes(path: &Path) -> bool {
    has_more(xattr::list(path))
}

fn has_more(attributes: io::Result<xattr::XAttrs>) -> bool {
    match attributes {
        Ok(mut names) => names.any(|name| name != "security.selinux"),
        Err(error) => error.kind() != io::ErrorKind::Unsupported,
    }
}

/// Whether files at `path` can have extended attributes.
pub(crate) fn keeps_attributes(path: &Path) -> bool {
    is_supported(path, "user.diy-backup.probe")
}

/// Whether files at `path` can have POSIX access control lists.
pub(crate) fn keeps_acls(path: &Path) -> bool {
    is_supported(path, "system.posix_acl_access")
}

fn is_supported(path: &Path, attribute: &str) -> bool {
    // Asking for one that is not there tells apart "none" and "not supported", and changes nothing.
    !matches!(xattr::get(path, attribute), Err(error) if error.kind() == io::ErrorKind::Unsupported)
}
