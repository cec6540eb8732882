//! Bare repositories: real ones made by git, and cheap ones that look alike from outside.

use std::fmt::Write as _;
use std::path::Path;
use std::process::Command;

use fastrand::Rng;

use super::layout::{folder, set_mode, write};
use crate::command;
use crate::error::Result;

/// Commits of a real repository that lie in a pack, and loose ones on top of them.
const PACKED_COMMITS: u32 = 20;
const LOOSE_COMMITS: u32 = 3;

/// Makes a repository that `git fsck` accepts: a pack, loose objects and refs, the same from the same number.
pub(super) fn create_real(git: &Path, path: &Path, number: u32) -> Result<()> {
    folder(path)?;
    run(git, path, &["init", "-q", "--bare", "--template=", "."], "")?;
    let first = history(number, 0..PACKED_COMMITS);
    let unpacked = "fastimport.unpackLimit=1000";
    let packed = "fastimport.unpackLimit=1";
    let import = ["fast-import", "--quiet", "--date-format=raw"];
    run(git, path, &[&["-c", packed], &import[..]].concat(), &first)?;
    let rest = history(number, PACKED_COMMITS..PACKED_COMMITS + LOOSE_COMMITS);
    run(git, path, &[&["-c", unpacked], &import[..]].concat(), &rest)?;
    run(
        git,
        path,
        &["update-ref", "refs/tags/v1", "refs/heads/master"],
        "",
    )?;
    add_bitbucket_files(path, number)
}

fn run(git: &Path, path: &Path, arguments: &[&str], input: &str) -> Result<()> {
    let mut command = Command::new(git);
    for (name, _) in std::env::vars_os() {
        if name.to_string_lossy().starts_with("GIT_") {
            command.env_remove(name);
        }
    }
    command
        .args(["-c", "init.defaultBranch=master", "-c", "pack.threads=1"])
        .args(arguments)
        .current_dir(path)
        .env("GIT_CONFIG_GLOBAL", "/dev/null")
        .env("GIT_CONFIG_NOSYSTEM", "1")
        .env("LC_ALL", "C");
    command::run_with_input(&mut command, input.as_bytes()).map(drop)
}

/// A stretch of commits in the language of `git fast-import`.
fn history(number: u32, commits: std::ops::Range<u32>) -> String {
    let mut text = String::new();
    for commit in commits {
        let message = format!("Commit {commit} of repository {number}: naïve ☃");
        let contents = format!("{commit}\n").repeat(50);
        let time = 1_500_000_000 + u64::from(commit) * 3600;
        // Writing to a string cannot fail.
        let _ = write!(
            text,
            "commit refs/heads/master\ncommitter Jürgen <j@example.com> {time} +0200\n\
             data {}\n{message}\n",
            message.len()
        );
        if commit == PACKED_COMMITS {
            text.push_str("from refs/heads/master^0\n");
        }
        let _ = write!(
            text,
            "M 100644 inline file-{}\ndata {}\n{contents}\n",
            commit % 7,
            contents.len()
        );
    }
    text
}

/// Makes something with the shape of a repository and as many loose objects as wanted.
pub(super) fn create_synthetic(
    path: &Path,
    number: u32,
    objects: usize,
    rng: &mut Rng,
) -> Result<()> {
    write(&path.join("HEAD"), b"ref: refs/heads/master\n")?;
    write(&path.join("config"), b"[core]\n\tbare = true\n")?;
    write(
        &path.join("packed-refs"),
        format!(
            "# pack-refs with: peeled fully-peeled sorted \n{} refs/heads/old\n",
            hex(rng, 20)
        )
        .as_bytes(),
    )?;
    for name in ["master", "feature/ä", "release/1.0"] {
        let contents = format!("{}\n", hex(rng, 20));
        write(&path.join("refs/heads").join(name), contents.as_bytes())?;
    }
    folder(&path.join("refs/tags"))?;
    folder(&path.join("objects/info"))?;
    let pack = path
        .join("objects/pack")
        .join(format!("pack-{}", hex(rng, 20)));
    for (extension, bytes) in [("pack", 6000), ("idx", 1200)] {
        let file = pack.with_extension(extension);
        write(&file, &random_bytes(rng, bytes))?;
        set_mode(&file, 0o444)?;
    }
    for _ in 0..objects {
        let object = path
            .join("objects")
            .join(format!("{:02x}", rng.u8(..)))
            .join(hex(rng, 19));
        let bytes = rng.usize(60..400);
        write(&object, &random_bytes(rng, bytes))?;
    }
    add_bitbucket_files(path, number)
}

fn add_bitbucket_files(path: &Path, number: u32) -> Result<()> {
    let config = format!("[bitbucket]\n\thierarchy = {number:020x}\n\trepository = {number}\n");
    write(&path.join("repository-config"), config.as_bytes())?;
    write(&path.join("app-info/pull-requests/cache"), b"x\n")
}

fn hex(rng: &mut Rng, bytes: usize) -> String {
    hex::encode(random_bytes(rng, bytes))
}

fn random_bytes(rng: &mut Rng, bytes: usize) -> Vec<u8> {
    let mut contents = vec![0; bytes];
    rng.fill(&mut contents);
    contents
}
