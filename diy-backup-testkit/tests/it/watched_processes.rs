use std::io::{BufRead, BufReader};
use std::process::{Command, Stdio};

use diy_backup_testkit::process::{SecretWatch, SeenIn};
use diy_backup_testkit::{ErrorKind, skip_unless};

/// Runs a shell that lives until the watch has looked at it twice.
fn watch_a_shell(watch: &SecretWatch, prepare: impl FnOnce(&mut Command)) {
    let mut shell = Command::new("sh");
    shell.arg("-c").arg("echo started; read line; exit 0");
    prepare(&mut shell);
    let mut child = shell
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .spawn()
        .expect("a shell");
    let mut line = String::new();
    BufReader::new(child.stdout.take().expect("a shell"))
        .read_line(&mut line)
        .expect("a shell");
    let goal = watch.rounds() + 2;
    while watch.rounds() < goal {
        std::thread::yield_now();
    }
    drop(child.stdin.take());
    child.wait().expect("a shell");
}

#[test]
fn a_secret_in_an_argument_list_is_seen() {
    let watch = skip_unless!(SecretWatch::start(&["hunter-one-7241", "not-there-7241"]));
    watch_a_shell(&watch, |shell| {
        shell.arg("--password=hunter-one-7241");
    });
    let sightings = watch.finish();
    assert!(!sightings.is_empty());
    for sighting in sightings {
        assert_eq!(sighting.seen_in, SeenIn::CommandLine);
        assert_eq!(sighting.secret, 0);
        assert!(!sighting.to_string().contains("hunter"));
    }
}

#[test]
fn a_secret_in_an_environment_is_told_from_one_in_an_argument_list() {
    let watch = skip_unless!(SecretWatch::start(&["hunter-two-7242"]));
    watch_a_shell(&watch, |shell| {
        shell.env("PGPASSWORD", "hunter-two-7242");
    });
    let sightings = watch.finish();
    assert!(!sightings.is_empty());
    assert!(sightings.iter().all(|s| s.seen_in == SeenIn::Environment));
}

#[test]
fn programs_that_hide_their_secrets_are_watched_without_a_sighting() {
    let watch = skip_unless!(SecretWatch::start(&["hunter-three-7243"]));
    watch_a_shell(&watch, |_| {});
    assert!(watch.programs().contains("sh"));
    assert_eq!(watch.finish(), Vec::new());
}

#[test]
fn an_empty_secret_is_refused() {
    let error = skip_unless!(match SecretWatch::start(&[""]) {
        Err(error) if error.kind() == ErrorKind::Missing => Err(error),
        other => Ok(other.unwrap_err()),
    });
    assert_eq!(error.kind(), ErrorKind::Invalid);
}
