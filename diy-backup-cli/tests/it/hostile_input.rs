//! Everything that is read from outside, fed with the seeds of the fuzzer and with what comes out when they are damaged.
//!
//! A short and repeatable run of what `fuzz/` does at length: the same functions, the same seeds.
#![expect(
    clippy::unwrap_used,
    clippy::print_stderr,
    reason = "a test that cannot go on has failed, and says with what"
)]

use std::fs;
use std::path::{Path, PathBuf};

use fastrand::Rng;

#[expect(
    unreachable_pub,
    reason = "the file is the library that the fuzzer links"
)]
#[path = "../../../fuzz/src/lib.rs"]
mod fuzz;

/// What a mutation may put in: the words of the formats, and the numbers that calculations stumble over.
const WORDS: [&[u8]; 14] = [
    b"",
    b"\0",
    b"\xff\xff\xff\xff\xff\xff\xff\xff",
    b"\x80\0\0\0\0\0\0\0",
    b"18446744073709551615",
    b"-1",
    b"77777777777",
    b"../",
    b"/",
    b"\n",
    b"\r\n\r\n",
    b"\x1b[2J",
    b"null",
    b"\"",
];

fn seeds(target: &str) -> Vec<(PathBuf, Vec<u8>)> {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("../fuzz/corpus");
    let mut paths: Vec<PathBuf> = fs::read_dir(folder.join(target))
        .unwrap()
        .map(|entry| entry.unwrap().path())
        .collect();
    paths.sort();
    let read = |path: PathBuf| {
        let content = fs::read(&path).unwrap();
        (path, content)
    };
    paths.into_iter().map(read).collect()
}

/// Damages `input` in one to four places.
fn mutate(input: &[u8], random: &mut Rng) -> Vec<u8> {
    let mut data = input.to_vec();
    for _ in 0..random.usize(1..=4) {
        let at = random.usize(0..=data.len());
        let end = random.usize(at..=data.len().min(at + 64));
        match random.u8(0..6) {
            0 if at < data.len() => data[at] ^= 1 << random.u8(0..8),
            1 if at < data.len() => data[at] = random.u8(..),
            2 => data.truncate(at),
            3 => drop(data.drain(at..end)),
            4 => {
                let piece = data[at..end].to_vec();
                data.splice(at..at, piece);
            }
            _ => {
                let word = WORDS[random.usize(0..WORDS.len())];
                let end = end.min(at + word.len() * random.usize(0..=1));
                data.splice(at..end, word.iter().copied());
            }
        }
    }
    data
}

/// Says which input it was when a target panics.
struct Blame<'a>(&'a str, &'a Path, Option<u64>, &'a [u8]);

impl Drop for Blame<'_> {
    fn drop(&mut self) {
        if std::thread::panicking() {
            let Self(target, seed, number, data) = self;
            let shown = data.get(..2048).unwrap_or(data).escape_ascii();
            eprintln!("{target}: {} mutation {number:?}: {shown}", seed.display());
        }
    }
}

/// Runs the seeds of a target, then damaged ones.
fn run(name: &str, mutations: u64) {
    let (_, target) = fuzz::TARGETS
        .into_iter()
        .find(|(known, _)| *known == name)
        .unwrap();
    let seeds = seeds(name);
    assert!(!seeds.is_empty());
    for (path, content) in &seeds {
        let _blame = Blame(name, path, None, content);
        target(content);
    }
    let mut random = Rng::with_seed(0x5eed);
    for number in 0..mutations {
        let (path, content) = &seeds[random.usize(0..seeds.len())];
        let data = mutate(content, &mut random);
        let _blame = Blame(name, path, Some(number), &data);
        target(&data);
    }
}

#[test]
fn every_target_has_seeds_and_a_test() {
    let tested = [
        "answers",
        "archive",
        "checksums",
        "configuration",
        "journal",
        "manifest",
        "names",
        "paths",
    ];
    assert_eq!(fuzz::TARGETS.map(|(name, _)| name), tested);
}

#[test]
fn any_answer_of_a_server_is_a_result_that_shows_no_secret() {
    run("answers", 150);
}

#[test]
fn any_archive_is_read_within_its_bounds_and_judged_alike_by_verify_and_restore() {
    run("archive", 100);
}

#[test]
fn any_list_of_checksums_is_read_and_written_alike() {
    run("checksums", 3000);
}

#[test]
fn any_configuration_is_a_site_or_an_error_that_names_its_place() {
    run("configuration", 600);
}

#[test]
fn any_journal_is_read_or_says_what_to_do() {
    run("journal", 500);
}

#[test]
fn any_manifest_is_read_whole_or_refused() {
    run("manifest", 3000);
}

#[test]
fn any_name_and_duration_is_what_it_says_or_refused() {
    run("names", 3000);
}

#[test]
fn any_path_stays_where_it_belongs() {
    run("paths", 3000);
}
