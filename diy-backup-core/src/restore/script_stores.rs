//! The data stores in a backup of the shell scripts, which calls each by the name of its folder.

use std::path::{Path, PathBuf};

use crate::error::{Error, ErrorKind, Result, ResultExt};
use crate::strategy::DataStoreDestination;

/// Where each data store of the configuration was unpacked to: under its own name, or, where the backup is restored to
/// folders of other names, by the order of the names.
///
/// # Errors
/// [`ErrorKind::Check`] when there are more or fewer in the backup than in the configuration.
pub(super) fn assign(configured: &[DataStoreDestination], unnamed: &Path) -> Result<Vec<PathBuf>> {
    let mut others = folders_in(unnamed)?.into_iter();
    let mut missing = Vec::new();
    let mut assigned = Vec::new();
    for store in configured {
        if store.path.is_dir() {
            assigned.push(store.path.clone());
        } else if let Some(other) = others.next() {
            assigned.push(other);
        } else {
            missing.push(store.name.display().to_string());
        }
    }
    let left: Vec<_> = others
        .filter_map(|path| Some(path.file_name()?.display().to_string()))
        .collect();
    if missing.is_empty() && left.is_empty() {
        return Ok(assigned);
    }
    let problem = if left.is_empty() {
        format!("the backup has no data store for {}", missing.join(", "))
    } else {
        format!(
            "the backup has data stores that the configuration does not name: {}",
            left.join(", ")
        )
    };
    Err(Error::new(ErrorKind::Check, problem)
        .with_hint("Let `data-stores` in [home] name as many folders as the backup has below `bitbucket-data-stores`."))
}

fn folders_in(folder: &Path) -> Result<Vec<PathBuf>> {
    if !folder.is_dir() {
        return Ok(Vec::new());
    }
    let shown = || format!("cannot read the folder {}", folder.display());
    let entries = std::fs::read_dir(folder).io_context(shown)?;
    let mut folders = entries
        .map(|entry| entry.map(|entry| entry.path()))
        .collect::<std::io::Result<Vec<_>>>()
        .io_context(shown)?;
    folders.sort();
    Ok(folders)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::Destinations;

    fn stores(root: &Path, names: &[&str]) -> Vec<DataStoreDestination> {
        let empty = Destinations::new(root.join("db"));
        names
            .iter()
            .fold(empty, |all, name| {
                all.with_data_store(&Path::new("/mnt").join(name), root.join(name))
            })
            .data_stores
    }

    #[test]
    fn a_store_of_its_own_name_stays_and_the_others_follow_in_order() {
        let root = tempfile::tempdir().unwrap();
        let unnamed = root.path().join("unnamed");
        for folder in ["b", "unnamed/x", "unnamed/y"] {
            std::fs::create_dir_all(root.path().join(folder)).unwrap();
        }
        let configured = stores(root.path(), &["a", "b", "c"]);
        let assigned = assign(&configured, &unnamed).unwrap();
        assert_eq!(
            assigned,
            [unnamed.join("x"), root.path().join("b"), unnamed.join("y")]
        );
        for wrong in [&["a", "b"][..], &["a", "b", "c", "d"]] {
            let error = assign(&stores(root.path(), wrong), &unnamed).unwrap_err();
            assert_eq!(error.kind(), ErrorKind::Check);
        }
    }
}
