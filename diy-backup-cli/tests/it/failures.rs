//! Failures on the way: whatever happens, the instance is unlocked in the end and nothing partial is listed.

use std::io::{BufRead, BufReader};
use std::process::Stdio;
use std::time::Duration;

use diy_backup_testkit::simulator::{CallKind, DrainOutcome, Fault, FaultBody, FaultKind};
use diy_backup_testkit::{Comparison, PrivatePostgres, skip_unless};

use crate::site::{Finished, Site};

const DRAINS: DrainOutcome = DrainOutcome::Drains {
    scm: Duration::from_millis(10),
    database: Duration::from_millis(20),
};

#[test]
fn a_killed_backup_is_put_right_by_recover_and_by_the_next_backup() {
    let site = Site::start(skip_unless!(PrivatePostgres::start()));
    let config = site.config();
    site.simulator.set_drain(DrainOutcome::Never);
    for way in [&["recover"][..], &["backup"]] {
        let mut running = config
            .command(&["--json", "backup"])
            .stdout(Stdio::piped())
            .spawn()
            .unwrap();
        wait_for(&mut running, "Waiting for DRAINED state");
        running.kill().unwrap();
        running.wait().unwrap();
        assert!(site.simulator.is_locked());
        let status = config.run(&["--json", "status"]).expect(10).summary();
        assert_eq!(
            (&status["instance_locked"], &status["run"]),
            (&true.into(), &"dead".into())
        );
        site.simulator.set_drain(DRAINS);
        config.run(way).expect(0);
        assert!(!site.simulator.is_locked());
        site.simulator.set_drain(DrainOutcome::Never);
    }
    config.run(&["recover"]).expect(0);
    config.run(&["status"]).expect(0);
}

#[test]
fn a_signal_cancels_in_order() {
    let site = Site::start(skip_unless!(PrivatePostgres::start()));
    site.simulator.set_drain(DrainOutcome::Never);
    let config = site.config();
    for signal in ["INT", "TERM", "HUP"] {
        let mut running = config
            .command(&["--json", "backup"])
            .stdout(Stdio::piped())
            .stderr(Stdio::piped())
            .spawn()
            .unwrap();
        wait_for(&mut running, "Waiting for DRAINED state");
        let pid = running.id().to_string();
        let sent = std::process::Command::new("kill")
            .args(["-s", signal, &pid])
            .status()
            .unwrap();
        assert!(sent.success());
        Finished::of(running.wait_with_output().unwrap()).expect(130);
        assert!(!site.simulator.is_locked(), "{signal}");
        assert!(site.archives().is_empty(), "{signal}");
    }
}

#[test]
fn a_second_run_is_told_that_one_is_going_on() {
    let site = Site::start(skip_unless!(PrivatePostgres::start()));
    site.simulator.set_drain(DrainOutcome::Never);
    let config = site.config();
    let mut running = config
        .command(&["--json", "backup"])
        .stdout(Stdio::piped())
        .spawn()
        .unwrap();
    wait_for(&mut running, "Waiting for DRAINED state");
    config.run(&["backup"]).expect(11);
    config.run(&["recover"]).expect(11);
    config.run(&["status"]).expect(0);
    // Cancelled by hand, from elsewhere: the run notices, and ends.
    config.run(&["cancel"]).expect(0);
    assert_eq!(running.wait().unwrap().code(), Some(1));
    assert!(!site.simulator.is_locked());
}

#[test]
fn an_unlock_that_fails_once_is_retried() {
    let site = Site::start(skip_unless!(PrivatePostgres::start()));
    site.simulator
        .inject(Fault::status_once(CallKind::Unlock, 503));
    site.config().run(&["backup"]).expect(0);
    assert!(!site.simulator.is_locked());
}

#[test]
fn an_unlock_that_is_refused_for_good_ends_with_10_and_recover_helps_later() {
    let site = Site::start(skip_unless!(PrivatePostgres::start()));
    let config = site.config();
    let refused = FaultKind::Status {
        status: 409,
        body: FaultBody::Json,
    };
    site.simulator
        .inject(Fault::always(CallKind::Unlock, refused));
    let failed = config.run(&["backup"]).expect(10);
    // With the configuration of this run, to be typed as it stands.
    for command in ["recover", "unlock"] {
        let hint = format!("`diy-backup {command} -c {}`", config.path.display());
        assert!(failed.stderr.contains(&hint), "{}", failed.stderr);
    }
    assert!(
        site.archives().iter().all(|name| name.starts_with('.')),
        "{:?}",
        site.archives()
    );
    config.run(&["status"]).expect(10);
    site.simulator.clear_faults();
    config.run(&["recover"]).expect(0);
    assert!(!site.simulator.is_locked());
    config.run(&["backup"]).expect(0);
}

#[test]
fn damage_is_found_by_verify_and_by_restore_alike() {
    let site = Site::start(skip_unless!(PrivatePostgres::start()));
    let config = site.config();
    config.run(&["backup"]).expect(0);
    let name = site
        .archives()
        .into_iter()
        .find(|name| name.ends_with(".tar.zst"))
        .unwrap();
    let path = site.folder.join("archives").join(name);
    let mut content = std::fs::read(&path).unwrap();
    let middle = content.len() / 2;
    content[middle] ^= 0x10;
    std::fs::write(&path, content).unwrap();
    config.run(&["verify"]).expect(6);
    site.elsewhere().run(&["restore", "latest"]).expect(6);
    assert!(!site.restored_home().exists());
    assert!(
        site.postgres.pushes("restored").is_err(),
        "there must be no such database"
    );
}

#[test]
fn without_an_archive_the_staging_folder_is_the_backup() {
    let site = Site::start(skip_unless!(PrivatePostgres::start()));
    let archive = format!(
        "strategy = \"tar\"\ndirectory = {:?}",
        site.folder.join("archives")
    );
    let without = |text: String| text.replace(&archive, "strategy = \"none\"");
    let config = site.configure(&site.itself(), without);
    config.run(&["backup"]).expect(0);
    let drained = site.drained();
    config.run(&["verify"]).expect(0);
    let elsewhere = site.configure(&site.another(), without);
    elsewhere.run(&["restore", "latest"]).expect(0);
    let comparison =
        Comparison::against(&site.restored_home(), &site.restored_pushes(), &drained).unwrap();
    assert!(comparison.is_consistent(), "{comparison}");
    config.run(&["verify"]).expect(0);
}

fn wait_for(running: &mut std::process::Child, text: &str) {
    let stdout = running.stdout.as_mut().unwrap();
    let mut line = String::new();
    let mut reader = BufReader::with_capacity(1, stdout);
    while !line.contains(text) {
        line.clear();
        assert_ne!(
            reader.read_line(&mut line).unwrap(),
            0,
            "the command ended before it said {text:?}"
        );
    }
}
