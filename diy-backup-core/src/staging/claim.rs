//! Whose a staging directory is: the copy of one instance grows there, and another configuration that works in it would
//! take that copy for its own.

use std::path::{Path, PathBuf};

use serde::{Deserialize, Serialize};

use super::Staging;
use crate::durable;
use crate::error::{Error, ErrorKind, Result, ResultExt, printable};
use crate::site::Site;

/// In the staging directory.
const OWNER: &str = "owner.json";
/// In the state directory, with the same ID.
const CLAIM: &str = "staging.json";

/// Who takes backups by way of a staging directory.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
struct Owner {
    /// Random: the state directory knows it too, wherever it is moved to.
    id: String,
    state: PathBuf,
    url: Option<String>,
    home: Option<PathBuf>,
}

impl Owner {
    fn new(site: &Site, id: String) -> Self {
        Self {
            id,
            state: site.backup.state.as_path().to_owned(),
            url: site.instance.url.as_ref().map(ToString::to_string),
            home: site.home.home().map(Path::to_owned),
        }
    }
}

/// Makes the staging directory that of the configuration `site`, unless it is another one's.
///
/// # Errors
/// [`ErrorKind::Config`], with the other one.
pub(crate) fn claim(site: &Site) -> Result<()> {
    let (state, staging) = (site.backup.state.as_path(), site.staging());
    let known = read(&state.join(CLAIM))?;
    let owner = read(&staging.root().join(OWNER))?;
    let id = match (&owner, &known) {
        (Some(owner), _) if is_of(owner, known.as_ref(), site) => owner.id.clone(),
        (Some(owner), _) => return Err(of_another(&staging, owner)),
        (None, Some(known)) => known.id.clone(),
        (None, None) => format!("{:016x}", fastrand::u64(..)),
    };
    let wanted = Owner::new(site, id);
    for (path, there) in [
        (state.join(CLAIM), known),
        (staging.root().join(OWNER), owner),
    ] {
        if there.as_ref() != Some(&wanted) {
            write(&path, &wanted)?;
        }
    }
    Ok(())
}

/// Whether another configuration takes its backups by way of the staging directory of `site`.
pub(crate) fn is_anothers(site: &Site) -> bool {
    let owner = read(&site.staging().root().join(OWNER));
    let known = read(&site.backup.state.as_path().join(CLAIM));
    match (owner, known) {
        (Ok(Some(owner)), Ok(known)) => !is_of(&owner, known.as_ref(), site),
        _ => false,
    }
}

/// A state directory that was lost is known by its place, and the instance by its URL and home.
fn is_of(owner: &Owner, known: Option<&Owner>, site: &Site) -> bool {
    match known {
        Some(known) => known.id == owner.id,
        None => *owner == Owner::new(site, owner.id.clone()),
    }
}

fn of_another(staging: &Staging, owner: &Owner) -> Error {
    let file = staging.root().join(OWNER);
    let of = owner.url.as_deref().unwrap_or("an instance without a URL");
    let message = format!(
        "the staging directory {} belongs to another configuration: that of {} with the state directory {}",
        staging.root().display(),
        printable(of),
        printable(&owner.state.display().to_string())
    );
    Error::new(ErrorKind::Config, message).with_hint(format!(
        "Set a `staging` of its own in the section [backup] of each configuration. If that one is no more, remove {}.",
        file.display()
    ))
}

fn read(path: &Path) -> Result<Option<Owner>> {
    let text = durable::read_own(path).io_context(|| format!("cannot read {}", path.display()))?;
    let Some(text) = text else {
        return Ok(None);
    };
    serde_json::from_slice(&text).map(Some).map_err(|error| {
        let message = format!("{} does not name a configuration", path.display());
        Error::new(ErrorKind::Damaged, message)
            .with_source(printable(&error.to_string()))
            .with_hint(format!("Remove {}.", path.display()))
    })
}

fn write(path: &Path, owner: &Owner) -> Result<()> {
    let text = serde_json::to_vec_pretty(owner).map_err(|error| {
        let message = "cannot write down whose a staging directory is";
        Error::new(ErrorKind::Internal, message).with_source(error)
    })?;
    durable::write_private(path, &text)
}
