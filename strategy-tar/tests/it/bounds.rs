//! What an archive may make a reader hold in memory or count, and where its parts may stand.

use proptest::prelude::*;
use strategy_tar::Compression;

use crate::crafted::{Crafted, EXTENDED, FILE, SYMLINK};
use crate::site::Site;

async fn damage(tar: Crafted) -> Vec<String> {
    let site = Site::with(Compression::None);
    let entry = tar.gzip(&site).await;
    let (verdict, error) = site.judge(&entry).await;
    assert_eq!(verdict.is_good(), error.is_none(), "{error:?}");
    let damage = verdict.damage.into_iter();
    damage.map(|damage| damage.problem).collect()
}

/// An extended header with an attribute of `bytes`.
fn attribute(tar: Crafted, kind: u8, number: usize, bytes: usize) -> Crafted {
    let rest = format!(" SCHILY.xattr.user.{number}={}\n", "v".repeat(bytes));
    let length =
        (rest.len()..rest.len() + 9).find(|length| length - length.to_string().len() == rest.len());
    let record = format!("{}{rest}", length.unwrap());
    tar.entry(kind, "x", "", record.as_bytes())
}

#[tokio::test]
async fn extended_headers_of_one_entry_are_bounded_together() {
    let headers = |count: usize| {
        let tar = (0..count).fold(Crafted::scripts(), |tar, number| {
            attribute(tar, EXTENDED, number, 100_000)
        });
        tar.file("bitbucket-home/a", b"x")
    };
    assert_eq!(damage(headers(3)).await, Vec::<String>::new());
    let many = damage(headers(12)).await;
    assert!(many[0].contains("extended headers have"), "{many:?}");
    let empty = (0..2100).fold(Crafted::scripts(), |tar, _| {
        tar.entry(EXTENDED, "x", "", b"")
    });
    let endless = damage(empty.file("bitbucket-home/a", b"x")).await;
    assert!(endless[0].contains("extended headers have"), "{endless:?}");
}

#[tokio::test]
async fn extended_headers_for_all_entries_are_bounded_over_the_whole_archive() {
    let tar = (0..8).fold(Crafted::scripts(), |tar, number| {
        attribute(tar, b'g', number, 10_000).file(&format!("bitbucket-home/{number}"), b"x")
    });
    let many = damage(tar).await;
    assert!(many[0].contains("extended headers have"), "{many:?}");
}

#[tokio::test]
async fn sizes_beyond_those_of_files_are_damage() {
    let greatest = u64::MAX.to_string();
    for key in ["size", "GNU.sparse.size"] {
        for name in ["bitbucket-home/a", "bitbucket-home/b/"] {
            let tar = Crafted::scripts().extended(&[(key, &greatest)]);
            let problems = damage(tar.entry(FILE, name, "", b"")).await;
            if key == "size" || !name.ends_with('/') {
                assert!(problems[0].contains("longer than files"), "{problems:?}");
            }
        }
    }
}

#[tokio::test]
async fn a_part_whose_place_is_no_folder_is_damage_before_it_is_restored() {
    for name in ["bitbucket-db", "bitbucket-home", "bitbucket-data-stores/0"] {
        for (kind, link) in [(FILE, ""), (SYMLINK, "/")] {
            if (name, kind) == ("bitbucket-db", FILE) {
                // The scripts write a dump of MySQL there.
                continue;
            }
            let problems = damage(Crafted::default().entry(kind, name, link, b"")).await;
            assert!(problems[0].contains("to be a folder"), "{problems:?}");
        }
    }
}

#[tokio::test]
async fn what_a_list_of_checksums_names_is_shown_in_one_line() {
    let site = Site::with(Compression::None);
    let line = format!("{}  a\u{1b}[2J\r\n", "ab".repeat(32));
    let tar = Crafted::ours().file("SHA256SUMS", line.as_bytes());
    let entry = tar.seal_as(&site, 6, 100_000).await;
    let (verdict, _) = site.judge(&entry).await;
    let shown: Vec<_> = verdict
        .damage
        .iter()
        .map(|damage| &damage.problem)
        .collect();
    assert!(!shown.is_empty());
    assert!(
        shown
            .iter()
            .all(|problem| !problem.contains(char::is_control)),
        "{shown:?}"
    );
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 24, failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn names_that_climb_or_begin_at_the_root_are_damage_and_others_are_not(
        parts in proptest::collection::vec(prop::sample::select(vec!["", ".", "..", "...", "a"]), 0..4),
        prefix in prop::sample::select(vec!["", "/", "bitbucket-home/", "./bitbucket-db//"]),
    ) {
        let name = format!("{prefix}{}", parts.join("/"));
        let climbs = name.split('/').any(|part| part == "..");
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
        let tar = Crafted::scripts().entry(b'5', &name, "", b"");
        let problems = runtime.block_on(damage(tar));
        let leads_out = problems.iter().any(|problem| problem.contains("leads out") || problem.contains("absolute"));
        prop_assert_eq!(leads_out, climbs || name.starts_with('/'), "{}: {:?}", name, problems);
    }
}
