//! Where the parts of a backup lie in an archive that the shell scripts, or what sites made of them, have packed.
//!
//! The scripts pack the content of one directory: `bitbucket-home`, `bitbucket-db` and `bitbucket-data-stores` are at
//! the top. Up to 2015 they were called `stash-home` and `stash-db`. A site that packs the directory itself has one
//! level more, and with `tar -P` all levels up to the root. A dump may be a file in place of the directory.

use diy_backup_core::{Damage, Events, Phase, Silent, staging};

use super::sink::Fault;
use super::stream::Stream;
use crate::format::{ArchivePath, Entry, Kind, Metadata, Roots, TarReader};
use crate::stop::Stop;

/// What the parts have been called, and what they are called here.
const NAMES: [(&str, &str); 5] = [
    (staging::HOME, staging::HOME),
    (staging::DATABASE, staging::DATABASE),
    (staging::DATA_STORES, staging::DATA_STORES),
    ("stash-home", staging::HOME),
    ("stash-db", staging::DATABASE),
];
/// The permission bits of the directory that is made for a dump that has none.
const DUMP_MODE: u32 = 0o700;

/// The layout of one archive.
#[derive(Debug, Default)]
pub(crate) struct Layout {
    /// The directory that holds the parts.
    top: ArchivePath,
    /// What holds the home directory and the dump, once there was something in it.
    seen: Vec<(&'static str, Vec<u8>)>,
    has_part: bool,
}

/// What an entry is in a backup.
#[derive(Debug)]
pub(crate) enum Placed {
    /// Nothing.
    Outside,
    /// This one.
    Entry(Entry),
    /// A file that stands in place of a directory, and that directory.
    InDirectory(Entry, Entry),
}

/// What was seen of where the parts could be: the directories that are the least deep.
#[derive(Debug, Default)]
struct Tops {
    depth: usize,
    paths: Vec<ArchivePath>,
}

impl Layout {
    /// Finds out where the parts lie in the archive at `path`. Reads on until one of them is at the top, which is all
    /// of it only for archives that are not as the scripts make them.
    ///
    /// # Errors
    /// [`Fault::Damage`] when they could be in more than one place.
    pub(crate) fn find(path: &std::path::Path, stop: &Stop) -> Result<Self, Fault> {
        let events = Events::new(std::sync::Arc::new(Silent));
        let stream = Stream::open(path, events.meter(Phase::Check))?;
        let mut reader = TarReader::new(stream, Roots::AsTheFirst);
        let mut tops = Tops::default();
        loop {
            stop.ensure_running()?;
            let entry = match reader.next().map_err(Fault::from) {
                Ok(Some(entry)) => entry,
                // Whoever reads it for its content says what is wrong with it.
                Ok(None) | Err(Fault::Damage(_)) => break,
                Err(error) => return Err(error),
            };
            if tops.note(&entry.path) {
                return Ok(Self::default());
            }
        }
        let mut paths = tops.paths.into_iter();
        let top = paths.next().unwrap_or_default();
        match paths.next() {
            None => Ok(Self {
                top,
                ..Self::default()
            }),
            Some(other) => Err(Fault::Damage(Damage::whole(format!(
                "it holds more than one backup, in `{top}` and in `{other}`; unpack it, keep the right one and pack that again"
            )))),
        }
    }

    /// Gives `entry` the place that it has in a backup of ours.
    ///
    /// # Errors
    /// [`Fault::Damage`] when there are two of a part.
    pub(crate) fn place(&mut self, mut entry: Entry) -> Result<Placed, Fault> {
        let Some(path) = entry.path.below(&self.top) else {
            return Ok(Placed::Outside);
        };
        entry.path = path;
        if let Kind::HardLink(target) = &entry.kind {
            let target = target.below(&self.top).map(|target| renamed(&target));
            // What leads out of the backup is refused like every link that leads out of its part.
            entry.kind = Kind::HardLink(target.unwrap_or_default());
        }
        let first = entry.path.names().next().unwrap_or_default().to_vec();
        let is_alone = entry.path.names().nth(1).is_none();
        let is_file = is_alone && matches!(entry.kind, Kind::File(_));
        let part = match part_called(&first) {
            Some(part) => part,
            None if is_file && is_dump(&first) => staging::DATABASE,
            None => return Ok(Placed::Entry(entry)),
        };
        self.has_part = true;
        if !is_alone || is_file {
            self.see(part, &first)?;
        }
        if is_file && part == staging::DATABASE {
            let directory = Entry {
                path: ArchivePath::of_names([part.as_bytes()].into_iter()),
                kind: Kind::Directory,
                metadata: Metadata {
                    mode: DUMP_MODE,
                    ..entry.metadata.clone()
                },
            };
            entry.path = ArchivePath::of_names([part.as_bytes(), &first].into_iter());
            return Ok(Placed::InDirectory(directory, entry));
        }
        entry.path = renamed(&entry.path);
        Ok(Placed::Entry(entry))
    }

    /// Whether anything of a backup was there.
    pub(crate) fn has_part(&self) -> bool {
        self.has_part
    }

    fn see(&mut self, part: &'static str, name: &[u8]) -> Result<(), Fault> {
        let seen = self.seen.iter().find(|(seen, _)| *seen == part);
        match seen {
            Some((_, other)) if other != name => {
                let (one, other) = (other.escape_ascii(), name.escape_ascii());
                Err(Fault::Damage(Damage::whole(format!(
                    "it holds both `{one}` and `{other}`, of which a backup has one; unpack it, keep the right one and pack it again"
                ))))
            }
            Some(_) => Ok(()),
            None => {
                self.seen.push((part, name.to_vec()));
                Ok(())
            }
        }
    }
}

impl Tops {
    /// Notes which directory would hold the parts by `path`. Returns `true` when that is the archive itself.
    fn note(&mut self, path: &ArchivePath) -> bool {
        let Some(depth) = path.names().position(|name| part_called(name).is_some()) else {
            return false;
        };
        if self.paths.is_empty() || depth < self.depth {
            self.depth = depth;
            self.paths.clear();
        }
        if depth == self.depth && self.paths.len() < 2 {
            let top = ArchivePath::of_names(path.names().take(depth));
            if !self.paths.contains(&top) {
                self.paths.push(top);
            }
        }
        depth == 0
    }
}

fn part_called(name: &[u8]) -> Option<&'static str> {
    let known = NAMES.iter().find(|(known, _)| known.as_bytes() == name);
    known.map(|(_, part)| *part)
}

/// Whether a file of this name is the dump: `bitbucket-db.sql` and the like.
fn is_dump(name: &[u8]) -> bool {
    let end = name.iter().position(|&byte| byte == b'.');
    end.is_some_and(|end| part_called(&name[..end]) == Some(staging::DATABASE))
}

fn renamed(path: &ArchivePath) -> ArchivePath {
    match path.names().next().and_then(part_called) {
        Some(part) => {
            ArchivePath::of_names([part.as_bytes()].into_iter().chain(path.names().skip(1)))
        }
        None => path.clone(),
    }
}
