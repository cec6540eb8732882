//! The staging folder from top to bottom, each folder in the order of its names, read ahead by several threads.
//!
//! One thread that reads hundreds of thousands of small files, one after the other, waits for the disk most of the
//! time. Here several threads look at what comes next, and the one that packs takes what they found in its order. How
//! far they are ahead is bounded, so memory does not grow with the number of files.

use std::collections::{BTreeMap, BTreeSet};
use std::ffi::OsString;
use std::path::{Path, PathBuf};
use std::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError};
use std::thread;

use diy_backup_core::{Error, ErrorKind, Result};

use super::found::{Body, Found};
use crate::format::ArchivePath;
use crate::stop::Stop;

/// They wait for the disk more than they compute, so there are more than most machines have cores.
const THREADS: usize = 8;
/// How much may have been read that is not packed yet.
const BOUNDS: Bounds = Bounds {
    bytes: 16 << 20,
    entries: 8_192,
};
/// How many files of a folder are read together with it: asking for each by itself costs more than reading it.
const TOGETHER: usize = 16;

#[derive(Debug, Clone, Copy)]
struct Bounds {
    bytes: usize,
    entries: usize,
}

/// The place of an entry in the order of the archive: which of its folder's entries it is, that folder's place first.
type Position = Vec<u32>;

/// An entry that nobody has looked at.
#[derive(Debug)]
struct Waiting {
    folder: Arc<Folder>,
    name: OsString,
}

#[derive(Debug)]
struct Folder {
    path: PathBuf,
    inside: ArchivePath,
}

#[derive(Debug)]
struct Queue {
    bounds: Bounds,
    waiting: BTreeMap<Position, Waiting>,
    at_work: BTreeSet<Position>,
    ready: BTreeMap<Position, Result<Found>>,
    ready_bytes: usize,
    closed: bool,
}

struct Shared<'a> {
    queue: Mutex<Queue>,
    /// There may be something to look at.
    work: Condvar,
    /// The next in order may be ready.
    results: Condvar,
    stop: &'a Stop,
}

/// Shows `visit` the folder at `path`, called `inside` in the archive, and all that is in it; each folder comes before
/// what is in it. Links are not followed.
///
/// # Errors
/// The first one in the order of the archive, of `visit` or of reading.
pub(crate) fn walk(
    path: &Path,
    inside: ArchivePath,
    stop: &Stop,
    visit: impl FnMut(Found) -> Result<()>,
) -> Result<()> {
    walk_within(BOUNDS, path, inside, stop, visit)
}

fn walk_within(
    bounds: Bounds,
    path: &Path,
    inside: ArchivePath,
    stop: &Stop,
    mut visit: impl FnMut(Found) -> Result<()>,
) -> Result<()> {
    let shared = Shared {
        queue: Mutex::new(Queue {
            bounds,
            waiting: BTreeMap::new(),
            at_work: BTreeSet::new(),
            ready: BTreeMap::new(),
            ready_bytes: 0,
            closed: false,
        }),
        work: Condvar::new(),
        results: Condvar::new(),
        stop,
    };
    let top = shared.look(&Position::new(), Found::at(path.to_owned(), inside));
    shared.lock().add(top);
    thread::scope(|scope| {
        // However this ends, the threads end with it.
        let _closing = Closing(&shared);
        for _ in 0..THREADS {
            let spawned = thread::Builder::new()
                .name("archive-ahead".into())
                .spawn_scoped(scope, || shared.work());
            spawned.map_err(|error| Error::io("cannot start the threads that read", error))?;
        }
        while let Some(batch) = shared.next() {
            for found in batch {
                visit(found?)?;
            }
        }
        Ok(())
    })
}

struct Closing<'a>(&'a Shared<'a>);

impl Drop for Closing<'_> {
    fn drop(&mut self) {
        self.0.lock().closed = true;
        self.0.work.notify_all();
    }
}

/// What came of looking at one entry: itself, perhaps some in it, and what remains to be looked at.
#[derive(Debug, Default)]
struct Looked {
    ready: Vec<(Position, Result<Found>)>,
    waiting: Vec<(Position, Waiting)>,
}

impl Shared<'_> {
    fn lock(&self) -> MutexGuard<'_, Queue> {
        self.queue.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// What is next in order, as far as it is ready; waits until something is. `None` at the end.
    fn next(&self) -> Option<Vec<Result<Found>>> {
        let mut queue = self.lock();
        loop {
            let was_full = queue.is_full();
            let batch = queue.take_ready();
            if was_full && !queue.is_full() {
                self.work.notify_all();
            }
            if !batch.is_empty() {
                return Some(batch);
            }
            if queue.waiting.is_empty() && queue.at_work.is_empty() {
                return None;
            }
            // What is next may have been too far ahead when the threads looked last.
            if queue.may_take() {
                self.work.notify_one();
            }
            queue = self
                .results
                .wait(queue)
                .unwrap_or_else(PoisonError::into_inner);
        }
    }

    /// Looks at one entry after the other.
    fn work(&self) {
        let mut queue = self.lock();
        loop {
            if queue.closed {
                return;
            }
            let Some((position, waiting)) = queue.take_waiting() else {
                queue = self
                    .work
                    .wait(queue)
                    .unwrap_or_else(PoisonError::into_inner);
                continue;
            };
            drop(queue);
            let working = AtWork {
                shared: self,
                position: &position,
            };
            let looked = self.look(&position, self.find(&waiting));
            std::mem::forget(working);
            queue = self.lock();
            queue.at_work.remove(&position);
            if looked.waiting.len() > 1 {
                self.work.notify_all();
            }
            queue.add(looked);
            if queue.is_next_ready() {
                self.results.notify_one();
            }
        }
    }

    fn find(&self, waiting: &Waiting) -> Result<Found> {
        self.stop.ensure_running()?;
        let Waiting { folder, name } = waiting;
        Found::at(folder.path.join(name), folder.inside.join(name))
    }

    /// Goes into a folder, as far as that takes no further folder.
    fn look(&self, position: &[u32], found: Result<Found>) -> Looked {
        let mut looked = Looked::default();
        let mut found = match found {
            Ok(found) => found,
            Err(error) => {
                looked.ready.push((position.to_owned(), Err(error)));
                return looked;
            }
        };
        let names = match &mut found.body {
            Body::Names(names) => std::mem::take(names),
            _ => Vec::new(),
        };
        let folder = Arc::new(Folder {
            path: found.path.clone(),
            inside: found.inside.clone(),
        });
        looked.ready.push((position.to_owned(), Ok(found)));
        let few = names.len() <= TOGETHER;
        for (number, name) in (0..).zip(names) {
            let position = [position, &[number]].concat();
            let waiting = Waiting {
                folder: folder.clone(),
                name,
            };
            let path = folder.path.join(&waiting.name);
            // A folder in it is for whoever has time, so that the threads spread.
            if few && !path.is_dir() {
                looked.ready.push((position, self.find(&waiting)));
            } else {
                looked.waiting.push((position, waiting));
            }
        }
        looked
    }
}

/// Held while a thread looks at an entry: should it panic, the entry is an error and nobody waits for it.
struct AtWork<'a> {
    shared: &'a Shared<'a>,
    position: &'a Position,
}

impl Drop for AtWork<'_> {
    fn drop(&mut self) {
        let mut queue = self.shared.lock();
        queue.at_work.remove(self.position);
        let message = "a thread that reads the staging folder ended abruptly";
        let error = Error::new(ErrorKind::Internal, message);
        queue.ready.insert(self.position.clone(), Err(error));
        self.shared.results.notify_one();
    }
}

impl Queue {
    fn add(&mut self, looked: Looked) {
        for (position, found) in looked.ready {
            self.ready_bytes += found.as_ref().map_or(0, Found::read_bytes);
            self.ready.insert(position, found);
        }
        self.waiting.extend(looked.waiting);
    }

    /// The entry to look at next, if that is not too far ahead. What everything else waits for never is.
    fn take_waiting(&mut self) -> Option<(Position, Waiting)> {
        if !self.may_take() {
            return None;
        }
        let taken = self.waiting.pop_first()?;
        self.at_work.insert(taken.0.clone());
        Some(taken)
    }

    fn may_take(&self) -> bool {
        let Some((first, _)) = self.waiting.first_key_value() else {
            return false;
        };
        let ready = self.ready.first_key_value();
        !self.is_full() || ready.is_none_or(|(ready, _)| first < ready)
    }

    fn is_full(&self) -> bool {
        self.ready.len() >= self.bounds.entries || self.ready_bytes >= self.bounds.bytes
    }

    fn is_next_ready(&self) -> bool {
        let Some((ready, _)) = self.ready.first_key_value() else {
            return false;
        };
        let waiting = self.waiting.first_key_value().map(|(position, _)| position);
        let unready = waiting.into_iter().chain(self.at_work.first());
        unready.into_iter().all(|position| ready < position)
    }

    fn take_ready(&mut self) -> Vec<Result<Found>> {
        let mut batch = Vec::new();
        let mut bytes = 0;
        while bytes <= self.bounds.bytes / 4
            && batch.len() <= self.bounds.entries / 4
            && self.is_next_ready()
            && let Some((_, found)) = self.ready.pop_first()
        {
            bytes += found.as_ref().map_or(0, Found::read_bytes);
            batch.push(found);
        }
        self.ready_bytes -= bytes;
        batch
    }
}

#[cfg(test)]
mod tests {
    use std::fs;

    use diy_backup_core::Control;

    use super::*;

    fn paths_in(folder: &Path) -> Result<Vec<String>> {
        paths_within(BOUNDS, folder)
    }

    fn paths_within(bounds: Bounds, folder: &Path) -> Result<Vec<String>> {
        let (stop, _waiting) = Stop::new(Control::new());
        let inside = ArchivePath::parse(b"top").unwrap();
        let mut paths = Vec::new();
        walk_within(bounds, folder, inside, &stop, |found| {
            paths.push(String::from_utf8_lossy(found.inside.as_bytes()).into_owned());
            Ok(())
        })?;
        Ok(paths)
    }

    #[test]
    fn the_order_is_that_of_the_names_whoever_reads_first() {
        let root = tempfile::tempdir().unwrap();
        let mut expected = vec!["top".to_owned()];
        for one in 0..40 {
            let folder = format!("{one:02}");
            expected.push(format!("top/{folder}"));
            fs::create_dir(root.path().join(&folder)).unwrap();
            // Few are read together with their folder, many one by one.
            for other in 0..(one * 2) {
                let name = format!("{folder}/{other:03}");
                expected.push(format!("top/{name}"));
                if other % 5 == 3 {
                    fs::create_dir(root.path().join(&name)).unwrap();
                    expected.push(format!("top/{name}/x"));
                    fs::write(root.path().join(&name).join("x"), name).unwrap();
                } else {
                    fs::write(root.path().join(&name), vec![b'x'; other * 1000]).unwrap();
                }
            }
        }
        assert_eq!(paths_in(root.path()).unwrap(), expected);
        // However little may be read ahead, everybody waits for somebody who goes on.
        for entries in [0, 1, 2, 7] {
            let bounds = Bounds {
                bytes: 1_000 * entries,
                entries,
            };
            assert_eq!(paths_within(bounds, root.path()).unwrap(), expected);
        }
    }

    #[test]
    fn far_more_than_may_be_in_memory_comes_through() {
        let root = tempfile::tempdir().unwrap();
        for folder in 0..4 {
            let folder = root.path().join(folder.to_string());
            fs::create_dir(&folder).unwrap();
            for file in 0..100 {
                fs::write(folder.join(file.to_string()), vec![7; 120_000]).unwrap();
            }
        }
        assert_eq!(paths_in(root.path()).unwrap().len(), 405);
    }

    #[test]
    fn an_error_of_the_visitor_ends_everything() {
        let root = tempfile::tempdir().unwrap();
        for file in 0..100 {
            fs::write(root.path().join(file.to_string()), "x").unwrap();
        }
        let (stop, _waiting) = Stop::new(Control::new());
        let mut seen = 0;
        let ended = walk(
            root.path(),
            ArchivePath::parse(b"x").unwrap(),
            &stop,
            |_| {
                seen += 1;
                match seen {
                    10 => Err(Error::new(ErrorKind::Space, "full")),
                    _ => Ok(()),
                }
            },
        );
        assert_eq!(ended.unwrap_err().kind(), ErrorKind::Space);
        assert_eq!(seen, 10);
    }

    #[test]
    fn a_folder_that_is_not_there_is_an_error() {
        let root = tempfile::tempdir().unwrap();
        assert!(paths_in(&root.path().join("gone")).is_err());
    }
}
