//! Who else could change what a path leads to.

use std::collections::VecDeque;
use std::ffi::OsString;
use std::fmt;
use std::fs::{File, Metadata, OpenOptions};
use std::io;
use std::os::unix::fs::{MetadataExt, OpenOptionsExt};
use std::path::{Component, Path, PathBuf};

use rustix::fs::OFlags;
use rustix::io::Errno;

/// As the kernel does.
const MAX_LINKS: usize = 40;

/// Something on the way to a directory that makes it another user's.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Distrust {
    path: PathBuf,
    reason: Reason,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Reason {
    OwnedBy(u32),
    LinkOf(u32),
    WritableByOthers(u32),
    NotADirectory,
}

impl Distrust {
    fn of(path: &Path, reason: Reason) -> Self {
        Self {
            path: path.to_owned(),
            reason,
        }
    }
}

impl fmt::Display for Distrust {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let path = self.path.display();
        match self.reason {
            Reason::OwnedBy(user) => write!(f, "{path} belongs to the user {user}"),
            Reason::LinkOf(user) => write!(f, "{path} is a link that the user {user} has made"),
            Reason::WritableByOthers(mode) => {
                write!(
                    f,
                    "{path} may be written to by other users (mode {mode:04o})"
                )
            }
            Reason::NotADirectory => write!(f, "{path} is not a directory"),
        }
    }
}

/// The user who asks.
#[derive(Debug, Clone, Copy)]
struct Asker {
    user: u32,
    group: u32,
    /// The owner that the kernel shows for users whom this user namespace does not know, such as the real root.
    unknown: Option<u32>,
}

/// What counts of a directory.
#[derive(Debug, Clone, Copy)]
struct Facts {
    owner: u32,
    group: u32,
    mode: u32,
}

impl Facts {
    fn of(metadata: &Metadata) -> Self {
        Self {
            owner: metadata.uid(),
            group: metadata.gid(),
            mode: metadata.mode(),
        }
    }
}

impl Asker {
    fn current() -> Self {
        Self {
            user: rustix::process::geteuid().as_raw(),
            group: rustix::process::getegid().as_raw(),
            unknown: unknown_user(),
        }
    }

    /// Whether what `owner` has made may be relied upon.
    fn trusts(&self, owner: u32) -> bool {
        owner == 0 || owner == self.user
    }

    /// The same for what lies above our own directories, which the real root has made.
    fn trusts_above(&self, owner: u32) -> bool {
        self.trusts(owner) || Some(owner) == self.unknown
    }

    /// Whether somebody else could put another directory in the place of one in this one.
    fn doubts_parent(&self, facts: Facts) -> Option<Reason> {
        if !self.trusts_above(facts.owner) {
            return Some(Reason::OwnedBy(facts.owner));
        }
        let is_sticky = facts.mode & 0o1000 != 0;
        // A group of one's own is no other user; root has none but its first.
        let is_own_group = facts.group == 0 || (self.user != 0 && facts.group == self.group);
        let others = facts.mode & 0o002 != 0 || (facts.mode & 0o020 != 0 && !is_own_group);
        // What lies in a sticky one is renamed by its own owner alone.
        (others && !is_sticky).then_some(Reason::WritableByOthers(facts.mode & 0o7777))
    }
}

/// The overflow user, in a user namespace that does not know every user.
fn unknown_user() -> Option<u32> {
    let read = |path: &str| std::fs::read_to_string(path).ok();
    let map = read("/proc/self/uid_map")?;
    let knows_all = map.split_whitespace().eq(["0", "0", "4294967295"]);
    if knows_all {
        return None;
    }
    read("/proc/sys/kernel/overflowuid")?.trim().parse().ok()
}

/// What on the way to the directory `path` lets another user put something else there, or into it; `None` when nothing
/// does, as far as the way exists. The permissions of the directory itself are not judged.
pub(crate) fn distrust(path: &Path) -> io::Result<Option<Distrust>> {
    let asker = Asker::current();
    let mut rest = names_of(path);
    let mut at = PathBuf::from("/");
    let mut links = 0;
    while let Some(name) = rest.pop_front() {
        if name == ".." {
            at.pop();
            continue;
        }
        if let Some(reason) = asker.doubts_parent(Facts::of(&std::fs::symlink_metadata(&at)?)) {
            return Ok(Some(Distrust::of(&at, reason)));
        }
        let next = at.join(&name);
        let metadata = match std::fs::symlink_metadata(&next) {
            Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(None),
            other => other?,
        };
        let owner = metadata.uid();
        if metadata.is_symlink() {
            if !asker.trusts_above(owner) {
                return Ok(Some(Distrust::of(&next, Reason::LinkOf(owner))));
            }
            links += 1;
            if links > MAX_LINKS {
                return Err(io::Error::from_raw_os_error(Errno::LOOP.raw_os_error()));
            }
            let target = std::fs::read_link(&next)?;
            if target.is_absolute() {
                at = PathBuf::from("/");
            }
            let mut through = names_of(&target);
            through.append(&mut rest);
            rest = through;
            continue;
        }
        if !metadata.is_dir() {
            return Ok(Some(Distrust::of(&next, Reason::NotADirectory)));
        }
        if rest.is_empty() && !asker.trusts(owner) {
            return Ok(Some(Distrust::of(&next, Reason::OwnedBy(owner))));
        }
        at = next;
    }
    Ok(None)
}

fn names_of(path: &Path) -> VecDeque<OsString> {
    let names = path.components().filter_map(|component| match component {
        Component::Normal(name) => Some(name.to_owned()),
        Component::ParentDir => Some("..".into()),
        Component::RootDir | Component::CurDir | Component::Prefix(_) => None,
    });
    names.collect()
}

/// Opens a file that we or root have written, without following a link.
pub(crate) fn open_own_file(path: &Path) -> io::Result<File> {
    open_own(path, OpenOptions::new().read(true))
}

/// Opens a file of ours for reading and writing, making it its owner's alone if it is not there yet.
pub(crate) fn open_private_file(path: &Path) -> io::Result<File> {
    let mut options = OpenOptions::new();
    options.read(true).write(true).create(true).truncate(false);
    open_own(path, options.mode(0o600))
}

fn open_own(path: &Path, options: &mut OpenOptions) -> io::Result<File> {
    // Not blocking: a pipe in the place of the file would be waited for.
    let flags = OFlags::NOFOLLOW | OFlags::NONBLOCK;
    options.custom_flags(flags.bits().cast_signed());
    let file = options.open(path).map_err(|error| {
        if error.raw_os_error() == Some(Errno::LOOP.raw_os_error()) {
            refused("it is a symbolic link")
        } else {
            error
        }
    })?;
    let metadata = file.metadata()?;
    let owner = metadata.uid();
    if !metadata.is_file() {
        return Err(refused("it is not a regular file"));
    }
    if !Asker::current().trusts(owner) {
        return Err(refused(&format!("it belongs to the user {owner}")));
    }
    if metadata.mode() & 0o002 != 0 {
        return Err(refused("every user may write to it"));
    }
    Ok(file)
}

fn refused(why: &str) -> io::Error {
    io::Error::new(io::ErrorKind::PermissionDenied, why)
}

#[cfg(test)]
mod tests {
    use std::os::unix::fs::PermissionsExt;

    use super::*;

    const ROOT: Asker = Asker {
        user: 0,
        group: 0,
        unknown: None,
    };
    const ALICE: Asker = Asker {
        user: 1000,
        group: 1000,
        unknown: None,
    };

    fn set_mode(path: &Path, mode: u32) {
        std::fs::set_permissions(path, std::fs::Permissions::from_mode(mode)).unwrap();
    }

    #[test]
    fn a_parent_in_which_others_can_rename_is_doubted() {
        for (asker, owner, group, mode, doubted) in [
            (ROOT, 0, 0, 0o755, false),
            (ROOT, 0, 0, 0o1777, false),
            (ROOT, 0, 0, 0o777, true),
            (ROOT, 0, 50, 0o2775, true),
            (ROOT, 0, 0, 0o775, false),
            (ROOT, 1000, 1000, 0o755, true),
            (ALICE, 0, 0, 0o755, false),
            (ALICE, 1000, 1000, 0o775, false),
            (ALICE, 0, 1000, 0o2775, false),
            (ALICE, 1000, 100, 0o775, true),
            (ALICE, 1001, 1001, 0o755, true),
            (ALICE, 65534, 65534, 0o755, true),
        ] {
            let facts = Facts { owner, group, mode };
            let found = asker.doubts_parent(facts);
            assert_eq!(found.is_some(), doubted, "{asker:?}, {facts:?}: {found:?}");
        }
        // In a user namespace the real root is shown as somebody unknown.
        let inside = Asker {
            unknown: Some(65534),
            ..ROOT
        };
        let facts = Facts {
            owner: 65534,
            group: 65534,
            mode: 0o755,
        };
        assert_eq!(inside.doubts_parent(facts), None);
    }

    #[test]
    fn the_way_to_a_directory_is_looked_at_through_links() {
        let top = tempfile::tempdir().unwrap();
        let open = top.path().join("open");
        let inner = open.join("inner");
        std::fs::create_dir_all(&inner).unwrap();
        let link = top.path().join("link");
        std::os::unix::fs::symlink("open/../open/inner", &link).unwrap();
        set_mode(&open, 0o755);
        assert_eq!(distrust(&link).unwrap(), None);
        assert_eq!(distrust(&top.path().join("not/there")).unwrap(), None);
        set_mode(&open, 0o777);
        for path in [&inner, &link] {
            let found = distrust(path).unwrap().unwrap();
            assert!(found.to_string().contains("other users (mode 0777)"));
        }
        let file = top.path().join("file");
        std::fs::write(&file, "").unwrap();
        let found = distrust(&file).unwrap().unwrap();
        assert_eq!(found.reason, Reason::NotADirectory);
    }

    #[test]
    fn only_a_regular_file_of_ours_is_opened() {
        let top = tempfile::tempdir().unwrap();
        let (file, link) = (top.path().join("file"), top.path().join("link"));
        std::fs::write(&file, "ours").unwrap();
        std::os::unix::fs::symlink(&file, &link).unwrap();
        set_mode(&file, 0o644);
        open_own_file(&file).unwrap();
        assert!(open_own_file(&link).is_err() && open_private_file(&link).is_err());
        assert!(open_own_file(top.path()).is_err());
        set_mode(&file, 0o666);
        assert!(open_own_file(&file).is_err());
    }
}
