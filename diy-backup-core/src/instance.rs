//! The identity of an instance: what tells it from another one of the same name.

use std::fmt;
use std::hash::{BuildHasher, Hasher, RandomState};
use std::path::{Path, PathBuf};

use serde::{Deserialize, Serialize};
use url::{Host, Url};

use crate::durable;
use crate::error::{Error, ErrorKind, Result, ResultExt, printable};
use crate::platform;
use crate::site::Site;
use crate::strategy::{BackupEntry, Owner};

const FORMAT: u32 = 1;
const MAX_BYTES: usize = 64 * 1024;

/// What tells one instance from another of the same name. A manifest records it, so that instances that keep their
/// backups in one place leave each other's alone.
///
/// Two identities are the same instance's if their URLs are the same, or if both the ID and the home directory are. The
/// latter is also true of a machine and its clone, which others use under another URL: they are two instances.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case", default)]
#[non_exhaustive]
pub struct InstanceIdentity {
    /// The base URL in one form; a Mesh node has none.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub url: Option<String>,
    /// The machine, where the URL means whatever machine it is used on: `http://localhost:7990`.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub host: Option<String>,
    /// The machine that the backup was taken on.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub machine: Option<String>,
    /// The home directory, where it is one on this machine.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub home: Option<String>,
    /// A random ID, minted once into the state directory.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub id: Option<String>,
}

#[derive(Serialize, Deserialize)]
struct Minted {
    format: u32,
    id: String,
}

impl InstanceIdentity {
    /// Returns the identity of `site`, without an ID as long as none has been minted.
    pub fn of(site: &Site) -> Self {
        // An ID that cannot be read is one that nothing can be compared with; a backup says so.
        let id = read(site.backup.state.as_path()).unwrap_or_default();
        Self::with_id(site, id)
    }

    /// Returns the identity of `site`, and mints its ID unless there is one. Call it under the run lock.
    ///
    /// # Errors
    /// [`ErrorKind::Damaged`] when the file with the ID is not one, else when it can be neither read nor written.
    pub(crate) fn minted(site: &Site) -> Result<Self> {
        let state = site.backup.state.as_path();
        let id = match read(state)? {
            Some(id) => id,
            None => mint(state)?,
        };
        Ok(Self::with_id(site, Some(id)))
    }

    fn with_id(site: &Site, id: Option<String>) -> Self {
        let url = site.instance.url.as_ref();
        let home = site.home.home();
        Self {
            url: url.map(normalised),
            host: url
                .filter(|url| is_loopback(url))
                .and_then(|_| platform::host_name()),
            machine: platform::host_name(),
            home: home.map(|home| home.display().to_string()),
            id,
        }
    }

    /// Returns `true` if both are the identity of one instance.
    pub fn is_same(&self, other: &Self) -> bool {
        let same_url = self.url.is_some() && self.url == other.url && self.host == other.host;
        let same_id = self.id.is_some() && self.id == other.id && self.home == other.home;
        same_url || (same_id && !self.may_be_clone_of(other))
    }

    /// A URL that changes and a machine that changes are one instance each. Both at once are a copy of the state
    /// directory, whose ID is not of this instance. A container has another name in every run, but one URL.
    fn may_be_clone_of(&self, other: &Self) -> bool {
        let differ = |one: &Option<String>, other: &Option<String>| {
            one.is_some() && other.is_some() && one != other
        };
        // A URL of the loopback interface is another one on each machine.
        differ(&self.host, &other.host)
            || (differ(&self.url, &other.url) && differ(&self.machine, &other.machine))
    }

    /// Returns whose backup `entry` is, seen from this instance.
    pub(crate) fn owner_of(&self, entry: &BackupEntry) -> Owner {
        let recorded = entry.manifest.as_ref().map(|manifest| &manifest.instance);
        match recorded.and_then(Option::as_ref) {
            None => Owner::Unmarked,
            Some(identity) if self.is_same(identity) => Owner::Own,
            Some(identity) => Owner::Other(identity.to_string()),
        }
    }
}

impl fmt::Display for InstanceIdentity {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        // From a manifest that somebody else may have written.
        let text = |text: &Option<String>| text.as_deref().map(printable);
        let mut parts = Vec::new();
        parts.extend(text(&self.url));
        parts.extend(text(&self.host).map(|host| format!("on {host}")));
        parts.extend(text(&self.home).map(|home| format!("with the home {home}")));
        if parts.is_empty() {
            parts.extend(text(&self.id).map(|id| format!("with the ID {id}")));
        }
        f.write_str(&parts.join(" "))
    }
}

/// One form for all ways to write a URL: without login, query, fragment and a slash at its end.
fn normalised(url: &Url) -> String {
    let mut url = url.clone();
    let _ = url.set_username("");
    let _ = url.set_password(None);
    url.set_query(None);
    url.set_fragment(None);
    url.as_str().trim_end_matches('/').to_owned()
}

fn is_loopback(url: &Url) -> bool {
    match url.host() {
        Some(Host::Domain(name)) => {
            let name = name.trim_end_matches('.');
            name == "localhost" || name.ends_with(".localhost")
        }
        Some(Host::Ipv4(address)) => address.is_loopback(),
        Some(Host::Ipv6(address)) => address.is_loopback(),
        None => false,
    }
}

fn path_in(state: &Path) -> PathBuf {
    state.join("instance.json")
}

fn read(state: &Path) -> Result<Option<String>> {
    let path = path_in(state);
    let shown = path.display();
    let text = match std::fs::read(&path) {
        Ok(text) => text,
        Err(error) if error.kind() == std::io::ErrorKind::NotFound => return Ok(None),
        Err(error) => return Err(error).io_context(|| format!("cannot read {shown}")),
    };
    let not_one = || {
        Error::new(
            ErrorKind::Damaged,
            format!("{shown} does not hold the ID of an instance"),
        )
        .with_hint(format!("Remove it: `rm {shown}`. A new ID is minted."))
    };
    if text.len() > MAX_BYTES {
        return Err(not_one());
    }
    let minted: Minted = serde_json::from_slice(&text)
        .map_err(|error| not_one().with_source(printable(&error.to_string())))?;
    let is_id = minted.id.len() == 32 && minted.id.chars().all(|c| c.is_ascii_hexdigit());
    if minted.format == FORMAT && is_id {
        Ok(Some(minted.id))
    } else {
        Err(not_one())
    }
}

fn mint(state: &Path) -> Result<String> {
    // The standard library asks the operating system for the keys of a hasher.
    let random = || RandomState::new().build_hasher().finish();
    let id = format!("{:016x}{:016x}", random(), random());
    let minted = Minted {
        format: FORMAT,
        id: id.clone(),
    };
    let text = serde_json::to_vec_pretty(&minted).map_err(|error| {
        Error::new(ErrorKind::Internal, "cannot write the ID of an instance").with_source(error)
    })?;
    durable::write_private(&path_in(state), &text)?;
    Ok(id)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn identity(url: Option<&str>, home: &str, id: Option<&str>) -> InstanceIdentity {
        let url = url.map(|url| url.parse::<Url>().unwrap());
        InstanceIdentity {
            url: url.as_ref().map(normalised),
            host: None,
            machine: None,
            home: Some(home.to_owned()),
            id: id.map(str::to_owned),
        }
    }

    #[test]
    fn urls_that_lead_to_one_place_are_one() {
        let one = identity(Some("https://Bitbucket.example.com/"), "/a", Some("1"));
        for (url, same) in [
            ("https://bitbucket.example.com", true),
            ("https://bitbucket.example.com:443//", true),
            ("https://me:secret@bitbucket.example.com/?x=1#y", true),
            ("https://bitbucket.example.com/other", false),
            ("https://bitbucket.example.com:8443", false),
        ] {
            let other = identity(Some(url), "/b", None);
            assert_eq!(one.is_same(&other), same, "{url}");
        }
    }

    #[test]
    fn without_a_url_both_the_id_and_the_home_have_to_agree() {
        let mesh = identity(None, "/mesh", Some("1"));
        assert!(mesh.is_same(&identity(None, "/mesh", Some("1"))));
        assert!(!mesh.is_same(&identity(None, "/mesh", Some("2"))));
        assert!(!mesh.is_same(&identity(None, "/mesh", None)));
        assert!(!mesh.is_same(&identity(None, "/other", Some("1"))));
        assert!(!identity(None, "/mesh", None).is_same(&identity(None, "/mesh", None)));
        let moved = identity(Some("https://new"), "/mesh", Some("1"));
        assert!(moved.is_same(&identity(Some("https://old"), "/mesh", Some("1"))));
    }

    #[test]
    fn a_clone_of_the_machine_under_another_url_is_another_instance() {
        let on = |machine: &str, url: Option<&str>| InstanceIdentity {
            machine: Some(machine.to_owned()),
            ..identity(url, "/home", Some("1"))
        };
        let production = on("one", Some("https://bitbucket"));
        assert!(!production.is_same(&on("other", Some("https://test"))));
        assert!(production.is_same(&on("other", Some("https://bitbucket"))));
        assert!(production.is_same(&on("one", Some("https://new"))));
        let unknown = identity(Some("https://new"), "/home", Some("1"));
        assert!(production.is_same(&unknown));
        assert!(on("one", None).is_same(&on("other", None)));
        let local = |host: &str| InstanceIdentity {
            host: Some(host.to_owned()),
            ..on(host, Some("http://localhost:7990"))
        };
        assert!(local("one").is_same(&local("one")));
        assert!(!local("one").is_same(&local("other")));
    }

    #[test]
    fn a_loopback_address_means_the_machine_that_it_is_used_on() {
        let on = |host: &str| InstanceIdentity {
            host: Some(host.to_owned()),
            ..identity(Some("http://localhost:7990"), "/home", Some(host))
        };
        assert!(on("one").is_same(&on("one")));
        assert!(!on("one").is_same(&on("other")));
        for (url, loopback) in [
            ("http://localhost:7990/", true),
            ("http://127.1.2.3", true),
            ("http://[::1]:7990", true),
            ("http://localhost.example.com", false),
            ("http://10.0.0.1", false),
        ] {
            assert_eq!(is_loopback(&url.parse().unwrap()), loopback, "{url}");
        }
    }

    #[test]
    fn an_id_is_minted_once_and_something_else_is_refused() {
        let state = tempfile::tempdir().unwrap();
        assert_eq!(read(state.path()).unwrap(), None);
        let id = mint(state.path()).unwrap();
        assert_eq!(read(state.path()).unwrap().unwrap(), id);
        assert_ne!(mint(state.path()).unwrap(), id);
        for text in ["", "{}", "{\"format\":1,\"id\":\"x\"}", "{\"format\":2}"] {
            std::fs::write(path_in(state.path()), text).unwrap();
            let error = read(state.path()).unwrap_err();
            assert_eq!(error.kind(), ErrorKind::Damaged, "{text}");
        }
    }
}
