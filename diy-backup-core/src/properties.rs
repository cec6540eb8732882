//! What `bitbucket.properties` says of the database and of files that are not in the home directory.
//!
//! A copy of a home keeps the address of the original's database: started, it works on that one. And a configuration
//! keeps the address of a server that Bitbucket has left. Neither is seen before it is too late, so both are compared.

mod host;
mod java;
mod jdbc;

use std::fs::File;
use std::io::{self, Read};
use std::path::{Path, PathBuf};

use crate::findings::Findings;
use crate::platform;
use crate::site::Site;
use crate::strategy::{DatabaseAddress, DatabaseLocation, HomeCoverage};
use host::Hosts;
use java::Property;
use jdbc::{Server, Target};

/// Where the file is: in a whole home, in a shared home alone, in the home of a Mesh node.
const PLACES: &[&str] = &[
    "shared/bitbucket.properties",
    "bitbucket.properties",
    "mesh.properties",
];
const MAX_BYTES: u64 = 1 << 20;
const URL: &str = "jdbc.url";

/// How the names of properties end whose values are files with keys or certificates, letters and digits alone.
const KEY_FILES: &[&str] = &[
    "file",
    "filepath",
    "filelocation",
    "keystore",
    "keystorepath",
    "truststore",
    "truststorepath",
    "keypath",
    "privatekey",
    "certificate",
];
/// How the names of properties begin that say where the keys to other properties are.
const CIPHERS: &[&str] = &["encrypted-property.cipher."];
/// The password, or where it and its key are: an object, when it is encrypted. A plain one is never looked at.
const PASSWORD: &str = "jdbc.password";

/// Holds what the instance says against the configuration.
pub(crate) async fn check(site: &Site) -> Findings {
    let mut findings = Findings::new();
    let Some(file) = PropertiesFile::of(site).await else {
        return findings;
    };
    if let Some((line, conflict)) = file.conflict(site).await {
        findings.warning(
            file.at(line),
            format!("{conflict}: a backup would hold the one of the configuration"),
            "Correct the section [database], unless both lead to the same database.",
        );
    }
    let coverage = HomeCoverage::of(&*site.home);
    for (line, key, path) in file.key_files() {
        if !coverage.covers(&path) {
            findings.warning(
                file.at(line),
                format!(
                    "`{key}` names {}, which is not in the backup: without it, what it opens stays closed after a restore",
                    path.display()
                ),
                "Keep a copy of it in another safe place, apart from the backups.",
            );
        }
    }
    findings
}

/// Says what has to be looked at before an instance is started on what was restored.
pub(crate) async fn warnings_after_restore(site: &Site) -> Vec<String> {
    let Some(file) = PropertiesFile::of(site).await else {
        return Vec::new();
    };
    let mut warnings = Vec::new();
    if let Some((line, conflict)) = file.conflict(site).await {
        warnings.push(format!(
            "{}: {conflict}: started like this, Bitbucket works on the first; correct `{URL}` before you start it",
            file.at(line)
        ));
    }
    for (line, key, path) in file.key_files() {
        if !path.exists() {
            warnings.push(format!(
                "{}: `{key}` names {}, which is not on this machine: put it there before you start Bitbucket",
                file.at(line),
                path.display()
            ));
        }
    }
    warnings
}

#[derive(Debug)]
struct PropertiesFile {
    path: PathBuf,
    properties: Vec<Property>,
}

impl PropertiesFile {
    async fn of(site: &Site) -> Option<Self> {
        let home = site.home.home()?.to_owned();
        let read = tokio::task::spawn_blocking(move || Self::read(&home)).await;
        read.ok().flatten()
    }

    /// What cannot be read is the business of whoever copies the home.
    fn read(home: &Path) -> Option<Self> {
        let mut paths = PLACES.iter().map(|place| home.join(place));
        let (path, bytes) = paths.find_map(|path| {
            let bytes = read(&path).ok()?;
            Some((path, bytes))
        })?;
        Some(Self {
            path,
            properties: java::parse(&bytes),
        })
    }

    fn at(&self, line: usize) -> String {
        format!("{}:{line}", self.path.display())
    }

    /// Says how the database of the instance and that of the configuration differ, if it is certain that they do.
    async fn conflict(&self, site: &Site) -> Option<(usize, String)> {
        let url = self.properties.iter().find(|one| one.key == URL)?;
        let target = jdbc::parse(&url.value)?;
        let conflict = match (target, site.database.address()) {
            (Target::Server(server), Some(address)) => {
                let text = format!(
                    "`{URL}` names the database {server}, and the section [database] names {}",
                    shown(&address)
                );
                differ(&server, &address).await.then_some(text)
            }
            (Target::Internal, Some(address)) => Some(format!(
                "`{URL}` names a database in the home directory, and the section [database] names {}",
                shown(&address)
            )),
            (Target::Server(server), None)
                if site.database.location() == DatabaseLocation::InHome =>
            {
                Some(format!(
                    "`{URL}` names the database {server}, and the section [database] one in the home directory"
                ))
            }
            _ => None,
        };
        conflict.map(|text| (url.line, text))
    }

    /// Returns the files with keys that the properties name: line, key and path.
    fn key_files(&self) -> Vec<(usize, &str, PathBuf)> {
        let mut found = Vec::new();
        for property in &self.properties {
            let is_cipher = CIPHERS.iter().any(|start| property.key.starts_with(start));
            let name: String = property
                .key
                .to_ascii_lowercase()
                .chars()
                .filter(char::is_ascii_alphanumeric)
                .collect();
            let paths = if property.key == PASSWORD {
                paths_of_object(&property.value)
            } else if is_cipher || KEY_FILES.iter().any(|end| name.ends_with(end)) {
                let mut paths = paths_of_object(&property.value);
                paths.extend(path_of(&property.value));
                paths
            } else {
                Vec::new()
            };
            let here = |path| (property.line, property.key.as_str(), path);
            found.extend(paths.into_iter().map(here));
        }
        found
    }
}

/// Returns the paths in a value that is an object, such as the parameters of a cipher.
fn paths_of_object(value: &str) -> Vec<PathBuf> {
    let Ok(serde_json::Value::Object(object)) = serde_json::from_str(value) else {
        return Vec::new();
    };
    let paths = object.iter().filter_map(|(key, value)| {
        let key = key.to_ascii_lowercase();
        // What else is in it may be secret.
        let names_a_file = key.contains("file") || key.contains("path");
        path_of(value.as_str().filter(|_| names_a_file)?)
    });
    paths.collect()
}

fn path_of(value: &str) -> Option<PathBuf> {
    let value = value.trim();
    let path = value.strip_prefix("file:").unwrap_or(value);
    let path = Path::new(path.strip_prefix("//").unwrap_or(path));
    path.is_absolute().then(|| path.to_owned())
}

async fn differ(server: &Server, address: &DatabaseAddress) -> bool {
    let other_name = |name: &String| !name.eq_ignore_ascii_case(&address.name);
    if server.kind != address.kind || server.name.as_ref().is_some_and(other_name) {
        return true;
    }
    for (host, port) in &server.hosts {
        match host::compare(host, &address.host).await {
            Hosts::Different => {}
            Hosts::Unknown => return false,
            Hosts::Same => match (port, address.port) {
                (Some(port), Some(other)) if *port != other => {}
                _ => return false,
            },
        }
    }
    true
}

fn shown(address: &DatabaseAddress) -> String {
    let port = address.port.filter(|_| !address.is_socket());
    let port = port.map(|port| format!(":{port}")).unwrap_or_default();
    format!("{} on {}{port}", address.name, address.host)
}

/// Reads a file that others may write: it may be a pipe by now, or without end.
fn read(path: &Path) -> io::Result<Vec<u8>> {
    let file: File = platform::open_without_waiting(path)?;
    if !file.metadata()?.is_file() {
        return Err(io::ErrorKind::InvalidInput.into());
    }
    let mut bytes = Vec::new();
    file.take(MAX_BYTES).read_to_end(&mut bytes)?;
    Ok(bytes)
}
