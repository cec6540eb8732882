//! Bringing a copy up to date by our own comparison, which several threads do at once.
//!
//! A pass of rsync looks at both sides as well, one entry after the other and with all their attributes, which takes
//! many times as long. It remains the way for a copy of which nothing is known, and where this one does not get through.

use std::path::Path;
use std::sync::Mutex;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{Duration, SystemTime};

use diy_backup_core::{ErrorKind, Result, Shrink};

use crate::census::Census;
use crate::compare::{Aspect, Comparison, Unseen};
use crate::copier::{Copier, Quiet};
use crate::folder::Folder;
use crate::proven::SLACK;
use crate::source::refuse_shrink;
use crate::survey::Survey;
use crate::sync::{into_inner, lock};
use crate::track::{Change, Dirty};
use crate::walk::{Stop, blocking};

/// By how much the clock may have been set back while it was not watched, for what sets a change time at once.
const CLOCK_SLACK: Duration = Duration::from_secs(5);

/// Where a copy is not taken for good because it looks so: originals that have changed since.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Doubt {
    content_since: SystemTime,
    /// Access lists and extended attributes.
    attributes_since: SystemTime,
}

/// What is known of a copy.
#[derive(Debug)]
pub(crate) struct Draft {
    /// Where it is not, or may not be, what it has to be.
    pub(crate) lacks: Dirty,
    pub(crate) census: Census,
}

/// Paths that a copy lacks, as several threads find them; nothing once they are too many.
#[derive(Debug)]
pub(crate) struct Lacks(Mutex<Option<Dirty>>);

impl Doubt {
    /// Of a copy that an earlier run has proven, see [`proven`](crate::proven). Content is doubtful for longer than
    /// attributes: a store through mmap may set no time at all.
    pub(crate) fn of_proven(until: SystemTime) -> Self {
        Self {
            content_since: until,
            attributes_since: until + SLACK - CLOCK_SLACK,
        }
    }

    /// Of a copy that has been made since `began`. Content gets its longer look after the unlock.
    pub(crate) fn of_new(began: SystemTime) -> Self {
        let since = began.checked_sub(CLOCK_SLACK).unwrap_or(began);
        Self {
            content_since: since,
            attributes_since: since,
        }
    }
}

impl Lacks {
    pub(crate) fn new() -> Self {
        Self(Mutex::new(Some(Dirty::default())))
    }

    pub(crate) fn add(&self, path: &Path, change: Change) {
        let mut lacks = lock(&self.0);
        let added = lacks
            .as_mut()
            .is_some_and(|lacks| lacks.mark(path.to_owned(), change).is_ok());
        if !added {
            *lacks = None;
        }
    }

    /// What was found; `None` when it was too much.
    pub(crate) fn into_draft(self, census: Census) -> Option<Draft> {
        into_inner(self.0).map(|lacks| Draft { lacks, census })
    }
}

impl Copier {
    /// Compares a copy that `doubt` says where to look twice at. `None` when too much is different.
    ///
    /// # Errors
    /// When something cannot be looked at.
    pub(crate) async fn compare(&self, folder: &Folder, doubt: Doubt) -> Result<Option<Draft>> {
        let (folder, stop) = (folder.clone(), Stop::new(&self.control));
        let _stop_with_us = stop.on_drop();
        let shrink = self.shrink;
        blocking(move || compare(&folder, doubt, shrink, &stop)).await
    }

    /// Copies what a copy lacks, and removes what is too much. `None` when that has to be left to a
    /// [`pass`](Self::pass).
    ///
    /// # Errors
    /// When nothing else would help either.
    pub(crate) async fn mend(
        &self,
        folder: &Folder,
        draft: Draft,
        quiet: &Quiet,
    ) -> Result<Option<Census>> {
        let Draft { lacks, mut census } = draft;
        let stop = Stop::new(&self.control);
        let _stop_with_us = stop.on_drop();
        let looked_at = folder.clone();
        let (plan, census) = blocking(move || {
            let plan = Survey::new(&looked_at, &mut census.links, &stop).run(lacks)?;
            Ok((plan, census))
        })
        .await?;
        if !plan.unsettled.is_empty() {
            return Ok(None);
        }
        tracing::debug!(folder = %folder.role, paths = plan.list.len(), "bringing the copy up to date");
        match self.follow(folder, plan, quiet).await {
            Ok(()) => Ok(Some(census)),
            Err(error) if error.kind() == ErrorKind::Tool => Ok(None),
            Err(error) => Err(error),
        }
    }
}

fn compare(folder: &Folder, doubt: Doubt, shrink: Shrink, stop: &Stop) -> Result<Option<Draft>> {
    let (lacks, lost) = (Lacks::new(), AtomicU64::new(0));
    let comparison = Comparison {
        folder,
        doubtful_since: doubt.content_since,
        unseen: Unseen::ToldSince(doubt.attributes_since),
        stop,
    };
    let census = comparison.run(|path, aspect| {
        // What is left out now has lost nothing.
        let is_left_out = || {
            let copy = folder.copy.join(path).symlink_metadata();
            let is_folder = copy.is_ok_and(|copy| copy.is_dir());
            folder.exclusions.cover_within(path, is_folder)
        };
        if aspect == Aspect::Extra && !is_left_out() {
            lost.fetch_add(1, Ordering::Relaxed);
        }
        let change = match aspect {
            Aspect::Missing | Aspect::Extra | Aspect::Kind => Change::Subtree,
            Aspect::Unseen => Change::Attributes,
            _ => Change::Content,
        };
        lacks.add(path, change);
    })?;
    refuse_shrink(folder, lost.into_inner(), census.entries, shrink)?;
    Ok(lacks.into_draft(census))
}
