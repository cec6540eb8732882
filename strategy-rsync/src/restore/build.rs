//! What a restore builds, shielded from everybody else until it stands in its place.
//!
//! The directory that is restored gets its final owner and mode long before it is in its place, and its parent may
//! belong to that owner, too. So it is built within a directory that nobody but us can enter, and all that is done to it
//! goes through handles: whoever renames the path of it reaches something else, and we do not.

use std::ffi::OsStr;
use std::fs::Metadata;
use std::io;
use std::path::Path;

use diy_backup_core::{Error, ErrorKind, Result, ResultExt};

use super::site::{CONTENT, LOST_AND_FOUND, Site, Way};
use crate::folder::Role;
use crate::platform::{Dir, EntryKind, Facts};
use crate::remove::remove;

/// One directory that is built, held open.
#[derive(Debug)]
pub(super) struct Build {
    site: Site,
    /// What the shield stands in: the parent of the target, or the target.
    place: Dir,
    shield: Dir,
}

impl Build {
    /// Creates the shield.
    ///
    /// # Errors
    /// When it is there already, or somebody else interferes.
    pub(super) fn create(site: &Site) -> Result<Self> {
        let context = || format!("cannot make {}", site.build().display());
        let place = Dir::open(site.place()).io_context(context)?;
        let shield = place.create(site.build_name()).io_context(context)?;
        Ok(Self {
            site: site.clone(),
            place,
            shield,
        })
    }

    /// Opens what a restore that died has built; `None` when there is nothing.
    ///
    /// # Errors
    /// When what stands there is not ours.
    pub(super) fn find(site: &Site) -> Result<Option<Self>> {
        let context = || format!("cannot open {}", site.build().display());
        let place = match Dir::open(site.place()) {
            Err(error) if crate::walk::is_gone(&error) => return Ok(None),
            other => other.io_context(context)?,
        };
        if place
            .entry(site.build_name())
            .io_context(context)?
            .is_none()
        {
            return Ok(None);
        }
        let shield = place
            .below(Path::new(site.build_name()))
            .io_context(context)?;
        if !shield.is_private().io_context(context)? {
            let message = format!(
                "{} is not what a restore has made: others can reach what is in it",
                site.build().display()
            );
            return Err(Error::new(ErrorKind::Check, message).with_hint(
                "Run this as the user that ran the restore; or look what it is, and move it away by hand.",
            ));
        }
        Ok(Some(Self {
            site: site.clone(),
            place,
            shield,
        }))
    }

    pub(super) fn site(&self) -> &Site {
        &self.site
    }

    /// Returns device and inode of what will stand at the target.
    pub(super) fn id_in_place(&self) -> Result<(u64, u64)> {
        let metadata = match self.site.way() {
            Way::Beside => self.content()?.metadata(),
            Way::Inside => self.place.metadata(),
        };
        let metadata =
            metadata.io_context(|| format!("cannot look at {}", self.site.content().display()))?;
        Ok(Facts::of(&metadata).id)
    }

    /// Creates the directory itself, for whoever fills it.
    pub(super) fn create_content(&self) -> Result<Dir> {
        self.shield
            .create(OsStr::new(CONTENT))
            .io_context(|| format!("cannot make {}", self.site.content().display()))
    }

    /// Opens what was built.
    ///
    /// # Errors
    /// [`ErrorKind::Damaged`] when nothing was built here.
    pub(super) fn content(&self) -> Result<Dir> {
        self.shield.below(Path::new(CONTENT)).map_err(|error| {
            let message = format!("{} is not what was built", self.site.content().display());
            Error::new(ErrorKind::Damaged, message)
                .with_source(error)
                .with_hint("Look who else may write there, and restore the backup again.")
        })
    }

    pub(super) fn has_content(&self) -> Result<bool> {
        let entry = self.shield.entry(OsStr::new(CONTENT));
        let entry =
            entry.io_context(|| format!("cannot look at {}", self.shield.path().display()))?;
        Ok(entry.is_some_and(|entry| entry.kind == EntryKind::Directory))
    }

    /// Moves what was built into its place. After an error everything is as before.
    pub(super) fn commit(&self) -> Result<Undo<'_>> {
        self.site.ensure_target_empty()?;
        let before = match self.site.way() {
            Way::Beside => {
                let before = self.place.below(Path::new(self.target_name()));
                self.rename_over()?;
                before.and_then(|target| target.metadata()).ok()
            }
            Way::Inside => {
                let before = self.place.metadata().ok();
                if let Err(error) = self.move_up() {
                    self.move_down()?;
                    return Err(error);
                }
                before
            }
        };
        Ok(Undo {
            build: self,
            before,
        })
    }

    /// Finishes a commit that was cut short, or has not begun.
    pub(super) fn resume(&self) -> Result<()> {
        if self.site.has_marker() {
            self.move_up()?;
        } else if self.has_content()? {
            self.commit()?;
        } else {
            self.site.ensure_in_place()?;
        }
        self.close()
    }

    /// Removes the shield, once what it shielded stands in its place.
    pub(super) fn close(&self) -> Result<()> {
        let context = || format!("cannot remove {}", self.site.build().display());
        let before = self.place.metadata().io_context(context)?;
        self.remove_shield().io_context(context)?;
        if self.site.way() == Way::Inside {
            // Removing names has changed the time of the target once more.
            self.give_attributes(&before)?;
        }
        self.place.sync().io_context(context)
    }

    /// Removes what was built, unless it stands in its place.
    pub(super) fn discard(&self) -> Result<()> {
        if self.site.way() == Way::Inside && self.site.has_marker() {
            self.move_down()?;
        }
        let handle = self.shield.handle_path();
        for name in self
            .shield
            .names()
            .io_context(|| format!("cannot read {}", self.site.build().display()))?
        {
            remove(&handle.join(name))?;
        }
        self.remove_shield()
            .io_context(|| format!("cannot remove {}", self.site.build().display()))
    }

    /// Removes the name of the shield, which is empty, unless it is another directory's by now.
    fn remove_shield(&self) -> io::Result<()> {
        let name = self.site.build_name();
        let is_ours = self.place.below(Path::new(name)).and_then(|found| {
            let (found, own) = (found.metadata()?, self.shield.metadata()?);
            Ok(Facts::of(&found).id == Facts::of(&own).id)
        });
        match is_ours {
            Ok(true) => self.place.remove_dir(name),
            Ok(false) => Ok(()),
            Err(error) if crate::walk::is_gone(&error) => Ok(()),
            Err(error) => Err(error),
        }
    }

    fn target_name(&self) -> &OsStr {
        self.site.target().file_name().unwrap_or_default()
    }

    fn rename_over(&self) -> Result<()> {
        let renamed = self
            .shield
            .rename(OsStr::new(CONTENT), &self.place, self.target_name());
        renamed.map_err(|error| match error.kind() {
            io::ErrorKind::DirectoryNotEmpty | io::ErrorKind::AlreadyExists => {
                self.site.filled_meanwhile()
            }
            _ => Error::io(
                format!(
                    "cannot move {} to {}",
                    self.site.content().display(),
                    self.site.target().display()
                ),
                error,
            ),
        })?;
        self.sync_place()
    }

    /// Moves the entries of what was built to the target. Goes on where an earlier call has ended.
    fn move_up(&self) -> Result<()> {
        let marker = self.site.marker_name();
        self.place
            .replace_with_private_file(&marker)
            .and_then(|file| file.sync_all())
            .io_context(|| format!("cannot write {}", self.place.path().join(&marker).display()))?;
        self.sync_place()?;
        let mut attributes = None;
        if self.has_content()? {
            let content = self.content()?;
            let metadata = content.metadata();
            let metadata =
                metadata.io_context(|| format!("cannot look at {}", content.path().display()))?;
            for name in names_in(&content)? {
                if name == LOST_AND_FOUND && self.has_directory(&name) {
                    // The file system has one of its own, and this one says nothing here.
                    remove(&content.handle_path().join(&name))?;
                    continue;
                }
                rename(&content, &name, &self.place)?;
            }
            self.give_attributes(&metadata)?;
            self.shield
                .remove_dir(OsStr::new(CONTENT))
                .io_context(|| format!("cannot remove {}", content.path().display()))?;
            attributes = Some(metadata);
        }
        self.sync_place()?;
        self.remove_marker()?;
        if let Some(attributes) = attributes {
            // Removing names has changed the time of the directory once more.
            self.give_attributes(&attributes)?;
        }
        self.sync_place()
    }

    /// Takes [`move_up`](Self::move_up) back.
    fn move_down(&self) -> Result<()> {
        let content = if self.has_content()? {
            self.content()?
        } else {
            self.create_content()?
        };
        for name in self.site.others_in_target()? {
            rename(&self.place, &name, &content)?;
        }
        self.sync_place()?;
        self.remove_marker()
    }

    fn remove_marker(&self) -> Result<()> {
        let marker = self.site.marker_name();
        self.place.remove_file(&marker).io_context(|| {
            format!(
                "cannot remove {}",
                self.place.path().join(&marker).display()
            )
        })
    }

    fn has_directory(&self, name: &OsStr) -> bool {
        let entry = self.place.entry(name);
        matches!(entry, Ok(Some(entry)) if entry.kind == EntryKind::Directory)
    }

    fn give_attributes(&self, attributes: &Metadata) -> Result<()> {
        self.place.copy_attributes(attributes).io_context(|| {
            format!(
                "cannot set mode, owner and times of {}",
                self.place.path().display()
            )
        })
    }

    fn sync_place(&self) -> Result<()> {
        self.place
            .sync()
            .io_context(|| format!("cannot sync {}", self.place.path().display()))
    }
}

/// A commit that can still be taken back.
#[derive(Debug)]
pub(super) struct Undo<'a> {
    build: &'a Build,
    /// The empty directory that was there.
    before: Option<Metadata>,
}

impl Undo<'_> {
    /// Makes the target what it was; what was built is where it was built again.
    pub(super) fn undo(&self) -> Result<()> {
        let Build {
            site,
            place,
            shield,
        } = self.build;
        if site.way() == Way::Inside {
            self.build.move_down()?;
            return self
                .before
                .as_ref()
                .map_or(Ok(()), |before| self.build.give_attributes(before));
        }
        let target = self.build.target_name();
        place
            .rename(target, shield, OsStr::new(CONTENT))
            .io_context(|| format!("cannot move {} back", site.target().display()))?;
        if let Some(before) = &self.before {
            place
                .create(target)
                .and_then(|target| target.copy_attributes(before))
                .io_context(|| format!("cannot make {} anew", site.target().display()))?;
        }
        self.build.sync_place()
    }
}

fn rename(from: &Dir, name: &OsStr, to: &Dir) -> Result<()> {
    from.rename(name, to, name).io_context(|| {
        format!(
            "cannot move {} to {}",
            from.path().join(name).display(),
            to.path().display()
        )
    })
}

fn names_in(dir: &Dir) -> Result<Vec<std::ffi::OsString>> {
    dir.names()
        .io_context(|| format!("cannot read {}", dir.path().display()))
}

/// Finishes what a restore that died was doing to `site`, whether or not anything of it is left.
pub(super) fn resume(site: &Site) -> Result<()> {
    match Build::find(site)? {
        Some(build) => build.resume(),
        None if site.has_marker() => site.remove_marker(),
        None => site.ensure_in_place(),
    }
}

/// Removes what a restore that died has built at `site`.
pub(super) fn discard(site: &Site) -> Result<()> {
    match Build::find(site)? {
        Some(build) => build.discard(),
        None if site.has_marker() => site.remove_marker(),
        None => Ok(()),
    }
}

/// Returns `true` if it stands in its place, or is on its way there.
pub(super) fn is_committed(site: &Site) -> Result<bool> {
    if site.has_marker() {
        return Ok(true);
    }
    let is_built = match Build::find(site)? {
        Some(build) => build.has_content()?,
        None => false,
    };
    Ok(!is_built && !site.others_in_target()?.is_empty())
}

impl Site {
    fn remove_marker(&self) -> Result<()> {
        remove(&self.place().join(self.marker_name()))
    }

    /// A data store may be empty, a home directory never is.
    fn ensure_in_place(&self) -> Result<()> {
        if self.role() != Role::Home || !self.others_in_target()?.is_empty() {
            return Ok(());
        }
        let message = format!(
            "{} is gone before it was moved into place",
            self.content().display()
        );
        Err(Error::new(ErrorKind::Damaged, message).with_hint("Restore the backup again."))
    }
}
