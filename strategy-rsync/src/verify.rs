//! The proof that a copy which was made of changed paths alone is whole.
//!
//! It takes a look at everything, which is why it comes after the unlock, when the originals change again. What has
//! changed since the window opened says nothing about the copy. Everything else must be the same on both sides:
//!
//! - *Change times* tell the two apart, as nobody can set them. Those of an entry whose content, attributes or links
//!   change, and that of a folder whose entries change, are after the window.
//! - *The tracker* goes on telling what changes. It knows of folders that have moved, whose content keeps its times.
//!
//! Where content is not beyond doubt for its time alone, see [`scan`](crate::scan), it is compared byte by byte. That
//! finds what the kernel does not report, such as stores through mmap.

use std::path::{Path, PathBuf};
use std::sync::Mutex;
use std::time::SystemTime;

use diy_backup_core::{Error, ErrorKind, Result};

use crate::census::Census;
use crate::changes::Changes;
use crate::compare::{Aspect, Comparison, Unseen};
use crate::folder::Folder;
use crate::platform::Facts;
use crate::sync::{into_inner, lock};
use crate::walk::Stop;

/// How many differences are kept for a second look, and how many are named.
const KEPT: usize = 10_000;
const NAMED: usize = 5;

/// Compares one folder with its copy.
#[derive(Debug)]
pub(crate) struct Verification<'a> {
    pub(crate) folder: &'a Folder,
    /// The folder's number for `changes`.
    pub(crate) number: usize,
    pub(crate) changes: &'a Changes,
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
            changed_before: Some(self.opened),
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
        // A rename can be seen an instant before it is told.
        differences.keep(|path| !self.is_excused(path));
        differences.into_result(self.folder).map(|()| compared)
    }

    /// Whether a difference at `path` comes of what has changed since the window opened. Looks anew, after the
    /// difference was seen.
    fn is_excused(&self, path: &Path) -> bool {
        let changed_since = |path: &Path| {
            let found = self.folder.source.join(path).symlink_metadata().ok()?;
            Some(Facts::of(&found).changed >= self.opened)
        };
        // Of what is gone, the folder tells that it was in.
        let nearest = path.ancestors().find_map(changed_since);
        if nearest.unwrap_or(false) {
            return true;
        }
        let known = self.changes.has_changed(self.number, path);
        // Anything above may have been moved here.
        known.unwrap_or_else(|| {
            path.ancestors()
                .any(|above| changed_since(above) == Some(true))
        })
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
