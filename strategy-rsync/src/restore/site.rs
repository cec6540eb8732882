//! Where one folder is built and where it ends up.

use std::ffi::{OsStr, OsString};
use std::fs::{self, Metadata};
use std::io;
use std::path::{Path, PathBuf};

use diy_backup_core::{Error, ErrorKind, Result, ResultExt, sync_directory};

use crate::folder::Role;
use crate::platform;
use crate::remove::remove;

const INSIDE: &str = ".diy-backup-restore-";
const MARKER: &str = ".committing";
/// What an empty file system has of its own.
const LOST_AND_FOUND: &str = "lost+found";

/// One folder of a restore.
#[derive(Debug, Clone)]
pub(super) struct Site {
    role: Role,
    /// The final place, links resolved.
    target: PathBuf,
    build: PathBuf,
    way: Way,
}

/// How what was built gets into its place.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Way {
    /// It is built beside the target and renamed to it: one step.
    Beside,
    /// The target cannot be replaced, as it is a mount point or its parent is not ours. It is built in a folder of
    /// the target, and its entries are renamed one by one. A marker says that this has begun.
    Inside,
}

impl Site {
    /// Makes sure that `configured` is absent or empty and can be written, and decides where to build.
    pub(super) fn plan(role: Role, configured: &Path, restore: &str) -> Result<Self> {
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

    /// Where the folder is built.
    pub(super) fn build(&self) -> &Path {
        &self.build
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

    /// Moves what was built into its place. After an error everything is as before.
    pub(super) fn commit(&self) -> Result<Undo> {
        let before = fs::symlink_metadata(&self.target).ok();
        match self.way {
            Way::Beside => {
                ensure_empty(self.role, &self.target, &[])?;
                self.rename_over()?;
            }
            Way::Inside => {
                ensure_empty(self.role, &self.target, &[&self.build])?;
                if let Err(error) = self.move_up() {
                    self.move_down()?;
                    return Err(error);
                }
            }
        }
        Ok(Undo {
            site: self.clone(),
            before,
        })
    }

    /// Whether it stands in its place, or is on its way there.
    pub(super) fn is_committed(&self) -> Result<bool> {
        if fs::symlink_metadata(self.marker()).is_ok() {
            return Ok(true);
        }
        let is_built = fs::symlink_metadata(&self.build).is_ok();
        Ok(!is_built && !others_in(&self.target, &[])?.is_empty())
    }

    /// Finishes a commit that was cut short, or has not begun.
    pub(super) fn resume(&self) -> Result<()> {
        let is_built = fs::symlink_metadata(&self.build).is_ok();
        match self.way {
            Way::Beside if is_built => self.commit().map(|_| ()),
            Way::Inside if fs::symlink_metadata(self.marker()).is_ok() => self.move_up(),
            Way::Inside if is_built => self.commit().map(|_| ()),
            // A data store may be empty, a home directory never is.
            _ if self.role == Role::Home && !self.is_committed()? => {
                let message = format!(
                    "{} is gone before it was moved into place",
                    self.build.display()
                );
                Err(Error::new(ErrorKind::Damaged, message).with_hint("Restore the backup again."))
            }
            Way::Beside | Way::Inside => Ok(()),
        }
    }

    /// Removes what was built, unless it stands in its place.
    pub(super) fn discard(&self) -> Result<()> {
        if self.way == Way::Inside && fs::symlink_metadata(self.marker()).is_ok() {
            if fs::symlink_metadata(&self.build).is_err() {
                return remove(&self.marker());
            }
            self.move_down()?;
        }
        remove(&self.build)
    }

    fn rename_over(&self) -> Result<()> {
        let shown = || {
            format!(
                "cannot move {} to {}",
                self.build.display(),
                self.target.display()
            )
        };
        if cfg!(not(unix)) && self.target.exists() {
            fs::remove_dir(&self.target).io_context(shown)?;
        }
        fs::rename(&self.build, &self.target).map_err(|error| match error.kind() {
            io::ErrorKind::DirectoryNotEmpty | io::ErrorKind::AlreadyExists => not_empty(
                self.role,
                &self.target,
                "something that was not there before",
            ),
            _ => Error::io(shown(), error),
        })?;
        sync_directory(self.place())
    }

    fn marker(&self) -> PathBuf {
        let mut path = self.build.clone().into_os_string();
        path.push(MARKER);
        path.into()
    }

    /// Moves the entries of what was built to the target. Goes on where an earlier call has ended.
    fn move_up(&self) -> Result<()> {
        let marker = self.marker();
        platform::create_private_file(&marker)
            .and_then(|file| file.sync_all())
            .io_context(|| format!("cannot write {}", marker.display()))?;
        sync_directory(&self.target)?;
        if let Ok(attributes) = fs::symlink_metadata(&self.build) {
            for name in names_in(&self.build)? {
                let (from, to) = (self.build.join(&name), self.target.join(&name));
                if name == LOST_AND_FOUND && to.is_dir() {
                    // The file system has one of its own, and this one says nothing here.
                    remove(&from)?;
                    continue;
                }
                rename(&from, &to)?;
            }
            self.give_attributes(&attributes)?;
            fs::remove_dir(&self.build)
                .io_context(|| format!("cannot remove {}", self.build.display()))?;
            sync_directory(&self.target)?;
            remove(&marker)?;
            // Removing names has changed the time of the folder once more.
            self.give_attributes(&attributes)?;
        } else {
            remove(&marker)?;
        }
        sync_directory(&self.target)
    }

    fn give_attributes(&self, attributes: &Metadata) -> Result<()> {
        platform::copy_attributes(attributes, &self.target).io_context(|| {
            format!(
                "cannot set mode, owner and times of {}",
                self.target.display()
            )
        })
    }

    /// Takes [`move_up`](Self::move_up) back.
    fn move_down(&self) -> Result<()> {
        platform::create_private_folder(&self.build)
            .io_context(|| format!("cannot make {}", self.build.display()))?;
        let marker = self.marker();
        for name in others_in(&self.target, &[&self.build, &marker])? {
            rename(&self.target.join(&name), &self.build.join(&name))?;
        }
        sync_directory(&self.target)?;
        remove(&marker)
    }
}

/// A commit that can still be taken back.
#[derive(Debug)]
pub(super) struct Undo {
    site: Site,
    /// The empty folder that was there.
    before: Option<Metadata>,
}

impl Undo {
    /// Makes the target what it was; what was built is where it was built again.
    pub(super) fn undo(&self) -> Result<()> {
        let Site {
            target, build, way, ..
        } = &self.site;
        match way {
            Way::Beside => {
                rename(target, build)?;
                if let Some(before) = &self.before {
                    platform::create_private_folder(target)
                        .and_then(|()| platform::copy_attributes(before, target))
                        .io_context(|| format!("cannot make {} anew", target.display()))?;
                }
                sync_directory(self.site.place())
            }
            Way::Inside => {
                self.site.move_down()?;
                match &self.before {
                    Some(before) => self.site.give_attributes(before),
                    None => Ok(()),
                }
            }
        }
    }
}

fn beside(target: &Path) -> OsString {
    let mut name = OsString::from(".");
    name.push(target.file_name().unwrap_or_default());
    name.push(".restore-");
    name
}

fn rename(from: &Path, to: &Path) -> Result<()> {
    fs::rename(from, to)
        .io_context(|| format!("cannot move {} to {}", from.display(), to.display()))
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
