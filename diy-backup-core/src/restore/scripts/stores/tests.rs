use std::fs;
use std::sync::Arc;

use super::*;
use crate::Destinations;
use crate::event::Silent;

/// Unpacks `archived`, directories below `bitbucket-data-stores`, for a configuration with the stores `configured`.
/// Returns the `mark` that each restored store holds, which is its own path in the archive.
fn restored(configured: &[&str], archived: &[&str]) -> Result<Vec<String>> {
    let root = tempfile::tempdir().unwrap();
    let unnamed = root.path().join("unnamed");
    let destinations = (0..)
        .zip(configured)
        .fold(
            Destinations::new(root.path().join("db")),
            |all, (number, store)| {
                all.with_data_store(Path::new(store), root.path().join(format!("{number}")))
            },
        )
        .with_unnamed_stores(&unnamed)
        .of_scripts();
    for path in archived {
        let full = Path::new("bitbucket-data-stores").join(path);
        let (place, below) = destinations.route(&full).unwrap();
        let directory = place.join(below);
        fs::create_dir_all(directory.join("repositories/0a/1b")).unwrap();
        fs::write(directory.join("repositories/mark"), path).unwrap();
    }
    let events = Events::new(Arc::new(Silent));
    let places = assign(&destinations.data_stores, &unnamed, &events)?;
    for (place, store) in places.iter().zip(&destinations.data_stores) {
        assert_eq!(*place, store.path);
    }
    let mark = |place: PathBuf| fs::read_to_string(place.join("repositories/mark")).unwrap();
    Ok(places.into_iter().map(mark).collect())
}

#[test]
fn a_store_is_found_by_the_path_that_it_had() {
    for (configured, archived) in [
        (&["/media/ds1"][..], &["media/ds1"][..]),
        (&["/media/ds1"], &["media/ds1/ds1"]),
        (&["/media/ds1", "/media/ds2"], &["media/ds1", "media/ds2"]),
        (
            &["/media/ds1", "/media/ds2"],
            &["media/ds1/ds1", "media/ds2/ds2"],
        ),
        (
            &["/media/ds2", "/media/ds1"],
            &["media/ds2", "media/ds1/ds1"],
        ),
        (&["/media/ds1", "/media/ds10"], &["media/ds1", "media/ds10"]),
        (
            &["/media/ds1", "/media/ds1/sub"],
            &["media/ds1", "media/ds1/sub/sub"],
        ),
        (&["/a/ds", "/b/ds"], &["a/ds", "b/ds/ds"]),
        (&["/srv/repositories"], &["srv/repositories"]),
        (&["/srv/repositories"], &["srv/repositories/repositories"]),
        (&["/mnt/a", "/mnt/b"], &["a", "b"]),
        (&["/mnt/a", "/mnt/b"], &["0", "1"]),
        (&["/mnt/1", "/mnt/0"], &["1", "0"]),
        (&["/new/place"], &["media/ds1/ds1"]),
        (&["/media"], &["media/ds1"]),
        (&["/media/ds1", "/new"], &["media/ds1", "old"]),
        (
            &["/restored/media/ds10", "/restored/media/ds1"],
            &["media/ds10", "media/ds1/ds1"],
        ),
        (&[], &[]),
    ] {
        assert_eq!(
            restored(configured, archived).unwrap(),
            archived,
            "{configured:?}"
        );
    }
}

#[test]
fn what_does_not_fit_together_is_refused_by_name() {
    for (configured, archived, named) in [
        (&["/a"][..], &["a", "x/b/b"][..], &["/x/b"][..]),
        (&["/a", "/b"], &["a"], &["/b"]),
        (&["/a", "/b"], &["c", "d"], &["/a, /b", "/c, /d"]),
        (&["/a"], &[], &["/a"]),
        (&[], &["media/ds1/ds1"], &["/media/ds1"]),
        (
            &["/media"],
            &["media/ds1", "media/ds2"],
            &["/media/ds1, /media/ds2"],
        ),
        (&["/a"], &["a", "a/a"], &["more than once"]),
    ] {
        let error = restored(configured, archived).unwrap_err();
        assert_eq!(error.kind(), ErrorKind::Check, "{configured:?}");
        let message = error.to_string();
        assert!(named.iter().all(|name| message.contains(name)), "{message}");
    }
}

#[cfg(unix)]
#[test]
fn a_store_that_was_unpacked_on_another_file_system_stays_there_to_be_copied() {
    use std::os::unix::fs::MetadataExt;
    let device = |path: &Path| fs::metadata(path).map(|metadata| metadata.dev()).ok();
    let here = tempfile::tempdir().unwrap();
    let elsewhere = Path::new("/dev/shm");
    if device(elsewhere).is_none_or(|other| Some(other) == device(here.path())) {
        diy_backup_testkit::report_skipped(&"/dev/shm is not a file system of its own");
        return;
    }
    let elsewhere = tempfile::tempdir_in(elsewhere).unwrap();
    let destinations = Destinations::new(here.path().join("db"))
        .with_data_store(Path::new("/new"), here.path().join("new"));
    let found = elsewhere.path().join("old/place");
    fs::create_dir_all(found.join("repositories")).unwrap();
    let events = Events::new(Arc::new(Silent));
    let places = assign(&destinations.data_stores, elsewhere.path(), &events).unwrap();
    assert_eq!(places, [found]);
}
