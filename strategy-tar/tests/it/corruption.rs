use std::fs;

use diy_backup_core::BackupEntry;
use strategy_tar::Compression;

use crate::site::Site;

async fn every_damage_is_found(compression: Compression) {
    let site = Site::small(compression);
    let entry = site.store(5).await.unwrap();
    let whole = fs::read(&entry.location).unwrap();
    let mut damaged = vec![Vec::new(), [&whole[..], b"\0"].concat()];
    for at in (0..whole.len()).step_by(whole.len() / 40 + 1) {
        let mut flipped = whole.clone();
        flipped[at] ^= 0x04;
        let mut shorter = whole.clone();
        shorter.remove(at);
        let mut longer = whole.clone();
        longer.insert(at, 0);
        damaged.extend([flipped, shorter, longer, whole[..at].to_vec()]);
    }
    for content in damaged {
        if content == whole {
            continue;
        }
        fs::write(&entry.location, &content).unwrap();
        let (verdict, _) = site.judge(&entry).await;
        assert!(!verdict.is_good());
    }
    fs::write(&entry.location, &whole).unwrap();
    assert!(site.judge(&entry).await.0.is_good());
}

#[tokio::test]
async fn every_damage_to_a_zstd_archive_is_found() {
    every_damage_is_found(Compression::Zstd).await;
}

#[tokio::test]
async fn every_damage_to_a_gzip_archive_is_found() {
    every_damage_is_found(Compression::Gzip).await;
}

#[tokio::test]
async fn every_damage_to_a_plain_archive_is_found() {
    every_damage_is_found(Compression::None).await;
}

fn position(whole: &[u8], pattern: &[u8]) -> usize {
    whole
        .windows(pattern.len())
        .position(|window| window == pattern)
        .unwrap()
}

fn paths(verdict: &diy_backup_core::Verdict) -> Vec<&str> {
    let damage = verdict.damage.iter();
    damage.filter_map(|damage| damage.path.as_deref()).collect()
}

#[tokio::test]
async fn every_file_that_a_damage_touches_is_named() {
    let site = Site::small(Compression::None);
    let entry = site.store(5).await.unwrap();
    let mut whole = fs::read(&entry.location).unwrap();
    for number in [3, 6] {
        let file = site.staging().home().join(format!("shared/data/{number}"));
        let at = position(&whole, &fs::read(file).unwrap());
        whole[at + 5] ^= 1;
    }
    fs::write(&entry.location, &whole).unwrap();
    let verdict = site.verify(&entry).await;
    let named = paths(&verdict);
    assert_eq!(
        named,
        [
            "bitbucket-home/shared/data/3",
            "bitbucket-home/shared/data/6"
        ],
        "{verdict:?}"
    );
}

#[tokio::test]
async fn where_the_data_breaks_off_is_named_with_what_is_missing() {
    let site = Site::small(Compression::None);
    let entry = site.store(5).await.unwrap();
    let whole = fs::read(&entry.location).unwrap();
    let file = site.staging().home().join("shared/data/4");
    let at = position(&whole, &fs::read(file).unwrap());
    fs::write(&entry.location, &whole[..at + 100]).unwrap();
    let verdict = site.verify(&entry).await;
    assert_eq!(paths(&verdict), ["bitbucket-home/shared/data/4"]);
    let missing = "4 more entries were not reached";
    assert!(
        verdict
            .damage
            .iter()
            .any(|damage| damage.problem.contains(missing)),
        "{verdict:?}"
    );
}

/// Changes one thing in the manifest that stands beside the archive.
fn forge(site: &Site, entry: &BackupEntry, from: &str, to: &str) {
    let path = site.archives().join(format!("{}.manifest.json", entry.id));
    let text = fs::read_to_string(&path).unwrap();
    assert!(text.contains(from), "{text}");
    fs::write(&path, text.replacen(from, to, 1)).unwrap();
}

#[tokio::test]
async fn a_manifest_that_says_something_else_is_damage() {
    for (from, to) in [
        ("\"entries\": 1", "\"entries\": 2"),
        ("\"entries\": 1", "\"entries\": "),
        ("\"content_bytes\": ", "\"content_bytes\": 1"),
        ("\"locked_seconds\": 0.0", "\"locked_seconds\": 1.0"),
        ("\"tool_version\": \"", "\"tool_version\": \"9"),
        ("\"sha256\": \"", "\"sha256\": \"0"),
    ] {
        let site = Site::small(Compression::Zstd);
        let entry = site.store(5).await.unwrap();
        forge(&site, &entry, from, to);
        let (verdict, _) = site.judge(&site.only_entry().await).await;
        assert!(!verdict.is_good(), "{to}");
    }
}
