//! The four calls of the kernel that changes are learnt by, and that no library offers without `unsafe`.
#![expect(
    unsafe_code,
    reason = "nix reads fanotify events without their names, and neither it nor rustix opens by handle"
)]

use std::fs::File;
use std::io;
use std::os::fd::{AsFd, AsRawFd, BorrowedFd, FromRawFd, OwnedFd, RawFd};
use std::ptr;

/// The longest handle that a file system may have (`MAX_HANDLE_SZ`).
const LONGEST_HANDLE: usize = 128;

/// The kernel's `struct file_handle`, with room for any.
#[repr(C)]
struct RawHandle {
    bytes: u32,
    kind: i32,
    handle: [u8; LONGEST_HANDLE],
}

/// What names a file of a file system for ever: its type, then its bytes, as they stand in an event.
pub(super) type Handle = [u8];

/// Makes a group that queues without bound and reports folders with names, and files where there is no name. Reading from it does not block.
pub(super) fn fanotify_init() -> io::Result<File> {
    let flags = libc::FAN_CLASS_NOTIF
        | libc::FAN_CLOEXEC
        | libc::FAN_NONBLOCK
        | libc::FAN_UNLIMITED_QUEUE
        | libc::FAN_REPORT_FID
        | libc::FAN_REPORT_DFID_NAME;
    let event_flags = (libc::O_RDONLY | libc::O_CLOEXEC).cast_unsigned();
    // SAFETY: the call takes two numbers and no memory of ours.
    let fd = unsafe { libc::fanotify_init(flags, event_flags) };
    owned(fd).map(File::from)
}

/// Lets `group` report what `mask` says of the whole file system that `folder` is on.
pub(super) fn fanotify_mark(group: &File, mask: u64, folder: BorrowedFd<'_>) -> io::Result<()> {
    let flags = libc::FAN_MARK_ADD | libc::FAN_MARK_FILESYSTEM;
    // SAFETY: both descriptors are open for the time of the call, and without a path `folder` itself is meant.
    let result = unsafe {
        libc::fanotify_mark(
            group.as_raw_fd(),
            flags,
            mask,
            folder.as_raw_fd(),
            ptr::null(),
        )
    };
    if result == 0 {
        Ok(())
    } else {
        Err(io::Error::last_os_error())
    }
}

/// The handle of `folder`.
pub(super) fn handle_of(folder: BorrowedFd<'_>) -> io::Result<Box<Handle>> {
    let mut raw = RawHandle {
        bytes: u32::try_from(LONGEST_HANDLE).unwrap_or(0),
        kind: 0,
        handle: [0; LONGEST_HANDLE],
    };
    let mut mount_id: libc::c_int = 0;
    // SAFETY: the path is an empty string that ends in NUL; `raw` has the layout of `struct file_handle` and as much
    // room as it says; `mount_id` is an int. All live until the call returns.
    let result = unsafe {
        libc::syscall(
            libc::SYS_name_to_handle_at,
            folder.as_raw_fd(),
            c"".as_ptr(),
            &raw mut raw,
            &raw mut mount_id,
            libc::AT_EMPTY_PATH,
        )
    };
    if result != 0 {
        return Err(io::Error::last_os_error());
    }
    let length = usize::try_from(raw.bytes).unwrap_or(LONGEST_HANDLE);
    let mut handle = raw.kind.to_ne_bytes().to_vec();
    handle.extend_from_slice(&raw.handle[..length.min(LONGEST_HANDLE)]);
    Ok(handle.into_boxed_slice())
}

/// Opens what `handle` names on the file system of `mount`, as a mere reference that allows no reading.
pub(super) fn open_by_handle(mount: BorrowedFd<'_>, handle: &Handle) -> io::Result<OwnedFd> {
    open_by_handle_for(libc::O_PATH, mount, handle)
}

/// Opens what `handle` names for the use that `flags` say.
pub(super) fn open_by_handle_for(
    flags: libc::c_int,
    mount: BorrowedFd<'_>,
    handle: &Handle,
) -> io::Result<OwnedFd> {
    let too_long = || io::Error::from(io::ErrorKind::InvalidInput);
    let (kind, bytes) = handle.split_first_chunk::<4>().ok_or_else(too_long)?;
    let mut raw = RawHandle {
        bytes: u32::try_from(bytes.len()).map_err(|_| too_long())?,
        kind: i32::from_ne_bytes(*kind),
        handle: [0; LONGEST_HANDLE],
    };
    raw.handle
        .get_mut(..bytes.len())
        .ok_or_else(too_long)?
        .copy_from_slice(bytes);
    // SAFETY: `raw` has the layout of `struct file_handle` with as many bytes as it says, and lives until the call
    // returns, which only reads it.
    let fd = unsafe {
        libc::syscall(
            libc::SYS_open_by_handle_at,
            mount.as_raw_fd(),
            &raw const raw,
            flags | libc::O_CLOEXEC,
        )
    };
    owned(RawFd::try_from(fd).unwrap_or(-1))
}

/// Whether a handle of `folder` can be made and opened.
pub(super) fn probe_handles(folder: &File) -> io::Result<()> {
    let handle = handle_of(folder.as_fd())?;
    open_by_handle(folder.as_fd(), &handle).map(drop)
}

fn owned(fd: RawFd) -> io::Result<OwnedFd> {
    if fd < 0 {
        return Err(io::Error::last_os_error());
    }
    // SAFETY: the kernel has just given us this descriptor, and nobody else knows of it.
    Ok(unsafe { OwnedFd::from_raw_fd(fd) })
}
