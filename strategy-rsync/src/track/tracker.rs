//! The tracker on Linux: fanotify on whole file systems.

use std::ffi::OsStr;
use std::os::fd::{AsFd, OwnedFd};
use std::os::unix::ffi::OsStrExt;
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::thread::JoinHandle;

use rustix::event::{PollFd, PollFlags, poll};
use rustix::pipe::PipeFlags;

use super::dirty::Full;
use super::event::{self, Event};
use super::mounts::{self, Mount};
use super::place::{Place, Places, Watched, find_file};
use super::queue::{Queue, no_proc};
use super::sys::Handle;
use super::watch::{ensure_local_copies, mounts_within, open_queues, refuse_nested};
use super::{Change, Dirty, Lost, Unavailable};
use crate::folder::Folder;
use crate::sync::lock;

/// Takes some thousand events at once.
const BUFFER_BYTES: usize = 256 << 10;

/// Learns what changes in some folders from its start until it is dropped.
#[derive(Debug)]
pub(crate) struct Tracker {
    shared: Arc<Shared>,
    /// Closed to end the listener.
    wake: Mutex<Option<OwnedFd>>,
    listener: Mutex<Option<JoinHandle<()>>>,
}

#[derive(Debug)]
struct Shared {
    queues: Vec<Queue>,
    /// What is mounted below the watched folders; a change of that is nothing that a file system tells.
    mounts: Vec<Mount>,
    state: Mutex<State>,
}

#[derive(Debug)]
struct State {
    places: Places,
    /// For each watched folder.
    dirty: Vec<Dirty>,
    lost: Option<Lost>,
    buffer: Vec<u8>,
}

impl Tracker {
    /// Starts to track the changes in `folders`.
    ///
    /// # Errors
    /// When this machine, this user or these folders do not allow it.
    pub(crate) fn start(folders: &[Folder]) -> Result<Self, Unavailable> {
        let watched = folders
            .iter()
            .map(Watched::new)
            .collect::<Result<Vec<_>, _>>()?;
        refuse_nested(&watched)?;
        let mounts = mounts::all().map_err(|error| no_proc(&error))?;
        ensure_local_copies(folders, &mounts)?;
        let queues = open_queues(&watched, &mounts)?;
        // Not handed down: a child that held the writing end would keep the listener from ending.
        let (read_end, wake) = rustix::pipe::pipe_with(PipeFlags::CLOEXEC)
            .map_err(|error| cannot_listen(&error.into()))?;
        let shared = Arc::new(Shared {
            mounts: mounts_within(&watched, &mounts),
            state: Mutex::new(State {
                dirty: vec![Dirty::default(); watched.len()],
                places: Places::new(watched, queues.len()),
                lost: None,
                buffer: vec![0; BUFFER_BYTES],
            }),
            queues,
        });
        let listener = std::thread::Builder::new()
            .name("change-tracker".to_owned())
            .spawn({
                let shared = Arc::clone(&shared);
                move || shared.listen(&read_end)
            })
            .map_err(|error| cannot_listen(&error))?;
        Ok(Self {
            shared,
            wake: Mutex::new(Some(wake)),
            listener: Mutex::new(Some(listener)),
        })
    }

    /// What has changed since the last time, for each folder. Whatever ended before the call is in it.
    ///
    /// # Errors
    /// When that is not known; until [`start_again`](Self::start_again).
    pub(crate) fn take(&self) -> Result<Vec<Dirty>, Lost> {
        let mut state = self.shared.up_to_date()?;
        Ok(state.dirty.iter_mut().map(std::mem::take).collect())
    }

    /// Takes changes for new that a folder's copy does not have yet.
    pub(crate) fn give_back(&self, folder: usize, dirty: Dirty) {
        let mut state = self.shared.lock();
        if state.dirty[folder].merge(dirty).is_err() {
            state.lose(too_many());
        }
    }

    /// Forgets all changes so far, those too that it lost track of.
    pub(crate) fn start_again(&self) {
        let mut state = self.shared.lock();
        state.lost = None;
        state.read_all(&self.shared.queues);
        state.lost = None;
        state.dirty.fill_with(Dirty::default);
    }

    /// Returns what `ask` says of what has changed in a folder since the last [`take`](Self::take).
    ///
    /// # Errors
    /// When that is not known.
    pub(crate) fn ask<T>(&self, folder: usize, ask: impl FnOnce(&Dirty) -> T) -> Result<T, Lost> {
        Ok(ask(&self.shared.up_to_date()?.dirty[folder]))
    }
}

impl Tracker {
    /// Ends the listener, and waits until it has closed what it watches. Waits for file systems, too.
    pub(crate) fn end(&self) {
        drop(lock(&self.wake).take());
        if let Some(listener) = lock(&self.listener).take() {
            let _ = listener.join();
        }
    }
}

impl Drop for Tracker {
    fn drop(&mut self) {
        // The listener ends by itself. It may be looking at a file system that does not answer, and must not keep the run
        // from ending.
        drop(lock(&self.wake).take());
    }
}

impl Shared {
    fn lock(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// The state after everything that is queued by now.
    fn up_to_date(&self) -> Result<MutexGuard<'_, State>, Lost> {
        let mut state = self.lock();
        state.read_all(&self.queues);
        if let Err(lost) = self.ensure_same_places(&state.places) {
            state.lose(lost);
        }
        match &state.lost {
            Some(lost) => Err(lost.clone()),
            None => Ok(state),
        }
    }

    fn ensure_same_places(&self, places: &Places) -> Result<(), Lost> {
        places.ensure_same_folders()?;
        let now = mounts::all()
            .map_err(|error| Lost::because(format!("/proc does not tell the mounts: {error}")))?;
        let is_mounted = |queue: &Queue| now.iter().any(|mount| mount.id == queue.mount_id);
        if !self.queues.iter().all(is_mounted)
            || mounts_within(places.watched(), &now) != self.mounts
        {
            return Err(Lost::because("something has been mounted or unmounted"));
        }
        Ok(())
    }

    /// Reads events as they come, so that the kernel need not keep them.
    fn listen(&self, wake: &OwnedFd) {
        loop {
            let mut waiting: Vec<PollFd<'_>> = self
                .queues
                .iter()
                .map(AsFd::as_fd)
                .chain([wake.as_fd()])
                .map(|fd| PollFd::from_borrowed_fd(fd, PollFlags::IN))
                .collect();
            match poll(&mut waiting, None) {
                Ok(_) | Err(rustix::io::Errno::INTR) => {}
                Err(error) => {
                    self.lock()
                        .lose(Lost::because(format!("cannot wait for events: {error}")));
                    return;
                }
            }
            if waiting.last().is_none_or(|wake| !wake.revents().is_empty()) {
                return;
            }
            self.lock().read_all(&self.queues);
        }
    }
}

impl State {
    /// Reads all that is queued.
    fn read_all(&mut self, queues: &[Queue]) {
        let mut buffer = std::mem::take(&mut self.buffer);
        for (number, queue) in queues.iter().enumerate() {
            loop {
                match queue.read(&mut buffer) {
                    Ok(Some(length)) => self.note_events(number, queue, &buffer[..length]),
                    Ok(None) => break,
                    Err(error) => {
                        self.lose(Lost::because(format!("cannot read events: {error}")));
                        break;
                    }
                }
            }
        }
        self.buffer = buffer;
    }

    fn note_events(&mut self, number: usize, queue: &Queue, bytes: &[u8]) {
        for event in event::events(bytes) {
            if self.lost.is_some() {
                return;
            }
            let noted = event
                .map_err(|_| Lost::because("the kernel has reported something unheard of"))
                .and_then(|event| self.note(number, queue, &event));
            if let Err(lost) = noted {
                self.lose(lost);
            }
        }
    }

    fn note(&mut self, number: usize, queue: &Queue, event: &Event<'_>) -> Result<(), Lost> {
        if event.is(libc::FAN_Q_OVERFLOW) {
            return Err(Lost::because("the kernel's queue of events has overflowed"));
        }
        // Where a file moves from and to, and what it is deleted from, is told with names.
        let is_written = event.is(libc::FAN_ATTRIB | libc::FAN_MODIFY | libc::FAN_CLOSE_WRITE);
        let (handle, name) = match (event.place, event.file) {
            // Whoever opens a file by its handle, as a file server does, need not know a name of it. Some kernels take
            // it for its own directory then, and others tell it alone.
            (Some((file, b"/")), _) if !event.is_about_folder() => {
                return self.note_file(queue, file);
            }
            (Some(place), _) => place,
            (None, Some(folder)) if event.is_about_folder() => (folder, &b"."[..]),
            (None, Some(file)) if is_written => return self.note_file(queue, file),
            (None, Some(_)) => return Ok(()),
            (None, None) => {
                return Err(Lost::because(
                    "the kernel does not say where something changed",
                ));
            }
        };
        let name = OsStr::from_bytes(name);
        let has_moved = event.is_about_folder()
            && event.is(libc::FAN_MOVED_FROM | libc::FAN_MOVED_TO | libc::FAN_MOVE_SELF);
        match self.places.find(number, &queue.mount, handle)? {
            Place::Inside(folder, above) => {
                if has_moved {
                    self.places.forget();
                }
                let path = if name == "." { above } else { above.join(name) };
                self.mark(folder, path, event)
            }
            Place::Above(above) if has_moved => self.ensure_not_above(&above.join(name)),
            // What is in a folder that is gone is told by the folder above it.
            Place::LeftOut | Place::Above(_) | Place::Outside | Place::Gone | Place::Unnamed(_) => {
                Ok(())
            }
        }
    }

    /// A file has got or lost a name, or was written to without one. That may have been one that is gone.
    fn note_file(&mut self, queue: &Queue, file: &Handle) -> Result<(), Lost> {
        let (place, linked) = find_file(self.places.watched(), &queue.mount, file)?;
        if let Some(file) = linked {
            self.dirty
                .iter_mut()
                .try_for_each(|dirty| dirty.mark_linked(file))
                .map_err(|Full| too_many())?;
        }
        match place {
            Place::Inside(folder, path) => self.dirty[folder]
                .mark(path, Change::Content)
                .map_err(|Full| too_many()),
            // Where it lies is not known: whoever knows its names from before, or looks at everything, will find it.
            Place::Unnamed(file) => self
                .dirty
                .iter_mut()
                .try_for_each(|dirty| dirty.mark_file(file))
                .map_err(|Full| too_many()),
            _ => Ok(()),
        }
    }

    fn mark(&mut self, folder: usize, path: PathBuf, event: &Event<'_>) -> Result<(), Lost> {
        let is_folder = event.is_about_folder();
        if self.places.watched()[folder].leaves_out(&path, is_folder) {
            return self.mark_directory_of(folder, &path, event);
        }
        let arrived = libc::FAN_CREATE | libc::FAN_MOVED_TO | libc::FAN_MOVE_SELF;
        let change = if is_folder && event.is(arrived) {
            Change::Subtree
        } else if event.is(event::MASK & !libc::FAN_ATTRIB & !libc::FAN_ONDIR) {
            Change::Content
        } else {
            Change::Attributes
        };
        self.dirty[folder]
            .mark(path, change)
            .map_err(|Full| too_many())
    }

    /// What is left out has set the time of its directory when it came or went.
    fn mark_directory_of(
        &mut self,
        folder: usize,
        path: &Path,
        event: &Event<'_>,
    ) -> Result<(), Lost> {
        let entries =
            libc::FAN_CREATE | libc::FAN_DELETE | libc::FAN_MOVED_FROM | libc::FAN_MOVED_TO;
        let Some(parent) = path.parent().filter(|_| event.is(entries)) else {
            return Ok(());
        };
        if self.places.watched()[folder].leaves_out(parent, true) {
            return Ok(());
        }
        self.dirty[folder]
            .mark(parent.to_owned(), Change::Attributes)
            .map_err(|Full| too_many())
    }

    /// A watched folder that moves together with what is above it is not where it was.
    fn ensure_not_above(&self, moved: &Path) -> Result<(), Lost> {
        let mut watched = self.places.watched().iter();
        if watched.any(|folder| folder.source.starts_with(moved)) {
            let moved = moved.display();
            return Err(Lost::because(format!("{moved} has been renamed")));
        }
        Ok(())
    }

    fn lose(&mut self, lost: Lost) {
        tracing::debug!(%lost, "lost track of changes");
        self.lost.get_or_insert(lost);
        self.dirty.fill_with(Dirty::default);
    }
}

fn too_many() -> Lost {
    Lost::because("more has changed than can be remembered")
}

fn cannot_listen(error: &std::io::Error) -> Unavailable {
    Unavailable::new(
        format!("no listener can be started: {error}"),
        "Raise the limits on threads and open files.",
    )
}
