//! Packaging every published crate, and using the packages as a site would.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;

use toml::{Table, Value};

use crate::failure::{Context, Failure, Result};
use crate::shell;
use crate::workspace::{Package, Workspace};

/// A strategy and a program of a site's own. Outside of the workspace it has nothing but the packages.
const EXAMPLE: &str = "examples/custom-strategy";

/// What every package holds beside its code.
const LEGAL_AND_README: [&str; 3] = ["LICENSE-APACHE", "LICENSE-MIT", "README.md"];

/// Whether files that are not committed may be packaged.
#[derive(Clone, Copy)]
pub(crate) enum Changes {
    Allowed,
    Refused,
}

impl Changes {
    pub(crate) fn allowed_if(asked: bool) -> Self {
        if asked { Self::Allowed } else { Self::Refused }
    }
}

/// Packages all crates, then compiles what is in the packages, each with nothing but the others' packages.
pub(crate) fn run(changes: Changes) -> Result {
    let workspace = Workspace::load()?;
    pack(&workspace, changes)?;
    let check = workspace.target.join("package-check");
    unpack(&workspace, &check)?;
    take_example(&workspace, &check)?;
    write_manifest(&workspace, &check)?;
    let mut cargo = shell::cargo();
    cargo
        .current_dir(&check)
        .args(["check", "--workspace", "--target-dir"])
        .arg(&workspace.target);
    shell::run(&mut cargo)
}

/// Leaves the compiling to one build of all packages: cargo's own check begins anew for each of them.
fn pack(workspace: &Workspace, changes: Changes) -> Result {
    let mut cargo = workspace.cargo("package");
    cargo.args(["--workspace", "--no-verify"]);
    for package in &workspace.packages {
        if !package.is_published {
            cargo.args(["--exclude", &package.name]);
        }
    }
    if let Changes::Allowed = changes {
        cargo.arg("--allow-dirty");
    }
    shell::run(&mut cargo)
}

fn unpack(workspace: &Workspace, check: &Path) -> Result {
    if check.exists() {
        fs::remove_dir_all(check).context(format_args!("empty {}", check.display()))?;
    }
    fs::create_dir_all(check).context(format_args!("make {}", check.display()))?;
    for package in workspace.published() {
        let archive = workspace
            .target
            .join("package")
            .join(format!("{}.crate", package.stem()));
        // Packages carry one fixed time; with it, cargo would take a changed file for an old one.
        let mut tar = Command::new("tar");
        tar.args(["--extract", "--gzip", "--touch", "--file"])
            .arg(&archive)
            .arg("--directory")
            .arg(check);
        shell::run(&mut tar)?;
        for file in LEGAL_AND_README {
            if !check.join(package.stem()).join(file).is_file() {
                let name = &package.name;
                return Err(Failure::Failed(format!(
                    "the package of {name} lacks {file}"
                )));
            }
        }
    }
    Ok(())
}

/// Copies the example and takes from its manifest what ties it to the workspace.
fn take_example(workspace: &Workspace, check: &Path) -> Result {
    let (from, to) = (workspace.root.join(EXAMPLE), check.join("example"));
    copy_folder(&from.join("src"), &to.join("src"))?;
    let mut manifest = read_toml(&from.join("Cargo.toml"))?;
    detach(&mut manifest);
    write_toml(&to.join("Cargo.toml"), &manifest)
}

/// Dependencies by version alone, no lints of the workspace, no development dependencies.
fn detach(manifest: &mut Table) {
    manifest.remove("lints");
    manifest.remove("dev-dependencies");
    let dependencies = manifest
        .get_mut("dependencies")
        .and_then(Value::as_table_mut);
    for (_, dependency) in dependencies.into_iter().flatten() {
        if let Some(dependency) = dependency.as_table_mut() {
            dependency.remove("path");
        }
    }
}

/// A workspace of the unpacked packages and the example, with the versions and profiles of ours: what is compiled
/// already is not compiled again.
fn write_manifest(workspace: &Workspace, check: &Path) -> Result {
    let ours = read_toml(&workspace.root.join("Cargo.toml"))?;
    let manifest = check_manifest(workspace.published(), &ours);
    write_toml(&check.join("Cargo.toml"), &manifest)?;
    fs::copy(workspace.root.join("Cargo.lock"), check.join("Cargo.lock"))
        .context("copy Cargo.lock")?;
    Ok(())
}

fn check_manifest<'a>(packages: impl Iterator<Item = &'a Package>, ours: &Table) -> Table {
    let mut members = vec![Value::from("example")];
    let mut patches = Table::new();
    for package in packages {
        members.push(package.stem().into());
        let path = Table::from_iter([("path".to_owned(), package.stem().into())]);
        patches.insert(package.name.clone(), path.into());
    }
    let workspace = [("resolver", Value::from("3")), ("members", members.into())];
    let table = |entries: Vec<(&str, Value)>| -> Table {
        entries
            .into_iter()
            .map(|(key, value)| (key.to_owned(), value))
            .collect()
    };
    let mut manifest = table(vec![
        ("workspace", table(workspace.into()).into()),
        ("patch", table(vec![("crates-io", patches.into())]).into()),
    ]);
    if let Some(profiles) = ours.get("profile") {
        manifest.insert("profile".to_owned(), profiles.clone());
    }
    manifest
}

fn read_toml(path: &Path) -> Result<Table> {
    let text = fs::read_to_string(path).context(format_args!("read {}", path.display()))?;
    text.parse()
        .context(format_args!("understand {}", path.display()))
}

fn write_toml(path: &Path, table: &Table) -> Result {
    fs::write(path, table.to_string()).context(format_args!("write {}", path.display()))
}

fn copy_folder(from: &Path, to: &Path) -> Result {
    fs::create_dir_all(to).context(format_args!("make {}", to.display()))?;
    let entries = fs::read_dir(from).context(format_args!("list {}", from.display()))?;
    for entry in entries {
        let path: PathBuf = entry
            .context(format_args!("list {}", from.display()))?
            .path();
        let copy = to.join(path.file_name().unwrap_or_default());
        if path.is_dir() {
            copy_folder(&path, &copy)?;
        } else {
            fs::copy(&path, &copy).context(format_args!("copy {}", path.display()))?;
        }
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_example_keeps_versions_and_loses_the_workspace() {
        let mut manifest: Table =
            "[dependencies]\nserde = '1'\ncore = { path = '../core', version = '0.1.0' }\n\
             [dev-dependencies]\nkit = { path = '../kit' }\n[lints]\nworkspace = true\n"
                .parse()
                .unwrap();
        detach(&mut manifest);
        let left: Table = "[dependencies]\nserde = '1'\ncore = { version = '0.1.0' }\n"
            .parse()
            .unwrap();
        assert_eq!(manifest, left);
    }
}
