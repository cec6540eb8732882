//! What cargo knows of the workspace.

use std::path::{Path, PathBuf};

use serde_json::Value;

use crate::failure::{Context, Failure, Result};
use crate::shell;

pub(crate) struct Workspace {
    /// Where the workspace's manifest is.
    pub(crate) root: PathBuf,
    /// Where cargo builds.
    pub(crate) target: PathBuf,
    pub(crate) packages: Vec<Package>,
}

pub(crate) struct Package {
    pub(crate) name: String,
    pub(crate) version: String,
    /// False with `publish = false`.
    pub(crate) is_published: bool,
}

impl Workspace {
    pub(crate) fn load() -> Result<Self> {
        let manifest = Path::new(env!("CARGO_MANIFEST_DIR")).join("Cargo.toml");
        let text = shell::read(
            shell::cargo()
                .args([
                    "metadata",
                    "--no-deps",
                    "--format-version=1",
                    "--manifest-path",
                ])
                .arg(manifest),
        )?;
        let metadata: Value = serde_json::from_str(&text).context("understand `cargo metadata`")?;
        Self::from_metadata(&metadata)
            .ok_or_else(|| Failure::Failed("`cargo metadata` lacks something".to_owned()))
    }

    fn from_metadata(metadata: &Value) -> Option<Self> {
        let packages = metadata["packages"].as_array()?;
        Some(Self {
            root: metadata["workspace_root"].as_str()?.into(),
            target: metadata["target_directory"].as_str()?.into(),
            packages: packages
                .iter()
                .map(Package::from_metadata)
                .collect::<Option<_>>()?,
        })
    }

    pub(crate) fn published(&self) -> impl Iterator<Item = &Package> {
        self.packages.iter().filter(|package| package.is_published)
    }

    /// `cargo` in the workspace's folder.
    pub(crate) fn cargo(&self, subcommand: &str) -> std::process::Command {
        let mut cargo = shell::cargo();
        cargo.arg(subcommand).current_dir(&self.root);
        cargo
    }
}

impl Package {
    fn from_metadata(package: &Value) -> Option<Self> {
        Some(Self {
            name: package["name"].as_str()?.to_owned(),
            version: package["version"].as_str()?.to_owned(),
            is_published: package["publish"].is_null(),
        })
    }

    /// The name and version that its packaged form goes by.
    pub(crate) fn stem(&self) -> String {
        format!("{}-{}", self.name, self.version)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_workspace_knows_what_it_publishes() {
        let workspace = Workspace::load().unwrap();
        let published: Vec<_> = workspace
            .published()
            .map(|package| package.name.as_str())
            .collect();
        assert!(published.contains(&"diy-backup-core"), "{published:?}");
        assert!(!published.contains(&"xtask"), "{published:?}");
        assert!(workspace.root.join("Cargo.lock").is_file());
    }
}
