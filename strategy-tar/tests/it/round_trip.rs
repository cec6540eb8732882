use std::fs;
use std::os::unix::fs::{MetadataExt, PermissionsExt, symlink};
use std::path::{Path, PathBuf};

use diy_backup_core::{ArchiveStrategy, Destinations, Origin, RestoreContext};
use proptest::prelude::*;
use strategy_tar::Compression;

use crate::site::{Site, assert_same, id, is_root};

#[tokio::test]
async fn an_awkward_home_comes_back_as_it_was_with_every_compression() {
    for compression in [Compression::Zstd, Compression::Gzip, Compression::None] {
        let site = Site::with_home(compression);
        let entry = site.store(5).await.unwrap();
        assert_eq!((&entry.id, entry.origin), (&id(5), Origin::DiyBackup));
        let verdict = site.verify(&entry).await;
        assert!(verdict.is_good(), "{verdict:?}");
        assert!(verdict.has_checksums && verdict.files > 60);
        let restored = site.fetch(&entry).await.unwrap();
        let folder = &restored.folder;
        let staging = site.staging();
        assert_same(&staging.database(), &folder.join("db"));
        assert_same(&staging.home(), &folder.join("home"));
        assert_same(&staging.data_store(0), &folder.join("stores/0"));
        assert_same(&staging.data_store(1), &folder.join("stores/1"));
        assert_eq!(restored.source.home, Some(folder.join("home")));
        assert_eq!(restored.source.database, Some(folder.join("db")));
        assert_eq!(
            restored.source.data_stores,
            [folder.join("stores/0"), folder.join("stores/1")]
        );
    }
}

#[tokio::test]
async fn parts_that_are_not_in_staging_are_left_out() {
    let site = Site::new();
    fs::create_dir_all(site.staging().home()).unwrap();
    let entry = site.store(5).await.unwrap();
    let restored = site.fetch(&entry).await.unwrap();
    assert_eq!(restored.source.database, None);
    assert!(restored.source.data_stores.is_empty());
    assert!(restored.folder.join("home").is_dir());
    assert!(!restored.folder.join("db").exists());
}

#[tokio::test]
async fn a_home_that_nobody_wants_is_checked_and_not_written() {
    let site = Site::small(Compression::Zstd);
    let entry = site.store(5).await.unwrap();
    let folder = site.path().join("out");
    let cx = RestoreContext::new(id(5), site.path());
    let destinations = Destinations::new(folder.join("db"));
    let source = site
        .archive
        .fetch(&cx, &entry, &destinations)
        .await
        .unwrap();
    assert_eq!(
        (source.database, source.home),
        (Some(folder.join("db")), None)
    );
    assert_eq!(crate::site::names(&folder), ["db"]);
}

#[tokio::test]
async fn modes_owners_and_times_before_the_epoch_come_back() {
    let site = Site::new();
    let home = site.staging().home();
    fs::create_dir_all(home.join("sticky")).unwrap();
    fs::write(home.join("setuid"), "x").unwrap();
    fs::write(home.join("old"), "x").unwrap();
    fs::write(home.join("secret"), "x").unwrap();
    if is_root() {
        std::os::unix::fs::chown(home.join("setuid"), Some(3_000_000), Some(12)).unwrap();
        std::os::unix::fs::lchown(home.join("sticky"), Some(77), Some(4_000_000_000)).unwrap();
    }
    for (name, mode) in [("setuid", 0o4751), ("sticky", 0o3777), ("secret", 0o000)] {
        let mode = fs::Permissions::from_mode(mode);
        if name != "secret" || is_root() {
            fs::set_permissions(home.join(name), mode).unwrap();
        }
    }
    let before = std::time::UNIX_EPOCH - std::time::Duration::new(86_400, 250_000_001);
    let old = fs::File::options()
        .write(true)
        .open(home.join("old"))
        .unwrap();
    old.set_modified(before).unwrap();
    let entry = site.store(5).await.unwrap();
    let restored = site.fetch(&entry).await.unwrap().folder.join("home");
    assert_same(&home, &restored);
    for name in ["setuid", "sticky", "secret", "old"] {
        let owner = |folder: &Path| {
            let metadata = fs::metadata(folder.join(name)).unwrap();
            (metadata.uid(), metadata.gid(), metadata.mode())
        };
        assert_eq!(owner(&home), owner(&restored), "{name}");
    }
}

#[tokio::test]
async fn deep_paths_and_long_targets_come_back() {
    let site = Site::new();
    let home = site.staging().home();
    let mut deep = home.clone();
    for number in 0..12 {
        deep.push(format!("{number}{}", "d".repeat(200)));
    }
    fs::create_dir_all(&deep).unwrap();
    fs::write(deep.join("file"), "deep").unwrap();
    fs::hard_link(deep.join("file"), deep.join("again")).unwrap();
    symlink("t/".repeat(1500), home.join("link")).unwrap();
    for length in [90, 98, 99, 100, 101, 154, 155, 156] {
        let name = "n".repeat(length);
        fs::create_dir_all(home.join(&name).join(&name)).unwrap();
        fs::write(home.join(&name).join(&name).join("ö"), "x").unwrap();
    }
    let entry = site.store(5).await.unwrap();
    let restored = site.fetch(&entry).await.unwrap();
    assert_same(&home, &restored.folder.join("home"));
}

#[tokio::test]
async fn files_that_are_mostly_holes_take_little_room_in_the_archive_and_after() {
    let site = Site::with(Compression::None);
    let home = site.staging().home();
    fs::create_dir_all(&home).unwrap();
    let all_hole = fs::File::create(home.join("all hole")).unwrap();
    all_hole.set_len(64 << 20).unwrap();
    let ends = fs::File::create(home.join("ends in a hole")).unwrap();
    std::os::unix::fs::FileExt::write_at(&ends, b"data", 9 << 20).unwrap();
    ends.set_len(32 << 20).unwrap();
    let entry = site.store(5).await.unwrap();
    if entry.bytes > 2 << 20 {
        diy_backup_testkit::report_skipped(&"the file system has no holes");
        return;
    }
    assert!(site.verify(&entry).await.is_good());
    let restored = site.fetch(&entry).await.unwrap();
    assert_same(&home, &restored.folder.join("home"));
}

#[tokio::test]
async fn access_control_lists_come_back() {
    let site = Site::new();
    let home = site.staging().home();
    fs::create_dir_all(home.join("folder")).unwrap();
    fs::write(home.join("folder/file"), "x").unwrap();
    fs::set_permissions(home.join("folder/file"), fs::Permissions::from_mode(0o440)).unwrap();
    let set = |arguments: &[&str], path: PathBuf| {
        let status = std::process::Command::new("setfacl")
            .args(arguments)
            .arg(path)
            .status();
        status.is_ok_and(|status| status.success())
    };
    let is_set = set(&["-m", "u:1234:rx"], home.join("folder"))
        && set(&["-d", "-m", "g:77:rwx"], home.join("folder"))
        && set(&["-m", "u:1234:rw,m::r"], home.join("folder/file"));
    if !is_set {
        diy_backup_testkit::report_skipped(&"there are no access control lists here");
        return;
    }
    let entry = site.store(5).await.unwrap();
    let restored = site.fetch(&entry).await.unwrap().folder.join("home");
    assert_same(&home, &restored);
    for (path, name) in [
        ("folder", "system.posix_acl_access"),
        ("folder", "system.posix_acl_default"),
        ("folder/file", "system.posix_acl_access"),
    ] {
        let list = xattr::get(home.join(path), name).unwrap();
        assert!(list.is_some(), "{path} {name}");
        assert_eq!(
            list,
            xattr::get(restored.join(path), name).unwrap(),
            "{path}"
        );
    }
}

#[derive(Debug, Clone)]
enum Node {
    File(Vec<u8>),
    Link(String),
    Folder(Vec<(Vec<u8>, Node)>),
}

fn name() -> impl Strategy<Value = Vec<u8>> {
    let byte = prop_oneof![any::<u8>(), prop::sample::select(b"ab\n\\ .\r'".to_vec())];
    prop_oneof![
        prop::collection::vec(byte, 1..12),
        prop::collection::vec(Just(b'x'), 90..255)
    ]
    .prop_map(|bytes| {
        bytes
            .into_iter()
            .filter(|byte| ![0, b'/'].contains(byte))
            .collect()
    })
    .prop_filter("a name", |name: &Vec<u8>| {
        !name.is_empty() && name != b"." && name != b".."
    })
}

fn tree() -> impl Strategy<Value = Vec<(Vec<u8>, Node)>> {
    let leaf = prop_oneof![
        prop::collection::vec(any::<u8>(), 0..1500).prop_map(Node::File),
        "[a-z/.]{1,130}".prop_map(Node::Link),
    ];
    let node = leaf.prop_recursive(5, 40, 6, |inner| {
        prop::collection::vec((name(), inner), 0..6).prop_map(Node::Folder)
    });
    prop::collection::vec((name(), node), 0..8)
}

fn write_tree(folder: &Path, nodes: &[(Vec<u8>, Node)]) {
    use std::os::unix::ffi::OsStrExt;
    fs::create_dir_all(folder).unwrap();
    for (name, node) in nodes {
        let path = folder.join(std::ffi::OsStr::from_bytes(name));
        if path.symlink_metadata().is_ok() {
            continue;
        }
        match node {
            Node::File(content) => fs::write(&path, content).unwrap(),
            Node::Link(target) => symlink(target, &path).unwrap(),
            Node::Folder(nodes) => write_tree(&path, nodes),
        }
    }
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 24, failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn any_tree_comes_back_as_it_was(tree in tree()) {
        let site = Site::new();
        write_tree(&site.staging().home(), &tree);
        let runtime = tokio::runtime::Runtime::new().unwrap();
        runtime.block_on(async {
            let entry = site.store(5).await.unwrap();
            let (verdict, _) = site.judge(&entry).await;
            assert!(verdict.is_good(), "{verdict:?}");
            assert_same(&site.staging().home(), &site.path().join("restored/home"));
        });
    }
}
