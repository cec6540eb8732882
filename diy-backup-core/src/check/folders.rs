//! Folders that must not lie in each other, and files that must be there.

use std::path::{Path, PathBuf};

use crate::findings::Findings;
use crate::site::Site;
use crate::trust::{self, Directory};

/// A folder of the configuration.
struct Folder {
    /// Its key: `[backup] staging`.
    key: String,
    path: PathBuf,
    holds: Holds,
}

#[derive(Clone, Copy, PartialEq, Eq)]
enum Holds {
    /// Data of the instance, which we only read.
    Instance,
    /// What we write.
    Ours,
}

pub(super) fn check(site: &Site) -> Findings {
    let mut findings = Findings::new();
    check_owners(site, &mut findings);
    let folders = folders(site);
    for (index, one) in folders.iter().enumerate() {
        for other in &folders[index + 1..] {
            check_pair(one, other, &mut findings);
        }
    }
    findings
}

/// Nobody else may put anything into our directories, or others in their place.
fn check_owners(site: &Site, findings: &mut Findings) {
    for (directory, path) in [
        (Directory::State, &site.backup.state),
        (Directory::Staging, &site.backup.staging),
    ] {
        if let Err(error) = directory.ensure_trusted(path.as_path()) {
            findings.failure("configuration", &error);
        }
    }
    let archives = site.archive.directory();
    if let Some(doubt) = archives.and_then(trust::doubt_about_archives) {
        findings.warning(
            "archive",
            doubt,
            "Let it and the directories above it belong to root or to the user who runs this, and let nobody else write there.",
        );
    }
}

fn folders(site: &Site) -> Vec<Folder> {
    let mut folders = Vec::new();
    let mut add = |key: String, path: &Path, holds| {
        folders.push(Folder {
            key,
            path: resolve(path),
            holds,
        });
    };
    if let Some(home) = site.home.home() {
        add("[home] path".into(), home, Holds::Instance);
    }
    for store in site.home.data_stores() {
        add(
            format!("[home] data-stores ({})", store.display()),
            store,
            Holds::Instance,
        );
    }
    add(
        "[backup] staging".into(),
        site.backup.staging.as_path(),
        Holds::Ours,
    );
    add(
        "[backup] state".into(),
        site.backup.state.as_path(),
        Holds::Ours,
    );
    if let Some(archives) = site.archive.directory() {
        add("[archive] directory".into(), archives, Holds::Ours);
    }
    folders
}

fn check_pair(one: &Folder, other: &Folder, findings: &mut Findings) {
    let both_instance = one.holds == Holds::Instance && other.holds == Holds::Instance;
    let both_ours = one.holds == Holds::Ours && other.holds == Holds::Ours;
    let nested = one.path.starts_with(&other.path) || other.path.starts_with(&one.path);
    if !nested {
        return;
    }
    // Archives beside staging in one folder of ours are harmless; archives or state inside staging, or the same folder, are not.
    let (outer, inner) = if one.path.starts_with(&other.path) {
        (other, one)
    } else {
        (one, other)
    };
    if both_ours && outer.path != inner.path && !outer.key.contains("staging") {
        return;
    }
    let relation = if outer.path == inner.path {
        "is the same folder as"
    } else {
        "lies inside"
    };
    let fix = if both_instance {
        "Name each data store once, and none inside the home directory."
    } else {
        "Give each its own folder, and none of ours inside a folder of Bitbucket or of the staging copy."
    };
    findings.error(
        "configuration",
        format!(
            "{} ({}) {relation} {} ({})",
            inner.key,
            inner.path.display(),
            outer.key,
            outer.path.display()
        ),
        fix,
    );
}

/// The path with the links of its longest part that exists resolved.
pub(crate) fn resolve(path: &Path) -> PathBuf {
    let mut existing = path;
    loop {
        if let Ok(resolved) = existing.canonicalize() {
            return match path.strip_prefix(existing) {
                Ok(rest) if !rest.as_os_str().is_empty() => resolved.join(rest),
                _ => resolved,
            };
        }
        match existing.parent() {
            Some(parent) => existing = parent,
            None => return path.to_owned(),
        }
    }
}
