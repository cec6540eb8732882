//! The home directory, which may lie one level too deep.

use std::path::Path;

use super::{Listing, unclear};
use crate::error::{Result, ResultExt};
use crate::event::Events;
use crate::platform;

/// Moves a home directory that lies one level too deep to where it belongs.
pub(super) fn settle(home: &Path, events: &Events) -> Result<()> {
    let top = Listing::of(home)?;
    let mut deeper = Vec::new();
    for name in &top.directories {
        if is_whole_home(&home.join(name))? {
            deeper.push(name.to_string_lossy().into_owned());
        }
    }
    // rsync leaves the copy of an earlier configuration beside the new one, and none of the two tells which is newer.
    let is_home = top.is_home();
    if is_home && deeper.is_empty() {
        return Ok(());
    }
    if is_home || deeper.len() > 1 {
        let places: Vec<String> = is_home
            .then(|| "`bitbucket-home`".to_owned())
            .into_iter()
            .chain(deeper.iter().map(|name| format!("`bitbucket-home/{name}`")))
            .collect();
        return Err(unclear(
            format!(
                "the backup holds more than one home directory: {}",
                places.join(" and ")
            ),
            "Unpack the archive with `tar`, keep the right one as `bitbucket-home`, and pack it again.",
        ));
    }
    let mut inner = deeper.pop();
    // The shared home alone shows less of itself, so it has to be all that is there.
    if inner.is_none()
        && let [only] = top.directories.as_slice()
        && top.others.is_empty()
        && Listing::of(&home.join(only))?.is_home()
    {
        inner = Some(only.to_string_lossy().into_owned());
    }
    let Some(inner) = inner else {
        events.warning(
            "the home directory in the backup has none of what one has: no `shared`, no `bitbucket.properties`",
        );
        return Ok(());
    };
    if top.directories.len() + top.others.len() > 1 {
        return Err(unclear(
            format!(
                "the backup holds the home directory in `bitbucket-home/{inner}`, and other things beside it"
            ),
            "Unpack the archive with `tar`, move the home directory up to `bitbucket-home`, and pack it again.",
        ));
    }
    platform::move_up(home, Path::new(&inner))
        .io_context(|| format!("cannot move {} one level up", home.join(&inner).display()))?;
    events.message(format!(
        "The home directory lies in `bitbucket-home/{inner}` in the backup, and is restored without that level"
    ));
    Ok(())
}

/// Returns `true` for what can be nothing but a home directory: its `shared` has what the directory of that name has,
/// or it is that of a Mesh node or of a Stash of old, which have none.
fn is_whole_home(directory: &Path) -> Result<bool> {
    let listing = Listing::of(directory)?;
    if listing.has_file("mesh.properties") || listing.has_file("stash-config.properties") {
        return Ok(true);
    }
    if !listing.has_directory("shared") {
        return Ok(false);
    }
    let shared = Listing::of(&directory.join("shared"))?;
    Ok(shared.has_file("bitbucket.properties")
        || ["data", "config", "plugins"]
            .iter()
            .any(|name| shared.has_directory(name)))
}

impl Listing {
    /// Returns `true` for what looks like a home directory, or the shared home alone.
    fn is_home(&self) -> bool {
        let files = [
            "bitbucket.properties",
            "stash-config.properties",
            "mesh.properties",
        ];
        self.has_directory("shared")
            || files.iter().any(|name| self.has_file(name))
            || self.has_directory("data")
                && ["config", "plugins"]
                    .iter()
                    .any(|name| self.has_directory(name))
    }
}

#[cfg(test)]
mod tests {
    use std::fs;
    use std::sync::Arc;

    use super::*;
    use crate::error::ErrorKind;
    use crate::event::Silent;

    /// Settles a home directory with these directories, and tells what is at its top then.
    fn settled(directories: &[&str]) -> Result<Vec<String>> {
        let home = tempfile::tempdir().unwrap();
        for directory in directories {
            fs::create_dir_all(home.path().join(directory)).unwrap();
        }
        settle(home.path(), &Events::new(Arc::new(Silent)))?;
        let top = Listing::of(home.path())?;
        let names = top.directories.iter().chain(&top.others);
        Ok(names
            .map(|name| name.to_string_lossy().into_owned())
            .collect())
    }

    #[test]
    fn one_level_too_many_is_taken_away() {
        for (directories, top) in [
            (&["b/shared/data", "b/log"][..], &["log", "shared"][..]),
            (&["b/shared/config", "b/b/c"], &["b", "shared"]),
            (&["b/shared"], &["shared"]),
            (&["shared/data/repositories", "lib"], &["lib", "shared"]),
            (&["shared/data", "shared/plugins"], &["shared"]),
            (&["b/data/repositories", "b/config"], &["config", "data"]),
            (&["data", "plugins/shared"], &["data", "plugins"]),
            (&["x", "y/z"], &["x", "y"]),
        ] {
            assert_eq!(settled(directories).unwrap(), top, "{directories:?}");
        }
    }

    #[test]
    fn what_could_be_two_homes_is_refused() {
        for directories in [
            &["b/shared/data", "shared"][..],
            &["a/shared/data", "b/shared/plugins"],
            &["b/shared/config", "x"],
        ] {
            let error = settled(directories).unwrap_err();
            assert_eq!(error.kind(), ErrorKind::Check, "{directories:?}");
        }
    }
}
