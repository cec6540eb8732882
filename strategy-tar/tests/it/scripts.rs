//! Archives that the shell scripts have made with GNU tar.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;

use diy_backup_core::{ArchiveStrategy, BackupState, Origin};
use diy_backup_testkit::{Generation, Packing, ShellArchive};
use strategy_tar::Compression;

use crate::crafted::{Crafted, FOLDER};
use crate::site::{Site, assert_same, id};

/// Packs the staging folder as the scripts do, with more `options` for tar.
fn pack(site: &Site, suffix: &str, options: &[&str]) -> Option<PathBuf> {
    fs::create_dir_all(site.archives()).unwrap();
    let path = site.archives().join(format!("{}{suffix}", id(3)));
    let stores = site.staging().data_stores();
    if stores.exists() {
        // Each has its whole path, which the configuration names.
        fs::create_dir(stores.join("data")).unwrap();
        for (number, path) in [("0", "data/first"), ("1", "data/second")] {
            fs::rename(stores.join(number), stores.join(path)).unwrap();
        }
    }
    let mut tar = Command::new("tar");
    tar.args(options).arg("-cf").arg(&path);
    if suffix != ".tar" {
        tar.arg("-z");
    }
    let packed = tar.arg("-C").arg(site.staging().root()).arg(".").status();
    let Ok(status) = packed else {
        diy_backup_testkit::report_skipped(&"tar is not installed");
        return None;
    };
    assert!(status.success());
    Some(path)
}

async fn comes_back(suffix: &str, options: &[&str], compare: impl Fn(&Path, &Path)) {
    let site = Site::with_home(Compression::Zstd);
    if pack(&site, suffix, options).is_none() {
        return;
    }
    let entry = site.only_entry().await;
    assert_eq!(
        (entry.origin, entry.is_good()),
        (Origin::ShellScripts, true),
        "{entry:?}"
    );
    let (verdict, error) = site.judge(&entry).await;
    assert!(verdict.is_good(), "{options:?}: {verdict:?} {error:?}");
    assert!(!verdict.has_checksums);
    let restored = site.path().join("restored");
    let staging = site.staging();
    compare(&staging.home(), &restored.join("home"));
    compare(&staging.database(), &restored.join("db"));
    compare(
        &staging.data_stores().join("data/first"),
        &restored.join("stores/0"),
    );
    compare(
        &staging.data_stores().join("data/second"),
        &restored.join("stores/1"),
    );
}

/// The formats of old keep whole seconds, no holes and no attributes.
fn assert_nearly_same(original: &Path, copy: &Path) {
    use diy_backup_testkit::tree::Aspect;
    let diff = crate::site::snapshot(original).diff(&crate::site::snapshot(copy));
    let diff = diff.without(&[
        Aspect::Modified,
        Aspect::FolderModified,
        Aspect::Sparseness,
        Aspect::Attributes,
    ]);
    assert!(diff.is_empty(), "{diff}");
}

#[tokio::test]
async fn archives_of_the_scripts_come_back() {
    for suffix in [".tar.gz", ".tgz", ".tar"] {
        comes_back(suffix, &[], assert_nearly_same).await;
    }
}

#[tokio::test]
async fn every_format_of_gnu_tar_is_read() {
    for options in [
        &["--format=gnu", "--sparse"][..],
        &[
            "--format=pax",
            "--sparse",
            "--sparse-version=0.0",
            "--xattrs",
        ],
        &["--format=pax", "--sparse", "--sparse-version=0.1", "--acls"],
        &["--format=oldgnu"],
        &["--numeric-owner", "--owner=3000000", "--group=4"],
    ] {
        comes_back(".tar.gz", options, assert_nearly_same).await;
    }
    let exact = ["--format=pax", "--sparse", "--xattrs", "--acls"];
    comes_back(".tar.gz", &exact, assert_same).await;
}

#[tokio::test]
async fn a_cut_or_extended_archive_of_the_scripts_is_damaged() {
    let site = Site::small(Compression::Zstd);
    let Some(path) = pack(&site, ".tar.gz", &[]) else {
        return;
    };
    let whole = fs::read(&path).unwrap();
    let entry = site.only_entry().await;
    let mut damaged = vec![
        [&whole[..], b"garbage"].concat(),
        [&whole[..], &whole[..]].concat(),
    ];
    for share in [1, 3, 5, 7] {
        damaged.push(whole[..whole.len() * share / 8].to_vec());
    }
    for cut in [1, 4, 8, 9, 100] {
        damaged.push(whole[..whole.len() - cut].to_vec());
    }
    for at in (0..whole.len()).step_by(whole.len() / 25 + 1).skip(1) {
        let mut flipped = whole.clone();
        flipped[at] ^= 0x10;
        damaged.push(flipped);
    }
    let home = site.staging().home();
    for content in damaged {
        fs::write(&path, &content).unwrap();
        if site.judge(&entry).await.0.is_good() {
            // Bits that fill up a block of compressed data say nothing.
            assert_eq!(content.len(), whole.len());
            assert_nearly_same(&home, &site.path().join("restored/home"));
        }
    }
}

/// Makes archives of the scripts in the directory of `site`.
fn archive(site: &Site, make: impl Fn(ShellArchive<'static>) -> ShellArchive<'static>) -> bool {
    fs::create_dir_all(site.archives()).unwrap();
    let made = make(ShellArchive::new("bitbucket", site.staging().home())).create(&site.archives());
    match made {
        Ok(_) => true,
        Err(error) => {
            diy_backup_testkit::report_skipped(&error);
            false
        }
    }
}

#[tokio::test]
async fn the_time_in_a_name_is_that_of_the_machine_that_made_it() {
    const DAY: u64 = 86_400;
    let site = Site::small(Compression::Zstd);
    let at = |seconds| std::time::SystemTime::UNIX_EPOCH + std::time::Duration::from_secs(seconds);
    let begun = 20_000 * DAY;
    // Each a minute after the other, and named in another order: the first by a clock nine hours ahead.
    let zones = [9 * 3600, 0, -5 * 3600];
    for (number, zone) in (0..).zip(zones) {
        if !archive(&site, |archive| {
            archive
                .taken_at(at(begun + number * 60))
                .east(zone)
                .generation(Generation::WithEpoch)
        }) {
            return;
        }
    }
    // One of ours, made the minute after.
    site.store(i64::try_from(begun + 180).unwrap())
        .await
        .unwrap();
    let listed = site.archive.list().await.unwrap();
    let created: Vec<_> = listed.iter().map(|entry| entry.created_unix).collect();
    let expected = [0, 60, 120, 180].map(|after| i64::try_from(begun + after).unwrap());
    assert_eq!(created, expected, "{listed:?}");
    assert_eq!(listed[0].id.created_unix(), expected[0] + 9 * 3600);
    assert_eq!(listed[0].created_rfc3339(), "2024-10-04T00:00:00Z");
}

#[tokio::test]
async fn what_was_cut_off_counts_for_nothing_until_it_is_read() {
    let site = Site::small(Compression::Zstd);
    for suffix in [".tar.gz", ".tar"] {
        let Some(path) = pack(&site, suffix, &[]) else {
            return;
        };
        let whole = fs::read(&path).unwrap();
        assert_eq!(site.only_entry().await.state, BackupState::Unsealed);
        let mut seen_through = 0;
        for cut in 1..=16 {
            fs::write(&path, &whole[..whole.len() - cut * 37]).unwrap();
            let entry = site.only_entry().await;
            seen_through += usize::from(entry.state != BackupState::Unsealed);
            assert!(!site.judge(&entry).await.0.is_good(), "{suffix}, {cut}");
        }
        assert!(seen_through >= 14, "{suffix}: {seen_through}");
        fs::write(&path, "").unwrap();
        assert!(!site.only_entry().await.is_good());
        fs::remove_file(path).unwrap();
    }
}

#[tokio::test]
async fn what_cannot_be_read_is_listed_with_what_to_do() {
    let site = Site::small(Compression::Zstd);
    fs::create_dir_all(site.archives()).unwrap();
    let names = [
        ("bitbucket-20260131-120000.tar.gz.gpg", "gpg"),
        ("bitbucket-20260131-120001.zip", "7z"),
        ("stash-20150131-120000-123.tar.gz.gpg", "gpg"),
    ];
    for (name, _) in names {
        fs::write(site.archives().join(name), "unreadable").unwrap();
    }
    let listed = site.archive.list().await.unwrap();
    for (name, tool) in names {
        let entry = listed
            .iter()
            .find(|entry| entry.location.ends_with(name))
            .unwrap();
        assert_eq!(entry.origin, Origin::ShellScripts);
        assert!(entry.damage().unwrap().contains(tool), "{entry:?}");
        let error = site.judge(entry).await.1.unwrap();
        assert!(error.to_string().contains(tool), "{error}");
    }
}

#[tokio::test]
async fn archives_that_are_called_by_the_product_are_taken_by_their_id_alone() {
    let site = Site::small(Compression::Zstd);
    if !archive(&site, |archive| archive.generation(Generation::Stash)) {
        return;
    }
    let entry = site.only_entry().await;
    assert!(matches!(entry.state, BackupState::Unproven(_)), "{entry:?}");
    assert_eq!(entry.id.name().as_str(), "stash");
    assert!(site.judge(&entry).await.0.is_good());
}

#[tokio::test]
async fn a_dump_that_is_one_file_is_handed_over_in_a_directory() {
    for (path, handed_over) in [
        ("bitbucket-db", "bitbucket-db"),
        ("bitbucket-db.sql.gz", "bitbucket-db.sql.gz"),
        ("bitbucket-db/backup-db.sql", "backup-db.sql"),
        ("stash-db", "stash-db"),
    ] {
        let site = Site::small(Compression::Zstd);
        if !archive(&site, |archive| archive.file(path, "-- dump")) {
            return;
        }
        let entry = site.only_entry().await;
        assert!(site.verify(&entry).await.is_good(), "{path}");
        let restored = site.fetch(&entry).await.unwrap();
        let database = restored.source.database.unwrap();
        assert_eq!(crate::site::names(&database), [handed_over]);
        let content = fs::read_to_string(database.join(handed_over)).unwrap();
        assert_eq!(content, "-- dump");
    }
}

#[tokio::test]
async fn what_could_be_two_backups_is_damaged_whatever_comes_first() {
    for (path, packing, named) in [
        ("stash-home/x", Packing::Content, "`stash-home`"),
        ("stash-home/x", Packing::Directory, "`stash-home`"),
        ("bitbucket-db.sql", Packing::Names, "`bitbucket-db.sql`"),
    ] {
        let site = Site::small(Compression::Zstd);
        let pack = |archive: ShellArchive<'static>| {
            let archive = archive.file("bitbucket-db/dump.sql", "y");
            archive.file(path, "x").packing(packing)
        };
        if !archive(&site, pack) {
            return;
        }
        let error = site.judge(&site.only_entry().await).await.1.unwrap();
        assert!(error.to_string().contains(named), "{error}");
    }
    for (one, other, fits) in [
        ("a/bitbucket-home/", "b/bitbucket-home/", false),
        ("a/bitbucket-home/", "b/bitbucket-db/", false),
        ("a/b/bitbucket-home/", "a/bitbucket-home/", true),
        ("old/bitbucket-home/", "bitbucket-home/", true),
    ] {
        for (first, second) in [(one, other), (other, one)] {
            let site = Site::new();
            let mut tar = Crafted::default();
            for path in ["a/", "a/b/", "b/", "old/", first, second] {
                tar = tar.entry(FOLDER, path, "", b"");
            }
            let entry = tar.file(&format!("{other}file"), b"x").gzip(&site).await;
            let (verdict, error) = site.judge(&entry).await;
            assert_eq!(verdict.is_good(), fits, "{first}, {second}: {error:?}");
            if fits {
                assert!(site.path().join("restored/home/file").exists());
            }
        }
    }
}

#[tokio::test]
async fn an_archive_with_nothing_of_a_backup_is_damaged() {
    let site = Site::new();
    let tar = Crafted::default()
        .entry(FOLDER, "home/", "", b"")
        .file("home/x", b"x");
    let error = site.judge(&tar.gzip(&site).await).await.1.unwrap();
    assert!(error.to_string().contains("nothing of a backup"), "{error}");
}
