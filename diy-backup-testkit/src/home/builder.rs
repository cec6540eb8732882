//! Choosing the size of a home, and making it.

use std::hash::{DefaultHasher, Hash, Hasher};
use std::os::unix::ffi::OsStrExt;
use std::path::{Path, PathBuf};

use fastrand::Rng;
use filetime::FileTime;

use super::{DATABASE_EXCLUSIONS, EXCLUSIONS, awkward, git, layout};
use crate::command;
use crate::error::{IoContext, Result};
use crate::tree::Exclusions;

/// What names and modes a home has.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[non_exhaustive]
pub enum Names {
    /// Everything that real homes were seen to have.
    Awkward,
    /// Only letters and digits, no links.
    Plain,
}

/// The size of a home.
#[derive(Debug, Clone)]
pub struct HomeBuilder {
    path: PathBuf,
    seed: u64,
    repositories: u32,
    real_repositories: u32,
    files: usize,
    data_stores: Vec<PathBuf>,
    names: Names,
}

impl HomeBuilder {
    /// A home at a path, which is created. Small unless told otherwise: 10 repositories and 500 files.
    pub fn new(path: impl Into<PathBuf>) -> Self {
        Self {
            path: path.into(),
            seed: 1,
            repositories: 10,
            real_repositories: 3,
            files: 500,
            data_stores: Vec::new(),
            names: Names::Awkward,
        }
    }

    /// From what all contents, names and times follow; 1 unless set.
    #[must_use]
    pub fn seed(mut self, seed: u64) -> Self {
        self.seed = seed;
        self
    }

    /// How many repositories there are, the real ones included; those of data stores come on top.
    #[must_use]
    pub fn repositories(mut self, number: u32) -> Self {
        self.repositories = number;
        self
    }

    /// How many of them are made by git, where git is installed; 3 unless set.
    #[must_use]
    pub fn real_repositories(mut self, number: u32) -> Self {
        self.real_repositories = number;
        self
    }

    /// How many loose objects the other repositories have in all. 200,000 take some ten seconds.
    #[must_use]
    pub fn files(mut self, number: usize) -> Self {
        self.files = number;
        self
    }

    /// One more data store, with three repositories.
    #[must_use]
    pub fn data_store(mut self, path: impl Into<PathBuf>) -> Self {
        self.data_stores.push(path.into());
        self
    }

    /// What names and modes there are; awkward ones unless set.
    #[must_use]
    pub fn names(mut self, names: Names) -> Self {
        self.names = names;
        self
    }

    /// Makes the home.
    ///
    /// # Errors
    /// [`ErrorKind::Io`](crate::ErrorKind::Io) when it cannot be written,
    /// [`ErrorKind::Command`](crate::ErrorKind::Command) when git fails.
    pub fn build(self) -> Result<GeneratedHome> {
        let mut rng = Rng::with_seed(self.seed);
        layout::create(&self.path)?;
        if self.names == Names::Awkward {
            awkward::create(&self.path)?;
        }
        let git = command::find_in_path("git");
        let real = git
            .as_ref()
            .map_or(0, |_| self.real_repositories.min(self.repositories));
        let synthetic = self.repositories - real;
        let folder = self.path.join("shared/data/repositories");
        let mut home = GeneratedHome {
            path: self.path.clone(),
            repositories: Vec::new(),
            real_repositories: Vec::new(),
            data_stores: self.data_stores.clone(),
        };
        for number in 1..=self.repositories {
            let path = folder.join(number.to_string());
            match &git {
                Some(git) if number <= real => {
                    git::create_real(git, &path, number)?;
                    home.real_repositories.push(path.clone());
                }
                _ => {
                    let objects = share(self.files, synthetic, number - real - 1);
                    git::create_synthetic(&path, number, objects, &mut rng)?;
                }
            }
            home.repositories.push(path);
        }
        let mut number = self.repositories;
        for store in &self.data_stores {
            for (first, second) in [("0a", "1f"), ("0a", "ff"), ("c3", "00")] {
                number += 1;
                let folder = store.join("repositories").join(first).join(second);
                git::create_synthetic(&folder.join(number.to_string()), number, 5, &mut rng)?;
            }
        }
        for root in std::iter::once(&self.path).chain(&self.data_stores) {
            set_times(root, root, self.seed)?;
        }
        Ok(home)
    }
}

/// The share of one among several, such that the shares add up to the whole.
fn share(whole: usize, among: u32, index: u32) -> usize {
    let (among, index) = (among as usize, index as usize);
    whole / among + usize::from(index < whole % among)
}

/// Gives every entry a time that follows from its name: between 1998 and 2017, with nanoseconds.
fn set_times(root: &Path, path: &Path, seed: u64) -> Result<()> {
    let metadata = path.symlink_metadata().doing("look at", path)?;
    if metadata.is_dir() {
        for entry in std::fs::read_dir(path).doing("list", path)? {
            set_times(root, &entry.doing("list", path)?.path(), seed)?;
        }
    }
    let mut hasher = DefaultHasher::new();
    let relative = path.strip_prefix(root).unwrap_or(path);
    (seed, relative.as_os_str().as_bytes()).hash(&mut hasher);
    let hash = hasher.finish();
    let seconds = 900_000_000 + i64::try_from(hash % 600_000_000).unwrap_or(0);
    let nanoseconds = u32::try_from((hash >> 32) % 1_000_000_000).unwrap_or(0);
    let time = FileTime::from_unix_time(seconds, nanoseconds);
    filetime::set_symlink_file_times(path, time, time).doing("set the time of", path)
}

/// A home that was made.
#[derive(Debug, Clone)]
#[non_exhaustive]
pub struct GeneratedHome {
    /// Where it is.
    pub path: PathBuf,
    /// Every repository below `shared/data/repositories`.
    pub repositories: Vec<PathBuf>,
    /// Those that were made by git and pass `git fsck`; none where git is not installed.
    pub real_repositories: Vec<PathBuf>,
    /// The data stores.
    pub data_stores: Vec<PathBuf>,
}

impl GeneratedHome {
    /// What a backup of this home leaves out when the database is an external one.
    pub fn exclusions(&self) -> Exclusions {
        Exclusions::new(&[EXCLUSIONS, DATABASE_EXCLUSIONS].concat())
    }
}
