//! Values of a configuration file that check themselves.

use std::path::{Path, PathBuf};
use std::time::Duration;

use serde::de::Error as _;
use serde::{Deserialize, Deserializer};

/// A path that begins at the root: what a run touches must not depend on where it was started.
#[derive(Debug, Clone, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct AbsolutePath(PathBuf);

impl AbsolutePath {
    /// Takes `path` if it is absolute and has no `..` in it; a trailing slash is dropped.
    pub fn new(path: impl Into<PathBuf>) -> Option<Self> {
        let path = path.into();
        let climbs = path
            .components()
            .any(|part| part == std::path::Component::ParentDir);
        (path.is_absolute() && !climbs).then(|| Self(path.components().collect()))
    }

    /// The path.
    pub fn as_path(&self) -> &Path {
        &self.0
    }
}

impl AsRef<Path> for AbsolutePath {
    fn as_ref(&self) -> &Path {
        &self.0
    }
}

impl<'de> Deserialize<'de> for AbsolutePath {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let text = String::deserialize(deserializer)?;
        Self::new(&text).ok_or_else(|| {
            D::Error::custom(format!(
                "{text:?} must be an absolute path without `..`, such as \"/var/lib/diy-backup\""
            ))
        })
    }
}

/// A duration with its unit: `30s`, `4m`, `1h 30m`.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub struct HumanDuration(Duration);

impl HumanDuration {
    /// The duration.
    pub fn get(self) -> Duration {
        self.0
    }
}

impl From<Duration> for HumanDuration {
    fn from(duration: Duration) -> Self {
        Self(duration)
    }
}

impl<'de> Deserialize<'de> for HumanDuration {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let text = String::deserialize(deserializer)?;
        match humantime::parse_duration(&text) {
            Ok(duration) if !duration.is_zero() => Ok(Self(duration)),
            _ => Err(D::Error::custom(format!(
                "{text:?} is not a duration: write a number and a unit, such as \"90s\" or \"4m\""
            ))),
        }
    }
}
