//! Which backups count: clocks, damage, a second instance of the same name, and what is not there any more.

use std::fs;
use std::path::PathBuf;
use std::process::Command;
use std::sync::Arc;
use std::time::Duration;

use diy_backup_core::{BackupId, Manifest};
use diy_backup_testkit::{HomeBuilder, MemoryRows, Simulator};
use serde_json::{Value, json};

use crate::site::{BITBUCKET_PASSWORD, Config, Finished, Folder, names};

const YEAR: i64 = 365 * 24 * 3600;

/// An instance without a database. Several of them may keep their archives in one folder.
struct Instance {
    simulator: Simulator,
    archives: PathBuf,
    folder: Folder,
}

impl Instance {
    fn new() -> Self {
        let mut instance = Self::with_archives(PathBuf::new());
        instance.archives = instance.folder.join("archives");
        instance
    }

    fn with_archives(archives: PathBuf) -> Self {
        let folder = Folder::new();
        HomeBuilder::new(folder.join("home"))
            .files(60)
            .build()
            .unwrap();
        let simulator = Simulator::builder()
            .credentials("backup", BITBUCKET_PASSWORD)
            .start_blocking()
            .unwrap();
        Self {
            simulator,
            archives,
            folder,
        }
    }

    /// A configuration of the instance that keeps so many backups.
    fn keeping(&self, keep_last: usize) -> Config {
        self.configure(
            "config.toml",
            "home",
            &format!("[retention]\nkeep-last = {keep_last}\n"),
        )
    }

    /// A configuration with a home to restore into.
    fn elsewhere(&self) -> Config {
        self.configure("elsewhere.toml", "restored", "")
    }

    fn configure(&self, file: &str, home: &str, rest: &str) -> Config {
        let text = format!(
            r#"[instance]
name = "bitbucket"
url = {url:?}
username = "backup"
password = {{ env = "BITBUCKET_PASSWORD" }}
[backup]
staging = {staging:?}
state = {state:?}
[home]
strategy = "rsync"
path = {home:?}
[database]
strategy = "none"
[archive]
strategy = "tar"
directory = {archives:?}
{rest}"#,
            url = self.simulator.base_url(),
            staging = self.folder.join("staging"),
            state = self.folder.join("state"),
            home = self.folder.join(home),
            archives = self.archives,
        );
        let path = self.folder.join(file);
        fs::write(&path, text).unwrap();
        Config { path }
    }

    fn archive(&self, id: &str) -> PathBuf {
        self.archives.join(format!("{id}.tar.zst"))
    }

    fn manifest(&self, id: &str) -> PathBuf {
        self.archives.join(format!("{id}.manifest.json"))
    }

    /// Gives a backup the date of another time, as a clock that is wrong would have.
    fn redate(&self, id: &str, by: i64) -> String {
        let old: BackupId = id.parse().unwrap();
        let new = BackupId::at_unix(old.name(), old.created_unix() + by).to_string();
        let mut manifest = Manifest::read(&self.manifest(id)).unwrap();
        manifest.backup_id = new.parse().unwrap();
        manifest.archive.as_mut().unwrap().file = format!("{new}.tar.zst");
        fs::rename(self.archive(id), self.archive(&new)).unwrap();
        fs::remove_file(self.manifest(id)).unwrap();
        manifest.write(&self.manifest(&new)).unwrap();
        new
    }

    /// Cuts the end of an archive off.
    fn cut(&self, id: &str) {
        let path = self.archive(id);
        let file = fs::File::options().write(true).open(&path).unwrap();
        file.set_len(fs::metadata(&path).unwrap().len() / 2)
            .unwrap();
    }
}

impl Config {
    /// Takes a backup that has to succeed.
    #[track_caller]
    fn back_up(&self) -> Value {
        self.run(&["--json", "backup"]).expect(0).summary()
    }

    /// Takes a backup that has to succeed, and gives its ID.
    #[track_caller]
    fn backed_up(&self) -> String {
        id_of(&self.back_up())
    }

    fn listed(&self) -> Vec<Value> {
        let list = self.run(&["--json", "list"]).expect(0).summary();
        list["backups"].as_array().unwrap().clone()
    }

    fn ids(&self) -> Vec<String> {
        self.listed().iter().map(id_of).collect()
    }
}

fn id_of(value: &Value) -> String {
    value["backup_id"].as_str().unwrap().to_owned()
}

fn warnings(summary: &Value) -> String {
    summary["warnings"].to_string()
}

#[test]
fn a_clock_that_was_ahead_or_is_behind_costs_no_backup() {
    let instance = Instance::new();
    let config = instance.keeping(2);
    let ahead = [config.backed_up(), config.backed_up()].map(|id| instance.redate(&id, YEAR));
    // The state directory remembers the dates as they were.
    fs::remove_file(instance.folder.join("state/last-good.json")).unwrap();
    let mut newest = ahead[1].clone();
    for night in 0..3 {
        let summary = config.back_up();
        let id = id_of(&summary);
        assert!(id > newest, "night {night}: {id} is not after {newest}");
        assert!(
            instance.archive(&id).exists(),
            "night {night}: its own backup is gone"
        );
        assert!(
            warnings(&summary).contains("ahead of the clock"),
            "{summary}"
        );
        assert!(
            warnings(&summary).contains("days"),
            "it does not say by how much: {summary}"
        );
        assert_eq!(config.ids(), [newest, id.clone()]);
        newest = id;
    }
}

#[test]
fn a_program_with_another_clock_than_the_kernel_takes_good_backups() {
    let has_faketime = Command::new("faketime").arg("--version").output();
    if !has_faketime.is_ok_and(|output| output.status.success()) {
        diy_backup_testkit::report_skipped(&"faketime is not installed");
        return;
    }
    let mut instance = Instance::new();
    let rows = Arc::new(MemoryRows::new());
    // People push before, during and after.
    let simulator = Simulator::builder().credentials("backup", BITBUCKET_PASSWORD);
    let simulator = simulator.home(instance.folder.join("home")).database(rows);
    let pushing = simulator.pause(Duration::from_millis(20));
    instance.simulator = pushing.start_blocking().unwrap();
    let config = instance.keeping(9);
    let mut ids = vec![config.backed_up()];
    for clock in ["+1y", "-1y", "+0d"] {
        let plain = config.command(&["--json", "backup"]);
        let mut command = Command::new("faketime");
        command.args(["-f", clock]);
        command.arg(plain.get_program()).args(plain.get_args());
        command.env("BITBUCKET_PASSWORD", BITBUCKET_PASSWORD);
        // The kernel goes by its own clock for how long a thread waits.
        command.env("DONT_FAKE_MONOTONIC", "1");
        let finished = Finished::of(command.output().unwrap()).expect(0);
        ids.push(id_of(&finished.summary()));
        assert_eq!(config.ids(), ids);
    }
    config.run(&["verify", "--all"]).expect(0);
}

#[test]
fn a_date_at_the_end_of_time_keeps_no_backup_from_being_taken() {
    let instance = Instance::new();
    let config = instance.keeping(1);
    let first = config.backed_up();
    let age = first.parse::<BackupId>().unwrap().created_unix();
    // The last second that an ID has room for.
    let last = instance.redate(&first, 253_402_300_799 - age);
    for _ in 0..2 {
        let summary = config.back_up();
        let own = id_of(&summary);
        assert!(warnings(&summary).contains(&last), "{summary}");
        assert_eq!(config.ids(), [own, last.clone()]);
    }
}

#[test]
fn a_cut_archive_without_its_manifest_counts_for_nothing() {
    let instance = Instance::new();
    let config = instance.keeping(1);
    let good = config.backed_up();
    let later = instance.keeping(9).backed_up();
    instance.cut(&later);
    fs::remove_file(instance.manifest(&later)).unwrap();
    let config = instance.keeping(1);
    let pruned = config.run(&["--json", "prune"]).expect(0).summary();
    assert_eq!(pruned["deleted"], json!([]));
    assert!(instance.archive(&good).exists());
    let listed = config.listed();
    assert_eq!(
        (&listed[0]["state"], &listed[0]["problem"]),
        (&json!("whole"), &Value::Null)
    );
    assert_eq!(listed[1]["state"], "unproven");
    assert!(
        listed[1]["problem"].as_str().unwrap().contains("manifest"),
        "{listed:?}"
    );

    let verified = config
        .run(&["--json", "verify", "latest"])
        .expect(6)
        .summary();
    assert_eq!(id_of(&verified["backups"][0]), later);
    let restored = instance
        .elsewhere()
        .run(&["--json", "restore", "latest"])
        .expect(0)
        .summary();
    assert_eq!(id_of(&restored), good);
    assert!(warnings(&restored).contains(&later), "{restored}");
}

#[test]
fn an_archive_that_lost_its_manifest_alone_restores_by_its_id() {
    let instance = Instance::new();
    let id = instance.keeping(1).backed_up();
    fs::remove_file(instance.manifest(&id)).unwrap();
    let elsewhere = instance.elsewhere();
    let refused = elsewhere.run(&["restore", "latest"]).expect(6);
    assert!(
        refused.stderr.contains(&format!("restore {id}")),
        "{}",
        refused.stderr
    );
    elsewhere.run(&["verify", "latest"]).expect(0);
    elsewhere.run(&["restore", &id]).expect(0);
}

#[test]
fn the_latest_is_another_one_for_a_restore_than_for_a_verification() {
    let instance = Instance::new();
    let config = instance.keeping(9);
    let none = config.run(&["verify", "latest"]).expect(1);
    assert!(
        none.stderr.contains("there is no backup"),
        "{}",
        none.stderr
    );
    let good = config.backed_up();
    let damaged = config.backed_up();
    instance.cut(&damaged);
    for args in [&["--json", "verify", "latest"][..], &["--json", "verify"]] {
        let verified = config.run(args).expect(6).summary();
        assert_eq!(id_of(&verified["backups"][0]), damaged);
    }
    let restored = instance
        .elsewhere()
        .run(&["--json", "restore", "latest"])
        .expect(0)
        .summary();
    assert_eq!(id_of(&restored), good);
    assert!(warnings(&restored).contains(&damaged), "{restored}");
    // Its manifest alone is left: it is not forgotten.
    fs::remove_file(instance.archive(&damaged)).unwrap();
    assert_eq!(config.listed()[1]["state"], "damaged");
    config.run(&["verify", "latest"]).expect(6);
}

#[test]
fn what_a_verification_refused_counts_for_nothing_until_it_is_found_whole() {
    let instance = Instance::new();
    let config = instance.keeping(9);
    let (good, rotten) = (config.backed_up(), config.backed_up());
    let whole = fs::read(instance.archive(&rotten)).unwrap();
    let mut bytes = whole.clone();
    let middle = bytes.len() / 2;
    bytes[middle] ^= 1;
    fs::write(instance.archive(&rotten), bytes).unwrap();
    // Nothing is seen from outside.
    assert_eq!(config.listed()[1]["state"], "whole");
    config.run(&["verify", "latest"]).expect(6);
    assert_eq!(config.listed()[1]["state"], "unproven");
    instance.keeping(1).run(&["prune"]).expect(0);
    assert_eq!(config.ids(), [good.clone(), rotten.clone()]);
    let elsewhere = instance.elsewhere();
    let restored = elsewhere
        .run(&["--json", "restore", "latest"])
        .expect(0)
        .summary();
    assert_eq!(id_of(&restored), good);
    fs::write(instance.archive(&rotten), whole).unwrap();
    config.run(&["verify", "latest"]).expect(0);
    instance.keeping(1).run(&["prune"]).expect(0);
    assert_eq!(config.ids(), [rotten]);
}

#[test]
fn two_instances_of_one_name_leave_each_other_alone() {
    let one = Instance::new();
    let other = Instance::with_archives(one.archives.clone());
    let (ours, theirs) = (one.keeping(1), other.keeping(1));
    let mut last = (String::new(), String::new());
    for _ in 0..2 {
        last = (ours.backed_up(), theirs.backed_up());
    }
    assert_eq!(ours.ids(), [last.0.clone(), last.1.clone()]);
    let owners = |config: &Config| -> Vec<Value> {
        let listed = config.listed();
        listed.iter().map(|entry| entry["owner"].clone()).collect()
    };
    assert_eq!(owners(&ours), ["own", "other"]);
    assert_eq!(owners(&theirs), ["other", "own"]);
    let plan = ours.run(&["prune", "--dry-run"]).expect(0);
    assert!(
        plan.stdout.contains("of another instance"),
        "{}",
        plan.stdout
    );
    let verified = ours.run(&["--json", "verify"]).expect(0).summary();
    assert_eq!(id_of(&verified["backups"][0]), last.0);
    let restored = one
        .elsewhere()
        .run(&["--json", "restore", "latest"])
        .expect(0)
        .summary();
    assert_eq!(id_of(&restored), last.0);

    // A machine that is neither cannot know which of them is meant.
    let third = Instance::with_archives(one.archives.clone());
    let refused = third.elsewhere().run(&["restore", "latest"]).expect(1);
    for instance in [&one, &other] {
        let url = instance.simulator.base_url();
        let url = url.trim_end_matches('/');
        assert!(refused.stderr.contains(url), "{}", refused.stderr);
    }
    third.elsewhere().run(&["restore", &last.1]).expect(0);
}

#[test]
fn on_another_machine_the_only_instance_is_the_one_that_is_meant() {
    let lost = Instance::new();
    let id = lost.keeping(1).backed_up();
    let new = Instance::with_archives(lost.archives.clone());
    let restored = new
        .elsewhere()
        .run(&["--json", "restore", "latest"])
        .expect(0)
        .summary();
    assert_eq!(id_of(&restored), id);
    let warned = warnings(&restored);
    assert!(warned.contains("no backup of this instance"), "{warned}");
}

#[test]
fn backups_of_earlier_versions_are_this_instance_s() {
    let instance = Instance::new();
    let config = instance.keeping(9);
    let first = config.backed_up();
    let mut manifest: Value =
        serde_json::from_slice(&fs::read(instance.manifest(&first)).unwrap()).unwrap();
    manifest
        .as_object_mut()
        .unwrap()
        .remove("instance")
        .unwrap();
    let text = serde_json::to_string_pretty(&manifest).unwrap() + "\n";
    fs::write(instance.manifest(&first), text).unwrap();
    assert_eq!(config.listed()[0]["owner"], "unmarked");
    let second = instance.keeping(1).backed_up();
    assert_eq!(config.ids(), [second]);
}

#[test]
fn a_directory_for_archives_that_is_not_there_any_more_fails_the_check() {
    let instance = Instance::new();
    let config = instance.keeping(1);
    let first = config.backed_up();
    let away = instance.folder.join("away");
    fs::rename(&instance.archives, &away).unwrap();
    let refused = config.run(&["backup"]).expect(4);
    assert!(refused.stderr.contains("not mounted") && refused.stderr.contains(&first));
    assert!(
        refused.stderr.contains("--accept-shrink"),
        "{}",
        refused.stderr
    );
    assert!(!instance.archives.exists(), "it was made anew");
    // What is in its place after a reboot.
    fs::create_dir(&instance.archives).unwrap();
    let refused = config.run(&["backup"]).expect(4);
    assert!(refused.stderr.contains("not mounted"), "{}", refused.stderr);
    assert!(names(&instance.archives).is_empty());
    assert_eq!(instance.simulator.lock_count(), 1);
    fs::remove_dir(&instance.archives).unwrap();
    fs::rename(&away, &instance.archives).unwrap();
    config.run(&["backup"]).expect(0);

    fs::rename(&instance.archives, &away).unwrap();
    config.run(&["backup", "--accept-shrink"]).expect(0);
    config.run(&["backup"]).expect(0);
    // Whoever moves archives to another place every morning may go on.
    for name in names(&instance.archives) {
        fs::remove_file(instance.archives.join(name)).unwrap();
    }
    assert!(warnings(&config.back_up()).contains("any more"));
}

#[test]
fn a_home_that_lost_most_of_itself_is_let_through_once_and_costs_no_backup() {
    let instance = Instance::new();
    let config = instance.keeping(1);
    let first = config.backed_up();
    let repositories = instance.folder.join("home/shared/data/repositories");
    let kept = names(&repositories).into_iter().take(2).collect::<Vec<_>>();
    for name in names(&repositories) {
        if !kept.contains(&name) {
            diy_backup_testkit::tree::make_removable(&repositories.join(&name)).unwrap();
            fs::remove_dir_all(repositories.join(name)).unwrap();
        }
    }
    let refused = config.run(&["--json", "backup"]).expect(4);
    let lines = refused.lines();
    let error = lines
        .iter()
        .find(|line| line["message_type"] == "error")
        .unwrap();
    let message = error["message"].as_str().unwrap();
    assert!(
        message.contains("repositories") && message.contains(&first),
        "{error}"
    );
    assert!(
        error["hint"].as_str().unwrap().contains("--accept-shrink"),
        "{error}"
    );
    config.run(&["check"]).expect(4);

    let accepted = config
        .run(&["--json", "backup", "--accept-shrink"])
        .expect(0)
        .summary();
    let second = id_of(&accepted);
    assert_eq!(config.ids(), [first.clone(), second.clone()]);
    let plan = config
        .run(&["--json", "prune", "--dry-run"])
        .expect(0)
        .summary();
    assert_eq!(plan["deleted"], json!([]));
    assert!(
        plan["held"].as_str().unwrap().contains("doubtful"),
        "{plan}"
    );
    let third = config.backed_up();
    assert_eq!(config.ids(), [third]);
}
