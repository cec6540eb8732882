use std::ffi::OsString;
use std::fs::{File, Metadata};
use std::io;
use std::path::Path;
use std::time::{SystemTime, UNIX_EPOCH};

use crate::owner::{Owner, OwnerName};

mod dir;

pub(crate) use dir::{Dir, EntryKind, is_link_or_no_directory};

#[derive(Debug, Clone, Copy)]
pub(crate) struct Facts {
    pub(crate) id: (u64, u64),
    pub(crate) links: u64,
    pub(crate) mode: u32,
    pub(crate) user: u32,
    /// Not known here: everything counts as changed, so that nothing is taken for the same without being read.
    pub(crate) changed: SystemTime,
    pub(crate) modified: (i64, i64),
    pub(crate) allocated_bytes: u64,
}

impl Facts {
    pub(crate) fn of(metadata: &Metadata) -> Self {
        let modified = metadata
            .modified()
            .ok()
            .and_then(|time| time.duration_since(UNIX_EPOCH).ok())
            .unwrap_or_default();
        Self {
            id: (0, 0),
            links: 1,
            mode: 0,
            user: 0,
            changed: SystemTime::now(),
            modified: (
                i64::try_from(modified.as_secs()).unwrap_or(i64::MAX),
                i64::from(modified.subsec_nanos()),
            ),
            allocated_bytes: metadata.len(),
        }
    }

    pub(crate) fn latest_change(&self) -> SystemTime {
        self.changed
    }

    pub(crate) fn may_have_moved(&self) -> bool {
        true
    }

    pub(crate) fn changed_after_modification(&self) -> bool {
        true
    }
}

pub(crate) fn os_string(bytes: Vec<u8>) -> OsString {
    String::from_utf8_lossy(&bytes).into_owned().into()
}

pub(crate) fn is_administrator() -> bool {
    false
}

pub(crate) fn own_user() -> u32 {
    0
}

pub(crate) fn is_readable(path: &Path, _: &Facts, is_folder: bool) -> bool {
    is_folder || File::open(path).is_ok()
}

pub(crate) fn is_trustworthy(_: &Metadata) -> bool {
    true
}

pub(crate) fn is_writable_folder(path: &Path) -> bool {
    std::fs::metadata(path).is_ok_and(|metadata| !metadata.permissions().readonly())
}

/// There is no call for it: what has to be durable is synced file by file where it is written.
pub(crate) fn sync_file_system(_: &Path) -> io::Result<()> {
    Ok(())
}

pub(crate) fn sync_entry(_: &Path) -> io::Result<()> {
    Ok(())
}

pub(crate) fn file_clock() -> SystemTime {
    SystemTime::now()
}

pub(crate) fn numbers_files_anew(_: &Path) -> bool {
    true
}

pub(crate) fn is_mount_point(path: &Path) -> io::Result<bool> {
    Ok(path.parent().is_none())
}

pub(crate) fn free_bytes(_: &Path) -> io::Result<(u64, u64)> {
    Ok((0, u64::MAX))
}

pub(crate) fn create_private_folder(path: &Path) -> io::Result<()> {
    std::fs::create_dir_all(path)
}

pub(crate) fn create_private_file(path: &Path) -> io::Result<File> {
    File::create(path)
}

/// All copying is rsync's here.
pub(crate) fn copy_new_file(
    _: &Path,
    _: &Path,
    _: &mut dyn FnMut() -> io::Result<()>,
) -> io::Result<Option<u64>> {
    Err(io::ErrorKind::Unsupported.into())
}

pub(crate) fn has_attributes(_: &Path) -> bool {
    false
}

pub(crate) fn is_link_in_the_way(_: &io::Error) -> bool {
    false
}

pub(crate) fn make_changeable(folder: &Path) -> io::Result<()> {
    std::fs::metadata(folder).map(|_| ())
}

pub(crate) fn copy_what_we_may(from: &Metadata, to: &Path) -> io::Result<()> {
    std::fs::set_permissions(to, from.permissions())
}

pub(crate) fn set_modified(_: &Path, _: (i64, i64)) -> io::Result<()> {
    Err(io::ErrorKind::Unsupported.into())
}

pub(crate) fn owner_of(_: &Metadata) -> (u32, u32) {
    (0, 0)
}

/// Owners are not those of Unix here.
pub(crate) fn find_owner(_: &OwnerName) -> Option<Owner> {
    None
}

pub(crate) fn may_give_to(_: Owner) -> bool {
    false
}

pub(crate) fn keeps_attributes(_: &Path) -> bool {
    false
}

pub(crate) fn keeps_acls(_: &Path) -> bool {
    false
}
