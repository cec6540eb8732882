//! Changes that size and modification time do not show.

use std::fs;
use std::path::Path;

use filetime::FileTime;

use crate::support::Bench;
use diy_backup_testkit::home::Names;

/// Writes other content of the same length, and sets the times back to what they were.
fn rewrite_unnoticed(path: &Path) {
    let metadata = fs::metadata(path).unwrap();
    let mut content = fs::read(path).unwrap();
    for byte in &mut content {
        *byte ^= 1;
    }
    fs::write(path, content).unwrap();
    filetime::set_file_mtime(path, FileTime::from_last_modification_time(&metadata)).unwrap();
}

#[tokio::test(flavor = "multi_thread")]
async fn a_rewrite_between_the_passes_with_the_same_size_and_time_is_caught() {
    let Some(bench) = Bench::new(1) else { return };
    let attachments = bench.home.path.join("shared/data/attachments");
    let store = bench.path("ds0/repositories/0a/1f/5/HEAD");
    let change = || {
        rewrite_unnoticed(&attachments.join("log/kept"));
        rewrite_unnoticed(&attachments.join("odd/files/new\nline"));
        rewrite_unnoticed(&attachments.join("odd/files/#hash"));
        rewrite_unnoticed(&attachments.join("odd/files/-rf"));
        rewrite_unnoticed(&attachments.join("odd/hard/first"));
        rewrite_unnoticed(&store);
    };
    bench
        .try_back_up(&bench.strategy(""), &bench.context(), change)
        .await
        .unwrap();
    bench.assert_staged();
}

#[tokio::test(flavor = "multi_thread")]
async fn a_rewrite_between_two_backups_with_the_same_size_and_time_is_caught() {
    let Some(bench) = Bench::new(0) else { return };
    bench.back_up("").await;
    rewrite_unnoticed(&bench.home.path.join("shared/bitbucket.properties"));
    bench.back_up("").await;
    bench.assert_staged();
}

#[tokio::test(flavor = "multi_thread")]
async fn a_moved_folder_with_old_files_is_caught() {
    let Some(bench) = Bench::with(0, Names::Plain, "home") else {
        return;
    };
    let data = bench.home.path.join("shared/data");
    let (one, other) = (data.join("one/deep"), data.join("other/deep"));
    let time = FileTime::from_unix_time(1_000_000_000, 5);
    for (folder, content) in [(&one, "aaaa"), (&other, "bbbb")] {
        fs::create_dir_all(folder).unwrap();
        fs::write(folder.join("file"), content).unwrap();
        filetime::set_file_mtime(folder.join("file"), time).unwrap();
    }
    let change = || {
        fs::rename(data.join("one"), data.join("aside")).unwrap();
        fs::rename(data.join("other"), data.join("one")).unwrap();
        fs::rename(data.join("aside"), data.join("other")).unwrap();
    };
    bench
        .try_back_up(&bench.strategy(""), &bench.context(), change)
        .await
        .unwrap();
    bench.assert_staged();
    assert_eq!(fs::read(one.join("file")).unwrap(), b"bbbb");
}

#[tokio::test(flavor = "multi_thread")]
async fn names_that_stop_sharing_a_file_stop_in_the_copy() {
    let Some(bench) = Bench::new(0) else { return };
    let hard = bench.home.path.join("shared/data/attachments/odd/hard");
    let change = || {
        // The same content, size and time, and another file.
        let first = hard.join("first");
        let metadata = fs::metadata(&first).unwrap();
        let second = hard.join("second");
        fs::remove_file(&second).unwrap();
        fs::copy(&first, &second).unwrap();
        filetime::set_file_mtime(&second, FileTime::from_last_modification_time(&metadata))
            .unwrap();
    };
    bench
        .try_back_up(&bench.strategy(""), &bench.context(), change)
        .await
        .unwrap();
    bench.assert_staged();
}

#[tokio::test(flavor = "multi_thread")]
async fn a_copy_of_unknown_origin_is_compared_by_content() {
    let Some(bench) = Bench::new(0) else { return };
    bench.back_up("").await;
    // As the shell scripts leave it: a copy about which nothing is known, damaged without a trace.
    fs::remove_file(bench.staging().root().join(".rsync-proven.json")).unwrap();
    rewrite_unnoticed(&bench.staging().home().join("shared/bitbucket.properties"));
    bench.back_up("").await;
    bench.assert_staged();
}
