//! Looking at every entry of a folder, by several threads, without following links.

use std::collections::VecDeque;
use std::ffi::OsString;
use std::fs::{self, Metadata};
use std::io;
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError};

use diy_backup_core::{Control, Error, ErrorKind, Result};

use crate::exclude::Exclusions;

/// They wait for the disk more than they compute, so there are more than most machines have cores.
const THREADS: usize = 8;
/// What helps against files that cannot be read.
pub(crate) const READ_EVERYTHING: &str = "Run as a user who may read every file of the instance (root, or the user that Bitbucket runs as).";
/// How often a file server is asked for a file that it does not know any more.
const STALE_ATTEMPTS: u32 = 5;
/// How many names a report holds: enough to see what they have in common.
const EXAMPLES: usize = 5;

/// What is looked at: every entry below `root` that `exclusions` does not cover.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Walk<'a> {
    pub(crate) root: &'a Path,
    pub(crate) exclusions: &'a Exclusions,
    pub(crate) stop: &'a Stop,
}

/// One entry.
#[derive(Debug)]
pub(crate) struct Entry<'a> {
    /// Its path below the root.
    pub(crate) relative: &'a Path,
    /// Its whole path.
    pub(crate) path: &'a Path,
    /// What it is; of a link, the link itself.
    pub(crate) metadata: &'a Metadata,
}

/// Entries that could not be looked at.
#[derive(Debug, Default)]
#[must_use = "whatever is in them has not been seen"]
pub(crate) struct Unreadable {
    pub(crate) count: u64,
    pub(crate) examples: Vec<PathBuf>,
}

impl Unreadable {
    pub(crate) fn add(&mut self, path: &Path) {
        self.count += 1;
        if self.examples.len() < EXAMPLES {
            self.examples.push(path.to_owned());
        }
    }

    /// How many there are, with examples. `None` when there are none.
    pub(crate) fn in_words(&self) -> Option<String> {
        let examples: Vec<String> = self
            .examples
            .iter()
            .map(|path| path.display().to_string())
            .collect();
        (self.count > 0).then(|| {
            format!(
                "{} files or folders in it cannot be read, such as {}",
                self.count,
                examples.join(", ")
            )
        })
    }
}

/// How a walk is told to stop: by the run's own levers, or because nobody waits for it any more.
#[derive(Debug, Clone)]
pub(crate) struct Stop {
    control: Control,
    abandoned: Arc<AtomicBool>,
}

/// Stops a walk when the future that waits for it is dropped.
#[derive(Debug)]
pub(crate) struct StopOnDrop(Arc<AtomicBool>);

impl Drop for StopOnDrop {
    fn drop(&mut self) {
        self.0.store(true, Ordering::Relaxed);
    }
}

impl Stop {
    pub(crate) fn new(control: &Control) -> Self {
        Self {
            control: control.clone(),
            abandoned: Arc::default(),
        }
    }

    pub(crate) fn on_drop(&self) -> StopOnDrop {
        StopOnDrop(Arc::clone(&self.abandoned))
    }

    pub(crate) fn ensure_going_on(&self) -> Result<()> {
        if self.abandoned.load(Ordering::Relaxed) {
            return Err(Error::new(
                ErrorKind::Cancelled,
                "nobody waits for the result any more",
            ));
        }
        self.control.ensure_running()
    }
}

/// Folders that wait for a thread, with what their entries inherit.
struct Queue<T> {
    waiting: VecDeque<(PathBuf, usize, T)>,
    at_work: usize,
    unreadable: Unreadable,
    failed: Option<Error>,
}

struct Shared<T> {
    queue: Mutex<Queue<T>>,
    changed: Condvar,
}

impl<T> Shared<T> {
    fn lock(&self) -> MutexGuard<'_, Queue<T>> {
        self.queue.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Walk<'_> {
    /// Shows `visit` every entry with what its folder has handed down; what it returns for a folder is handed down
    /// in turn, and `None` keeps out of it. The order is any. Entries that vanish meanwhile are left out.
    ///
    /// # Errors
    /// The first error of `visit`, or of reading a folder; [`ErrorKind::Tool`] when some cannot be read for lack of
    /// permission.
    pub(crate) fn run<T: Send>(
        &self,
        top: T,
        visit: impl Fn(&Entry<'_>, &mut T) -> Result<Option<T>> + Sync,
    ) -> Result<()> {
        self.run_and_leave(top, visit, |_, _| Ok(()))
    }

    /// Like [`run`](Self::run), and shows `leave` each folder after its entries, and before what is below these.
    ///
    /// # Errors
    /// Like [`run`](Self::run), and the first error of `leave`.
    pub(crate) fn run_and_leave<T: Send>(
        &self,
        top: T,
        visit: impl Fn(&Entry<'_>, &mut T) -> Result<Option<T>> + Sync,
        leave: impl Fn(&Path, T) -> Result<()> + Sync,
    ) -> Result<()> {
        let unreadable = self.run_where_allowed(top, visit, leave)?;
        unreadable.in_words().map_or(Ok(()), |what| {
            let message = format!("{}: {what}", self.root.display());
            Err(Error::new(ErrorKind::Tool, message).with_hint(READ_EVERYTHING))
        })
    }

    /// Like [`run_and_leave`](Self::run_and_leave), for whoever knows what to do about folders that cannot be read.
    ///
    /// # Errors
    /// Like [`run_and_leave`](Self::run_and_leave), but for these folders.
    pub(crate) fn run_where_allowed<T: Send>(
        &self,
        top: T,
        visit: impl Fn(&Entry<'_>, &mut T) -> Result<Option<T>> + Sync,
        leave: impl Fn(&Path, T) -> Result<()> + Sync,
    ) -> Result<Unreadable> {
        let shared = Shared {
            queue: Mutex::new(Queue {
                waiting: VecDeque::from([(PathBuf::new(), 1, top)]),
                at_work: 0,
                unreadable: Unreadable::default(),
                failed: None,
            }),
            changed: Condvar::new(),
        };
        std::thread::scope(|scope| {
            for _ in 0..THREADS {
                scope.spawn(|| self.work(&shared, &visit, &leave));
            }
        });
        let queue = shared
            .queue
            .into_inner()
            .unwrap_or_else(PoisonError::into_inner);
        queue.failed.map_or(Ok(queue.unreadable), Err)
    }

    fn work<T: Send>(
        &self,
        shared: &Shared<T>,
        visit: &(impl Fn(&Entry<'_>, &mut T) -> Result<Option<T>> + Sync),
        leave: &(impl Fn(&Path, T) -> Result<()> + Sync),
    ) {
        let mut queue = shared.lock();
        loop {
            // The folder found last comes first: that goes down before it goes wide, and keeps the queue short.
            if let Some((folder, depth, handed_down)) = queue.waiting.pop_back() {
                queue.at_work += 1;
                drop(queue);
                let read = self.read_folder(&folder, depth, handed_down, visit, leave);
                queue = shared.lock();
                queue.at_work -= 1;
                match read {
                    Ok(below) => {
                        // The first of them is this thread's own.
                        for _ in 1..below.len().min(THREADS) {
                            shared.changed.notify_one();
                        }
                        queue.waiting.extend(below);
                    }
                    Err(Failure::Unreadable) => queue.unreadable.add(&self.root.join(folder)),
                    Err(Failure::Other(error)) => {
                        queue.failed.get_or_insert(error);
                        queue.waiting.clear();
                    }
                }
            } else if queue.at_work == 0 {
                shared.changed.notify_all();
                return;
            } else {
                queue = shared
                    .changed
                    .wait(queue)
                    .unwrap_or_else(PoisonError::into_inner);
            }
        }
    }

    fn read_folder<T>(
        &self,
        folder: &Path,
        depth: usize,
        mut handed_down: T,
        visit: impl Fn(&Entry<'_>, &mut T) -> Result<Option<T>>,
        leave: impl Fn(&Path, T) -> Result<()>,
    ) -> Result<Vec<(PathBuf, usize, T)>, Failure> {
        self.stop.ensure_going_on()?;
        let whole = self.root.join(folder);
        let entries = match asked_again(|| fs::read_dir(&whole)) {
            Ok(entries) => Some(entries),
            // Only the root must be there: everything else may vanish while people work.
            Err(error) if is_gone(&error) && depth > 1 => None,
            Err(error) => return Err(Failure::reading(&whole, error)),
        };
        let mut below = Vec::new();
        for entry in entries.into_iter().flatten() {
            let entry = entry.map_err(|error| Failure::reading(&whole, error))?;
            let mut asked = Some(entry.metadata());
            let metadata = asked_again(|| {
                let first = asked.take();
                first.unwrap_or_else(|| fs::symlink_metadata(entry.path()))
            });
            let metadata = match metadata {
                Ok(metadata) => metadata,
                Err(error) if is_gone(&error) => continue,
                Err(error) => return Err(Failure::reading(&entry.path(), error)),
            };
            let relative = folder.join(entry.file_name());
            if self.exclusions.cover(&relative, depth, metadata.is_dir()) {
                continue;
            }
            let shown = Entry {
                relative: &relative,
                path: &entry.path(),
                metadata: &metadata,
            };
            if let Some(inherited) = visit(&shown, &mut handed_down)?
                && metadata.is_dir()
            {
                below.push((relative, depth + 1, inherited));
            }
        }
        leave(folder, handed_down)?;
        Ok(below)
    }
}

enum Failure {
    Unreadable,
    Other(Error),
}

impl Failure {
    fn reading(path: &Path, error: io::Error) -> Self {
        if error.kind() == io::ErrorKind::PermissionDenied {
            return Self::Unreadable;
        }
        if is_stale(&error) {
            // Whoever can look at everything once more does so.
            let message = format!("the file server has lost {}", path.display());
            return Self::Other(Error::new(ErrorKind::Tool, message).with_source(error));
        }
        Self::Other(Error::io(format!("cannot read {}", path.display()), error))
    }
}

impl From<Error> for Failure {
    fn from(error: Error) -> Self {
        Self::Other(error)
    }
}

/// Whether an entry is not, or no longer, what its name was listed as.
pub(crate) fn is_gone(error: &io::Error) -> bool {
    matches!(
        error.kind(),
        io::ErrorKind::NotFound | io::ErrorKind::NotADirectory
    )
}

/// Whether a file server does not know a file any more that it has just told of. Another machine has replaced it; its
/// name may lead to another file by now.
pub(crate) fn is_stale(error: &io::Error) -> bool {
    error.kind() == io::ErrorKind::StaleNetworkFileHandle
}

/// Asks a file system, and asks again as long as it answers for a file that another one has replaced.
///
/// # Errors
/// The last answer's.
pub(crate) fn asked_again<T>(mut ask: impl FnMut() -> io::Result<T>) -> io::Result<T> {
    for _ in 1..STALE_ATTEMPTS {
        match ask() {
            Err(error) if is_stale(&error) => {}
            answer => return answer,
        }
    }
    ask()
}

/// The names in one folder; none when it is none any more.
///
/// # Errors
/// When it cannot be read.
pub(crate) fn names_in(folder: &Path) -> Result<Vec<OsString>> {
    let cannot = |error: io::Error| Error::io(format!("cannot read {}", folder.display()), error);
    let list = || -> io::Result<Vec<OsString>> {
        let entries = fs::read_dir(folder)?;
        entries
            .map(|entry| entry.map(|entry| entry.file_name()))
            .collect()
    };
    match asked_again(list) {
        Err(error) if is_gone(&error) => Ok(Vec::new()),
        names => names.map_err(cannot),
    }
}

/// Runs blocking work on a thread of its own.
pub(crate) async fn blocking<R: Send + 'static>(
    work: impl FnOnce() -> Result<R> + Send + 'static,
) -> Result<R> {
    tokio::task::spawn_blocking(work)
        .await
        .unwrap_or_else(|error| {
            Err(
                Error::new(ErrorKind::Internal, "work on another thread ended early")
                    .with_source(error),
            )
        })
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Answers so many times that the file has been replaced.
    fn stale_times(times: u32) -> (io::Result<u32>, u32) {
        let mut asked = 0;
        let answer = asked_again(|| {
            asked += 1;
            if asked <= times {
                return Err(io::ErrorKind::StaleNetworkFileHandle.into());
            }
            Ok(asked)
        });
        (answer, asked)
    }

    #[test]
    fn a_file_that_another_machine_replaced_is_looked_at_again() {
        assert_eq!(stale_times(0).0.unwrap(), 1);
        assert_eq!(stale_times(STALE_ATTEMPTS - 1).0.unwrap(), STALE_ATTEMPTS);
        let (answer, asked) = stale_times(u32::MAX);
        assert!(is_stale(&answer.unwrap_err()) && asked == STALE_ATTEMPTS);
        let missing = asked_again(|| Err::<(), _>(io::ErrorKind::NotFound.into()));
        assert!(is_gone(&missing.unwrap_err()));
    }

    #[test]
    fn what_stays_replaced_is_not_taken_for_gone_and_makes_another_pass() {
        let stale = io::Error::from(io::ErrorKind::StaleNetworkFileHandle);
        assert!(!is_gone(&stale));
        let Failure::Other(error) = Failure::reading(Path::new("file"), stale) else {
            panic!("it is not for lack of permission");
        };
        assert_eq!(error.kind(), ErrorKind::Tool);
    }
}
