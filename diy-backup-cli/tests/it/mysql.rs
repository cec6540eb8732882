//! The main job with a MariaDB.

use std::path::{Path, PathBuf};
use std::process::Command;
use std::sync::Arc;

use diy_backup_testkit::{Comparison, HomeBuilder, PrivateMariaDb, Simulator, skip_unless};

use crate::site::{BITBUCKET_PASSWORD, Config, DATABASE_PASSWORD, Folder};

struct Site {
    simulator: Simulator,
    mariadb: PrivateMariaDb,
    home: PathBuf,
    // Last, as what works in it has to end first.
    folder: Folder,
}

impl Site {
    fn start(mariadb: PrivateMariaDb) -> Self {
        let folder = Folder::new();
        let home = folder.join("home");
        HomeBuilder::new(&home).files(300).build().unwrap();
        mariadb
            .create_user("bitbucketuser", DATABASE_PASSWORD)
            .unwrap();
        mariadb.create_database("bitbucket").unwrap();
        mariadb.create_schema("bitbucket").unwrap();
        let grants = "GRANT ALL PRIVILEGES ON *.* TO bitbucketuser@'%';";
        mariadb.sql("mysql", grants).unwrap();
        let simulator = Simulator::builder()
            .credentials("backup", BITBUCKET_PASSWORD)
            .home(&home)
            .database(Arc::new(mariadb.rows("bitbucket").unwrap()))
            .writers(4)
            .start_blocking()
            .unwrap();
        Self {
            simulator,
            mariadb,
            home,
            folder,
        }
    }

    fn config(&self, file: &str, home: &Path, database: &str) -> Config {
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
strategy = "mysql"
name = {database:?}
host = "127.0.0.1"
port = {port}
username = "bitbucketuser"
password = {{ env = "DATABASE_PASSWORD" }}

[archive]
strategy = "tar"
directory = {archives:?}
"#,
            url = self.simulator.base_url(),
            staging = self.folder.join("staging"),
            state = self.folder.join("state"),
            port = self.mariadb.port(),
            archives = self.folder.join("archives"),
        );
        let path = self.folder.join(file);
        std::fs::write(&path, text).unwrap();
        Config { path }
    }

    fn elsewhere(&self) -> Config {
        let home = self.folder.join("restored home");
        self.config("elsewhere.toml", &home, "restored")
    }

    /// Makes sure that what was restored is of the instant at which the instance was drained last.
    fn ensure_restored(&self) {
        let drained = self.simulator.application().unwrap().drained_set().unwrap();
        let restored = self.mariadb.pushes("restored").unwrap();
        let home = self.folder.join("restored home");
        let comparison = Comparison::against(&home, &restored, &drained).unwrap();
        assert!(comparison.is_consistent(), "{comparison}");
    }
}

#[test]
fn a_backup_of_a_mariadb_under_live_pushes_restores_to_the_instant_of_the_drain() {
    let site = Site::start(skip_unless!(PrivateMariaDb::start()));
    let config = site.config("config.toml", &site.home, "bitbucket");
    config.run(&["check"]).expect(0);
    let summary = config.run(&["--json", "backup"]).expect(0).summary();
    assert_eq!(
        summary["warnings"].as_array().map(Vec::len),
        Some(0),
        "{summary}"
    );
    assert!(!site.simulator.is_locked());
    config.run(&["verify", "latest"]).expect(0);
    site.elsewhere().run(&["restore", "latest"]).expect(0);
    site.ensure_restored();
    let refused = site.elsewhere().run(&["restore", "latest"]).expect(4);
    assert!(refused.stderr.contains("not empty"), "{}", refused.stderr);
}

#[test]
fn an_archive_of_the_shell_scripts_with_a_mysqldump_restores() {
    let site = Site::start(skip_unless!(PrivateMariaDb::start()));
    let application = site.simulator.application().unwrap();
    // Nobody pushes while the scripts copy.
    application.latch().close();
    while application.latch().in_flight() > 0 {
        std::thread::yield_now();
    }
    application.record_drained();
    let root = site.folder.join("bitbucket-backup");
    let dump = root.join("bitbucket-db");
    std::fs::create_dir_all(&dump).unwrap();
    let dumped = site
        .mariadb
        .tool("mysqldump")
        .unwrap()
        .args(["--databases", "bitbucket"])
        .stdout(std::fs::File::create(dump.join("bitbucket.sql")).unwrap())
        .status();
    assert!(dumped.unwrap().success());
    let copied = Command::new("cp")
        .arg("-a")
        .arg(&site.home)
        .arg(root.join("bitbucket-home"))
        .status();
    assert!(copied.unwrap().success());
    let archives = site.folder.join("archives");
    std::fs::create_dir(&archives).unwrap();
    let packed = Command::new("tar")
        .arg("-czf")
        .arg(archives.join("bitbucket-20240131-235959.tar.gz"))
        .arg("-C")
        .arg(&root)
        .args(["bitbucket-db", "bitbucket-home"])
        .status();
    assert!(packed.unwrap().success());
    application.latch().open();
    site.elsewhere().run(&["restore", "latest"]).expect(0);
    site.ensure_restored();
}
