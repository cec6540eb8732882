//! Archives are what ordinary tools make of them.

use std::fs;
use std::path::Path;
use std::process::Command;

use strategy_tar::Compression;

use crate::site::{Site, assert_same};

fn has(program: &str) -> bool {
    let found = Command::new(program).arg("--version").output().is_ok();
    if !found {
        diy_backup_testkit::report_skipped(&format!("{program} is not installed"));
    }
    found
}

fn run(command: &mut Command) {
    let output = command.output().unwrap();
    let complaint = String::from_utf8_lossy(&output.stderr);
    assert!(output.status.success(), "{command:?}: {complaint}");
}

async fn extracted_with(program: &str, options: &[&str], compression: Compression) {
    let site = Site::with_home(compression);
    let entry = site.store(5).await.unwrap();
    let folder = site.path().join("extracted");
    fs::create_dir(&folder).unwrap();
    let mut extract = Command::new(program);
    extract.args(options).arg("-xpf").arg(&entry.location);
    run(extract.arg("-C").arg(&folder));
    for part in ["bitbucket-db", "bitbucket-home", "bitbucket-data-stores"] {
        assert_same(&site.staging().root().join(part), &folder.join(part));
    }
    check_sums(&folder);
}

fn check_sums(folder: &Path) {
    let mut check = Command::new("sha256sum");
    check.args(["--check", "--strict", "--quiet", "SHA256SUMS"]);
    run(check.current_dir(folder));
}

#[tokio::test]
async fn gnu_tar_unpacks_an_archive_exactly() {
    if !has("tar") || !has("zstd") {
        return;
    }
    let options = [
        "--xattrs",
        "--xattrs-include=*",
        "--acls",
        "--warning=no-unknown-keyword",
    ];
    for compression in [Compression::Zstd, Compression::Gzip, Compression::None] {
        extracted_with("tar", &options, compression).await;
    }
}

#[tokio::test]
async fn bsdtar_unpacks_an_archive_exactly() {
    if has("bsdtar") {
        extracted_with("bsdtar", &[], Compression::Gzip).await;
    }
}
