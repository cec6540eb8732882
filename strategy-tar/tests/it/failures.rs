use std::fs;
use std::os::unix::net::UnixListener;
use std::process::Command;
use std::sync::{Arc, Mutex};

use diy_backup_core::{
    ArchiveStrategy, CancelReason, Control, ErrorKind, Event, Events, Manifest, Observer, Staging,
};
use strategy_tar::Compression;

use crate::site::{Site, id, is_root, names, strategy};

#[tokio::test]
async fn a_cancelled_backup_leaves_nothing() {
    let site = Site::small(Compression::Zstd);
    let control = Control::new();
    control.cancel(CancelReason::Requested);
    let cx = site.context(3).with_control(control);
    let error = site
        .archive
        .store(&cx, &Manifest::new(id(3)))
        .await
        .unwrap_err();
    assert_eq!(error.kind(), ErrorKind::Cancelled);
    assert!(names(&site.archives()).is_empty());
}

type Deed = Box<dyn FnOnce() + Send>;

/// Does something at the first progress, in the middle of the work.
struct Meddler(Mutex<Option<Deed>>);

impl std::fmt::Debug for Meddler {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("Meddler")
    }
}

impl Observer for Meddler {
    fn observe(&self, event: &Event) {
        if matches!(event, Event::Progress(_))
            && let Some(deed) = self.0.lock().unwrap().take()
        {
            deed();
        }
    }
}

fn meddling(deed: impl FnOnce() + Send + 'static) -> Events {
    Events::new(Arc::new(Meddler(Mutex::new(Some(Box::new(deed))))))
}

#[tokio::test]
async fn a_backup_that_is_cancelled_half_way_leaves_nothing() {
    let site = Site::small(Compression::None);
    let control = Control::new();
    let lever = control.clone();
    let cx = site
        .context(3)
        .with_control(control)
        .with_events(meddling(move || lever.cancel(CancelReason::Requested)));
    let error = site
        .archive
        .store(&cx, &Manifest::new(id(3)))
        .await
        .unwrap_err();
    assert_eq!(error.kind(), ErrorKind::Cancelled);
    assert!(names(&site.archives()).is_empty());
}

#[tokio::test]
async fn a_file_that_changes_while_it_is_read_fails_the_backup() {
    for growth in [-4096_i64, 1] {
        let site = Site::small(Compression::Zstd);
        let big = site.staging().home().join("big");
        fs::write(&big, vec![7; 3 << 20]).unwrap();
        fs::remove_dir_all(site.staging().database()).unwrap();
        let cx = site.context(3).with_events(meddling(move || {
            let file = fs::File::options().write(true).open(&big).unwrap();
            let length = (3_u64 << 20).checked_add_signed(growth).unwrap();
            file.set_len(length).unwrap();
        }));
        let error = site
            .archive
            .store(&cx, &Manifest::new(id(3)))
            .await
            .unwrap_err();
        assert!(error.to_string().contains("has changed"), "{error}");
        assert!(error.hint().is_some());
        assert!(names(&site.archives()).is_empty());
    }
}

#[tokio::test]
async fn sockets_and_pipes_are_left_out_with_a_warning() {
    let site = Site::small(Compression::Zstd);
    let home = site.staging().home();
    let _socket = UnixListener::bind(home.join("socket")).unwrap();
    let made = Command::new("mkfifo").arg(home.join("pipe")).status();
    assert!(made.is_ok_and(|status| status.success()));
    let cx = site.context(3);
    site.archive
        .store(&cx, &Manifest::new(id(3)))
        .await
        .unwrap();
    assert_eq!(
        cx.events().warnings().len(),
        2,
        "{:?}",
        cx.events().warnings()
    );
    let (verdict, _) = site.judge(&site.only_entry().await).await;
    assert!(verdict.is_good(), "{verdict:?}");
}

#[tokio::test]
async fn a_backup_of_the_same_name_is_never_overwritten() {
    let site = Site::small(Compression::Zstd);
    let entry = site.store(3).await.unwrap();
    assert!(site.store(3).await.is_err());
    assert_eq!(names(&site.archives()).len(), 2);
    assert!(site.verify(&entry).await.is_good());
}

#[tokio::test]
async fn a_full_disk_is_told_apart_and_leaves_nothing() {
    let folder = tempfile::tempdir().unwrap();
    let mounted = is_root()
        && Command::new("mount")
            .args(["-t", "tmpfs", "-o", "size=256k", "tmpfs"])
            .arg(folder.path())
            .stderr(std::process::Stdio::null())
            .status()
            .is_ok_and(|status| status.success());
    if !mounted {
        diy_backup_testkit::report_skipped(&"mounting a small file system takes root");
        return;
    }
    let site = Site::small(Compression::None);
    let home = site.staging().home();
    fs::write(home.join("big"), vec![7; 1 << 20]).unwrap();
    let archive = strategy(&folder.path().join("archives"), Compression::None);
    let cx = site.context(3);
    let stored = archive.store(&cx, &Manifest::new(id(3))).await;
    let left = names(&folder.path().join("archives"));
    let unmounted = Command::new("umount").arg("-l").arg(folder.path()).status();
    assert!(unmounted.is_ok_and(|status| status.success()));
    let error = stored.unwrap_err();
    assert_eq!(error.kind(), ErrorKind::Space, "{error:?}");
    assert!(error.hint().is_some());
    assert!(left.is_empty(), "{left:?}");
}

#[tokio::test]
async fn a_staging_folder_that_is_not_there_makes_an_archive_of_nothing_but_its_manifest() {
    let site = Site::small(Compression::Zstd);
    let cx = diy_backup_core::BackupContext::new(id(3), Staging::new(site.path().join("none")));
    site.archive
        .store(&cx, &Manifest::new(id(3)))
        .await
        .unwrap();
    let entry = site.only_entry().await;
    let seal = entry.manifest.as_ref().unwrap().archive.clone().unwrap();
    assert_eq!(seal.entries, 2);
    assert!(site.judge(&entry).await.0.is_good());
}
