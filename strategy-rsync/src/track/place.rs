//! Where in the watched folders something has happened.

use std::collections::HashMap;
use std::fs::{File, Metadata};
use std::io;
use std::os::fd::{AsFd, AsRawFd, OwnedFd};
use std::os::unix::ffi::OsStrExt;
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};
use std::thread::sleep;
use std::time::{Duration, Instant};

use super::sys::{self, Handle};
use super::{Lost, Unavailable};
use crate::exclude::Exclusions;
use crate::folder::Folder;
use crate::links::FileId;
use crate::walk::READ_EVERYTHING;

/// What a fix says at its end.
pub(super) const WITHOUT: &str =
    "write `track-changes = \"auto\"` in the section [home]: the capture then looks at every file.";

/// Folders whose place is remembered. Beyond, all are forgotten and looked up anew.
const MOST_REMEMBERED: usize = 200_000;

/// How often a folder is looked up that moves at the very moment.
const LOOKUPS: u32 = 5;

/// How long it may take until a file that is being made is there. Its folder may have to wait for a sync of the file system.
const LONGEST_MAKING: Duration = Duration::from_secs(2);

/// How long to wait before looking again whether a file is there.
const MAKING_PAUSE: Duration = Duration::from_micros(200);

/// What the kernel writes behind the path of a folder that is open and no longer there.
const DELETED: &[u8] = b" (deleted)";

/// One folder that is watched.
#[derive(Debug)]
pub(super) struct Watched {
    pub(super) source: PathBuf,
    exclusions: Exclusions,
    id: (u64, u64),
}

/// Where a folder lies, seen from the watched ones.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Place {
    /// In the watched folder of that number, at this path.
    Inside(usize, PathBuf),
    /// In a watched folder, and left out of the copies.
    LeftOut,
    /// Above a watched folder, here.
    Above(PathBuf),
    /// Somewhere else.
    Outside,
    /// Nowhere any more.
    Gone,
    /// The kernel remembers no name of this file, which is there.
    Unnamed(FileId),
}

/// Looks up the places of folders by their handles, and remembers them.
#[derive(Debug)]
pub(super) struct Places {
    watched: Vec<Watched>,
    /// For each file system.
    remembered: Vec<HashMap<Box<Handle>, Place>>,
}

impl Watched {
    pub(super) fn new(folder: &Folder) -> Result<Self, Unavailable> {
        let metadata = folder.source.symlink_metadata().map_err(|error| {
            Unavailable::new(
                format!("{} cannot be looked at: {error}", folder.source.display()),
                READ_EVERYTHING,
            )
        })?;
        Ok(Self {
            source: folder.source.clone(),
            exclusions: folder.exclusions.clone(),
            id: id(&metadata),
        })
    }

    /// Whether `relative` or anything above it is left out.
    pub(super) fn leaves_out(&self, relative: &Path, is_folder: bool) -> bool {
        self.exclusions.cover_within(relative, is_folder)
    }
}

impl Places {
    pub(super) fn new(watched: Vec<Watched>, file_systems: usize) -> Self {
        Self {
            watched,
            remembered: (0..file_systems).map(|_| HashMap::new()).collect(),
        }
    }

    pub(super) fn watched(&self) -> &[Watched] {
        &self.watched
    }

    /// Forgets every place: some folder has moved.
    pub(super) fn forget(&mut self) {
        self.remembered.iter_mut().for_each(HashMap::clear);
    }

    /// Fails when a watched folder is not the one any more that it was.
    pub(super) fn ensure_same_folders(&self) -> Result<(), Lost> {
        for watched in &self.watched {
            let now = watched.source.symlink_metadata().map(|now| id(&now));
            if !now.is_ok_and(|now| now == watched.id) {
                let source = watched.source.display();
                return Err(Lost::because(format!("{source} is another folder now")));
            }
        }
        Ok(())
    }

    /// Where the folder lies that `handle` names on the file system of that number, which `mount` is on.
    ///
    /// # Errors
    /// When the kernel does not tell, or what it tells does not fit together.
    pub(super) fn find(
        &mut self,
        file_system: usize,
        mount: &File,
        handle: &Handle,
    ) -> Result<Place, Lost> {
        let remembered = &mut self.remembered[file_system];
        if let Some(place) = remembered.get(handle) {
            return Ok(place.clone());
        }
        let (place, _) = look_up(&self.watched, mount, handle, Sort::Folder)?;
        if place != Place::Gone {
            if remembered.len() >= MOST_REMEMBERED {
                remembered.clear();
            }
            remembered.insert(handle.into(), place.clone());
        }
        Ok(place)
    }
}

/// Where the file lies that `handle` names, by one of its names, and which file it is, if it has several.
///
/// # Errors
/// When the kernel does not tell.
pub(super) fn find_file(
    watched: &[Watched],
    mount: &File,
    handle: &Handle,
) -> Result<(Place, Option<FileId>), Lost> {
    look_up(watched, mount, handle, Sort::File)
}

/// What a handle names.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Sort {
    Folder,
    File,
}

fn look_up(
    watched: &[Watched],
    mount: &File,
    handle: &Handle,
    sort: Sort,
) -> Result<(Place, Option<FileId>), Lost> {
    let unknown = |error: io::Error| Lost::because(format!("a file cannot be looked up: {error}"));
    for _ in 0..LOOKUPS {
        let Some(opened) = open(mount, handle).map_err(unknown)? else {
            return Ok((Place::Gone, None));
        };
        let path = path_of(&opened).map_err(unknown)?;
        let place = place_of(watched, &path, sort);
        // Every folder has a path; the kernel may not remember a name of a file.
        if place == Place::Outside && sort == Sort::Folder {
            return Ok((place, None));
        }
        let opened = File::from(opened).metadata().map_err(unknown)?;
        if sort == Sort::File && opened.nlink() == 0 {
            return Ok((Place::Gone, None));
        }
        let file = id(&opened);
        let is_linked = sort == Sort::File && opened.nlink() > 1;
        // The path is right if it leads to the file. It may have moved since, or have been deleted while it is open.
        match path.symlink_metadata() {
            // Others of its names may be here, and the kernel need not tell one of those.
            Ok(found) if id(&found) == file && is_linked => {
                let is_inside = matches!(place, Place::Inside(..));
                let place = if is_inside {
                    place
                } else {
                    Place::Unnamed(file)
                };
                return Ok((place, Some(file)));
            }
            Ok(found) if id(&found) == file => return Ok((place, None)),
            _ if sort == Sort::File => return Ok((Place::Unnamed(file), None)),
            _ if path.as_os_str().as_bytes().ends_with(DELETED) => {
                return Ok((Place::Gone, None));
            }
            _ => {}
        }
    }
    Err(Lost::because(
        "something is not where the kernel says that it is",
    ))
}

/// Opens what `handle` names, if that is still there.
fn open(mount: &File, handle: &Handle) -> io::Result<Option<OwnedFd>> {
    let start = Instant::now();
    loop {
        match sys::open_by_handle(mount.as_fd(), handle) {
            Ok(opened) => return Ok(Some(opened)),
            Err(error) if error.raw_os_error() == Some(libc::ESTALE) => return Ok(None),
            // The file is gone, and another is just being made that gets its number: ext4 says this until it is made.
            Err(error)
                if error.raw_os_error() == Some(libc::ENOMEM)
                    && start.elapsed() < LONGEST_MAKING =>
            {
                sleep(MAKING_PAUSE);
            }
            Err(error) => return Err(error),
        }
    }
}

fn path_of(opened: &OwnedFd) -> io::Result<PathBuf> {
    std::fs::read_link(format!("/proc/self/fd/{}", opened.as_raw_fd()))
}

fn place_of(watched: &[Watched], path: &Path, sort: Sort) -> Place {
    for (number, folder) in watched.iter().enumerate() {
        if let Ok(relative) = path.strip_prefix(&folder.source) {
            return if folder.leaves_out(relative, sort == Sort::Folder) {
                Place::LeftOut
            } else {
                Place::Inside(number, relative.to_owned())
            };
        }
        if folder.source.starts_with(path) {
            return Place::Above(path.to_owned());
        }
    }
    Place::Outside
}

fn id(metadata: &Metadata) -> FileId {
    (metadata.dev(), metadata.ino())
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::collections::VecDeque;

    /// `home` in `root`, without what is in `home/a/out`.
    fn watched(root: &Path) -> [Watched; 1] {
        let mut folder = Folder {
            role: crate::folder::Role::Home,
            layout: crate::layout::Layout::Whole,
            source: root.join("home"),
            copy: PathBuf::new(),
            exclusions: Exclusions::default(),
        };
        folder.exclusions.leave_out(Path::new("a/out"));
        std::fs::create_dir(&folder.source).unwrap();
        [Watched::new(&folder).unwrap()]
    }

    /// ext4 gives the number of a folder that is gone to the next one, and says odd things of it while that is made.
    #[test]
    fn a_folder_whose_number_another_is_getting_is_gone() {
        const ROUNDS: usize = 1000;
        const FOLDERS: usize = 20;
        let root = tempfile::tempdir().unwrap();
        let watched = watched(&root.path().canonicalize().unwrap());
        let home = &watched[0].source;
        let mount = File::open(home).unwrap();
        if let Err(error) = sys::probe_handles(&mount) {
            diy_backup_testkit::report_skipped(&format!("handles cannot be opened: {error}"));
            return;
        }
        let names = || (0..FOLDERS).map(|name| home.join(name.to_string()));
        let mut handles: VecDeque<Box<Handle>> = VecDeque::new();
        std::thread::scope(|scope| {
            let maker = scope.spawn(|| {
                for _ in 0..ROUNDS {
                    names().for_each(|folder| std::fs::create_dir(folder).unwrap());
                    names().for_each(|folder| std::fs::remove_dir(folder).unwrap());
                }
            });
            while !maker.is_finished() {
                let made = names().filter_map(|folder| File::open(folder).ok());
                handles.extend(made.map(|folder| sys::handle_of(folder.as_fd()).unwrap()));
                handles.drain(..handles.len().saturating_sub(10 * FOLDERS));
                for handle in &handles {
                    look_up(&watched, &mount, handle, Sort::Folder).unwrap();
                }
            }
            maker.join().unwrap();
        });
        for handle in &handles {
            let (place, _) = look_up(&watched, &mount, handle, Sort::Folder).unwrap();
            assert_eq!(place, Place::Gone);
        }
        assert!(!handles.is_empty(), "no folder was seen");
    }

    #[test]
    fn a_place_is_inside_above_or_elsewhere() {
        let root = tempfile::tempdir().unwrap();
        let watched = watched(root.path());
        let place = |path: &str| place_of(&watched, &root.path().join(path), Sort::Folder);
        assert_eq!(place("home"), Place::Inside(0, PathBuf::new()));
        assert_eq!(place("home/a/b"), Place::Inside(0, "a/b".into()));
        assert_eq!(place("home/a/out"), Place::LeftOut);
        assert_eq!(place("home/a/out/b/c"), Place::LeftOut);
        assert_eq!(place("homely"), Place::Outside);
        assert_eq!(place(""), Place::Above(root.path().join("")));
    }
}
