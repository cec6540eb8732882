//! A site with one database file, and its own program.

use std::path::{Path, PathBuf};
use std::process::{Command, Output};

use diy_backup_testkit::{Simulator, report_skipped};

/// Something of everything that a copy could get wrong.
const TABLES: &str = "PRAGMA journal_mode = WAL;
    CREATE TABLE repository (id INTEGER PRIMARY KEY, slug TEXT NOT NULL);
    INSERT INTO repository VALUES (1, 'naïve ☃'), (2, 'it''s');";

pub(crate) struct Site {
    folder: tempfile::TempDir,
    pub(crate) simulator: Simulator,
}

impl Site {
    pub(crate) fn start() -> Self {
        let site = Self {
            folder: tempfile::tempdir().unwrap(),
            simulator: Simulator::builder().start_blocking().unwrap(),
        };
        sqlite3(&site.database("the site's"), TABLES);
        site
    }

    pub(crate) fn database(&self, name: &str) -> PathBuf {
        self.folder.path().join(format!("{name}.sqlite"))
    }

    /// Runs the program for the database of this name.
    pub(crate) fn run(&self, database: &str, args: &[&str]) -> Output {
        let root = self.folder.path().display();
        let config = self.folder.path().join("config.toml");
        let text = format!(
            "[instance]\nname = 'site'\nurl = '{}'\nusername = '{}'\npassword = {{ env = 'BITBUCKET_PASSWORD' }}\n\
             [backup]\nstaging = '{root}/staging'\nstate = '{root}/state'\n\
             [home]\nstrategy = 'none'\n\
             [database]\nstrategy = 'sqlite'\npath = \"{}\"\n\
             [archive]\nstrategy = 'tar'\ndirectory = '{root}/archives'\n",
            self.simulator.base_url(),
            self.simulator.username(),
            self.database(database).display(),
        );
        std::fs::write(&config, text).unwrap();
        Command::new(env!("CARGO_BIN_EXE_custom-strategy"))
            .arg("-c")
            .arg(config)
            .args(args)
            .env("BITBUCKET_PASSWORD", self.simulator.password())
            .output()
            .unwrap()
    }
}

pub(crate) fn sqlite3(database: &Path, sql: &str) -> String {
    let output = Command::new("sqlite3")
        .arg("-bail")
        .arg(database)
        .arg(sql)
        .output()
        .unwrap();
    assert!(output.status.success(), "{output:?}");
    String::from_utf8(output.stdout).unwrap()
}

pub(crate) fn is_sqlite3_missing() -> bool {
    let is_missing = Command::new("sqlite3").arg("--version").output().is_err();
    if is_missing {
        report_skipped(&"sqlite3 is not installed (Debian package: sqlite3)");
    }
    is_missing
}
