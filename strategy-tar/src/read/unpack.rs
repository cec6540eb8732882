//! Writing the content of an archive to where a restore wants it.

use std::ffi::OsStr;
use std::fs::File;
use std::io::{self, Seek, SeekFrom, Write};
use std::path::{Path, PathBuf};

use diy_backup_core::{
    Damage, Destinations, Error, ErrorKind, Events, RestoreSource, Result, ResultExt,
};

use super::deferred::{Deferred, DeferredFolder};
use super::sink::{Fault, Sink};
use crate::format::{ArchivePath, Entry, Kind, Metadata};
use crate::platform::{self, Folder};
use crate::stop::Stop;

/// Unpacks to destinations that do not exist yet, and never outside of them.
#[derive(Debug)]
pub(crate) struct Unpack<'a> {
    destinations: &'a Destinations,
    roots: Vec<Root>,
    /// The folder that was written to last: most entries stand in the one of the entry before.
    open: Option<OpenFolder>,
    file: Option<(File, bool)>,
    deferred: Option<Deferred>,
    set_owner: bool,
    warned: bool,
    limit: Option<u64>,
    written: u64,
    stop: &'a Stop,
    events: &'a Events,
}

#[derive(Debug)]
struct Root {
    path: PathBuf,
    folder: Folder,
}

#[derive(Debug)]
struct OpenFolder {
    root: usize,
    path: PathBuf,
    folder: Folder,
}

/// Where an entry goes.
struct Place {
    root: usize,
    path: PathBuf,
}

impl<'a> Unpack<'a> {
    /// Unpacks to `destinations`. `Bounded::ByFreeSpace` is for archives that do not say how much they hold.
    pub(crate) fn new(
        destinations: &'a Destinations,
        work: &Path,
        bounded: Bounded,
        stop: &'a Stop,
        events: &'a Events,
    ) -> Result<Self> {
        let deferred = Deferred::new(work).io_context(cannot_note)?;
        let limit = match bounded {
            Bounded::BySeal => None,
            Bounded::ByFreeSpace => free_for(destinations),
        };
        Ok(Self {
            destinations,
            roots: Vec::new(),
            open: None,
            file: None,
            deferred: Some(deferred),
            set_owner: platform::may_change_owner(),
            warned: false,
            limit,
            written: 0,
            stop,
            events,
        })
    }

    /// What was unpacked.
    pub(crate) fn source(&self) -> RestoreSource {
        let unpacked = |path: &Path| {
            let root = self.roots.iter().find(|root| root.path == path);
            root.map(|root| root.path.clone())
        };
        let mut source = RestoreSource::new();
        source.database = unpacked(&self.destinations.database);
        source.home = self.destinations.home.as_deref().and_then(unpacked);
        let stores = self.destinations.data_stores.iter();
        source.data_stores = stores.filter_map(|store| unpacked(&store.path)).collect();
        source
    }

    /// Where `path` goes; `None` for what nobody wants.
    fn place(&mut self, path: &ArchivePath) -> Result<Option<Place>> {
        let full = path.as_path();
        let Some((root, path)) = self.destinations.route(&full) else {
            return Ok(None);
        };
        let known = self.roots.iter().position(|known| known.path == root);
        let root = match known {
            Some(root) => root,
            None => self.make_root(root)?,
        };
        Ok(Some(Place { root, path }))
    }

    fn make_root(&mut self, path: &Path) -> Result<usize> {
        let context = || format!("cannot make {}", path.display());
        if let Some(parent) = path.parent() {
            platform::create_private_directory(parent).io_context(context)?;
        }
        let folder = Folder::create(path).io_context(context)?;
        self.roots.push(Root {
            path: path.to_owned(),
            folder,
        });
        Ok(self.roots.len() - 1)
    }

    /// Opens the folder `path` below a root, unless it is the one that is open.
    fn open(&mut self, root: usize, path: &Path) -> io::Result<&Folder> {
        let is_open = self
            .open
            .as_ref()
            .is_some_and(|open| open.root == root && open.path == path);
        if !is_open {
            self.open = None;
        }
        let open = match self.open.take() {
            Some(open) => open,
            None => OpenFolder {
                root,
                path: path.to_owned(),
                folder: self.roots[root].folder.below(path)?,
            },
        };
        Ok(&self.open.insert(open).folder)
    }

    fn make(&mut self, entry: &Entry, place: &Place) -> io::Result<()> {
        let set_owner = self.set_owner;
        let Some(name) = place.path.file_name() else {
            // The root of a part, which is there already.
            return match entry.kind {
                Kind::Directory => self.defer(place, &entry.metadata),
                _ => Err(io::ErrorKind::AlreadyExists.into()),
            };
        };
        let parent = place.path.parent().unwrap_or(Path::new(""));
        match &entry.kind {
            Kind::Directory => {
                self.open(place.root, parent)?.make_folder(name)?;
                self.defer(place, &entry.metadata)
            }
            Kind::File(_) => {
                let file = self.open(place.root, parent)?.make_file(name)?;
                self.file = Some((file, false));
                Ok(())
            }
            Kind::Symlink(target) => {
                let folder = self.open(place.root, parent)?;
                folder.make_symlink(name, target, &entry.metadata, set_owner)
            }
            Kind::HardLink(target) => self.make_link(place.root, parent, name, target),
        }
    }

    fn make_link(
        &mut self,
        root: usize,
        parent: &Path,
        name: &OsStr,
        target: &ArchivePath,
    ) -> io::Result<()> {
        let target_path = target.as_path();
        let routed = self.destinations.route(&target_path);
        let target = routed
            .filter(|(target_root, _)| *target_root == self.roots[root].path)
            .map(|(_, path)| path)
            .ok_or(io::ErrorKind::InvalidInput)?;
        let target_name = target.file_name().ok_or(io::ErrorKind::InvalidInput)?;
        let target_parent = target.parent().unwrap_or(Path::new(""));
        let from = self.roots[root].folder.below(target_parent)?;
        self.open(root, parent)?.make_link(name, &from, target_name)
    }

    fn defer(&mut self, place: &Place, metadata: &Metadata) -> io::Result<()> {
        let root = u32::try_from(place.root).map_err(io::Error::other)?;
        match &mut self.deferred {
            Some(deferred) => deferred.push(root, &place.path, metadata),
            None => Ok(()),
        }
    }

    fn set_folder_metadata(&mut self) -> Result<()> {
        self.open = None;
        let Some(deferred) = self.deferred.take() else {
            return Ok(());
        };
        let mut tops = Vec::new();
        for note in deferred.backwards().io_context(cannot_note)? {
            self.stop.ensure_running()?;
            let note = note.io_context(cannot_note)?;
            // The order is that of the archive, which is any: as long as the top is closed, nobody else reaches what
            // is below it.
            if note.path().as_os_str().is_empty() {
                tops.push(note);
            } else {
                self.set_metadata_of(&note)?;
            }
        }
        tops.iter().try_for_each(|note| self.set_metadata_of(note))
    }

    fn set_metadata_of(&mut self, note: &DeferredFolder) -> Result<()> {
        let root = usize::try_from(note.root).ok();
        let Some(root) = root.and_then(|root| self.roots.get(root)) else {
            return Ok(());
        };
        let complete = root
            .folder
            .below(note.path())
            .and_then(|folder| folder.set_metadata(&note.metadata, self.set_owner))
            .io_context(|| {
                let path = root.path.join(note.path());
                format!("cannot set the permissions of {}", path.display())
            })?;
        self.warn_unless(complete);
        Ok(())
    }

    fn warn_unless(&mut self, complete: bool) {
        if !complete && !self.warned {
            self.warned = true;
            self.events.warning(
                "extended attributes or access control lists of some files could not be restored",
            );
        }
    }

    fn count(&mut self, bytes: usize) -> Result<()> {
        self.written += bytes as u64;
        match self.limit {
            Some(limit) if self.written > limit => Err(Error::new(
                ErrorKind::Space,
                format!("the archive unpacks to more than the {limit} bytes that were free"),
            )
            .with_hint("Make room where it is restored to; if there is plenty, look at what made the archive.")),
            _ => Ok(()),
        }
    }
}

impl Sink for Unpack<'_> {
    fn begin(&mut self, entry: &Entry) -> Result<(), Fault> {
        self.file = None;
        let Some(place) = self.place(&entry.path)? else {
            return Ok(());
        };
        self.make(entry, &place)
            .map_err(|error| fault(&entry.path, error))
    }

    fn data(&mut self, data: &[u8]) -> Result<(), Fault> {
        if self.file.is_none() {
            return Ok(());
        }
        self.count(data.len())?;
        if let Some((file, ends_in_hole)) = &mut self.file {
            file.write_all(data).io_context(cannot_write)?;
            *ends_in_hole = false;
        }
        Ok(())
    }

    fn hole(&mut self, length: u64) -> Result<(), Fault> {
        if let Some((file, ends_in_hole)) = &mut self.file {
            let length = i64::try_from(length).map_err(|_| too_long())?;
            file.seek(SeekFrom::Current(length))
                .io_context(cannot_write)?;
            *ends_in_hole = true;
        }
        Ok(())
    }

    fn end_file(&mut self, entry: &Entry) -> Result<(), Fault> {
        let Some((mut file, ends_in_hole)) = self.file.take() else {
            return Ok(());
        };
        let context = || format!("cannot write `{}`", entry.path);
        if ends_in_hole {
            let length = file.stream_position().io_context(context)?;
            file.set_len(length).io_context(context)?;
        }
        let complete = platform::set_file_metadata(&file, &entry.metadata, self.set_owner);
        self.warn_unless(complete.io_context(context)?);
        Ok(())
    }

    fn finish(&mut self) -> Result<(), Fault> {
        // Whoever takes over what was unpacked makes it durable, together with what it does to it.
        Ok(self.set_folder_metadata()?)
    }
}

/// What bounds what an archive may unpack to.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Bounded {
    /// Its manifest, which has been compared by then.
    BySeal,
    /// What is free where it goes.
    ByFreeSpace,
}

/// The free space of the roomiest destination; `None` where that cannot be found out.
fn free_for(destinations: &Destinations) -> Option<u64> {
    let stores = destinations.data_stores.iter().map(|store| &store.path);
    let paths = std::iter::once(&destinations.database)
        .chain(&destinations.home)
        .chain(stores);
    paths
        .filter_map(|path| path.ancestors().find(|path| path.exists()))
        .filter_map(|path| platform::free_bytes(path).ok())
        .max()
}

/// What a failure to make an entry says: some are the archive's doing.
fn fault(path: &ArchivePath, error: io::Error) -> Fault {
    use io::ErrorKind as Io;
    let problem = match error.kind() {
        Io::AlreadyExists => "it is in the archive twice",
        Io::NotFound | Io::NotADirectory => "there is no folder for it in the archive",
        Io::InvalidInput => "it is a link to something that cannot be linked to",
        // A link in place of a folder.
        _ if platform::is_link_in_the_way(&error) => "there is no folder for it in the archive",
        _ => return Fault::Error(Error::io(format!("cannot make `{path}`"), error)),
    };
    Fault::Damage(Damage::file(path.to_string(), problem))
}

fn too_long() -> Fault {
    Fault::Damage(Damage::whole("a file is longer than files can be"))
}

fn cannot_write() -> String {
    "cannot write what is in the archive".to_owned()
}

fn cannot_note() -> String {
    "cannot keep the list of folders in a temporary file".to_owned()
}
