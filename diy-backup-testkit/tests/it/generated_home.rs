use std::collections::BTreeMap;
use std::os::unix::ffi::OsStrExt;
use std::path::Path;
use std::process::Command;

use diy_backup_testkit::home::Names;
use diy_backup_testkit::tree::{EntryKind, Exclusions, make_removable};
use diy_backup_testkit::{HomeBuilder, TreeSnapshot, report_skipped};

/// A temporary folder that can be removed though a home with read-only folders is in it.
struct Folder(tempfile::TempDir);

impl Folder {
    fn new() -> Self {
        Self(tempfile::tempdir().expect("a folder"))
    }

    fn path(&self) -> &Path {
        self.0.path()
    }
}

impl Drop for Folder {
    fn drop(&mut self) {
        make_removable(self.path()).expect("our own folder");
    }
}

#[test]
fn the_same_seed_makes_the_same_home() {
    let folder = Folder::new();
    let make = |name: &str, seed| {
        HomeBuilder::new(folder.path().join(name))
            .seed(seed)
            .data_store(folder.path().join(format!("{name}-store")))
            .build()
            .unwrap()
    };
    let snapshot = |path: &Path| TreeSnapshot::of(path, &Exclusions::none()).unwrap();
    let (first, second, other) = (make("a", 7), make("b", 7), make("c", 8));
    let diff = snapshot(&first.path).diff(&snapshot(&second.path));
    assert!(diff.is_empty(), "{diff}");
    let stores = snapshot(&first.data_stores[0]).diff(&snapshot(&second.data_stores[0]));
    assert!(stores.is_empty(), "{stores}");
    assert!(
        !snapshot(&first.path)
            .diff(&snapshot(&other.path))
            .is_empty()
    );
}

#[test]
fn a_home_has_everything_that_is_hard_to_copy() {
    let folder = Folder::new();
    let home = HomeBuilder::new(folder.path()).build().unwrap();
    let snapshot = TreeSnapshot::of(&home.path, &home.exclusions()).unwrap();
    let has = |what: &dyn Fn(&Path, &diy_backup_testkit::tree::Entry) -> bool| {
        snapshot
            .entries()
            .iter()
            .any(|(path, entry)| what(path, entry))
    };
    let named = |byte: u8| has(&|path, _| path.as_os_str().as_bytes().contains(&byte));
    assert!(named(b'\n') && named(b'\'') && named(b'"') && named(b'\\'));
    assert!(has(&|path, _| path
        .file_name()
        .unwrap()
        .as_bytes()
        .starts_with(b"-")));
    assert!(has(&|_, entry| entry.hard_links.len() == 3));
    assert!(has(&|_, entry| entry.mode == 0o2775));
    assert!(has(&|_, entry| entry.mode == 0o444));
    assert!(has(&|_, entry| entry.modified_ns % 1_000_000_000 != 0));
    assert!(has(&|path, entry| matches!(
        &entry.kind,
        EntryKind::Symlink { .. }
    ) && !folder.path().join(path).exists()));
    assert!(has(&|path, entry| matches!(
        &entry.kind,
        EntryKind::Symlink { .. }
    ) && folder.path().join(path).is_dir()));
    assert!(has(&|path, _| path.ends_with("refs/tags")));
}

#[test]
fn excluded_things_exist_and_are_excluded() {
    let folder = Folder::new();
    let home = HomeBuilder::new(folder.path())
        .names(Names::Plain)
        .files(0)
        .build()
        .unwrap();
    let all = TreeSnapshot::of(&home.path, &Exclusions::none()).unwrap();
    let kept = TreeSnapshot::of(&home.path, &home.exclusions()).unwrap();
    for path in [
        "caches/plugins/transformed.jar",
        "shared/.lock",
        "plugins/.osgi-plugins/felix/bundle0",
        "shared/data/db.h2.db",
    ] {
        assert!(all.entries().contains_key(Path::new(path)), "{path}");
        assert!(!kept.entries().contains_key(Path::new(path)), "{path}");
    }
    for path in ["shared/data/attachments/caches/kept", "shared/data/dbx"] {
        assert!(kept.entries().contains_key(Path::new(path)), "{path}");
    }
}

#[test]
fn a_home_has_as_many_objects_as_asked_for() {
    let folder = Folder::new();
    let home = HomeBuilder::new(folder.path())
        .real_repositories(0)
        .repositories(7)
        .files(3000)
        .names(Names::Plain)
        .build()
        .unwrap();
    let snapshot = TreeSnapshot::of(&home.path, &home.exclusions()).unwrap();
    let mut objects: BTreeMap<String, usize> = BTreeMap::new();
    for path in snapshot.entries().keys() {
        let names: Vec<_> = path.iter().map(|name| name.to_string_lossy()).collect();
        if names.len() == 7 && names[4] == "objects" && names[5].len() == 2 {
            *objects.entry(names[3].to_string()).or_default() += 1;
        }
    }
    assert_eq!(objects.len(), 7);
    assert_eq!(objects.values().sum::<usize>(), 3000);
}

#[test]
fn real_repositories_pass_fsck() {
    let folder = Folder::new();
    let home = HomeBuilder::new(folder.path()).build().unwrap();
    if home.real_repositories.is_empty() {
        report_skipped(&"git is not installed (Debian package: git)");
        return;
    }
    for repository in &home.real_repositories {
        let git = |arguments: &[&str]| {
            let output = Command::new("git")
                .arg("-c")
                .arg("safe.directory=*")
                .args(arguments)
                .current_dir(repository)
                .output()
                .unwrap();
            assert!(output.status.success(), "{output:?}");
            String::from_utf8(output.stdout).unwrap()
        };
        git(&["fsck", "--strict", "--full"]);
        assert_eq!(git(&["rev-list", "--count", "refs/tags/v1"]).trim(), "23");
        let count = git(&["count-objects", "-v"]);
        assert!(
            count.contains("packs: 1") && !count.contains("count: 0\n"),
            "{count}"
        );
    }
}
