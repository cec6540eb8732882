//! The staging folder: where the copy of an instance grows, with the names that the shell scripts use too.

pub(crate) mod claim;

use std::io;
use std::path::{Path, PathBuf};

use crate::error::{Result, ResultExt};
use crate::manifest::Manifest;
use crate::platform;
use crate::trust::Directory;

/// The folder of the database dump.
pub const DATABASE: &str = "bitbucket-db";
/// The folder of the home directory.
pub const HOME: &str = "bitbucket-home";
/// The folder of the data stores; each is a folder in it, named by its number from 0.
pub const DATA_STORES: &str = "bitbucket-data-stores";
/// The manifest: there as long as the folder holds one whole backup, and no longer.
pub const MANIFEST: &str = "manifest.json";

/// The staging folder of an instance.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Staging {
    root: PathBuf,
}

impl Staging {
    /// The staging folder at `root`.
    pub fn new(root: impl Into<PathBuf>) -> Self {
        Self { root: root.into() }
    }

    /// The folder itself.
    pub fn root(&self) -> &Path {
        &self.root
    }

    /// Where the database dump goes.
    pub fn database(&self) -> PathBuf {
        self.root.join(DATABASE)
    }

    /// Where the home directory goes.
    pub fn home(&self) -> PathBuf {
        self.root.join(HOME)
    }

    /// Where all data stores go.
    pub fn data_stores(&self) -> PathBuf {
        self.root.join(DATA_STORES)
    }

    /// Where the data store with this number goes.
    pub fn data_store(&self, number: usize) -> PathBuf {
        self.data_stores().join(number.to_string())
    }

    /// Where the manifest of a whole backup stands.
    pub fn manifest_path(&self) -> PathBuf {
        self.root.join(MANIFEST)
    }

    /// Makes the directory if it is not there, and sees that it is ours alone.
    pub(crate) fn make(&self) -> Result<()> {
        let shown = || format!("cannot make the staging directory {}", self.root.display());
        Directory::Staging.ensure_trusted(&self.root)?;
        platform::create_private_directory(&self.root).io_context(shown)?;
        Directory::Staging.ensure_trusted(&self.root)?;
        platform::make_private(&self.root).io_context(shown)
    }

    /// Makes the folder ready for a new backup: private, marked as not whole, without an old dump. What is there of
    /// the home stays: the next copy builds upon it.
    pub(crate) fn begin(&self) -> Result<()> {
        let root = self.root.display();
        self.make()?;
        remove_file_if_there(&self.manifest_path())
            .and_then(|()| platform::sync_directory(&self.root))
            .io_context(|| format!("cannot mark the staging folder {root} as not whole"))?;
        let database = self.database();
        remove_tree_if_there(&database)
            .and_then(|()| platform::create_private_directory(&database))
            .io_context(|| format!("cannot empty {}", database.display()))
    }

    /// Removes a dump that will never be whole. The home copy stays for the next run to build upon.
    pub(crate) fn discard_partial(&self) -> Result<()> {
        // What others can write to is refused by the next backup, and nothing is removed there.
        let is_ours = Directory::Staging.ensure_trusted(&self.root).is_ok();
        if !is_ours || self.manifest_path().exists() {
            return Ok(());
        }
        let database = self.database();
        remove_tree_if_there(&database)
            .io_context(|| format!("cannot remove {}", database.display()))
    }

    /// Says durably that the folder holds the whole backup that `manifest` describes.
    pub(crate) fn seal(&self, manifest: &Manifest) -> Result<()> {
        manifest.write(&self.manifest_path())
    }
}

/// Removes a file; that there is none is no error.
pub(crate) fn remove_file_if_there(path: &Path) -> io::Result<()> {
    ignore_missing(std::fs::remove_file(path))
}

/// Removes a folder with everything in it, without following links; that there is none is no error.
pub(crate) fn remove_tree_if_there(path: &Path) -> io::Result<()> {
    ignore_missing(std::fs::remove_dir_all(path))
}

fn ignore_missing(result: io::Result<()>) -> io::Result<()> {
    match result {
        Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(()),
        other => other,
    }
}
