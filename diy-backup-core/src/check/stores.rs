//! The data stores that the configuration names, beside those that the instance knows of.

use std::path::{Path, PathBuf};

use crate::config::InstanceKind;
use crate::findings::Findings;
use crate::site::Site;

/// Warns when the database lists more data stores than the configuration names: the rest would be in no backup.
pub(super) fn check(site: &Site, known: &[PathBuf], findings: &mut Findings) {
    // A part that is none of ours, or has no database, is somebody else's to back up.
    if site.home.home().is_none() || site.instance.kind == InstanceKind::Mesh {
        return;
    }
    let configured = site.home.data_stores();
    // Paths may differ: this machine may have a store mounted elsewhere than Bitbucket's. The number may not.
    if known.len() <= configured.len() {
        return;
    }
    let missing: Vec<String> = known
        .iter()
        .filter(|store| !configured.iter().any(|path| is_same(path, store)))
        .map(|store| store.display().to_string())
        .collect();
    findings.warning(
        "home",
        format!(
            "Bitbucket has {} data stores and the configuration names {}, so these may be in no backup: {}",
            known.len(),
            configured.len(),
            missing.join(", ")
        ),
        "Add their paths on this machine to `data-stores` in the section [home].",
    );
}

fn is_same(one: &Path, other: &Path) -> bool {
    // Components compare without a slash at the end.
    one.components().eq(other.components())
}
