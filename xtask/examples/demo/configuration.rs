//! Configuration files of `diy-backup`.

use std::fs::OpenOptions;
use std::io::Write;
use std::os::unix::fs::OpenOptionsExt;
use std::path::{Path, PathBuf};

use crate::Result;
use crate::instance::{DATABASE, DATABASE_PASSWORD, DATABASE_USER, Instance};

/// Which home and database a configuration is about.
#[derive(Clone, Copy)]
pub(crate) enum Target {
    /// Those that people work with.
    Original,
    /// Those that a restore makes.
    Restored,
}

pub(crate) struct Configuration {
    pub(crate) path: PathBuf,
    pub(crate) text: String,
    pub(crate) home: PathBuf,
    pub(crate) data_store: PathBuf,
    pub(crate) database: String,
}

impl Configuration {
    /// Writes a configuration file, and the files with the passwords that it names.
    pub(crate) fn write(folder: &Path, instance: &Instance, target: Target) -> Result<Self> {
        let (file, home, data_store, database) = match target {
            Target::Original => (
                "config.toml",
                instance.home.path.clone(),
                instance.data_store.clone(),
                DATABASE.to_owned(),
            ),
            Target::Restored => (
                "restore.toml",
                folder.join("restored-home"),
                folder.join("restored-data-store"),
                format!("{DATABASE}_restored"),
            ),
        };
        let bitbucket_password = folder.join("bitbucket.password");
        let database_password = folder.join("database.password");
        write_private(&bitbucket_password, instance.simulator.password())?;
        write_private(&database_password, DATABASE_PASSWORD)?;
        let text = format!(
            "\
[instance]
name = \"demo\"
url = {url}
username = {username}
password = {{ file = {bitbucket_password} }}

[backup]
staging = {staging}
state = {state}

[home]
strategy = \"rsync\"
path = {home}
data-stores = [{data_store}]

[database]
strategy = \"postgresql\"
name = {database}
host = {host}
port = {port}
username = {DATABASE_USER:?}
password = {{ file = {database_password} }}

[archive]
strategy = \"tar\"
directory = {archives}

[retention]
keep-last = 7
",
            url = quoted(instance.simulator.base_url()),
            username = quoted(instance.simulator.username()),
            bitbucket_password = quoted_path(&bitbucket_password),
            staging = quoted_path(&folder.join("staging")),
            state = quoted_path(&folder.join("state")),
            home = quoted_path(&home),
            data_store = quoted_path(&data_store),
            database = quoted(database.as_str()),
            host = quoted(instance.postgres.host()),
            port = instance.postgres.port(),
            database_password = quoted_path(&database_password),
            archives = quoted_path(&folder.join("archives")),
        );
        let path = folder.join(file);
        std::fs::write(&path, &text)?;
        Ok(Self {
            path,
            text,
            home,
            data_store,
            database,
        })
    }

    /// The lines that stand in this file and not in the other, each indented.
    pub(crate) fn difference(&self, other: &Self) -> String {
        let lines = self.text.lines().zip(other.text.lines());
        let changed: Vec<_> = lines
            .filter(|(ours, theirs)| ours != theirs)
            .map(|(ours, _)| ours)
            .collect();
        format!("  {}", changed.join("\n  "))
    }
}

/// A secret that others could read is refused.
fn write_private(path: &Path, secret: &str) -> Result<()> {
    let mut file = OpenOptions::new()
        .write(true)
        .create(true)
        .truncate(true)
        .mode(0o600)
        .open(path)?;
    Ok(file.write_all(secret.as_bytes())?)
}

fn quoted_path(path: &Path) -> toml::Value {
    quoted(path.to_string_lossy())
}

fn quoted(text: impl Into<String>) -> toml::Value {
    toml::Value::String(text.into())
}
