//! Bringing a copy of an earlier run up to date by our own comparison, which several threads do at once.
//!
//! A pass of rsync looks at both sides as well, one entry after the other and with all their attributes, which takes
//! many times as long. It remains the way for a copy of which nothing is known, and where this one does not get through.

use std::sync::{Mutex, PoisonError};
use std::time::{Duration, SystemTime};

use diy_backup_core::{ErrorKind, Result};

use crate::compare::{Aspect, Compared, Comparison, Unseen};
use crate::copier::{Copier, Quiet};
use crate::folder::Folder;
use crate::proven::SLACK;
use crate::scan::Census;
use crate::survey::{Plan, Survey};
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

impl Copier {
    /// Copies what is different and removes what is too much, of a copy that `doubt` says where to look twice at. `None`
    /// when that has to be left to a [`pass`](Self::pass).
    ///
    /// # Errors
    /// When nothing else would help either.
    pub(crate) async fn mend(
        &self,
        folder: &Folder,
        doubt: Doubt,
        quiet: &Quiet,
    ) -> Result<Option<Census>> {
        let stop = Stop::new(&self.control);
        let _stop_with_us = stop.on_drop();
        let looked_at = folder.clone();
        let Some((plan, compared)) = blocking(move || compare(&looked_at, doubt, &stop)).await?
        else {
            return Ok(None);
        };
        tracing::debug!(folder = %folder.role, paths = plan.list.len(), "bringing the copy up to date");
        match self.follow(folder, plan, quiet).await {
            Ok(()) => Ok(Some(Census {
                entries: compared.entries,
                bytes: compared.bytes,
                links: compared.links,
                ..Census::default()
            })),
            Err(error) if error.kind() == ErrorKind::Tool => Ok(None),
            Err(error) => Err(error),
        }
    }
}

fn compare(folder: &Folder, doubt: Doubt, stop: &Stop) -> Result<Option<(Plan, Compared)>> {
    let dirty = Mutex::new(Some(Dirty::default()));
    let comparison = Comparison {
        folder,
        changed_before: None,
        doubtful_since: doubt.content_since,
        unseen: Unseen::ToldSince(doubt.attributes_since),
        stop,
    };
    let mut compared = comparison.run(|path, aspect| {
        let change = match aspect {
            Aspect::Missing | Aspect::Extra | Aspect::Kind => Change::Subtree,
            Aspect::Unseen => Change::Attributes,
            _ => Change::Content,
        };
        let mut dirty = dirty.lock().unwrap_or_else(PoisonError::into_inner);
        let marked = dirty
            .as_mut()
            .is_some_and(|dirty| dirty.mark(path.to_owned(), change).is_ok());
        if !marked {
            *dirty = None;
        }
    })?;
    let Some(dirty) = dirty.into_inner().unwrap_or_else(PoisonError::into_inner) else {
        return Ok(None);
    };
    let plan = Survey::new(folder, &mut compared.links, stop).run(dirty)?;
    Ok(plan.unsettled.is_empty().then_some((plan, compared)))
}
