//! What rsync leaves out with our arguments, against the rules as they are documented, on trees of random names.

use std::collections::BTreeSet;
use std::ffi::{OsStr, OsString};
use std::fs;
use std::os::unix::ffi::{OsStrExt, OsStringExt};
use std::path::{Path, PathBuf};

use diy_backup_core::{BackupContext, HomeStrategy, Section, Staging};
use proptest::collection::{btree_set, vec};
use proptest::prelude::*;
use strategy_rsync::{RsyncConfig, RsyncHome};

use crate::support::id;

/// Names that the rules know, some that only look like them, and IDs of repositories.
const NAMES: [&str; 28] = [
    "caches",
    "tmp",
    "log",
    "log.1",
    ".lock",
    "shared",
    "export",
    "exports",
    "plugins",
    ".osgi",
    ".",
    "osgi",
    "search",
    "data",
    "db.mv.db",
    "db",
    "dbx",
    "repositories",
    "lost+found",
    "1",
    "12",
    "a*",
    "a*b",
    "axb",
    "[x]",
    "x",
    "\\",
    "a\\b",
];

/// IDs that are excluded: with what rsync takes for wildcards and escapes.
const IDS: [&str; 12] = [
    "1", "12", "a*", "a*b", "[x]", "\\", "a\\b", "?", "**", "\\*", "tmp", "\u{1b}\n",
];

fn name() -> impl Strategy<Value = Vec<u8>> {
    let odd = prop_oneof![
        vec(prop::sample::select(b"ax*?[]\\ \n-#:.1".to_vec()), 1..4),
        vec(1..=255_u8, 1..4),
    ];
    prop_oneof![
        6 => prop::sample::select(&NAMES[..]).prop_map(|name| name.as_bytes().to_vec()),
        2 => prop::sample::select(&IDS[..]).prop_map(|name| name.as_bytes().to_vec()),
        1 => odd,
    ]
    .prop_filter("can be the name of a file", |name| {
        ![&b"."[..], b".."].contains(&name.as_slice()) && !name.contains(&b'/')
    })
}

/// Paths of one to six parts, often in the places where repositories lie.
fn path() -> impl Strategy<Value = PathBuf> {
    let place = prop_oneof![
        3 => Just(""),
        2 => Just("shared/data/repositories"),
        1 => Just("shared/data"),
        1 => Just("plugins"),
        2 => Just("repositories/ab/cd"),
        1 => Just("repositories"),
    ];
    (place, vec(name(), 1..4)).prop_map(|(place, names)| {
        let names = names.into_iter().map(OsString::from_vec);
        Path::new(place).join(names.collect::<PathBuf>())
    })
}

/// Makes files, and folders where one path leads on from another.
fn plant(root: &Path, paths: &BTreeSet<PathBuf>) {
    fs::create_dir_all(root).unwrap();
    for path in paths {
        let path = root.join(path);
        let parent = path.parent().unwrap();
        // A file may stand where this one wants a folder.
        if fs::create_dir_all(parent).is_ok() && !path.exists() {
            fs::write(path, "x").unwrap();
        }
    }
}

/// Everything below `root` but what `left_out` says, and what lies below that.
fn tree(root: &Path, left_out: &dyn Fn(&[&OsStr], bool) -> bool) -> BTreeSet<PathBuf> {
    let mut found = BTreeSet::new();
    let mut folders = vec![PathBuf::new()];
    while let Some(folder) = folders.pop() {
        for entry in fs::read_dir(root.join(&folder)).unwrap() {
            let entry = entry.unwrap();
            let path = folder.join(entry.file_name());
            let is_folder = entry.file_type().unwrap().is_dir();
            let parts: Vec<&OsStr> = path.iter().collect();
            if left_out(&parts, is_folder) {
                continue;
            }
            if is_folder {
                folders.push(path.clone());
            }
            found.insert(path);
        }
    }
    found
}

/// The rules for the home of a Bitbucket with an external database, in the plainest way.
fn left_out_of_home(parts: &[&OsStr], is_folder: bool, ids: &BTreeSet<&str>) -> bool {
    let text: Vec<_> = parts.iter().map(|part| part.to_string_lossy()).collect();
    let text: Vec<&str> = text.iter().map(AsRef::as_ref).collect();
    let begins = |part: &OsStr, start: &str| part.as_bytes().starts_with(start.as_bytes());
    match text[..] {
        ["tmp" | ".lock"] | ["shared", ".lock"] => true,
        ["caches" | "export" | "log" | "lost+found"]
        | ["shared", "export"]
        | ["search", "data"]
        | ["shared", "search", "data"] => is_folder,
        ["plugins", _] => is_folder && begins(parts[1], "."),
        ["data", _] => begins(parts[1], "db."),
        ["shared", "data", _] => begins(parts[2], "db."),
        ["shared", "data", "repositories", id] => is_folder && ids.contains(id),
        _ => false,
    }
}

fn left_out_of_store(parts: &[&OsStr], is_folder: bool, ids: &BTreeSet<&str>) -> bool {
    let is_id = |part: &OsStr| part.to_str().is_some_and(|id| ids.contains(id));
    match parts {
        [name] => is_folder && *name == "lost+found",
        [first, _, _, id] => is_folder && *first == "repositories" && is_id(id),
        _ => false,
    }
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 5, failure_persistence: None, max_shrink_iters: 60, ..ProptestConfig::default() })]

    #[test]
    fn what_is_copied_is_what_no_rule_leaves_out(
        home_paths in btree_set(path(), 100..160),
        store_paths in btree_set(path(), 50..80),
        ids in btree_set(prop::sample::select(&IDS[..]), 0..8),
    ) {
        let rsync = std::process::Command::new("rsync").arg("--version").output();
        if rsync.is_err() {
            diy_backup_testkit::report_skipped(&"rsync is not installed");
            return Ok(());
        }
        let folder = tempfile::tempdir().unwrap();
        let (home, store) = (folder.path().join("home"), folder.path().join("store"));
        // Without these, neither would be taken for what it is to be.
        fs::create_dir_all(home.join("shared/data/repositories")).unwrap();
        fs::create_dir_all(store.join("repositories")).unwrap();
        plant(&home, &home_paths);
        plant(&store, &store_paths);
        let text = format!(
            "path = {home:?}\ndata-stores = [{store:?}]\nexclude-repositories = {}",
            toml_list(&ids)
        );
        let config: RsyncConfig = Section::from_text("home", &text).unwrap().parse().unwrap();
        let strategy = RsyncHome::new(config, diy_backup_core::InstanceKind::Bitbucket);
        let staging = Staging::new(folder.path().join("staging"));
        let cx = BackupContext::new(id(), staging.clone());
        let runtime = tokio::runtime::Builder::new_multi_thread()
            .worker_threads(1)
            .enable_all()
            .build()
            .unwrap();
        drop(runtime.block_on(strategy.prepare(&cx)).unwrap());
        let nothing = |_: &[&OsStr], _: bool| false;
        let of_home = tree(&home, &|parts, is_folder| left_out_of_home(parts, is_folder, &ids));
        prop_assert_eq!(tree(&staging.home(), &nothing), of_home);
        let of_store = tree(&store, &|parts, is_folder| left_out_of_store(parts, is_folder, &ids));
        prop_assert_eq!(tree(&staging.data_store(0), &nothing), of_store);
    }
}

fn toml_list(ids: &BTreeSet<&str>) -> String {
    let quoted = ids.iter().map(|id| {
        let escaped = id
            .replace('\\', "\\\\")
            .replace('\n', "\\n")
            .replace('\u{1b}', "\\u001b");
        format!("\"{escaped}\"")
    });
    format!("[{}]", quoted.collect::<Vec<_>>().join(", "))
}
