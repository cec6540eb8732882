//! The live application behind the simulator: people pushing, each push a file in the home and a row in the database.
//!
//! A backup that is not of one instant has rows without files or files without rows; [`Comparison`] finds them.

mod comparison;
mod latch;
mod rows;
mod writer;

use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use tokio::sync::watch;
use tokio::task::JoinHandle;

pub use comparison::{Comparison, Pushes};
pub use latch::{Latch, PushPermit};
pub use rows::{MemoryRows, RowSink};

use crate::error::{Error, ErrorKind, IoContext, Result};
use writer::Writer;

/// The settings of a live application.
#[derive(Debug)]
pub struct ApplicationBuilder {
    home: PathBuf,
    rows: Arc<dyn RowSink>,
    latch: Arc<Latch>,
    writers: usize,
    pause: Duration,
    seed: u64,
}

impl ApplicationBuilder {
    /// How many people push at the same time; 4 unless set.
    #[must_use]
    pub fn writers(mut self, number: usize) -> Self {
        self.writers = number;
        self
    }

    /// How long each rests between two pushes; 2 ms unless set.
    #[must_use]
    pub fn pause(mut self, pause: Duration) -> Self {
        self.pause = pause;
        self
    }

    /// The seed of what is pushed where.
    #[must_use]
    pub fn seed(mut self, seed: u64) -> Self {
        self.seed = seed;
        self
    }

    /// The latch that holds pushes back; one that only this application knows unless set.
    #[must_use]
    pub fn latch(mut self, latch: Arc<Latch>) -> Self {
        self.latch = latch;
        self
    }

    /// Starts to push, into the repositories below `shared/data/repositories` or into a new one if there is none.
    ///
    /// Must be called inside a tokio runtime.
    ///
    /// # Errors
    /// [`ErrorKind::Io`] when the home cannot be written.
    pub fn start(self) -> Result<Application> {
        let repositories = repositories_of(&self.home)?;
        let shared = Arc::new(Shared::default());
        let writers = (0..self.writers)
            .map(|number| {
                let writer = Writer::new(number, self.seed, repositories.clone(), &self.rows);
                let (shared, latch) = (Arc::clone(&shared), Arc::clone(&self.latch));
                tokio::spawn(keep_pushing(writer, shared, latch, self.pause))
            })
            .collect();
        Ok(Application {
            shared,
            latch: self.latch,
            writers: Mutex::new(writers),
        })
    }
}

/// People who push whenever the latch lets them.
#[derive(Debug)]
pub struct Application {
    shared: Arc<Shared>,
    latch: Arc<Latch>,
    writers: Mutex<Vec<JoinHandle<()>>>,
}

/// What the writers tell.
#[derive(Debug)]
struct Shared {
    live: Mutex<Pushes>,
    drained: Mutex<Option<Pushes>>,
    failures: Mutex<Vec<String>>,
    stop: AtomicBool,
    completed: watch::Sender<u64>,
    begun: AtomicU64,
}

impl Default for Shared {
    fn default() -> Self {
        Self {
            live: Mutex::default(),
            drained: Mutex::default(),
            failures: Mutex::default(),
            stop: AtomicBool::new(false),
            completed: watch::Sender::new(0),
            begun: AtomicU64::new(0),
        }
    }
}

impl Application {
    /// An application that keeps its files below a home and its rows in a database.
    pub fn builder(home: impl Into<PathBuf>, rows: Arc<dyn RowSink>) -> ApplicationBuilder {
        ApplicationBuilder {
            home: home.into(),
            rows,
            latch: Arc::new(Latch::new()),
            writers: 4,
            pause: Duration::from_millis(2),
            seed: 1,
        }
    }

    /// The latch that holds pushes back.
    pub fn latch(&self) -> &Arc<Latch> {
        &self.latch
    }

    /// What is pushed at this moment; pushes in flight are not in it.
    pub fn live_set(&self) -> Pushes {
        locked(&self.shared.live).clone()
    }

    /// What was pushed at the last moment of DRAINED: what a backup must hold, no less and no more.
    pub fn drained_set(&self) -> Option<Pushes> {
        locked(&self.shared.drained).clone()
    }

    /// Notes that this is the moment of DRAINED. The simulator calls it; call it yourself when you drive the latch.
    pub fn record_drained(&self) {
        let live = self.live_set();
        *locked(&self.shared.drained) = Some(live);
    }

    /// How many pushes (additions, updates, renames and deletions) were completed.
    pub fn completed(&self) -> u64 {
        *self.shared.completed.borrow()
    }

    /// How many pushes were begun.
    pub fn begun(&self) -> u64 {
        self.shared.begun.load(Ordering::Relaxed)
    }

    /// Waits until so many more pushes are completed.
    ///
    /// # Errors
    /// [`ErrorKind::Deadline`] when a minute is not enough for that.
    pub async fn wait_for_pushes(&self, more: u64) -> Result<()> {
        let goal = self.completed() + more;
        let mut completed = self.shared.completed.subscribe();
        let reached = completed.wait_for(|&number| number >= goal);
        match tokio::time::timeout(Duration::from_mins(1), reached).await {
            Ok(Ok(_)) => Ok(()),
            Ok(Err(_)) | Err(_) => Err(Error::new(
                ErrorKind::Deadline,
                format!("the live application did not make {more} pushes"),
            )),
        }
    }

    /// Pushes that failed, as readable lines. A writer stops at its first failure.
    pub fn failures(&self) -> Vec<String> {
        locked(&self.shared.failures).clone()
    }

    /// Lets every push in flight end and begins no other. Opens nothing: pushes that wait for the latch are given up.
    pub async fn stop(&self) {
        self.shared.stop.store(true, Ordering::SeqCst);
        let writers = std::mem::take(&mut *locked(&self.writers));
        self.latch.drained().await;
        for writer in writers {
            if self.latch.is_closed() {
                writer.abort();
            }
            // An error here is the abortion of a writer that waits at the latch.
            let _ = writer.await;
        }
    }
}

impl Drop for Application {
    fn drop(&mut self) {
        for writer in locked(&self.writers).drain(..) {
            writer.abort();
        }
    }
}

async fn keep_pushing(mut writer: Writer, shared: Arc<Shared>, latch: Arc<Latch>, pause: Duration) {
    loop {
        let permit = latch.begin_push().await;
        if shared.stop.load(Ordering::SeqCst) {
            return;
        }
        shared.begun.fetch_add(1, Ordering::Relaxed);
        match writer.push().await {
            Ok(done) => done.apply(&mut locked(&shared.live)),
            Err(error) => {
                let source = std::error::Error::source(&error)
                    .map_or_else(String::new, |source| format!(": {source}"));
                locked(&shared.failures).push(format!("{error}{source}"));
                return;
            }
        }
        drop(permit);
        shared.completed.send_modify(|number| *number += 1);
        tokio::time::sleep(pause).await;
    }
}

fn repositories_of(home: &Path) -> Result<Vec<PathBuf>> {
    let folder = home.join("shared/data/repositories");
    std::fs::create_dir_all(folder.join("1")).doing("create", &folder)?;
    let mut repositories = Vec::new();
    for entry in std::fs::read_dir(&folder).doing("list", &folder)? {
        let path = entry.doing("list", &folder)?.path();
        let is_id = path
            .file_name()
            .is_some_and(|name| name.as_encoded_bytes().iter().all(u8::is_ascii_digit));
        if is_id && path.is_dir() {
            repositories.push(path);
        }
    }
    repositories.sort();
    Ok(repositories)
}

fn locked<T>(mutex: &Mutex<T>) -> std::sync::MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}
