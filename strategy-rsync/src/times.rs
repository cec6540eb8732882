//! Learning from change times what has changed in folders that nobody tracks.
//!
//! Nobody can set the change time of an entry, and every write, link and change of attributes sets it; that of a
//! folder is set when its entries come and go. So a look at the originals alone tells what has changed since the look
//! before: neither the copies are looked at nor rsync is run, but for what has changed. On a file system that other
//! machines write to as well this does not hold: their clocks stamp, and changes show late.
//!
//! What lies in a folder that has moved keeps its times. So each look remembers which folder was where: where another
//! one is now, or one that may have gone and come back, all that is in it counts as changed.

use std::collections::{HashMap, HashSet};
use std::ffi::OsString;
use std::hash::{BuildHasher, RandomState};
use std::path::Path;
use std::sync::{Mutex, MutexGuard};
use std::time::{Duration, Instant, SystemTime};

use diy_backup_core::{Error, ErrorKind, Result, ResultExt};

use crate::folder::Folder;
use crate::platform::{self, Facts};
use crate::sync::{into_inner, lock};
use crate::track::{self, Change, Dirty, Full, Unavailable};
use crate::walk::{Stop, Walk, names_in};

/// How far a change time may be behind the clock: the kernel stamps by its tick.
pub(crate) const TICK: Duration = Duration::from_millis(20);

/// A look shortens the next one's finds to what changes during its own time. It is worth while when the last one began at
/// least so many times its own time ago.
const WORTH_WHILE: u32 = 10;

/// An instant, by the clock that stamps files.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Moment {
    pub(crate) at: SystemTime,
    clock: Instant,
}

impl Moment {
    pub(crate) fn now() -> Self {
        Self {
            at: platform::file_clock(),
            clock: Instant::now(),
        }
    }

    /// What changed before it has a change time before this one, also when the clock has been set back since.
    pub(crate) fn change_time(self) -> SystemTime {
        let expected = self.at + self.clock.elapsed();
        let set_back = expected
            .duration_since(platform::file_clock())
            .unwrap_or_default();
        self.at
            .checked_sub(set_back + TICK)
            .unwrap_or(SystemTime::UNIX_EPOCH)
    }
}

/// Which folder is at a path, both as hashes: these are many.
type Identities = HashMap<u64, u64>;

/// Finds out what has changed in some folders by looking at them.
#[derive(Debug)]
pub(crate) struct ChangeTimes {
    folders: Vec<Folder>,
    hasher: RandomState,
    state: Mutex<State>,
}

#[derive(Debug)]
struct State {
    /// When the last look began.
    since: Moment,
    /// How long it took.
    took: Duration,
    /// What it saw, for each folder.
    identities: Vec<Identities>,
    /// Known changes that the copies do not have yet, for each folder.
    kept: Vec<Dirty>,
}

impl ChangeTimes {
    /// Prepares to look at `folders`.
    ///
    /// # Errors
    /// When the times of these folders cannot be relied on.
    pub(crate) fn new(folders: &[Folder]) -> std::result::Result<Self, Unavailable> {
        track::ensure_local(folders)?;
        Ok(Self {
            folders: folders.to_vec(),
            hasher: RandomState::new(),
            state: Mutex::new(State {
                since: Moment::now(),
                took: Duration::ZERO,
                identities: vec![Identities::new(); folders.len()],
                kept: vec![Dirty::default(); folders.len()],
            }),
        })
    }

    /// What has changed since the last look, for each folder. Whatever ended before the call is in it.
    ///
    /// # Errors
    /// When something cannot be looked at, or too much has changed.
    pub(crate) fn take(&self, stop: &Stop) -> Result<Vec<Dirty>> {
        let now = Moment::now();
        let mut state = self.lock();
        let since = state.since.change_time();
        let mut changes = Vec::with_capacity(self.folders.len());
        for (number, folder) in self.folders.iter().enumerate() {
            let look = Look {
                folder,
                since,
                hasher: &self.hasher,
                known: &state.identities[number],
                dirty: Mutex::default(),
                seen: Mutex::default(),
            };
            let (mut dirty, seen) = look.run(stop)?;
            state.identities[number] = seen;
            let kept = std::mem::take(&mut state.kept[number]);
            dirty.merge(kept).map_err(|Full| too_many())?;
            changes.push(dirty);
        }
        state.since = now;
        state.took = now.clock.elapsed();
        Ok(changes)
    }

    /// Whether a look now leaves much less to the next one.
    pub(crate) fn is_worth_while(&self) -> bool {
        let state = self.lock();
        state.since.clock.elapsed() >= state.took * WORTH_WHILE
    }

    /// Looks what is where. What changes from now on will be told, and nothing before.
    ///
    /// # Errors
    /// When something cannot be looked at.
    pub(crate) fn start_again(&self, stop: &Stop) -> Result<()> {
        let mut state = self.lock();
        state.since = Moment::now();
        state.kept.fill_with(Dirty::default);
        drop(state);
        self.take(stop).map(drop)
    }

    /// Takes changes for new that a folder's copy does not have yet.
    pub(crate) fn give_back(&self, folder: usize, dirty: Dirty) -> std::result::Result<(), Full> {
        self.lock().kept[folder].merge(dirty)
    }

    fn lock(&self) -> MutexGuard<'_, State> {
        lock(&self.state)
    }
}

/// One look at one folder.
struct Look<'a> {
    folder: &'a Folder,
    since: SystemTime,
    hasher: &'a RandomState,
    known: &'a Identities,
    dirty: Mutex<Dirty>,
    seen: Mutex<Identities>,
}

impl Look<'_> {
    fn run(self, stop: &Stop) -> Result<(Dirty, Identities)> {
        let source = &self.folder.source;
        let root = source
            .symlink_metadata()
            .io_context(|| format!("cannot read {}", source.display()))?;
        if Facts::of(&root).latest_change() >= self.since {
            self.compare_names(Path::new(""))?;
        }
        let walk = Walk {
            root: source,
            exclusions: &self.folder.exclusions,
            stop,
        };
        walk.run((), |entry, ()| {
            let facts = Facts::of(entry.metadata);
            let is_new = facts.latest_change() >= self.since;
            if !entry.metadata.is_dir() {
                if is_new {
                    self.mark(entry.relative, Change::Content)?;
                }
            } else if !self.is_known(entry.relative, &facts) && is_new {
                self.mark(entry.relative, Change::Subtree)?;
            } else if is_new {
                self.compare_names(entry.relative)?;
            }
            Ok(Some(()))
        })?;
        Ok((into_inner(self.dirty), into_inner(self.seen)))
    }

    /// Whether the last look saw this very folder at this path, and nothing says that it has moved since.
    fn is_known(&self, path: &Path, facts: &Facts) -> bool {
        let (path, folder) = (self.hasher.hash_one(path), self.hasher.hash_one(facts.id));
        let mut seen = lock(&self.seen);
        seen.insert(path, folder);
        self.known.get(&path) == Some(&folder) && !facts.may_have_moved()
    }

    /// A folder whose entries have changed: what is gone has no times any more, and only the copy tells of it.
    fn compare_names(&self, path: &Path) -> Result<()> {
        self.mark(path, Change::Content)?;
        let names = |side: &Path| -> Result<HashSet<OsString>> {
            Ok(names_in(&side.join(path))?.into_iter().collect())
        };
        let (originals, copies) = (names(&self.folder.source)?, names(&self.folder.copy)?);
        for name in originals.symmetric_difference(&copies) {
            self.mark(&path.join(name), Change::Subtree)?;
        }
        Ok(())
    }

    fn mark(&self, path: &Path, change: Change) -> Result<()> {
        let mut dirty = lock(&self.dirty);
        dirty
            .mark(path.to_owned(), change)
            .map_err(|Full| too_many())
    }
}

fn too_many() -> Error {
    Error::new(
        ErrorKind::Internal,
        "more has changed than can be remembered",
    )
}
