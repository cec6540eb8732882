//! What happens while rsync is at work, which sparse files are left to. A long one keeps it busy, and its temporary name
//! in the copy says when.

use std::fs;
use std::path::{Path, PathBuf};
use std::time::Duration;

use diy_backup_core::{CancelReason, Control, ErrorKind, HomeStrategy};
use diy_backup_testkit::home::Names;

use crate::support::Bench;

const BUSY_BYTES: u64 = 1 << 30;

/// A folder of the home with a file that takes long and one that comes after it.
fn make_busy(bench: &Bench) -> (PathBuf, PathBuf) {
    let relative = Path::new("shared/data/attachments/busy");
    let folder = bench.home.path.join(relative);
    fs::create_dir_all(&folder).unwrap();
    for (name, bytes) in [("a", BUSY_BYTES), ("b", 1 << 20)] {
        let file = fs::File::create(folder.join(name)).unwrap();
        file.set_len(bytes).unwrap();
    }
    (folder, bench.staging().home().join(relative))
}

/// Waits until rsync is writing the long file.
async fn until_busy(copy: &Path) {
    let is_temporary = |name: &std::ffi::OsStr| name.as_encoded_bytes().starts_with(b".a.");
    let is_busy = || {
        let entries = fs::read_dir(copy).into_iter().flatten().flatten();
        entries
            .into_iter()
            .any(|entry| is_temporary(&entry.file_name()))
    };
    while !is_busy() {
        tokio::time::sleep(Duration::from_millis(1)).await;
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_file_that_vanishes_in_the_live_pass_does_not_matter() {
    let Some(bench) = Bench::with(0, Names::Plain, "home") else {
        return;
    };
    let (folder, copy) = make_busy(&bench);
    let vanish = tokio::spawn(async move {
        until_busy(&copy).await;
        fs::remove_file(folder.join("b")).unwrap();
    });
    bench.back_up("").await;
    vanish.await.unwrap();
    assert!(
        !bench
            .staging()
            .home()
            .join("shared/data/attachments/busy/b")
            .exists()
    );
}

#[tokio::test(flavor = "multi_thread")]
async fn a_file_that_vanishes_while_the_instance_is_drained_fails_the_backup() {
    let Some(bench) = Bench::with(0, Names::Plain, "home") else {
        return;
    };
    let strategy = bench.strategy("");
    let between = || {
        let (folder, copy) = make_busy(&bench);
        tokio::spawn(async move {
            until_busy(&copy).await;
            fs::remove_file(folder.join("b")).unwrap();
        });
    };
    let error = bench
        .try_back_up(&strategy, &bench.context(), between)
        .await
        .unwrap_err();
    assert_eq!(error.kind(), ErrorKind::Tool);
    assert!(error.to_string().contains("vanished"), "{error}");
}

#[tokio::test(flavor = "multi_thread")]
async fn cancelling_ends_rsync() {
    let Some(bench) = Bench::with(0, Names::Plain, "home") else {
        return;
    };
    let (_, copy) = make_busy(&bench);
    let control = Control::new();
    let cancel = tokio::spawn({
        let control = control.clone();
        async move {
            until_busy(&copy).await;
            control.cancel(CancelReason::Requested);
        }
    });
    let cx = bench.context().with_control(control);
    let error = bench.strategy("").prepare(&cx).await.unwrap_err();
    assert_eq!(error.kind(), ErrorKind::Cancelled);
    cancel.await.unwrap();
    let staging = bench.staging().root().to_owned();
    let runs = || {
        let processes = fs::read_dir("/proc").into_iter().flatten().flatten();
        processes.into_iter().any(|process| {
            let command = fs::read(process.path().join("cmdline")).unwrap_or_default();
            String::from_utf8_lossy(&command).contains(staging.to_str().unwrap())
        })
    };
    while runs() {
        tokio::time::sleep(Duration::from_millis(1)).await;
    }
}
