use std::collections::BTreeSet;
use std::path::Path;
use std::process::Command;
use std::time::{Duration, SystemTime};

use diy_backup_testkit::tree::{Aspect, make_removable};
use diy_backup_testkit::{HomeBuilder, PrivatePostgres, ShellArchive, TreeSnapshot, skip_unless};

#[test]
fn an_archive_opens_to_the_three_folders_of_the_shell_scripts() {
    let postgres = skip_unless!(PrivatePostgres::start());
    postgres.create_database("bitbucket", "postgres").unwrap();
    postgres.create_schema("bitbucket", "postgres").unwrap();
    let folder = tempfile::tempdir().unwrap();
    let home = HomeBuilder::new(folder.path().join("home"))
        .files(20)
        .data_store(folder.path().join("store-1"))
        .build()
        .unwrap();
    let archive = skip_unless!(
        ShellArchive::new("bitbucket", &home.path)
            .data_store(&home.data_stores[0])
            .database(&postgres, "bitbucket")
            .east(3600)
            .taken_at(SystemTime::UNIX_EPOCH + Duration::from_secs(1_700_000_000))
            .create(folder.path())
    );
    assert_eq!(
        archive.file_name().unwrap(),
        "bitbucket-20231114-231320.tar.gz"
    );
    let opened = folder.path().join("opened");
    std::fs::create_dir(&opened).unwrap();
    let tar = Command::new("tar")
        .arg("-xpzf")
        .arg(&archive)
        .arg("-C")
        .arg(&opened)
        .status()
        .unwrap();
    assert!(tar.success());
    let names: BTreeSet<_> = std::fs::read_dir(&opened)
        .unwrap()
        .map(|entry| entry.unwrap().file_name().into_string().unwrap())
        .collect();
    let expected = ["bitbucket-data-stores", "bitbucket-db", "bitbucket-home"];
    assert_eq!(names, expected.map(str::to_owned).into());
    assert!(opened.join("bitbucket-db/toc.dat").is_file());
    let snapshot = |path: &Path| TreeSnapshot::of(path, &home.exclusions()).unwrap();
    // Tar keeps whole seconds, no holes and no extended attributes unless told otherwise.
    let tars = [
        Aspect::Modified,
        Aspect::FolderModified,
        Aspect::Sparseness,
        Aspect::Attributes,
    ];
    let diff = snapshot(&home.path)
        .diff(&snapshot(&opened.join("bitbucket-home")))
        .without(&tars);
    assert!(diff.is_empty(), "{diff}");
    let path = home.data_stores[0].strip_prefix("/").unwrap();
    let stored = opened.join("bitbucket-data-stores").join(path);
    let store = snapshot(&home.data_stores[0])
        .diff(&snapshot(&stored))
        .without(&tars);
    assert!(store.is_empty(), "{store}");
    make_removable(folder.path()).unwrap();
}
