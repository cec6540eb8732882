use std::fs;
use std::os::unix::fs::PermissionsExt;

use diy_backup_core::{ArchiveStrategy, Leftover, Origin};
use strategy_tar::Compression;

use crate::site::{Site, id, names};

#[tokio::test]
async fn a_folder_that_does_not_exist_holds_no_backups() {
    let site = Site::new();
    assert!(site.archive.list().await.unwrap().is_empty());
}

#[tokio::test]
async fn backups_are_listed_oldest_first_and_are_their_owners_alone() {
    let site = Site::small(Compression::Zstd);
    for second in [9, 3, 6] {
        site.store(second).await.unwrap();
    }
    let listed = site.archive.list().await.unwrap();
    let ids: Vec<_> = listed.iter().map(|entry| entry.id.clone()).collect();
    assert_eq!(ids, [id(3), id(6), id(9)]);
    assert!(listed.iter().all(diy_backup_core::BackupEntry::is_good));
    let mode = |path| fs::metadata(path).unwrap().permissions().mode() & 0o777;
    assert_eq!(mode(site.archives()), 0o700);
    for name in names(&site.archives()) {
        assert_eq!(mode(site.archives().join(&name)), 0o600, "{name}");
    }
}

#[tokio::test]
async fn other_files_are_not_backups() {
    let site = Site::small(Compression::Zstd);
    site.store(3).await.unwrap();
    let folder = site.archives();
    let archive = folder.join(format!("{}.tar.zst", id(3)));
    for other in [
        format!(".{}.tar.zst.partial", id(4)),
        format!(".{}.tar.zst.deleting", id(4)),
        format!("{}.tar.zst.tmp", id(4)),
        "other-20260101-000000.tar.zst".to_owned(),
        "bitbucket-20260101.tar.zst".to_owned(),
        "other-20260101-000000.tar.gz".to_owned(),
    ] {
        fs::copy(&archive, folder.join(other)).unwrap();
    }
    fs::write(folder.join(format!("{}.manifest.json", id(5))), "{}").unwrap();
    fs::create_dir(folder.join(format!("{}.tar", id(6)))).unwrap();
    assert_eq!(site.only_entry().await.id, id(3));
}

#[tokio::test]
async fn an_archive_without_the_manifest_beside_it_is_not_proven_and_restores() {
    let site = Site::small(Compression::Gzip);
    site.store(3).await.unwrap();
    fs::remove_file(site.archives().join(format!("{}.manifest.json", id(3)))).unwrap();
    let entry = site.only_entry().await;
    assert_eq!(entry.origin, Origin::DiyBackup);
    assert!(!entry.is_proven() && entry.damage().is_none(), "{entry:?}");
    let (verdict, _) = site.judge(&entry).await;
    assert!(verdict.is_good() && verdict.has_checksums, "{verdict:?}");
}

#[tokio::test]
async fn what_can_be_seen_without_reading_is_a_problem() {
    let site = Site::small(Compression::Zstd);
    for second in 1..=5 {
        site.store(second).await.unwrap();
    }
    let folder = site.archives();
    let archive = |second| folder.join(format!("{}.tar.zst", id(second)));
    let manifest = |second| folder.join(format!("{}.manifest.json", id(second)));
    let length = fs::metadata(archive(1)).unwrap().len();
    let file = fs::File::options().write(true).open(archive(1)).unwrap();
    file.set_len(length - 1).unwrap();
    fs::write(manifest(2), "{").unwrap();
    fs::copy(manifest(4), manifest(3)).unwrap();
    fs::remove_file(manifest(4)).unwrap();
    fs::write(archive(4), "no archive").unwrap();
    let listed = site.archive.list().await.unwrap();
    let problems: Vec<_> = listed
        .iter()
        .map(|entry| entry.problem().is_some())
        .collect();
    assert_eq!(problems, [true, true, true, true, false], "{listed:?}");
    let damaged: Vec<_> = listed
        .iter()
        .map(|entry| entry.damage().is_some())
        .collect();
    // The third has the manifest of another archive beside it, and its own in it.
    assert_eq!(damaged, [true, true, false, true, false], "{listed:?}");
    for entry in &listed {
        let (verdict, _) = site.judge(entry).await;
        assert_eq!(verdict.is_good(), entry.damage().is_none(), "{verdict:?}");
    }
}

#[tokio::test]
async fn an_archive_that_was_cut_off_and_lost_its_manifest_is_not_proven() {
    let site = Site::small(Compression::Zstd);
    site.store(3).await.unwrap();
    let path = site.archives().join(format!("{}.tar.zst", id(3)));
    let file = fs::File::options().write(true).open(&path).unwrap();
    file.set_len(fs::metadata(&path).unwrap().len() / 2)
        .unwrap();
    fs::remove_file(site.archives().join(format!("{}.manifest.json", id(3)))).unwrap();
    let entry = site.only_entry().await;
    assert!(!entry.is_proven() && entry.problem().is_some(), "{entry:?}");
    assert!(!site.judge(&entry).await.0.is_good());
}

#[tokio::test]
async fn a_manifest_whose_archive_is_gone_is_listed_and_can_be_deleted() {
    let site = Site::small(Compression::Zstd);
    site.store(3).await.unwrap();
    let archive = site.archives().join(format!("{}.tar.zst", id(3)));
    let hidden = site.archives().join(format!(".{}.tar.zst.deleting", id(3)));
    fs::rename(&archive, &hidden).unwrap();
    assert!(
        site.archive.list().await.unwrap().is_empty(),
        "it is being deleted"
    );
    fs::remove_file(&hidden).unwrap();
    let entry = site.only_entry().await;
    assert!(
        entry
            .damage()
            .is_some_and(|problem| problem.contains("missing")),
        "{entry:?}"
    );
    site.archive.delete(&entry).await.unwrap();
    assert!(names(&site.archives()).is_empty());
}

#[tokio::test]
async fn what_is_no_file_under_the_name_of_an_archive_does_not_hide_that_it_is_lost() {
    let site = Site::small(Compression::Zstd);
    for second in [3, 4, 5] {
        site.store(second).await.unwrap();
    }
    let archive = |second| site.archives().join(format!("{}.tar.zst", id(second)));
    for second in [4, 5] {
        fs::remove_file(archive(second)).unwrap();
    }
    fs::create_dir(archive(4)).unwrap();
    std::os::unix::fs::symlink("/nowhere/archive.tar.zst", archive(5)).unwrap();
    let listed = site.archive.list().await.unwrap();
    let damaged = |second: usize| listed[second].damage().is_some();
    assert_eq!(listed.len(), 3, "{listed:?}");
    assert!(!damaged(0) && damaged(1) && damaged(2), "{listed:?}");
}

#[tokio::test]
async fn a_deleted_backup_is_gone_with_its_manifest() {
    let site = Site::small(Compression::Zstd);
    let first = site.store(3).await.unwrap();
    site.store(4).await.unwrap();
    site.archive.delete(&first).await.unwrap();
    assert_eq!(site.only_entry().await.id, id(4));
    assert_eq!(names(&site.archives()).len(), 2);
    site.archive.delete(&first).await.unwrap();
}

#[tokio::test]
async fn a_deletion_that_was_cut_off_is_finished_by_the_next_backup() {
    let site = Site::small(Compression::Zstd);
    site.store(3).await.unwrap();
    let name = format!("{}.tar.zst", id(3));
    let hidden = site.archives().join(format!(".{name}.deleting"));
    fs::rename(site.archives().join(name), hidden).unwrap();
    assert!(site.archive.list().await.unwrap().is_empty());
    site.store(4).await.unwrap();
    assert_eq!(names(&site.archives()).len(), 2);
}

#[tokio::test]
async fn nothing_outside_of_the_folder_is_deleted() {
    let site = Site::small(Compression::Zstd);
    let mut entry = site.store(3).await.unwrap();
    let elsewhere = site.path().join(format!("{}.tar.zst", id(3)));
    fs::write(&elsewhere, "mine").unwrap();
    entry.location = elsewhere.display().to_string();
    assert!(site.archive.delete(&entry).await.is_err());
    assert!(elsewhere.exists());
}

#[tokio::test]
async fn what_a_dead_run_left_is_discarded_and_a_whole_backup_is_not() {
    let site = Site::small(Compression::Zstd);
    site.store(3).await.unwrap();
    let leftover = |second| {
        let partial = site
            .archives()
            .join(format!(".{}.tar.zst.partial", id(second)));
        Leftover::new("tar", "partial-archive", partial.display().to_string())
    };
    fs::write(&leftover(4).id, "half").unwrap();
    fs::write(
        site.archives().join(format!("{}.manifest.json", id(4))),
        "{}",
    )
    .unwrap();
    for second in [3, 4, 4] {
        site.archive.discard(&leftover(second)).await.unwrap();
    }
    assert_eq!(names(&site.archives()).len(), 2);
    assert!(site.only_entry().await.is_good());
    // What another directory holds under such a name is not this configuration's.
    let elsewhere = site.path().join("elsewhere");
    fs::create_dir(&elsewhere).unwrap();
    let name = format!(".{}.tar.zst.partial", id(4));
    let planted = elsewhere.join(&name);
    let manifest = elsewhere.join(format!("{}.manifest.json", id(4)));
    for path in [&planted, &manifest] {
        fs::write(path, "of somebody else").unwrap();
    }
    let leftover = Leftover::new("tar", "partial-archive", planted.display().to_string());
    assert!(site.archive.discard(&leftover).await.is_err());
    assert!(planted.exists() && manifest.exists());
    let foreign = Leftover::new("tar", "partial-archive", "/etc/passwd");
    assert!(site.archive.discard(&foreign).await.is_err());
}
