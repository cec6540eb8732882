//! Any bytes at all: nothing panics, nothing is written outside, and both verdicts are the same.

use std::fs;
use std::io::Write;

use diy_backup_core::BackupEntry;
use proptest::prelude::*;
use strategy_tar::Compression;

use crate::crafted::Crafted;
use crate::site::{Site, id, snapshot};

async fn judged(content: &[u8], suffix: &str) -> bool {
    let site = Site::with(Compression::None);
    fs::create_dir_all(site.archives()).unwrap();
    let path = site.archives().join(format!("{}{suffix}", id(3)));
    fs::write(&path, content).unwrap();
    let listed = diy_backup_core::ArchiveStrategy::list(&*site.archive)
        .await
        .unwrap();
    let entry = BackupEntry::from_scripts(id(3), path.display().to_string(), content.len() as u64);
    let before = snapshot(site.path());
    let mut good = true;
    for entry in listed.iter().chain([&entry]) {
        let (verdict, _) = site.judge(entry).await;
        good = verdict.is_good();
        let restored = site.path().join("restored");
        if restored.exists() {
            diy_backup_testkit::tree::make_removable(&restored).unwrap();
            fs::remove_dir_all(restored).unwrap();
        }
        let diff = before.diff(&snapshot(site.path()));
        assert!(diff.is_empty(), "{diff}");
    }
    good
}

fn sample() -> Vec<u8> {
    Crafted::scripts()
        .file("bitbucket-home/a", &[7; 700])
        .extended(&[("path", "bitbucket-home/long"), ("mtime", "1.5")])
        .file("x", b"x")
        .extended(&[
            ("GNU.sparse.major", "1"),
            ("GNU.sparse.minor", "0"),
            ("GNU.sparse.name", "bitbucket-home/sparse"),
            ("GNU.sparse.realsize", "50"),
        ])
        .file("x", &[&b"1\n0\n3\n"[..], &[0; 506], b"abc"].concat())
        .entry(b'2', "bitbucket-home/l", "a", b"")
        .entry(b'1', "bitbucket-home/h", "bitbucket-home/a", b"")
        .into_bytes()
}

fn compressed(bytes: &[u8], with: u8) -> Vec<u8> {
    match with {
        0 => bytes.to_vec(),
        1 => zstd::encode_all(bytes, 1).unwrap(),
        _ => {
            let level = flate2::Compression::fast();
            let mut encoder = flate2::write::GzEncoder::new(Vec::new(), level);
            encoder.write_all(bytes).unwrap();
            encoder.finish().unwrap()
        }
    }
}

#[test]
fn the_sample_is_good_before_it_is_changed() {
    let runtime = tokio::runtime::Runtime::new().unwrap();
    for with in 0..3 {
        let content = compressed(&sample(), with);
        assert!(runtime.block_on(judged(&content, ".tar")), "{with}");
    }
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 40, failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn any_bytes_are_refused(content in prop::collection::vec(any::<u8>(), 0..3000), with in 0..3_u8) {
        let runtime = tokio::runtime::Runtime::new().unwrap();
        let content = compressed(&content, with);
        prop_assert!(!runtime.block_on(judged(&content, ".tar.gz")));
    }

    #[test]
    fn changes_to_a_header_are_never_fatal(
        changes in prop::collection::vec((any::<prop::sample::Index>(), any::<u8>()), 1..6),
        with in 0..3_u8,
    ) {
        let mut content = sample();
        for (at, byte) in changes {
            let at = at.index(content.len());
            content[at] = byte;
            // With a checksum that fits, the change is looked at.
            let block = at / 512 * 512;
            let header = &mut content[block..block + 512];
            header[148..156].fill(b' ');
            let sum: u32 = header.iter().map(|&byte| u32::from(byte)).sum();
            header[148..156].copy_from_slice(format!("{sum:06o}\0 ").as_bytes());
        }
        let runtime = tokio::runtime::Runtime::new().unwrap();
        runtime.block_on(judged(&compressed(&content, with), ".tar"));
    }
}
