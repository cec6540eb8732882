//! The search index in the main job: a real OpenSearch beside the database.

use std::os::unix::fs::PermissionsExt;
use std::path::Path;
use std::process::Stdio;
use std::time::Duration;

use diy_backup_testkit::simulator::DrainOutcome;
use diy_backup_testkit::{Comparison, PrivateOpenSearch, PrivatePostgres, skip_unless};
use serde_json::Value;

use crate::site::{Config, Site, Target};

const REPOSITORY: &str = "/_snapshot/bitbucket-snapshots";

fn ask(node: &PrivateOpenSearch, path: &str) -> Value {
    serde_json::from_str(&node.must("GET", path, "").unwrap()).unwrap()
}

fn fill(node: &PrivateOpenSearch) {
    for (index, id) in [
        ("bitbucket-index-version", "v"),
        ("bitbucket-search", "1"),
        ("bitbucket-search", "2"),
    ] {
        let path = format!("/{index}/_doc/{id}?refresh=true");
        node.must("PUT", &path, "{\"name\":\"ä\"}").unwrap();
    }
}

fn documents(node: &PrivateOpenSearch) -> u64 {
    node.must("POST", "/bitbucket-*/_refresh", "").unwrap();
    ask(node, "/bitbucket-*/_count")["count"].as_u64().unwrap()
}

fn snapshots(node: &PrivateOpenSearch) -> Vec<String> {
    let found = ask(node, &format!("{REPOSITORY}/_all"));
    let found = found["snapshots"].as_array().unwrap().iter();
    found
        .map(|snapshot| snapshot["snapshot"].as_str().unwrap().to_owned())
        .collect()
}

fn configure(site: &Site, target: &Target, node: &PrivateOpenSearch, more: &str) -> Config {
    let section = format!(
        "\n[elasticsearch]\nstrategy = \"fs\"\nurl = {:?}\nlocation = {:?}\nretry-for = \"1s\"\n{more}",
        node.url(),
        node.repositories().join("snapshots")
    );
    site.configure(target, |text| text + &section)
}

#[test]
fn the_index_goes_with_the_backup_comes_back_with_it_and_is_deleted_with_it() {
    let node = skip_unless!(PrivateOpenSearch::start());
    let site = Site::start(skip_unless!(PrivatePostgres::start()));
    fill(&node);
    let retention = "\n[retention]\nkeep-last = 1\n";
    let config = configure(&site, &site.itself(), &node, retention);
    config.run(&["check"]).expect(0);
    config.run(&["backup"]).expect(0);
    let first = snapshots(&node);
    assert_eq!(first.len(), 1);
    let summary = config.run(&["--json", "backup"]).expect(0).summary();
    assert_eq!(summary["warnings"], serde_json::json!([]));
    let id = summary["backup_id"].as_str().unwrap().to_owned();
    let second = snapshots(&node);
    assert_eq!(second.len(), 1, "the snapshot of the old backup is gone");
    assert!(second[0].starts_with(&id) && second != first);

    let drained = site.drained();
    let elsewhere = configure(&site, &site.another(), &node, "");
    let refused = elsewhere.run(&["restore", "latest"]).expect(4);
    assert!(
        refused
            .stderr
            .contains("DELETE /bitbucket-index-version,bitbucket-search"),
        "{refused:?}"
    );
    assert!(!site.restored_home().exists());
    assert_eq!(documents(&node), 3);

    node.must("DELETE", "/bitbucket-*", "").unwrap();
    elsewhere.run(&["restore", "latest"]).expect(0);
    assert_eq!(documents(&node), 3);
    assert!(
        !ask(&node, "/bitbucket-*/_settings")
            .to_string()
            .contains("diy_backup")
    );
    let comparison = Comparison::of(&site.restored_home(), &site.restored_pushes()).unwrap();
    assert!(comparison.is_consistent(), "{comparison}");
    assert_eq!(site.restored_pushes(), drained);
}

#[test]
fn a_snapshot_that_fails_is_a_failure_or_a_warning_as_configured() {
    let mut node = skip_unless!(PrivateOpenSearch::start());
    let site = Site::start(skip_unless!(PrivatePostgres::start()));
    fill(&node);
    let required = configure(&site, &site.itself(), &node, "");
    // The repository can be verified, and no index has room in it.
    let location = node.repositories().join("snapshots");
    let indices = location.join("indices");
    std::fs::create_dir_all(&indices).unwrap();
    node.give(&location).unwrap();
    node.give(&indices).unwrap();
    set_mode(&indices, 0o555);
    let failed = required.run(&["backup"]).expect(1);
    assert!(failed.stderr.contains("snapshot"), "{failed:?}");
    assert!(site.archives().is_empty() && !site.simulator.is_locked());
    assert!(snapshots(&node).is_empty());

    let mut optional = site.itself();
    optional.file = "optional.toml";
    let optional = configure(&site, &optional, &node, "required = false\n");
    assert_warns(&optional, "the search index is not in this backup");
    set_mode(&indices, 0o755);

    node.kill();
    let refused = required.run(&["backup"]).expect(4);
    assert!(refused.stderr.contains("cannot be reached"), "{refused:?}");
    required.run(&["check"]).expect(4);
    assert_warns(&optional, "the backup would be without the search index");
    assert!(!site.simulator.is_locked());
}

fn assert_warns(config: &Config, words: &str) {
    let summary = config.run(&["--json", "backup"]).expect(0).summary();
    let warnings = summary["warnings"].to_string();
    assert!(warnings.contains(words), "{warnings}");
}

fn set_mode(path: &Path, mode: u32) {
    std::fs::set_permissions(path, std::fs::Permissions::from_mode(mode)).unwrap();
}

#[test]
fn a_snapshot_that_a_killed_backup_has_begun_is_deleted_by_recover() {
    let node = skip_unless!(PrivateOpenSearch::start());
    let site = Site::start(skip_unless!(PrivatePostgres::start()));
    fill(&node);
    let config = configure(&site, &site.itself(), &node, "");
    site.simulator.set_drain(DrainOutcome::Never);
    let mut running = config
        .command(&["--quiet", "backup"])
        .stderr(Stdio::null())
        .spawn()
        .unwrap();
    // It begins while the instance drains.
    while !has_snapshot(&node) {
        assert!(running.try_wait().unwrap().is_none());
        std::thread::sleep(Duration::from_millis(20));
    }
    running.kill().unwrap();
    running.wait().unwrap();
    assert!(site.simulator.is_locked());
    config.run(&["recover"]).expect(0);
    assert!(snapshots(&node).is_empty() && !site.simulator.is_locked());
}

fn has_snapshot(node: &PrivateOpenSearch) -> bool {
    let (status, answer) = node.call("GET", &format!("{REPOSITORY}/_all"), "").unwrap();
    status == 200 && answer.contains("\"uuid\"")
}
