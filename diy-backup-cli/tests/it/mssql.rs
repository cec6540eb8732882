//! The main job with SQL Server, of which there is a double.

use std::sync::Arc;

use diy_backup_testkit::mssql::SqlServerDouble;
use diy_backup_testkit::{Comparison, HomeBuilder, Simulator, skip_unless};

use crate::site::{BITBUCKET_PASSWORD, Config, Folder, names};

const DATABASE: &str = "bit]bucket $(x)";

/// Where Cargo puts the examples of the crate whose tests run.
fn program() -> std::path::PathBuf {
    let test = std::env::current_exe().unwrap();
    test.parent()
        .unwrap()
        .parent()
        .unwrap()
        .join("examples/double_of_sqlcmd")
}

#[test]
fn a_full_and_a_differential_backup_restore_to_the_instant_of_the_drain() {
    let double = skip_unless!(SqlServerDouble::new(&program()));
    double.create_database(DATABASE).unwrap();
    double.create_schema(DATABASE).unwrap();
    let folder = Folder::new();
    let (home, restored) = (folder.join("home"), folder.join("restored home"));
    HomeBuilder::new(&home).files(200).build().unwrap();
    let simulator = Simulator::builder()
        .credentials("backup", BITBUCKET_PASSWORD)
        .home(&home)
        .database(Arc::new(double.rows(DATABASE)))
        .writers(4)
        .start_blocking()
        .unwrap();
    let configure = |file: &str, home: &std::path::Path, database: &str| {
        let path = folder.join(file);
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
strategy = "mssql"
name = {database:?}
host = {host:?}
port = {port}
username = {user:?}
password = {{ value = {password} }}
server-directory = {server_directory:?}
directory = {directory:?}
tools = {tools:?}

[archive]
strategy = "tar"
directory = {archives:?}
"#,
            url = simulator.base_url(),
            staging = folder.join("staging"),
            state = folder.join("state"),
            host = double.host(),
            port = double.port(),
            user = double.username(),
            password = serde_json::to_string(double.password()).unwrap(),
            server_directory = double.server_directory(),
            directory = double.directory(),
            tools = double.tools(),
            archives = folder.join("archives"),
        );
        std::fs::write(&path, text).unwrap();
        Config { path }
    };
    let config = configure("config.toml", &home, DATABASE);
    let elsewhere = configure("elsewhere.toml", &restored, "restored");
    config.run(&["check"]).expect(0);
    for _ in 0..2 {
        let summary = config.run(&["--json", "backup"]).expect(0).summary();
        assert_eq!(
            summary["warnings"].as_array().map(Vec::len),
            Some(0),
            "{summary}"
        );
    }
    let drained = simulator.application().unwrap().drained_set().unwrap();
    config.run(&["verify", "--all"]).expect(0);
    let output = elsewhere.run(&["-vv", "restore", "latest"]).expect(0);
    assert!(
        !output.stderr.contains(double.password()) && !output.stdout.contains(double.password())
    );
    let rows = double.pushes("restored").unwrap().unwrap();
    let comparison = Comparison::against(&restored, &rows, &drained).unwrap();
    assert!(comparison.is_consistent(), "{comparison}");
    let refused = elsewhere.run(&["restore", "latest"]).expect(4);
    assert!(refused.stderr.contains("not empty"), "{}", refused.stderr);
    assert!(names(&double.directory()).is_empty());
    assert_eq!(double.databases().unwrap().len(), 2);
}
