//! Brings what was unpacked from an archive of the shell scripts into the shape of our own backups.
//!
//! The scripts copy with `rsync -a SOURCE DESTINATION`. Where the configured path of a source has no slash at its end,
//! rsync makes a directory of that name in the destination: home and data stores then lie one level deeper. The
//! destination of a data store is named by the whole path of the store.

mod home;
mod stores;

use std::ffi::OsString;
use std::path::Path;

use crate::error::{Error, ErrorKind, Result, ResultExt};
use crate::event::Events;
use crate::strategy::{Destinations, RestoreSource};

/// Puts the home directory and every data store of `source` where the parts of a restore expect them. `unnamed` holds
/// the data stores that the configuration does not name.
///
/// # Errors
/// [`ErrorKind::Check`] when it is uncertain what belongs where.
pub(super) fn settle(
    source: &mut RestoreSource,
    destinations: &Destinations,
    unnamed: &Path,
    events: &Events,
) -> Result<()> {
    if let Some(home) = &source.home {
        home::settle(home, events)?;
    }
    if destinations.home.is_some() {
        source.data_stores = stores::assign(&destinations.data_stores, unnamed, events)?;
    }
    Ok(())
}

/// The names in a directory, directories apart from everything else.
#[derive(Debug, Default)]
struct Listing {
    directories: Vec<OsString>,
    others: Vec<OsString>,
}

impl Listing {
    fn of(directory: &Path) -> Result<Self> {
        let cannot_read = || format!("cannot read the directory {}", directory.display());
        let mut listing = Self::default();
        for entry in std::fs::read_dir(directory).io_context(cannot_read)? {
            let entry = entry.io_context(cannot_read)?;
            // A link is what it is: nothing behind it is part of the backup.
            let is_directory = entry.file_type().io_context(cannot_read)?.is_dir();
            let names = if is_directory {
                &mut listing.directories
            } else {
                &mut listing.others
            };
            names.push(entry.file_name());
        }
        listing.directories.sort();
        listing.others.sort();
        Ok(listing)
    }

    fn is_empty(&self) -> bool {
        self.directories.is_empty() && self.others.is_empty()
    }

    fn has_directory(&self, name: &str) -> bool {
        self.directories.iter().any(|known| known == name)
    }

    fn has_file(&self, name: &str) -> bool {
        self.others.iter().any(|known| known == name)
    }
}

fn unclear(problem: String, hint: &'static str) -> Error {
    Error::new(ErrorKind::Check, problem).with_hint(hint)
}
