//! What the server keeps: databases, their content, and who may do what.

use std::collections::{BTreeMap, BTreeSet};
use std::fs::{self, File, OpenOptions};
use std::io::Write;
use std::path::{Path, PathBuf};

use serde::{Deserialize, Serialize};
use serde_json::Value;

use crate::Pushes;
use crate::error::{Error, ErrorKind, IoContext, Result};

/// The folder of a server double, locked for as long as this value lives.
#[derive(Debug)]
pub(super) struct Store {
    folder: PathBuf,
    _lock: File,
    pub(super) state: State,
}

/// All but the rows.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub(super) struct State {
    pub(super) address: String,
    pub(super) flavour: String,
    pub(super) version: String,
    pub(super) edition: String,
    pub(super) engine: i64,
    pub(super) username: String,
    pub(super) password: String,
    /// Whether somebody may log in without a password.
    pub(super) trusted: bool,
    /// Whether nobody that the client knows has signed the server's certificate.
    pub(super) unknown_certificate: bool,
    pub(super) permissions: BTreeSet<String>,
    /// Folders as the server names them, and where they are.
    pub(super) drives: Vec<(String, PathBuf)>,
    pub(super) data_path: String,
    pub(super) log_path: String,
    pub(super) databases: BTreeMap<String, Database>,
    pub(super) numbers: u64,
}

#[derive(Debug, Clone, Serialize, Deserialize)]
pub(super) struct Database {
    /// Names the file of its content.
    pub(super) number: u64,
    pub(super) state: String,
    pub(super) access: String,
    pub(super) recovery: String,
    pub(super) encrypted: bool,
    /// Whether the login has made it.
    pub(super) own: bool,
    pub(super) files: Vec<DatabaseFile>,
    /// The latest full backup that was no copy, and how much content there was then.
    pub(super) base: Option<Base>,
}

#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub(super) struct Base {
    pub(super) id: String,
    pub(super) length: u64,
}

#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub(super) struct DatabaseFile {
    pub(super) logical: String,
    pub(super) physical: String,
    /// `D` or `L`.
    pub(super) sort: String,
}

impl Store {
    pub(super) fn create(folder: &Path, state: &State) -> Result<()> {
        fs::create_dir_all(folder.join("content")).doing("create", folder)?;
        save(folder, state)
    }

    pub(super) fn open(folder: &Path) -> Result<Self> {
        let path = folder.join("lock");
        let lock = OpenOptions::new()
            .create(true)
            .append(true)
            .open(&path)
            .doing("open", &path)?;
        lock.lock().doing("lock", &path)?;
        let path = folder.join("state.json");
        let text = fs::read(&path).doing("read", &path)?;
        let state = serde_json::from_slice(&text).map_err(|error| {
            Error::new(ErrorKind::Invalid, "the state of the double").with_source(error)
        })?;
        Ok(Self {
            folder: folder.to_owned(),
            _lock: lock,
            state,
        })
    }

    pub(super) fn save(&self) -> Result<()> {
        save(&self.folder, &self.state)
    }

    fn content_path(&self, number: u64) -> PathBuf {
        self.folder.join("content").join(number.to_string())
    }

    /// All that was ever done to a database, one change on a line: a position in it is what a server calls an LSN.
    pub(super) fn content(&self, number: u64) -> Vec<u8> {
        fs::read(self.content_path(number)).unwrap_or_default()
    }

    pub(super) fn set_content(&self, number: u64, content: &[u8]) -> Result<()> {
        let path = self.content_path(number);
        fs::write(&path, content).doing("write", &path)
    }

    pub(super) fn add_content(&self, number: u64, content: &[u8]) -> Result<()> {
        let path = self.content_path(number);
        let opened = OpenOptions::new().create(true).append(true).open(&path);
        let mut file = opened.doing("open", &path)?;
        file.write_all(content).doing("write", &path)
    }

    pub(super) fn remove_content(&self, number: u64) {
        let _ = fs::remove_file(self.content_path(number));
    }

    pub(super) fn next_number(&mut self) -> u64 {
        self.state.numbers += 1;
        self.state.numbers
    }

    /// Where a path of the server is on this machine.
    pub(super) fn local(&self, path: &str) -> Option<PathBuf> {
        let (prefix, folder) = self
            .state
            .drives
            .iter()
            .find(|(prefix, _)| path.starts_with(prefix.as_str()))?;
        let name = path[prefix.len()..].strip_prefix('\\')?;
        (!name.is_empty() && !name.contains(['\\', '/'])).then(|| folder.join(name))
    }
}

fn save(folder: &Path, state: &State) -> Result<()> {
    let (path, new) = (folder.join("state.json"), folder.join("state.new"));
    let text = serde_json::to_vec(state).map_err(|error| {
        Error::new(ErrorKind::Invalid, "the state of the double").with_source(error)
    })?;
    fs::write(&new, text).doing("write", &new)?;
    fs::rename(&new, &path).doing("replace", &path)
}

/// One change of a content, as a line.
pub(super) fn change(parts: &[&str]) -> Vec<u8> {
    let mut line = Value::from(parts.to_vec()).to_string().into_bytes();
    line.push(b'\n');
    line
}

/// The rows that all changes together amount to; `None` when there is no table for them.
pub(super) fn rows_of(content: &[u8]) -> Option<Pushes> {
    let mut rows: Option<Pushes> = None;
    for line in content
        .split(|&byte| byte == b'\n')
        .filter(|line| !line.is_empty())
    {
        let parts: Vec<String> = serde_json::from_slice(line).unwrap_or_default();
        let parts: Vec<&str> = parts.iter().map(String::as_str).collect();
        match (parts.as_slice(), &mut rows) {
            (["table"], _) => rows = Some(Pushes::new()),
            (["truncate"], Some(rows)) => rows.clear(),
            (["put", id, payload], Some(rows)) => {
                rows.insert((*id).to_owned(), (*payload).to_owned());
            }
            (["delete", id], Some(rows)) => {
                rows.remove(*id);
            }
            _ => return None,
        }
    }
    rows
}
