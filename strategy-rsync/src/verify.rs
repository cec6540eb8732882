//! The proof that a copy which was made of changed paths alone is whole.
//!
//! It takes a look at everything, which is why it comes after the unlock, when the originals change again. Both sides must
//! be the same but for what has changed since the window opened, and that has to be proven of each difference:
//!
//! - *The tracker* goes on telling what changes. A file of which it tells since the window is one whose changes it tells,
//!   so that an earlier one would have been copied.
//! - *What was copied in the window* may change again in whatever way, if its change time says that it has.
//! - *Change times*, where nobody tells, as all originals were looked at in the window. Nobody can set them.
//!
//! A file that has changed since, without being told of and without a copy from the window, fails the backup: it may have
//! changed before in the same way.
//!
//! Where content is not beyond doubt for its time alone, see [`scan`](crate::scan), it is compared byte by byte. That
//! finds what the kernel does not report, such as stores through mmap.

use std::collections::BTreeSet;
use std::path::{Path, PathBuf};
use std::sync::Mutex;
use std::time::{Duration, SystemTime};

use diy_backup_core::{Error, ErrorKind, Result};

use crate::census::Census;
use crate::changes::{Changes, Known};
use crate::compare::{Aspect, Comparison, Unseen};
use crate::folder::Folder;
use crate::links::Links;
use crate::platform::Facts;
use crate::sync::{into_inner, lock};
use crate::walk::Stop;

/// How many differences are kept for a second look, and how many are named.
const KEPT: usize = 10_000;
const NAMED: usize = 5;

/// How often what may not be told yet is looked at, and how long to wait in between.
const LOOKS: u32 = 10;
const PAUSE: Duration = Duration::from_millis(300);

/// Compares one folder with its copy.
#[derive(Debug)]
pub(crate) struct Verification<'a> {
    pub(crate) folder: &'a Folder,
    /// The folder's number for `changes`.
    pub(crate) number: usize,
    pub(crate) changes: &'a Changes,
    /// What was copied in the window, or taken from the copy.
    pub(crate) captured: &'a BTreeSet<PathBuf>,
    /// The names of originals that have several.
    pub(crate) links: &'a Links,
    /// When the window opened: what changed before must be in the copy.
    pub(crate) opened: SystemTime,
    /// Content that has changed since is compared.
    pub(crate) doubtful_since: SystemTime,
    pub(crate) stop: &'a Stop,
}

#[derive(Debug, Default)]
struct Differences {
    kept: Vec<(PathBuf, Aspect)>,
    count: u64,
}

impl Verification<'_> {
    /// Looks at both sides.
    ///
    /// # Errors
    /// [`ErrorKind::Tool`] with the paths when the copy is not what the folder was when the window opened.
    pub(crate) fn run(&self) -> Result<Census> {
        let differences = Mutex::new(Differences::default());
        let comparison = Comparison {
            folder: self.folder,
            doubtful_since: self.doubtful_since,
            unseen: Unseen::Trusted,
            stop: self.stop,
        };
        let compared = comparison.run(|path, aspect| {
            if !self.is_excused(path) {
                let mut differences = lock(&differences);
                differences.add(path, aspect);
            }
        })?;
        let mut differences = into_inner(differences);
        // A change can be seen an instant before it is told: what takes long in the kernel is told at its end.
        for look in 0..LOOKS {
            if look > 0 {
                self.stop.ensure_going_on()?;
                std::thread::sleep(PAUSE);
            }
            differences.keep(|path| !self.is_excused(path));
            let may_be_told = |(path, _): &(PathBuf, Aspect)| self.nearest_has_changed(path);
            if !differences.kept.iter().any(may_be_told) {
                break;
            }
        }
        differences.into_result(self.folder).map(|()| compared)
    }

    /// Whether a difference at `path` comes of what has changed since the window opened, and of that alone. Looks anew,
    /// after the difference was seen.
    ///
    /// That the original has changed since is not enough: it may have changed before as well, in a way that was not
    /// told. There has to be a proof that the copy is of the drained instant.
    fn is_excused(&self, path: &Path) -> bool {
        let original = self.folder.source.join(path).symlink_metadata().ok();
        let facts = original.as_ref().map(Facts::of);
        let known = self.changes.ask(self.number, |dirty| {
            let by_file = |facts: Facts| {
                dirty.has_file(facts.id)
                    || (self.links.names(facts.id)).any(|name| dirty.tells_of(name))
            };
            dirty.tells_of(path) || facts.is_some_and(by_file)
        });
        match known {
            // The tracker tells of this file, and so would have told of an earlier change.
            Known::Told(true) => true,
            Known::Told(false) | Known::Lost => {
                // What is in a directory is compared for itself.
                let is_directory = original.is_some_and(|original| original.is_dir());
                // These were looked at in the window, as they change under names that are nobody's.
                let was_looked_at = facts.is_some_and(|facts| {
                    facts.links > 1 && self.links.has_names_elsewhere(facts.id)
                });
                (self.captured.contains(path) || is_directory || was_looked_at)
                    && self.nearest_has_changed(path)
            }
            // Anything above may have been moved here.
            Known::Looked => {
                self.nearest_has_changed(path)
                    || path
                        .ancestors()
                        .any(|above| self.changed_since(above) == Some(true))
            }
        }
    }

    /// Whether what is at `path`, or else what is nearest above it, may have changed since the window opened. Of what is
    /// gone, the directory tells that it was in.
    fn nearest_has_changed(&self, path: &Path) -> bool {
        let nearest = path.ancestors().find_map(|path| self.changed_since(path));
        nearest.unwrap_or(false)
    }

    fn changed_since(&self, path: &Path) -> Option<bool> {
        let found = self.folder.source.join(path).symlink_metadata().ok()?;
        Some(Facts::of(&found).latest_change() >= self.opened)
    }
}

impl Differences {
    fn add(&mut self, path: &Path, aspect: Aspect) {
        self.count += 1;
        if self.kept.len() < KEPT {
            self.kept.push((path.to_owned(), aspect));
        }
    }

    fn keep(&mut self, is_real: impl Fn(&Path) -> bool) {
        let before = self.kept.len();
        self.kept.retain(|(path, _)| is_real(path));
        self.count -= (before - self.kept.len()) as u64;
    }

    fn into_result(mut self, folder: &Folder) -> Result<()> {
        if self.count == 0 {
            return Ok(());
        }
        self.kept.sort_by(|(one, _), (other, _)| one.cmp(other));
        let named: Vec<String> = self
            .kept
            .iter()
            .take(NAMED)
            .map(|(path, aspect)| format!("{} ({aspect})", shown(&folder.copy.join(path))))
            .collect();
        let message = format!(
            "the copy of {} is not what it was when the instance was drained, {} differences: {}",
            folder.role,
            self.count,
            named.join(", ")
        );
        Err(Error::new(ErrorKind::Tool, message).with_hint(
"Run the backup again. If it fails in the same way, something else than Bitbucket writes to these files, by a way that the kernel does not report: find it and keep it out during backups.",
        ))
    }
}

/// On one line, whatever is in the name.
fn shown(path: &Path) -> String {
    path.to_string_lossy().escape_debug().to_string()
}
