//! The main job: back up, list, verify, restore, compare.

use std::path::Path;

use diy_backup_testkit::tree::Exclusions;
use diy_backup_testkit::{
    Comparison, HomeBuilder, PrivatePostgres, ShellArchive, TreeSnapshot, skip_unless,
};

use crate::site::{BITBUCKET_PASSWORD, DATABASE_PASSWORD, Site, Target};

#[test]
fn a_backup_under_live_pushes_restores_to_the_instant_of_the_drain() {
    let site = Site::start(skip_unless!(PrivatePostgres::start()));
    let (config, elsewhere) = (site.config(), site.elsewhere());
    config.run(&["check"]).expect(0);

    for round in 0..2 {
        let backup = config.run(&["--json", "backup"]).expect(0);
        let summary = backup.summary();
        assert_eq!(summary["instance_locked"], false);
        assert_eq!(
            summary["warnings"].as_array().map(Vec::len),
            Some(0),
            "{summary}"
        );
        assert!(
            summary["locked_seconds"].as_f64().unwrap()
                >= summary["capture_seconds"].as_f64().unwrap()
        );
        let phases: Vec<_> = summary["phases"]
            .as_array()
            .unwrap()
            .iter()
            .map(|phase| phase["name"].clone())
            .collect();
        assert_eq!(
            phases,
            [
                "check", "prepare", "lock", "drain", "capture", "release", "complete", "archive"
            ]
        );
        for line in backup.lines() {
            assert!(
                ["status", "log", "summary"].contains(&line["message_type"].as_str().unwrap()),
                "{line}"
            );
        }
        assert!(!site.simulator.is_locked());
        assert_eq!(site.simulator.lock_count(), round + 1);
    }
    let drained = site.drained();

    let list = config.run(&["--json", "list"]).expect(0).summary();
    let backups = list["backups"].as_array().unwrap();
    assert_eq!(backups.len(), 2);
    let verified = config
        .run(&["--json", "verify", "--all"])
        .expect(0)
        .summary();
    assert_eq!(verified["good"], true);

    let latest = backups[1]["backup_id"].as_str().unwrap();
    elsewhere.run(&["restore", latest]).expect(0);
    let comparison =
        Comparison::against(&site.restored_home(), &site.restored_pushes(), &drained).unwrap();
    assert!(comparison.is_consistent(), "{comparison}");

    // A target that holds something is refused, and stays as it is.
    let before = TreeSnapshot::of(&site.restored_home(), &Exclusions::none()).unwrap();
    let refused = elsewhere.run(&["restore", "latest"]).expect(4);
    assert!(refused.stderr.contains("not empty"), "{}", refused.stderr);
    let after = TreeSnapshot::of(&site.restored_home(), &Exclusions::none()).unwrap();
    assert!(before.diff(&after).is_empty());
}

#[test]
fn what_does_not_change_is_restored_to_the_last_attribute() {
    let site = Site::start(skip_unless!(PrivatePostgres::start()));
    let quiet = site.folder.join("quiet home");
    let store = site.folder.join("quiet store");
    let generated = HomeBuilder::new(&quiet)
        .files(3000)
        .data_store(&store)
        .build()
        .unwrap();
    let restored = (
        site.folder.join("restored quiet home"),
        site.folder.join("restored quiet store"),
    );
    let target = |file, home: &Path, data_store: &Path| {
        let target = Target {
            file,
            home: home.into(),
            data_store: data_store.into(),
            database: None,
        };
        site.configure(&target, |text| text)
    };
    let config = target("quiet.toml", &quiet, &store);
    let elsewhere = target("quiet-elsewhere.toml", &restored.0, &restored.1);
    config.run(&["backup"]).expect(0);
    elsewhere.run(&["restore", "latest"]).expect(0);
    let exclusions = generated.exclusions();
    let original = TreeSnapshot::of(&quiet, &exclusions).unwrap();
    let copy = TreeSnapshot::of(&restored.0, &Exclusions::none()).unwrap();
    let difference = original.diff(&copy);
    assert!(difference.is_empty(), "{difference}");
    let original = TreeSnapshot::of(&store, &Exclusions::none()).unwrap();
    let copy = TreeSnapshot::of(&restored.1, &Exclusions::none()).unwrap();
    let difference = original.diff(&copy);
    assert!(difference.is_empty(), "{difference}");
}

#[test]
fn an_archive_of_the_shell_scripts_is_listed_and_restores() {
    let site = Site::start(skip_unless!(PrivatePostgres::start()));
    let application = site.simulator.application().unwrap();
    wait_for_pushes(&site);
    let archives = site.folder.join("archives");
    std::fs::create_dir(&archives).unwrap();
    // Nobody pushes while the scripts copy.
    application.latch().close();
    while application.latch().in_flight() > 0 {
        std::thread::yield_now();
    }
    application.record_drained();
    let drained = site.drained();
    ShellArchive::new("bitbucket", &site.home)
        .data_store(&site.data_store)
        .database(&site.postgres, "bitbucket")
        .create(&archives)
        .unwrap();
    application.latch().open();

    let list = site.config().run(&["--json", "list"]).expect(0).summary();
    assert_eq!(list["backups"][0]["origin"], "shell-scripts");
    let verified = site.config().run(&["--json", "verify"]).expect(0).summary();
    assert_eq!(verified["backups"][0]["has_checksums"], false);
    site.elsewhere().run(&["restore", "latest"]).expect(0);
    let comparison =
        Comparison::against(&site.restored_home(), &site.restored_pushes(), &drained).unwrap();
    assert!(comparison.is_consistent(), "{comparison}");
    assert!(site.restored_store().join("repositories").is_dir());
}

/// Waits until people have pushed something.
fn wait_for_pushes(site: &Site) {
    let application = site.simulator.application().unwrap();
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build()
        .unwrap();
    runtime.block_on(application.wait_for_pushes(20)).unwrap();
}

#[test]
fn no_secret_is_seen_in_what_is_printed_or_kept() {
    let site = Site::start(skip_unless!(PrivatePostgres::start()));
    let config = site.config();
    let backup = config.run(&["-vv", "backup"]).expect(0);
    let restored = site
        .elsewhere()
        .run(&["-vv", "restore", "latest"])
        .expect(0);
    let mut texts = vec![
        backup.stdout,
        backup.stderr,
        restored.stdout,
        restored.stderr,
    ];
    for folder in ["state", "archives"] {
        for name in crate::site::names(&site.folder.join(folder)) {
            let content = std::fs::read(site.folder.join(folder).join(name)).unwrap();
            texts.push(String::from_utf8_lossy(&content).into_owned());
        }
    }
    for text in texts {
        assert!(
            !text.contains(BITBUCKET_PASSWORD) && !text.contains(DATABASE_PASSWORD),
            "{text}"
        );
    }
}
