//! Archives that want to write where they should not, or more than they say.

use std::fs;

use strategy_tar::Compression;

use crate::crafted::{Crafted, EXTENDED, FILE, FOLDER, HARD_LINK, SYMLINK, header};
use crate::site::{Site, snapshot};

/// What an archive does, and how it is made after its folders.
type Attack = (&'static str, fn(Crafted) -> Crafted);

fn attacks() -> Vec<Attack> {
    vec![
        ("absolute path", |tar| {
            tar.file("/tmp/diy-backup-escaped", b"x")
        }),
        ("climbing path", |tar| {
            tar.file("bitbucket-home/../../escaped", b"x")
        }),
        ("climbing folder", |tar| {
            tar.entry(FOLDER, "../escaped", "", b"")
        }),
        ("climbing pax path", |tar| {
            tar.extended(&[("path", "bitbucket-home/../../../escaped")])
                .file("x", b"x")
        }),
        ("climbing sparse name", |tar| {
            tar.extended(&[
                ("GNU.sparse.name", "../escaped"),
                ("GNU.sparse.realsize", "1"),
            ])
            .file("x", b"x")
        }),
        ("zero in pax path", |tar| {
            tar.extended(&[("path", "bitbucket-home/a\0b")])
                .file("x", b"x")
        }),
        ("file through a link", |tar| {
            tar.entry(SYMLINK, "bitbucket-home/l", "..", b"")
                .file("bitbucket-home/l/escaped", b"x")
        }),
        ("folder through a link", |tar| {
            tar.entry(SYMLINK, "bitbucket-home/l", "/tmp", b"").entry(
                FOLDER,
                "bitbucket-home/l/escaped",
                "",
                b"",
            )
        }),
        ("folder over a link", |tar| {
            tar.entry(SYMLINK, "bitbucket-home/l", "..", b"")
                .entry(FOLDER, "bitbucket-home/l", "", b"")
                .file("bitbucket-home/l/escaped", b"x")
        }),
        ("link over a folder", |tar| {
            tar.entry(FOLDER, "bitbucket-home/l", "", b"")
                .entry(SYMLINK, "bitbucket-home/l", "..", b"")
                .file("bitbucket-home/l/escaped", b"x")
        }),
        ("file over a link", |tar| {
            tar.entry(SYMLINK, "bitbucket-home/l", "../../victim", b"")
                .file("bitbucket-home/l", b"x")
        }),
        ("link in place of a part", |tar| {
            tar.entry(SYMLINK, "bitbucket-db", "..", b"")
                .file("bitbucket-db/escaped", b"x")
        }),
        ("same file twice", |tar| {
            tar.file("bitbucket-home/a", b"x")
                .file("bitbucket-home/a", b"y")
        }),
        ("file below a file", |tar| {
            tar.file("bitbucket-home/a", b"x")
                .file("bitbucket-home/a/b", b"y")
        }),
        ("file without a folder", |tar| {
            tar.file("bitbucket-home/none/b", b"y")
        }),
        ("hard link outside", |tar| {
            tar.entry(HARD_LINK, "bitbucket-home/l", "/etc/passwd", b"")
        }),
        ("hard link upwards", |tar| {
            tar.entry(HARD_LINK, "bitbucket-home/l", "../victim", b"")
        }),
        ("hard link to nothing", |tar| {
            tar.entry(HARD_LINK, "bitbucket-home/l", "bitbucket-home/none", b"")
        }),
        ("hard link to itself", |tar| {
            tar.entry(HARD_LINK, "bitbucket-home/l", "bitbucket-home/l", b"")
        }),
        ("hard link to what comes later", |tar| {
            tar.entry(HARD_LINK, "bitbucket-home/l", "bitbucket-home/z", b"")
                .file("bitbucket-home/z", b"x")
        }),
        ("hard link to a folder", |tar| {
            tar.entry(HARD_LINK, "bitbucket-home/l", "bitbucket-home", b"")
        }),
        ("hard link into another part", |tar| {
            tar.file("bitbucket-db/a", b"x").entry(
                HARD_LINK,
                "bitbucket-home/l",
                "bitbucket-db/a",
                b"",
            )
        }),
        ("hard link through a link", |tar| {
            tar.entry(SYMLINK, "bitbucket-home/l", "..", b"").entry(
                HARD_LINK,
                "bitbucket-home/h",
                "bitbucket-home/l/victim",
                b"",
            )
        }),
        ("hard link with content", |tar| {
            tar.file("bitbucket-home/a", b"x").entry(
                HARD_LINK,
                "bitbucket-home/l",
                "bitbucket-home/a",
                b"y",
            )
        }),
        ("device", |tar| {
            tar.entry(b'3', "bitbucket-home/device", "", b"")
        }),
        ("block device", |tar| {
            tar.entry(b'4', "bitbucket-home/device", "", b"")
        }),
        ("named pipe", |tar| {
            tar.entry(b'6', "bitbucket-home/pipe", "", b"")
        }),
        ("unknown type", |tar| {
            tar.entry(b'Z', "bitbucket-home/z", "", b"")
        }),
        ("huge extended header", |tar| {
            tar.raw(&header(EXTENDED, b"x", b"", 1 << 40))
        }),
        ("huge long name", |tar| {
            tar.raw(&header(b'L', b"x", b"", 1 << 32))
        }),
        ("extended header that lies", |tar| {
            tar.entry(EXTENDED, "x", "", b"99 path=y\n")
        }),
        ("extended header at the end", |tar| {
            tar.extended(&[("path", "y")])
        }),
        ("endless path", |tar| {
            tar.extended(&[("path", &format!("bitbucket-home/{}", "d/".repeat(3000)))])
                .file("x", b"x")
        }),
        ("long name", |tar| {
            tar.extended(&[("path", &format!("bitbucket-home/{}", "n".repeat(300)))])
                .file("x", b"x")
        }),
        ("negative size", |tar| {
            let mut block = header(FILE, b"bitbucket-home/a", b"", 0);
            block[124..136].fill(0xff);
            tar.raw(&with_checksum(block))
        }),
        ("size beyond the archive", |tar| {
            tar.raw(&header(FILE, b"bitbucket-home/a", b"", 1 << 30))
        }),
        ("enormous pax size", |tar| {
            tar.extended(&[("size", "18446744073709551615")])
                .file("bitbucket-home/a", b"x")
        }),
        ("owner that is none", |tar| {
            tar.extended(&[("uid", "4294967295")])
                .file("bitbucket-home/a", b"x")
        }),
        ("map with overlaps", |tar| {
            tar.extended(&[("GNU.sparse.size", "100"), ("GNU.sparse.map", "0,5,3,5")])
                .file("bitbucket-home/a", b"0123456789")
        }),
        ("map beyond the file", |tar| {
            tar.extended(&[("GNU.sparse.size", "5"), ("GNU.sparse.map", "0,10")])
                .file("bitbucket-home/a", b"0123456789")
        }),
        ("map of other content", |tar| {
            tar.extended(&[("GNU.sparse.size", "50"), ("GNU.sparse.map", "0,5")])
                .file("bitbucket-home/a", b"0123456789")
        }),
        ("endless map", |tar| {
            tar.extended(&[
                ("GNU.sparse.major", "1"),
                ("GNU.sparse.minor", "0"),
                ("GNU.sparse.realsize", "50"),
            ])
            .file("bitbucket-home/a", b"99999999999\n")
        }),
        ("unknown map", |tar| {
            tar.extended(&[("GNU.sparse.major", "7"), ("GNU.sparse.realsize", "50")])
                .file("bitbucket-home/a", b"x")
        }),
        ("empty link", |tar| {
            tar.entry(SYMLINK, "bitbucket-home/l", "", b"")
        }),
        ("wrong header checksum", |tar| {
            let mut block = header(FILE, b"bitbucket-home/a", b"", 0);
            block[0] ^= 1;
            tar.raw(&block)
        }),
        ("something behind the end", |tar| {
            tar.raw(&[0; 1024]).file("bitbucket-home/a", b"x")
        }),
        ("single zero block", |tar| {
            tar.raw(&[0; 512]).file("bitbucket-home/a", b"x")
        }),
    ]
}

fn with_checksum(mut block: [u8; 512]) -> [u8; 512] {
    block[148..156].fill(b' ');
    let sum: u32 = block.iter().map(|&byte| u32::from(byte)).sum();
    block[148..156].copy_from_slice(format!("{sum:06o}\0 ").as_bytes());
    block
}

/// Everything around the folder that a restore goes to.
fn surroundings(site: &Site) -> diy_backup_testkit::TreeSnapshot {
    let restored = site.path().join("restored");
    if restored.exists() {
        fs::remove_dir_all(restored).unwrap();
    }
    snapshot(site.path())
}

#[tokio::test]
async fn a_hostile_archive_is_refused_and_writes_nothing_outside() {
    for (attack, craft) in attacks() {
        for sealed in [true, false] {
            let site = Site::with(Compression::None);
            fs::write(site.path().join("victim"), "untouched").unwrap();
            let entry = if sealed {
                craft(Crafted::ours()).seal(&site).await
            } else {
                craft(Crafted::scripts()).gzip(&site).await
            };
            let before = surroundings(&site);
            let (verdict, _) = site.judge(&entry).await;
            assert!(!verdict.is_good(), "{attack}, sealed: {sealed}");
            let diff = before.diff(&surroundings(&site));
            assert!(diff.is_empty(), "{attack}, sealed: {sealed}: {diff}");
        }
    }
}

#[tokio::test]
async fn what_only_looks_hostile_comes_back() {
    let craft = |tar: Crafted| {
        tar.entry(SYMLINK, "bitbucket-home/passwd", "/etc/passwd", b"")
            .entry(SYMLINK, "bitbucket-home/up", "../../..", b"")
            .entry(
                HARD_LINK,
                "bitbucket-home/up again",
                "bitbucket-home/up",
                b"",
            )
            .file("bitbucket-home/..a", b"x")
            .file("bitbucket-home/a..", b"x")
            .entry(HARD_LINK, "bitbucket-home/b", "bitbucket-home/a..", b"")
            .entry(FOLDER, "bitbucket-home/", "", b"")
    };
    let site = Site::new();
    let (verdict, error) = site.judge(&craft(Crafted::ours()).seal(&site).await).await;
    assert!(verdict.is_good(), "{verdict:?} {error:?}");
    let site = Site::new();
    let (verdict, error) = site
        .judge(&craft(Crafted::scripts()).gzip(&site).await)
        .await;
    assert!(verdict.is_good(), "{verdict:?} {error:?}");
    let link = fs::read_link(site.path().join("restored/home/up again")).unwrap();
    assert_eq!(link, std::path::Path::new("../../.."));
}

#[tokio::test]
async fn an_archive_that_holds_more_than_its_seal_says_is_refused_before_it_is_written() {
    for (entries, content) in [(7, u64::MAX), (u64::MAX, 1000)] {
        let site = Site::new();
        let tar = Crafted::ours().file("bitbucket-home/a", &[7; 2000]);
        let tar = tar
            .file("bitbucket-home/b", b"x")
            .file("bitbucket-home/c", b"x");
        let entry = tar.seal_as(&site, entries, content).await;
        let (verdict, error) = site.judge(&entry).await;
        assert!(!verdict.is_good());
        assert!(error.unwrap().to_string().contains("holds more"));
        assert!(!site.path().join("restored/home/c").exists());
    }
}

#[tokio::test]
async fn checksums_that_do_not_fit_the_files_are_damage() {
    let good = Crafted::ours().file("bitbucket-home/a", b"x");
    let lists: [&[u8]; 5] = [
        b"",
        b"no list",
        b"\n",
        &[b'x'; 9_000],
        b"2d711642b726b04401627ca9fbac32f5c8530fb1903cc4db02258717921a4881  bitbucket-home/a\n",
    ];
    for list in lists {
        let site = Site::new();
        let tar = good.clone().entry(FILE, "SHA256SUMS", "", list);
        let manifest = diy_backup_core::Manifest::new(crate::site::id(3))
            .to_json()
            .unwrap();
        let content = manifest.len() + 1 + list.len();
        let entry = tar.seal_as(&site, 7, content as u64).await;
        assert!(!site.judge(&entry).await.0.is_good(), "{list:?}");
    }
    let site = Site::new();
    let none = good.seal_as(&site, 6, 1 << 20).await;
    assert!(!site.judge(&none).await.0.is_good());
}
