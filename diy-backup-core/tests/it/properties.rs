//! What holds for every input, tried on many.

use std::num::NonZeroUsize;
use std::path::{Component, Path, PathBuf};
use std::process::Command;

use diy_backup_core::checksums::ChecksumLine;
use diy_backup_core::{
    AbsolutePath, BackupEntry, BackupId, Destinations, InstanceName, Manifest, Origin,
    RetentionSettings, plan_retention,
};
use proptest::collection::vec;
use proptest::prelude::*;

/// The first second of the year 0 and the last of the year 9999: what four digits can say.
const YEARS: std::ops::Range<i64> = -62_167_219_200..253_402_300_800;

fn config(cases: u32) -> ProptestConfig {
    ProptestConfig {
        cases,
        failure_persistence: None,
        ..ProptestConfig::default()
    }
}

fn name() -> impl Strategy<Value = InstanceName> {
    "[A-Za-z0-9][A-Za-z0-9._-]{0,98}".prop_map(|name| name.parse().unwrap())
}

/// Good, damaged and foreign backups of a few seconds, so that some are equally old.
fn backup() -> impl Strategy<Value = BackupEntry> {
    (0..40_i64, 0..4_u8).prop_map(|(second, kind)| {
        let id = BackupId::at_unix(&"b".parse().unwrap(), second);
        match kind {
            0 => BackupEntry::from_scripts(id, "scripts", 1),
            1 => BackupEntry::ours("damaged", 1, Manifest::new(id)).with_problem("damaged"),
            _ => BackupEntry::ours("good", 1, Manifest::new(id)),
        }
    })
}

fn is_ours(entry: &BackupEntry) -> bool {
    entry.is_proven() && entry.origin == Origin::DiyBackup
}

/// Parts of paths that mean something, and some that only look so.
fn path_text() -> impl Strategy<Value = String> {
    let part = prop_oneof![
        Just(""),
        Just("."),
        Just(".."),
        Just("..."),
        Just("a"),
        Just("ä b"),
        Just("-x"),
        Just("0"),
        Just("1"),
        Just("01"),
        Just("+1"),
        Just("mnt"),
        Just("one"),
        Just("bitbucket-home"),
        Just("bitbucket-db"),
        Just("bitbucket-data-stores"),
        Just("one"),
    ];
    vec(part, 0..6).prop_map(|parts| parts.join("/"))
}

/// Where an archive's path goes, written once more in the plainest way.
fn routed(path: &str, of_scripts: bool) -> Option<(&'static str, PathBuf)> {
    let parts: Vec<&str> = path
        .split('/')
        .filter(|part| !["", "."].contains(part))
        .collect();
    let (root, below) = match *parts.first()? {
        "bitbucket-db" => ("/database", &parts[1..]),
        "bitbucket-home" => ("/home", &parts[1..]),
        "bitbucket-data-stores" if of_scripts => match parts[1..] {
            ["mnt", "one", ..] => ("/first", &parts[3..]),
            ["mnt", "0", ..] => ("/second", &parts[3..]),
            ["mnt", "1", ..] => ("/third", &parts[3..]),
            _ => ("/unnamed", &parts[1..]),
        },
        "bitbucket-data-stores" => match *parts.get(1)? {
            "0" | "one" => ("/first", &parts[2..]),
            "1" => ("/second", &parts[2..]),
            _ => return None,
        },
        _ => return None,
    };
    Some((root, below.iter().collect()))
}

proptest! {
    #![proptest_config(config(256))]

    #[test]
    fn ids_survive_being_printed_and_sort_by_age(
        names in (name(), name()),
        seconds in (YEARS, YEARS),
    ) {
        let one = BackupId::at_unix(&names.0, seconds.0);
        let other = BackupId::at_unix(&names.1, seconds.1);
        prop_assert_eq!(one.to_string().parse::<BackupId>().unwrap(), one.clone());
        prop_assert_eq!(one.created_unix(), seconds.0);
        let same_name = BackupId::at_unix(&names.0, seconds.1);
        prop_assert_eq!(one.cmp(&same_name), one.to_string().cmp(&same_name.to_string()));
        prop_assert_eq!(one.cmp(&other), (seconds.0, &names.0).cmp(&(seconds.1, &names.1)));
        prop_assert_eq!(one == other, one.to_string() == other.to_string());
    }

    #[test]
    fn retention_keeps_the_newest_good_backups_and_all_that_are_not_its_own(
        backups in vec(backup(), 0..20),
        keep in 1..8_usize,
    ) {
        let policy = RetentionSettings::keep_last(NonZeroUsize::new(keep).unwrap());
        let plan = plan_retention(backups.clone(), &policy);
        prop_assert_eq!(plan.delete.len() + plan.keep.len(), backups.len());
        prop_assert!(plan.delete.iter().all(is_ours));
        let good = backups.iter().filter(|entry| is_ours(entry)).count();
        let stay: Vec<_> = plan.keep.into_iter().map(|kept| kept.entry).collect();
        let kept: Vec<_> = stay.iter().filter(|entry| is_ours(entry)).collect();
        prop_assert_eq!(kept.len(), good.min(keep));
        let newest_deleted = plan.delete.iter().map(|entry| &entry.id).max();
        let oldest_kept = kept.iter().map(|entry| &entry.id).min();
        prop_assert!(newest_deleted.zip(oldest_kept).is_none_or(|(gone, kept)| gone <= kept));
        let foreign = |entries: &[BackupEntry]| entries.iter().filter(|entry| !is_ours(entry)).count();
        prop_assert_eq!(foreign(&stay), foreign(&backups));
        for part in [&plan.delete, &stay] {
            prop_assert!(part.is_sorted_by_key(|entry| entry.id.clone()));
        }
        let again = plan_retention(stay, &policy);
        prop_assert!(again.delete.is_empty());
    }

    #[test]
    fn an_absolute_path_never_climbs_and_has_one_form(path in "/?", rest in path_text()) {
        let text = format!("{path}{rest}");
        let climbs = text.split('/').any(|part| part == "..");
        let absolute = AbsolutePath::new(&text);
        prop_assert_eq!(absolute.is_some(), text.starts_with('/') && !climbs);
        if let Some(path) = absolute {
            prop_assert_eq!(AbsolutePath::new(path.as_path()), Some(path.clone()));
            let mut parts = path.as_path().components();
            prop_assert_eq!(parts.next(), Some(Component::RootDir));
            prop_assert!(parts.all(|part| matches!(part, Component::Normal(_))));
        }
    }

    #[test]
    fn entries_of_archives_go_below_the_place_of_their_part(path in path_text()) {
        prop_assume!(!path.starts_with('/') && !path.split('/').any(|part| part == ".."));
        let destinations = Destinations::new("/database")
            .with_home("/home")
            .with_data_store(Path::new("/mnt/one"), "/first")
            .with_data_store(Path::new("/mnt/0"), "/second")
            .with_data_store(Path::new("/mnt/1"), "/third");
        let at = |destinations: &Destinations| {
            let place = destinations.route(Path::new(&path));
            place.map(|(root, below)| (root.to_owned(), below))
        };
        let expected = |of_scripts| {
            let place = routed(&path, of_scripts);
            place.map(|(root, below)| (PathBuf::from(root), below))
        };
        prop_assert_eq!(at(&destinations), expected(false));
        let of_scripts = destinations.with_unnamed_stores("/unnamed").of_scripts();
        prop_assert_eq!(at(&of_scripts), expected(true));
    }
}

#[cfg(unix)]
proptest! {
    #![proptest_config(config(24))]

    #[test]
    fn lists_of_checksums_are_those_of_sha256sum(
        names in vec(vec(1..=255_u8, 1..40), 1..8),
        odd in "[a\\\\\n\r *\u{1b}ä-]{1,20}",
    ) {
        use std::os::unix::ffi::{OsStrExt, OsStringExt};
        let folder = tempfile::tempdir().unwrap();
        let mut names: Vec<Vec<u8>> = names.into_iter().chain([odd.into_bytes()]).collect();
        names.iter_mut().flatten().for_each(|byte| {
            if *byte == b'/' {
                *byte = b'\\';
            }
        });
        names.retain(|name| ![&b"."[..], b".."].contains(&name.as_slice()));
        names.sort();
        names.dedup();
        for name in &names {
            let path = folder.path().join(std::ffi::OsString::from_vec(name.clone()));
            std::fs::write(path, name).unwrap();
        }
        let mut tool = Command::new("sha256sum");
        tool.current_dir(folder.path()).arg("--");
        tool.args(names.iter().map(|name| std::ffi::OsStr::from_bytes(name)));
        let Ok(output) = tool.output() else {
            diy_backup_testkit::report_skipped(&"sha256sum is not installed");
            return Ok(());
        };
        prop_assert!(output.status.success());
        let lines = output.stdout.split_inclusive(|&byte| byte == b'\n');
        let lines: Vec<ChecksumLine> = lines.map(|line| ChecksumLine::decode(line).unwrap()).collect();
        let read: Vec<&[u8]> = lines.iter().map(|line| line.path.as_os_str().as_bytes()).collect();
        prop_assert_eq!(&read, &names);
        let written: Vec<u8> = lines.iter().flat_map(ChecksumLine::encode).collect();
        prop_assert_eq!(written.escape_ascii().to_string(), output.stdout.escape_ascii().to_string());
    }
}
