//! Comparing a folder with its copy: attributes of everything, and content where attributes say too little.

use std::collections::{HashMap, HashSet};
use std::ffi::{OsStr, OsString};
use std::fmt;
use std::fs::{File, Metadata};
use std::io::Read;
use std::path::{Path, PathBuf};
use std::sync::Mutex;
use std::time::SystemTime;

use diy_backup_core::{Error, Result};

use crate::census::{Census, Count};
use crate::folder::Folder;
use crate::links::FileId;
use crate::platform::{self, Facts};
use crate::scan::Above;
use crate::sync::lock;
use crate::walk::{Entry, Stop, Walk, asked_again, is_gone, names_in};

const CHUNK_BYTES: usize = 256 << 10;

/// Compares one folder with its copy.
#[derive(Debug)]
pub(crate) struct Comparison<'a> {
    pub(crate) folder: &'a Folder,
    /// Content that has changed since is compared byte by byte.
    pub(crate) doubtful_since: SystemTime,
    pub(crate) unseen: Unseen,
    pub(crate) stop: &'a Stop,
}

/// What is done about access lists and extended attributes, which are not compared, where they may have changed.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Unseen {
    /// They are taken for the same.
    Trusted,
    /// The path of what has changed since is told with [`Aspect::Unseen`].
    ToldSince(SystemTime),
}

/// In what respect a copy is not what its original was.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Aspect {
    Missing,
    Extra,
    Kind,
    Size,
    Modified,
    Mode,
    Owner,
    Target,
    Links,
    Content,
    Unseen,
}

impl fmt::Display for Aspect {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Missing => "missing",
            Self::Extra => "not in the original",
            Self::Kind => "another type",
            Self::Size => "another size",
            Self::Modified => "another modification time",
            Self::Mode => "other permissions",
            Self::Owner => "another owner",
            Self::Target => "another target",
            Self::Links => "other hard links",
            Self::Content => "other content",
            Self::Unseen => "perhaps other attributes",
        })
    }
}

/// What the entries of a folder inherit from it.
#[derive(Debug)]
struct Inherited {
    above: Above,
    /// Their names, if it is a folder in the copy as well, and no link to another one.
    names: Option<HashSet<OsString>>,
}

/// What is learnt on the way.
struct Seen<'a> {
    /// Of the copy.
    count: Count,
    pairs: Mutex<Pairs>,
    differs: &'a (dyn Fn(&Path, Aspect) + Sync),
}

/// Which copy belongs to which original, for files with several names.
#[derive(Debug, Default)]
struct Pairs {
    copies: HashMap<FileId, FileId>,
    originals: HashMap<FileId, FileId>,
}

impl Comparison<'_> {
    /// Looks at both sides, and tells `differs` each path where they are not the same. Returns what the copy holds.
    ///
    /// # Errors
    /// When something cannot be looked at.
    pub(crate) fn run(&self, differs: impl Fn(&Path, Aspect) + Sync) -> Result<Census> {
        let seen = Seen {
            count: Count::default(),
            pairs: Mutex::default(),
            differs: &differs,
        };
        let source = &self.folder.source;
        let root = source
            .symlink_metadata()
            .map_err(|error| cannot_read(source, error))?;
        let copy = self.folder.copy.symlink_metadata().ok();
        let top = Path::new("");
        let inherited = Inherited::by_entries_of(copy.as_ref(), Above::Settled);
        seen.tell(top, self.compare(top, &root, copy, Above::Settled, &seen)?);
        let originals = Walk {
            root: source,
            exclusions: &self.folder.exclusions,
            stop: self.stop,
        };
        originals.run_and_leave(
            inherited,
            |entry, folder| self.look_at(entry, folder, &seen).map(Some),
            |path, folder| {
                let names = folder.names.as_ref();
                names.map_or(Ok(()), |names| self.look_for_more(path, names, &seen))
            },
        )?;
        Ok(seen.count.into_census())
    }

    fn look_at(
        &self,
        entry: &Entry<'_>,
        folder: &mut Inherited,
        seen: &Seen<'_>,
    ) -> Result<Inherited> {
        let (path, original) = (entry.relative, entry.metadata);
        seen.count.note_name(path, original);
        let mut copy = None;
        if let Some(names) = &mut folder.names {
            names.extend(path.file_name().map(OsStr::to_owned));
            copy = self.folder.copy.join(path).symlink_metadata().ok();
        }
        if let Some(copy) = &copy {
            seen.count.add(copy);
            if copy.is_dir() && !original.is_dir() {
                self.look_for_more(path, &HashSet::new(), seen)?;
            }
        }
        let above = Above::of(&Facts::of(original), self.moved_since(), folder.above);
        let inherited = Inherited::by_entries_of(copy.as_ref(), above);
        let aspect = self.compare(path, original, copy, folder.above, seen)?;
        seen.tell(path, aspect);
        Ok(inherited)
    }

    /// Since when a folder may have been moved that the copy does not know of. Moving sets its change time at once.
    fn moved_since(&self) -> SystemTime {
        match self.unseen {
            Unseen::Trusted => self.doubtful_since,
            Unseen::ToldSince(since) => since,
        }
    }

    /// In what respect `copy` is not what the copy of the entry at `path` must be.
    fn compare(
        &self,
        path: &Path,
        original: &Metadata,
        copy: Option<Metadata>,
        above: Above,
        seen: &Seen<'_>,
    ) -> Result<Option<Aspect>> {
        let (kind, facts) = (original.file_type(), Facts::of(original));
        let belongs = kind.is_dir() || kind.is_file() || kind.is_symlink();
        if !belongs {
            return Ok(None);
        }
        let Some(copy) = copy else {
            return Ok(Some(Aspect::Missing));
        };
        let copy_facts = Facts::of(&copy);
        if copy.file_type() != kind {
            return Ok(Some(Aspect::Kind));
        }
        if kind.is_file() && copy.len() != original.len() {
            return Ok(Some(Aspect::Size));
        }
        if !is_same_time(facts.modified, copy_facts.modified) {
            return Ok(Some(Aspect::Modified));
        }
        // Only root can keep owners, and the bits that go with them.
        let compared_bits = if platform::is_administrator() {
            if platform::owner_of(original) != platform::owner_of(&copy) {
                return Ok(Some(Aspect::Owner));
            }
            0o7777
        } else {
            0o777
        };
        if !kind.is_symlink() && (facts.mode ^ copy_facts.mode) & compared_bits != 0 {
            return Ok(Some(Aspect::Mode));
        }
        let is_doubtful = above == Above::Moved || facts.latest_change() >= self.doubtful_since;
        let (original_path, copy_path) = (
            || self.folder.source.join(path),
            || self.folder.copy.join(path),
        );
        if kind.is_symlink() {
            let targets = (original_path().read_link(), copy_path().read_link());
            if !matches!(targets, (Ok(one), Ok(other)) if one == other) {
                return Ok(Some(Aspect::Target));
            }
        }
        if kind.is_file() {
            if !lock(&seen.pairs).fit(&facts, &copy_facts) {
                return Ok(Some(Aspect::Links));
            }
            if is_doubtful && !has_same_content(&original_path(), &copy_path(), self.stop)? {
                return Ok(Some(Aspect::Content));
            }
        }
        let is_told = match self.unseen {
            Unseen::Trusted => false,
            Unseen::ToldSince(since) => above == Above::Moved || facts.latest_change() >= since,
        };
        Ok(is_told.then_some(Aspect::Unseen))
    }

    /// Looks for what the copy of a folder holds besides these names.
    fn look_for_more(
        &self,
        folder: &Path,
        names: &HashSet<OsString>,
        seen: &Seen<'_>,
    ) -> Result<()> {
        names_in(&self.folder.copy.join(folder))?
            .iter()
            .filter(|name| !names.contains(*name))
            .try_for_each(|name| self.look_at_extra(folder.join(name), seen))
    }

    /// Counts a copy that was not there in the original, and everything below it. It may be there by now.
    fn look_at_extra(&self, top: PathBuf, seen: &Seen<'_>) -> Result<()> {
        let mut waiting = vec![top];
        while let Some(path) = waiting.pop() {
            self.stop.ensure_going_on()?;
            let copy_path = self.folder.copy.join(&path);
            let Ok(copy) = copy_path.symlink_metadata() else {
                continue;
            };
            seen.count.add(&copy);
            if copy.is_dir() {
                let names = names_in(&copy_path)?.into_iter();
                waiting.extend(names.map(|name| path.join(name)));
            }
            let is_left_out = self.folder.exclusions.cover_within(&path, copy.is_dir());
            let original = self.folder.source.join(&path);
            let is_extra = is_left_out || original.symlink_metadata().is_err();
            seen.tell(&path, is_extra.then_some(Aspect::Extra));
        }
        Ok(())
    }
}

impl Inherited {
    /// For the entries of what `copy` is the copy of, if it has one.
    fn by_entries_of(copy: Option<&Metadata>, above: Above) -> Self {
        let names = copy.is_some_and(Metadata::is_dir).then(HashSet::new);
        Self { above, names }
    }
}

impl Seen<'_> {
    fn tell(&self, path: &Path, aspect: Option<Aspect>) {
        if let Some(aspect) = aspect {
            (self.differs)(path, aspect);
        }
    }
}

impl Pairs {
    /// Whether the names of a file are the names of one copy, and of no other's.
    fn fit(&mut self, original: &Facts, copy: &Facts) -> bool {
        if original.links == 1 {
            return copy.links == 1;
        }
        *self.copies.entry(original.id).or_insert(copy.id) == copy.id
            && *self.originals.entry(copy.id).or_insert(original.id) == original.id
    }
}

/// Returns `true` if both files are there and hold the same bytes.
///
/// # Errors
/// When one cannot be read, or the run ends.
pub(crate) fn has_same_content(original: &Path, copy: &Path, stop: &Stop) -> Result<bool> {
    let open = |path: &Path| match asked_again(|| File::open(path)) {
        Ok(file) => Ok(Some(file)),
        Err(error) if is_gone(&error) => Ok(None),
        Err(error) => Err(cannot_read(path, error)),
    };
    let (Some(mut one), Some(mut other)) = (open(original)?, open(copy)?) else {
        return Ok(false);
    };
    let (mut ours, mut theirs) = (vec![0; CHUNK_BYTES], vec![0; CHUNK_BYTES]);
    loop {
        stop.ensure_going_on()?;
        let length =
            read_full(&mut one, &mut ours).map_err(|error| cannot_read(original, error))?;
        let other_length =
            read_full(&mut other, &mut theirs).map_err(|error| cannot_read(copy, error))?;
        if ours[..length] != theirs[..other_length] {
            return Ok(false);
        }
        if length == 0 {
            return Ok(true);
        }
    }
}

/// A file system that keeps whole seconds cuts the rest off.
fn is_same_time(original: (i64, i64), copy: (i64, i64)) -> bool {
    original == copy || (copy.1 == 0 && original.0 == copy.0)
}

fn cannot_read(path: &Path, error: std::io::Error) -> Error {
    Error::io(format!("cannot read {}", path.display()), error)
}

/// Reads until the buffer is full or the file ends.
fn read_full(file: &mut File, buffer: &mut [u8]) -> std::io::Result<usize> {
    let mut filled = 0;
    while filled < buffer.len() {
        match file.read(&mut buffer[filled..]) {
            Ok(0) => break,
            Ok(length) => filled += length,
            Err(error) if error.kind() == std::io::ErrorKind::Interrupted => {}
            Err(error) => return Err(error),
        }
    }
    Ok(filled)
}

#[cfg(all(test, unix))]
mod tests {
    use std::collections::BTreeMap;
    use std::fs;
    use std::os::unix::fs::symlink;

    use diy_backup_core::Control;

    use super::*;

    #[test]
    fn what_is_too_much_is_told_and_counted_and_links_are_not_followed() {
        let root = tempfile::tempdir().unwrap();
        let mut folder = crate::folder::home_in(root.path());
        folder.exclusions.leave_out(Path::new("out"));
        let (source, copy) = (folder.source.clone(), folder.copy.clone());
        fs::create_dir_all(root.path().join("elsewhere/deep")).unwrap();
        for path in ["linked/deep", "same/deep", "out"] {
            fs::create_dir_all(source.join(path)).unwrap();
        }
        for path in ["same/deep", "same/extra/deep", "file", "out"] {
            fs::create_dir_all(copy.join(path)).unwrap();
        }
        symlink("../elsewhere", copy.join("linked")).unwrap();
        for path in [source.join("file"), copy.join("file/below")] {
            fs::write(path, "x").unwrap();
        }
        for path in ["", "same", "same/deep"] {
            crate::platform::set_modified(&source.join(path), (1, 0)).unwrap();
            crate::platform::set_modified(&copy.join(path), (1, 0)).unwrap();
        }
        let comparison = Comparison {
            folder: &folder,
            doubtful_since: SystemTime::now(),
            unseen: Unseen::Trusted,
            stop: &Stop::new(&Control::new()),
        };
        let told = Mutex::new(BTreeMap::new());
        let compared = comparison
            .run(|path, aspect| {
                assert_eq!(lock(&told).insert(path.to_owned(), aspect), None);
            })
            .unwrap();
        let expected = [
            ("file", Aspect::Kind),
            ("file/below", Aspect::Extra),
            ("linked", Aspect::Kind),
            ("linked/deep", Aspect::Missing),
            ("out", Aspect::Extra),
            ("same/extra", Aspect::Extra),
            ("same/extra/deep", Aspect::Extra),
        ];
        let expected = expected.map(|(path, aspect)| (PathBuf::from(path), aspect));
        assert_eq!(lock(&told).clone(), BTreeMap::from(expected));
        assert_eq!(compared.entries, 8);
    }
}
