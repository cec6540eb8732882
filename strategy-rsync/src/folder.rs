//! The folders that a backup copies: the home directory and the data stores.

use std::path::{Path, PathBuf};

use diy_backup_core::{
    BackupContext, DatabaseLocation, Error, ErrorKind, InstanceKind, Result, Staging,
};

use crate::config::RsyncConfig;
use crate::exclude::Exclusions;
use crate::layout::Layout;
use crate::repositories;

/// One folder, and where its copy is.
#[derive(Debug, Clone)]
pub(crate) struct Folder {
    pub(crate) role: Role,
    pub(crate) layout: Layout,
    /// Where the copy is made from, links in it resolved.
    pub(crate) source: PathBuf,
    pub(crate) copy: PathBuf,
    pub(crate) exclusions: Exclusions,
}

/// What a folder is for Bitbucket.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Role {
    Home,
    DataStore(usize),
}

impl Role {
    /// The name in lists, details and file names.
    pub(crate) fn label(self) -> String {
        match self {
            Self::Home => "home".to_owned(),
            Self::DataStore(number) => format!("data-store-{number}"),
        }
    }
}

impl std::fmt::Display for Role {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            Self::Home => f.write_str("the home directory"),
            Self::DataStore(number) => write!(f, "data store {number}"),
        }
    }
}

/// What decides which folders there are and what is left out of them.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Circumstances<'a> {
    pub(crate) config: &'a RsyncConfig,
    pub(crate) kind: InstanceKind,
    pub(crate) database: DatabaseLocation,
    pub(crate) staging: &'a Staging,
}

impl Circumstances<'_> {
    /// The home directory, then the data stores. Reads as much of them as it takes to find the excluded
    /// repositories of a Mesh node.
    ///
    /// # Errors
    /// When one of them is not there.
    pub(crate) fn folders(&self) -> Result<Vec<Folder>> {
        self.roles()
            .map(|(role, path)| self.folder(role, path))
            .collect()
    }

    /// What each configured path is.
    pub(crate) fn roles(&self) -> impl Iterator<Item = (Role, &Path)> {
        let roles = std::iter::once(Role::Home).chain((0..).map(Role::DataStore));
        roles.zip(self.config.folders())
    }

    pub(crate) fn folder(&self, role: Role, path: &Path) -> Result<Folder> {
        let source = resolve(role, path)?;
        let layout = Layout::of(role, &source, self.kind);
        let (copy, exclusions) = match role {
            Role::Home => (self.staging.home(), self.home_exclusions(&source, layout)?),
            Role::DataStore(number) => (
                self.staging.data_store(number),
                Exclusions::of_data_store(self.config),
            ),
        };
        Ok(Folder {
            role,
            layout,
            source,
            copy,
            exclusions,
        })
    }

    fn home_exclusions(&self, home: &Path, layout: Layout) -> Result<Exclusions> {
        let mut exclusions = Exclusions::of_home(self.config, layout, self.database);
        if layout == Layout::Mesh && !self.config.exclude_repositories.is_empty() {
            for repository in repositories::of(home, layout)? {
                if repositories::is_one_of(&repository, &self.config.exclude_repositories)
                    && let Ok(relative) = repository.strip_prefix(home)
                {
                    exclusions.leave_out(relative);
                }
            }
        }
        Ok(exclusions)
    }
}

impl<'a> Circumstances<'a> {
    pub(crate) fn of_backup(
        config: &'a RsyncConfig,
        kind: InstanceKind,
        cx: &'a BackupContext,
    ) -> Self {
        Self {
            config,
            kind,
            database: cx.database(),
            staging: cx.staging(),
        }
    }
}

/// Where `path` leads: the configured path may be a link.
fn resolve(role: Role, path: &Path) -> Result<PathBuf> {
    let problem = match std::fs::canonicalize(path) {
        Ok(real) if real.is_dir() => return Ok(real),
        Ok(_) => Error::new(
            ErrorKind::Check,
            format!("{role} {} is no folder", path.display()),
        ),
        Err(error) => Error::io(format!("cannot open {role} {}", path.display()), error),
    };
    Err(problem.with_hint(match role {
        Role::Home => {
            "Correct `path` in the section [home], or mount the file system that it is on."
        }
        Role::DataStore(_) => {
            "Correct `data-stores` in the section [home], or mount the file system that it is on."
        }
    }))
}

/// A home directory of a test, empty: its original at `source` in `root`, its copy at `copy`, and nothing left out.
#[cfg(test)]
pub(crate) fn home_in(root: &Path) -> Folder {
    let side = |name| {
        let path = root.join(name);
        std::fs::create_dir_all(&path).expect("a test can make a folder");
        path
    };
    Folder {
        role: Role::Home,
        layout: Layout::Whole,
        source: side("source"),
        copy: side("copy"),
        exclusions: Exclusions::default(),
    }
}
