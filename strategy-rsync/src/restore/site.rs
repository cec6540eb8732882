//! Where one folder is built and where it ends up.

use std::ffi::{OsStr, OsString};
use std::fs;
use std::io;
use std::path::{Path, PathBuf};

use diy_backup_core::{Error, ErrorKind, Result, ResultExt};

use crate::folder::Role;
use crate::platform;

const INSIDE: &str = ".diy-backup-restore-";
const MARKER: &str = ".committing";
/// The name of what is built, in the directory that shields it.
pub(super) const CONTENT: &str = "content";
/// What an empty file system has of its own.
pub(super) const LOST_AND_FOUND: &str = "lost+found";

/// One folder of a restore.
#[derive(Debug, Clone)]
pub(super) struct Site {
    role: Role,
    /// The final place, links resolved.
    target: PathBuf,
    /// The directory that shields what is built from everybody else.
    build: PathBuf,
    way: Way,
}

/// How what was built gets into its place.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Way {
    /// It is built beside the target and renamed to it: one step.
    Beside,
    /// The target cannot be replaced, as it is a mount point or its parent is not ours. It is built in a folder of
    /// the target, and its entries are renamed one by one. A marker says that this has begun.
    Inside,
}

impl Site {
    /// Makes sure that `configured` is absent or empty and can be written, and decides where to build.
    pub(super) fn plan(role: Role, configured: &Path, restore: &str) -> Result<Self> {
        ensure_own_links(role, configured)?;
        let target = locate(configured).map_err(|error| no_parent(role, configured, error))?;
        let exists = ensure_empty(role, &target, &[])?;
        let parent = target.parent().unwrap_or(&target).to_owned();
        let is_mount = exists
            && platform::is_mount_point(&target)
                .io_context(|| format!("cannot look at {}", target.display()))?;
        let way = if !is_mount && platform::is_writable_folder(&parent) {
            Way::Beside
        } else if exists && platform::is_writable_folder(&target) {
            Way::Inside
        } else {
            let wanted = if is_mount { &target } else { &parent };
            let message = format!(
                "{role} cannot be restored: {} cannot be written to",
                wanted.display()
            );
            return Err(Error::new(ErrorKind::Check, message).with_hint(format!(
                "Run the restore as root, or create {} as an empty folder of your own.",
                target.display()
            )));
        };
        let site = Self::new(role, target, way, restore);
        for taken in [site.build.clone(), site.marker()] {
            if fs::symlink_metadata(&taken).is_ok() {
                let message = format!("{} is left from an earlier restore", taken.display());
                return Err(Error::new(ErrorKind::Check, message).with_hint(
                    "Run `diy-backup recover`, or remove it by hand if no restore is going on.",
                ));
            }
        }
        Ok(site)
    }

    /// The place in which the restore called `restore` has built or would have built the folder `configured`; `None`
    /// when not even its parent is there.
    pub(super) fn of_restore(role: Role, configured: &Path, restore: &str) -> Option<Self> {
        let target = locate(configured).ok()?;
        let inside = Self::new(role, target.clone(), Way::Inside, restore);
        let built_inside = [inside.build.clone(), inside.marker()]
            .iter()
            .any(|path| fs::symlink_metadata(path).is_ok());
        if built_inside {
            return Some(inside);
        }
        Some(Self::new(role, target, Way::Beside, restore))
    }

    /// The place that `build` belongs to, if it is one for `configured`, and the name of the restore that made it.
    pub(super) fn of_build(role: Role, configured: &Path, build: &Path) -> Option<(Self, String)> {
        let target = locate(configured).ok()?;
        let name = build.file_name()?.to_str()?;
        let (way, prefix) = if build.parent()? == target {
            (Way::Inside, INSIDE.to_owned())
        } else {
            (Way::Beside, beside(&target).into_string().ok()?)
        };
        let restore = name.strip_prefix(&prefix)?.to_owned();
        let site = Self::new(role, target, way, &restore);
        (site.build == build).then_some((site, restore))
    }

    fn new(role: Role, target: PathBuf, way: Way, restore: &str) -> Self {
        let build = match way {
            Way::Beside => {
                let mut name = beside(&target);
                name.push(restore);
                target.with_file_name(name)
            }
            Way::Inside => target.join(format!("{INSIDE}{restore}")),
        };
        Self {
            role,
            target,
            build,
            way,
        }
    }

    pub(super) fn role(&self) -> Role {
        self.role
    }

    /// Returns the directory that it is built in, as [`CONTENT`].
    pub(super) fn build(&self) -> &Path {
        &self.build
    }

    /// Returns where the directory itself is built.
    pub(super) fn content(&self) -> PathBuf {
        self.build.join(CONTENT)
    }

    pub(super) fn way(&self) -> Way {
        self.way
    }

    /// Where the folder ends up.
    pub(super) fn target(&self) -> &Path {
        &self.target
    }

    /// An existing folder on the file system that it is built on.
    pub(super) fn place(&self) -> &Path {
        match self.way {
            Way::Beside => self.target.parent().unwrap_or(&self.target),
            Way::Inside => &self.target,
        }
    }

    /// Returns the name of the directory that it is built in, below [`place`](Self::place).
    pub(super) fn build_name(&self) -> &OsStr {
        self.build.file_name().unwrap_or_default()
    }

    /// Returns the name of the file that says that a move of single entries has begun, below [`place`](Self::place).
    pub(super) fn marker_name(&self) -> OsString {
        let mut name = self.build_name().to_owned();
        name.push(MARKER);
        name
    }

    fn marker(&self) -> PathBuf {
        self.build.with_file_name(self.marker_name())
    }

    pub(super) fn has_marker(&self) -> bool {
        fs::symlink_metadata(self.marker()).is_ok()
    }

    /// Makes sure that the target is still absent or empty.
    pub(super) fn ensure_target_empty(&self) -> Result<()> {
        ensure_empty(self.role, &self.target, &[&self.build]).map(|_| ())
    }

    /// Returns the error for a target that is not empty any more.
    pub(super) fn filled_meanwhile(&self) -> Error {
        let found = "something that was not there before";
        not_empty(self.role, &self.target, found)
    }

    /// Returns the names in the target that belong to nobody: neither to this restore nor to the file system.
    pub(super) fn others_in_target(&self) -> Result<Vec<OsString>> {
        others_in(&self.target, &[&self.build, &self.marker()])
    }
}

fn beside(target: &Path) -> OsString {
    let mut name = OsString::from(".");
    name.push(target.file_name().unwrap_or_default());
    name.push(".restore-");
    name
}

/// Where `path` leads, whether or not there is something.
fn locate(path: &Path) -> io::Result<PathBuf> {
    match fs::canonicalize(path) {
        Err(error) if error.kind() == io::ErrorKind::NotFound => {}
        other => return other,
    }
    if fs::symlink_metadata(path).is_ok() {
        return Err(io::Error::new(
            io::ErrorKind::NotFound,
            "it is a link that leads nowhere",
        ));
    }
    let parent = path.parent().ok_or(io::ErrorKind::NotFound)?;
    let name = path.file_name().ok_or(io::ErrorKind::NotFound)?;
    Ok(fs::canonicalize(parent)?.join(name))
}

/// Refuses a path that another user can lead elsewhere: root would write where that user says.
fn ensure_own_links(role: Role, configured: &Path) -> Result<()> {
    for path in configured.ancestors() {
        if let Ok(metadata) = fs::symlink_metadata(path)
            && metadata.is_symlink()
            && !platform::is_trustworthy(&metadata)
        {
            let message = format!(
                "{role} cannot be restored to {}: {} is a link that belongs to another user",
                configured.display(),
                path.display()
            );
            return Err(Error::new(ErrorKind::Check, message)
                .with_hint("Configure the path that the link leads to, in the section [home]."));
        }
    }
    Ok(())
}

fn no_parent(role: Role, configured: &Path, error: io::Error) -> Error {
    let parent = configured.parent().unwrap_or(configured);
    let message = format!("there is no place for {role} at {}", configured.display());
    Error::new(ErrorKind::Check, message)
        .with_source(error)
        .with_hint(format!(
            "Make the folder {}, or mount its file system.",
            parent.display()
        ))
}

/// Whether `target` exists; an error unless it is absent or a folder with nothing in it but `known`.
fn ensure_empty(role: Role, target: &Path, known: &[&Path]) -> Result<bool> {
    match fs::symlink_metadata(target) {
        Ok(metadata) if metadata.is_dir() => {}
        Ok(_) => return Err(not_empty(role, target, "a file")),
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(false),
        Err(error) => {
            return Err(Error::io(
                format!("cannot look at {}", target.display()),
                error,
            ));
        }
    }
    let others = others_in(target, known)?;
    if others.is_empty() {
        return Ok(true);
    }
    let mut names: Vec<String> = others
        .iter()
        .take(3)
        .map(|name| format!("`{}`", name.display()))
        .collect();
    if others.len() > names.len() {
        names.push(format!("{} more", others.len() - names.len()));
    }
    let is_mounted =
        |name: &OsString| platform::is_mount_point(&target.join(name)).unwrap_or(false);
    if let Some(mounted) = others.iter().find(|name| is_mounted(name)) {
        return Err(not_empty(role, target, &names.join(", ")).with_hint(format!(
            "A file system is mounted at {}: unmount it, restore, move what belongs there onto it and mount it again; or restore a backup of the shared home alone straight to it.",
            target.join(mounted).display()
        )));
    }
    Err(not_empty(role, target, &names.join(", ")))
}

fn not_empty(role: Role, target: &Path, found: &str) -> Error {
    let message = format!("{role} {} is not empty: there is {found}", target.display());
    Error::new(ErrorKind::TargetNotEmpty, message)
        .with_hint("Move away what lies there: a restore never overwrites anything.")
}

/// The names in `folder` beside `known` and what an empty file system has; none when there is no folder.
fn others_in(folder: &Path, known: &[&Path]) -> Result<Vec<OsString>> {
    let mut names = match fs::symlink_metadata(folder) {
        Ok(metadata) if metadata.is_dir() => names_in(folder)?,
        _ => return Ok(Vec::new()),
    };
    names.retain(|name| {
        let path = folder.join(name);
        !known.contains(&path.as_path()) && !is_own_of_file_system(name, &path)
    });
    Ok(names)
}

fn is_own_of_file_system(name: &OsStr, path: &Path) -> bool {
    // What cannot be read is root's alone, as it is on a new file system.
    name == LOST_AND_FOUND
        && fs::read_dir(path).map_or(true, |mut entries| entries.next().is_none())
}

fn names_in(folder: &Path) -> Result<Vec<OsString>> {
    fs::read_dir(folder)
        .and_then(|entries| entries.map(|entry| Ok(entry?.file_name())).collect())
        .io_context(|| format!("cannot read {}", folder.display()))
}
