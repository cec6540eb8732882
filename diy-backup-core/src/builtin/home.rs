use std::path::Path;

use async_trait::async_trait;
use serde::Deserialize;

use super::database::{Nothing, NothingToRestore};
use crate::config::AbsolutePath;
use crate::error::Result;
use crate::findings::Findings;
use crate::registry::StrategyConfig;
use crate::strategy::{BackupContext, CheckContext, HomeStrategy, Pinning, Restore, Session};

/// The home strategy `none`: the home directory is no part of the backups.
#[derive(Debug, Default)]
#[non_exhaustive]
pub struct NoHome;

/// The keys that the section may keep from another strategy.
#[derive(Deserialize)]
#[serde(rename_all = "kebab-case", deny_unknown_fields)]
struct NoHomeConfig {
    #[serde(rename = "path")]
    _path: Option<AbsolutePath>,
}

impl NoHome {
    /// Reads its section of the configuration.
    ///
    /// # Errors
    /// [`ErrorKind::Config`](crate::ErrorKind::Config) when there are other keys than `path`.
    pub fn from_config(config: &StrategyConfig) -> Result<Self> {
        config.section.parse::<NoHomeConfig>().map(|_| Self)
    }
}

#[async_trait]
impl HomeStrategy for NoHome {
    fn name(&self) -> &'static str {
        "none"
    }

    /// Nothing is copied, so nothing can change while it is.
    fn pinning(&self) -> Pinning {
        Pinning::Atomic
    }

    fn home(&self) -> Option<&Path> {
        None
    }

    async fn check(&self, _: &CheckContext) -> Result<Findings> {
        let mut findings = Findings::new();
        findings.info(
            "home",
            "the home directory is no part of the backups (strategy `none`)",
        );
        Ok(findings)
    }

    async fn prepare(&self, _: &BackupContext) -> Result<Box<dyn Session>> {
        Ok(Box::new(Nothing))
    }

    fn restore(&self) -> Option<&dyn Restore> {
        Some(&NothingToRestore)
    }
}
