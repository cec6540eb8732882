//! The section `[home]` with `strategy = "rsync"`.

use std::collections::BTreeSet;
use std::fmt;
use std::path::{Path, PathBuf};

use diy_backup_core::{AbsolutePath, Result, StrategyConfig};
use serde::de::{Error as _, Unexpected, Visitor};
use serde::{Deserialize, Deserializer};

use crate::owner::OwnerName;

/// The keys of the section `[home]` for the strategy `rsync`.
///
/// ```
/// use diy_backup_core::Section;
/// use strategy_rsync::RsyncConfig;
///
/// let section = Section::from_text("home", "path = '/srv/bitbucket'\nexclude-repositories = [7, '12']")?;
/// let config: RsyncConfig = section.parse()?;
/// assert_eq!(config.exclude_repositories.len(), 2);
/// # Ok::<(), diy_backup_core::Error>(())
/// ```
#[derive(Debug, Clone, Deserialize)]
#[serde(deny_unknown_fields, rename_all = "kebab-case")]
#[non_exhaustive]
pub struct RsyncConfig {
    /// The home directory.
    pub path: AbsolutePath,
    /// The data stores; their order is that of their numbers in a backup.
    #[serde(default)]
    pub data_stores: Vec<AbsolutePath>,
    /// Repositories that are no part of the backups.
    #[serde(default)]
    pub exclude_repositories: BTreeSet<RepositoryId>,
    /// Who owns what a restore writes: `user:group`, `user`, or their numbers. Without it, owners are as in the backup.
    pub owner: Option<OwnerName>,
    /// Whether the folder `log` is part of the backups.
    #[serde(default)]
    pub include_logs: bool,
    /// Whether the capture learns from the kernel what has changed, instead of looking at every file.
    #[serde(default)]
    pub track_changes: TrackChanges,
}

/// When changes are tracked between the live pass and the capture.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Deserialize)]
#[serde(rename_all = "kebab-case")]
#[non_exhaustive]
pub enum TrackChanges {
    /// Where it is available.
    #[default]
    Auto,
    /// A backup that cannot have it is refused.
    Always,
    /// Nowhere.
    Never,
}

/// The ID of a repository, as its folder is called.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct RepositoryId(String);

impl RepositoryId {
    /// Takes `id` if it can be the name of one folder.
    pub fn new(id: impl Into<String>) -> Option<Self> {
        let id = id.into();
        let impossible = id.is_empty() || id == "." || id == ".." || id.contains(['/', '\0']);
        (!impossible).then_some(Self(id))
    }

    /// The ID as text.
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

impl fmt::Display for RepositoryId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

impl<'de> Deserialize<'de> for RepositoryId {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        deserializer.deserialize_any(RepositoryIdVisitor)
    }
}

struct RepositoryIdVisitor;

impl Visitor<'_> for RepositoryIdVisitor {
    type Value = RepositoryId;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("the number of a repository, such as 42")
    }

    fn visit_str<E: serde::de::Error>(self, text: &str) -> Result<RepositoryId, E> {
        RepositoryId::new(text).ok_or_else(|| E::invalid_value(Unexpected::Str(text), &self))
    }

    fn visit_i64<E: serde::de::Error>(self, number: i64) -> Result<RepositoryId, E> {
        u64::try_from(number)
            .map(|number| RepositoryId(number.to_string()))
            .map_err(|_| E::invalid_value(Unexpected::Signed(number), &self))
    }

    fn visit_u64<E: serde::de::Error>(self, number: u64) -> Result<RepositoryId, E> {
        Ok(RepositoryId(number.to_string()))
    }
}

impl RsyncConfig {
    /// Reads the strategy's section of the configuration.
    ///
    /// # Errors
    /// [`ErrorKind::Config`](diy_backup_core::ErrorKind::Config) with file and line: an unknown or missing key, a
    /// value of the wrong kind, one folder named twice.
    pub fn from_config(config: &StrategyConfig) -> Result<Self> {
        let section = &config.section;
        let this: Self = section.parse()?;
        if let Some((one, other)) = this.nested_folders() {
            let message = format!(
                "names {} and {}, and one lies within the other",
                one.display(),
                other.display()
            );
            return Err(section
                .error_at_key("data-stores", &message)
                .with_hint("A data store that lies within the home directory is copied with it: leave it out of `data-stores`, and name every folder once."));
        }
        Ok(this)
    }

    /// The home directory, then the data stores.
    pub(crate) fn folders(&self) -> impl Iterator<Item = &Path> {
        std::iter::once(self.path.as_path())
            .chain(self.data_stores.iter().map(AbsolutePath::as_path))
    }

    fn nested_folders(&self) -> Option<(PathBuf, PathBuf)> {
        let folders: Vec<&Path> = self.folders().collect();
        for (number, one) in folders.iter().enumerate() {
            for other in &folders[number + 1..] {
                if one.starts_with(other) || other.starts_with(one) {
                    return Some(((*one).to_owned(), (*other).to_owned()));
                }
            }
        }
        None
    }
}

impl<'de> Deserialize<'de> for OwnerName {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let text = String::deserialize(deserializer)?;
        OwnerName::parse(&text).ok_or_else(|| {
            D::Error::custom(format!(
                "{text:?} names no owner: write \"user:group\" or \"user\", by name or by number"
            ))
        })
    }
}

#[cfg(test)]
mod tests {
    use diy_backup_core::Section;

    use super::*;

    fn parse(text: &str) -> Result<RsyncConfig> {
        let section = Section::from_text("home", text)?;
        let instance = diy_backup_core::InstanceSettings::new("bitbucket".parse()?);
        let folder = |path: &str| AbsolutePath::new(path).unwrap();
        let backup = diy_backup_core::BackupSettings::new(folder("/s"), folder("/t"));
        RsyncConfig::from_config(&StrategyConfig::new(section, instance, backup))
    }

    #[test]
    fn repositories_are_numbers_or_names() {
        let config = parse("path = '/h'\nexclude-repositories = [7, '12', 'a*b']").unwrap();
        let ids: Vec<&str> = config
            .exclude_repositories
            .iter()
            .map(RepositoryId::as_str)
            .collect();
        assert_eq!(ids, ["12", "7", "a*b"]);
        for bad in ["-1", "'../x'", "''", "'..'", "1.5"] {
            let text = format!("path = '/h'\nexclude-repositories = [{bad}]");
            assert!(parse(&text).is_err(), "{bad}");
        }
    }

    #[test]
    fn folders_within_each_other_are_refused() {
        assert!(parse("path = '/h'\ndata-stores = ['/h/ds']").is_err());
        assert!(parse("path = '/h'\ndata-stores = ['/d', '/d']").is_err());
        parse("path = '/h'\ndata-stores = ['/h1', '/h2']").unwrap();
    }

    #[test]
    fn an_unknown_key_is_refused() {
        assert!(parse("path = '/h'\nexclude = ['x']").is_err());
    }
}
