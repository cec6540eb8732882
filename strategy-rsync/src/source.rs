//! Whether the source of a copy is there, and still the one that was looked at.
//!
//! A file system that was not mounted after a reboot leaves an empty directory behind, or an old one that it used to
//! hide. A copy made of that deletes the last good one. So a source has to look like what it is said to be, has to be
//! mounted as it was for the last backup, and has to stay the same directories from the check to the last deletion.

use std::collections::BTreeMap;
use std::fs;
use std::io;
use std::path::{Path, PathBuf};

use diy_backup_core::{Error, ErrorKind, Findings, InstanceKind, Result, Shrink};

use crate::folder::{Folder, Role};
use crate::layout::Layout;
use crate::links::FileId;
use crate::platform::{self, Facts};
use crate::proven::Proven;
use crate::track;
use crate::walk::is_gone;

/// A copy of so few entries may lose all of them: not even an empty repository has fewer.
const FEW: u64 = 16;

const MOUNT_HOME: &str = "Mount the file system that it is on, or correct `path` in the section [home], or `kind` in the section [instance].";
const MOUNT_STORE: &str =
    "Mount the file system that it is on, or correct `data-stores` in the section [home].";

/// Directories that stay the same ones for years, as far as they are there.
const ANCHORS: &[&str] = &[
    "",
    "shared",
    "shared/data",
    "shared/data/repositories",
    "data",
    "data/repositories",
    "store",
    "repositories",
];

/// What a directory says that is no source.
#[derive(Debug, PartialEq, Eq)]
pub(crate) struct Problem {
    pub(crate) path: PathBuf,
    pub(crate) message: String,
    pub(crate) fix: String,
}

impl Problem {
    fn new(path: impl Into<PathBuf>, message: impl Into<String>, fix: impl Into<String>) -> Self {
        Self {
            path: path.into(),
            message: message.into(),
            fix: fix.into(),
        }
    }

    fn into_error(self) -> Error {
        let message = format!("{} {}", self.path.display(), self.message);
        Error::new(ErrorKind::Check, message).with_hint(self.fix)
    }

    fn add_to(self, findings: &mut Findings) {
        findings.error(self.path.display().to_string(), self.message, self.fix);
    }
}

/// Adds an error for everything that keeps `folder` from being a source, given what earlier backups wrote down.
pub(crate) fn report(
    folder: &Folder,
    kind: InstanceKind,
    has_stores: bool,
    known: &Proven,
    findings: &mut Findings,
) {
    let problem = missing_content(folder, kind, has_stores);
    let unmounted = unmounted(folder, known);
    problem
        .into_iter()
        .chain(unmounted)
        .for_each(|problem| problem.add_to(findings));
}

/// Fails for the first thing that keeps `folder` from being a source. A few calls, whatever the size of the folder.
///
/// # Errors
/// [`ErrorKind::Check`] with what to do.
pub(crate) fn require(
    folder: &Folder,
    kind: InstanceKind,
    has_stores: bool,
    known: &Proven,
) -> Result<()> {
    let problem = missing_content(folder, kind, has_stores);
    let first = problem.into_iter().chain(unmounted(folder, known)).next();
    first.map_or(Ok(()), |problem| Err(problem.into_error()))
}

/// Returns what `folder` lacks to be what its role says.
fn missing_content(folder: &Folder, kind: InstanceKind, has_stores: bool) -> Option<Problem> {
    let source = &folder.source;
    let is_store = folder.role != Role::Home;
    let fix = if is_store { MOUNT_STORE } else { MOUNT_HOME };
    match holds_anything(source) {
        Ok(true) => {}
        Ok(false) => {
            let message = format!(
                "is an empty directory, and is to be {}: perhaps its file system is not mounted",
                folder.role
            );
            return Some(Problem::new(source, message, fix));
        }
        Err(error) => {
            return Some(Problem::new(
                source,
                format!("cannot be read: {error}"),
                fix,
            ));
        }
    }
    if is_store {
        return (!is_directory(&source.join("repositories"))).then(|| {
            let message =
                "does not look like a data store: there is no directory `repositories` in it";
            Problem::new(source, message, MOUNT_STORE)
        });
    }
    if kind == InstanceKind::Mesh {
        return (!is_directory(&source.join("store"))).then(|| {
            let message =
                "does not look like the home of a Mesh node: there is no directory `store` in it";
            Problem::new(source, message, MOUNT_HOME)
        });
    }
    let Some(shared) = shared_home(source) else {
        let message = "does not look like the home of Bitbucket: there is neither a directory `shared` in it nor what a shared home has";
        return Some(Problem::new(source, message, MOUNT_HOME));
    };
    missing_repositories(folder, &shared, has_stores)
}

fn missing_repositories(folder: &Folder, shared: &Path, has_stores: bool) -> Option<Problem> {
    let data = shared.join("data");
    if !holds_anything(&data).unwrap_or(false) {
        let message = "is missing or empty, and Bitbucket keeps its repositories and attachments there: perhaps its file system is not mounted";
        return Some(Problem::new(data, message, MOUNT_HOME));
    }
    let repositories = data.join("repositories");
    if has_stores || is_directory(&repositories) {
        return None;
    }
    // An instance that never had a repository may not have made the directory.
    let relative = repositories.strip_prefix(&folder.source).ok()?;
    let had_some = holds_anything(&folder.copy.join(relative)).unwrap_or(false);
    had_some.then(|| {
        let message = "is missing, and the last copy of it holds repositories: perhaps its file system is not mounted";
        Problem::new(repositories, message, MOUNT_HOME)
    })
}

/// Returns the shared home in or at `home`, which the directories that Bitbucket makes there tell.
fn shared_home(home: &Path) -> Option<PathBuf> {
    match Layout::of(Role::Home, home, InstanceKind::Bitbucket) {
        Layout::SharedOnly => Some(home.to_owned()),
        _ => Some(home.join("shared")).filter(|shared| is_directory(shared)),
    }
}

/// Returns what was mounted for the last backup of `folder` and is a plain directory now.
fn unmounted(folder: &Folder, known: &Proven) -> Option<Problem> {
    let before = known.mounts(folder)?;
    let now = track::mounts_around(folder)?;
    let (point, kind) = before.iter().find(|(point, _)| {
        let point = Path::new(point);
        !now.contains_key(point) && is_directory(point)
    })?;
    let message = format!(
        "was a file system of type {kind} when {} was backed up last, and is a plain directory now",
        folder.role
    );
    let fix = format!(
        "Mount it. If its content lies in that directory for good, remove {}, so that the next backup compares everything anew.",
        known.path().display()
    );
    Some(Problem::new(point, message, fix))
}

/// Refuses to delete most of what a copy holds, `lost` of `held` entries, unless somebody has said that it is meant.
///
/// # Errors
/// [`ErrorKind::Check`] with both numbers.
pub(crate) fn refuse_shrink(folder: &Folder, lost: u64, held: u64, shrink: Shrink) -> Result<()> {
    if shrink == Shrink::Accepted || lost < FEW || lost.saturating_mul(2) <= held {
        return Ok(());
    }
    let message = format!(
        "{} in {} has lost {lost} of the {held} files and directories that its copy holds",
        folder.role,
        folder.source.display()
    );
    Err(Error::new(ErrorKind::Check, message).with_hint(
        "See whether all of its file systems are mounted; the copy in the staging directory was left as it is. If it is meant, run `diy-backup backup --accept-shrink` once.",
    ))
}

fn is_directory(path: &Path) -> bool {
    fs::metadata(path).is_ok_and(|found| found.is_dir())
}

/// Returns `true` for a directory with anything in it that the file system did not make.
fn holds_anything(path: &Path) -> io::Result<bool> {
    let entries = match fs::read_dir(path) {
        Ok(entries) => entries,
        Err(error) if is_gone(&error) => return Ok(false),
        Err(error) => return Err(error),
    };
    for entry in entries {
        if entry?.file_name() != "lost+found" {
            return Ok(true);
        }
    }
    Ok(false)
}

/// The directories of a source by which it is known again.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Anchors {
    source: PathBuf,
    directories: BTreeMap<PathBuf, FileId>,
}

impl Anchors {
    /// Remembers the directories that `folder` has now, and what is mounted in it.
    pub(crate) fn of(folder: &Folder) -> Self {
        let source = &folder.source;
        let mounts = track::mounts_around(folder).unwrap_or_default();
        let inside = mounts.into_keys().filter(|point| point.starts_with(source));
        let fixed = ANCHORS.iter().map(|relative| source.join(relative));
        let directories = fixed.chain(inside).filter_map(|path| {
            let id = id_of(&path)?;
            Some((path, id))
        });
        Self {
            source: source.clone(),
            directories: directories.collect(),
        }
    }

    /// Fails when one of them is another directory now, or gone. A few calls: this may be done before every deletion.
    ///
    /// # Errors
    /// [`ErrorKind::Check`] that names it.
    pub(crate) fn ensure_same(&self) -> Result<()> {
        let changed = self
            .directories
            .iter()
            .find(|(path, id)| id_of(path) != Some(**id));
        changed.map_or(Ok(()), |(path, _)| {
            let message = format!(
                "{} is not the directory any more that it was when the backup began",
                path.display()
            );
            Err(Error::new(ErrorKind::Check, message).with_hint(
                "See whether its file system was unmounted, or what replaced it. The copies in the staging directory were left as they are.",
            ))
        })
    }

    /// Fails when `checked` were the directories of the same source and some have changed since.
    ///
    /// # Errors
    /// Like [`ensure_same`](Self::ensure_same).
    pub(crate) fn ensure_still(checked: &[Self], folder: &Folder) -> Result<()> {
        checked
            .iter()
            .filter(|anchors| anchors.source == folder.source)
            .try_for_each(Self::ensure_same)
    }
}

/// Device and inode of a directory. Through FUSE, inodes may be numbered anew at any time.
fn id_of(path: &Path) -> Option<FileId> {
    let found = fs::metadata(path).ok().filter(fs::Metadata::is_dir)?;
    let (device, inode) = Facts::of(&found).id;
    let inode = if platform::numbers_files_anew(path) {
        0
    } else {
        inode
    };
    Some((device, inode))
}

#[cfg(unix)]
#[cfg(test)]
mod tests {
    use super::*;
    use crate::folder::home_in;

    fn make(root: &Path, directories: &[&str]) {
        for directory in directories {
            fs::create_dir_all(root.join(directory)).unwrap();
        }
    }

    #[test]
    fn a_home_has_to_look_like_one() {
        let problem = |directories: &[&str], kind| {
            let root = tempfile::tempdir().unwrap();
            let folder = home_in(root.path());
            make(&folder.source, directories);
            let problem = missing_content(&folder, kind, false);
            problem.map(|problem| problem.message)
        };
        let bitbucket = InstanceKind::Bitbucket;
        for bad in [
            &[][..],
            &["lost+found"],
            &["shared"],
            &["shared/data"],
            &["other/data"],
            &["shared/config", "shared/data/lost+found"],
            &["data", "config"],
        ] {
            assert!(problem(bad, bitbucket).is_some(), "{bad:?}");
        }
        for good in [
            &["shared/data/repositories"][..],
            &["data/repositories"],
            &["shared/data/attachments"],
        ] {
            assert_eq!(problem(good, bitbucket), None, "{good:?}");
        }
        assert!(problem(&["shared/data/repositories"], InstanceKind::Mesh).is_some());
        assert_eq!(problem(&["store"], InstanceKind::Mesh), None);
    }

    #[test]
    fn repositories_that_the_copy_has_must_be_there() {
        let root = tempfile::tempdir().unwrap();
        let folder = home_in(root.path());
        make(&folder.source, &["shared/data/attachments"]);
        make(&folder.copy, &["shared/data/repositories/1"]);
        let bitbucket = InstanceKind::Bitbucket;
        let problem = missing_content(&folder, bitbucket, false).unwrap();
        assert!(problem.path.ends_with("shared/data/repositories"));
        assert_eq!(missing_content(&folder, bitbucket, true), None);
    }

    #[test]
    fn another_directory_in_its_place_is_noticed() {
        let root = tempfile::tempdir().unwrap();
        let folder = home_in(root.path());
        make(&folder.source, &["shared/data/repositories"]);
        let anchors = Anchors::of(&folder);
        anchors.ensure_same().unwrap();
        let data = folder.source.join("shared/data");
        fs::rename(&data, root.path().join("aside")).unwrap();
        let error = anchors.ensure_same().unwrap_err();
        assert!(error.to_string().contains("shared/data"), "{error}");
        make(&folder.source, &["shared/data/repositories"]);
        anchors.ensure_same().unwrap_err();
        Anchors::ensure_still(&[anchors], &folder).unwrap_err();
    }
}
