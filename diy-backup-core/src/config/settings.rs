//! The sections that belong to no strategy.

use std::time::Duration;

use serde::Deserialize;
use url::Url;

use crate::config::{AbsolutePath, HumanDuration, Secret};
use crate::id::InstanceName;

/// The section `[instance]`: which Bitbucket, and how to log in.
#[derive(Debug, Clone, Deserialize)]
#[serde(deny_unknown_fields, rename_all = "kebab-case")]
#[non_exhaustive]
pub struct InstanceSettings {
    /// The name in archive names and snapshot tags.
    pub name: InstanceName,
    /// The base URL, with a context path where there is one. A Mesh node has none.
    pub url: Option<Url>,
    /// What kind of instance it is.
    #[serde(default)]
    pub kind: InstanceKind,
    /// A user with the global permission "System admin".
    pub username: Option<String>,
    /// That user's password. HTTP access tokens do not work for maintenance calls.
    pub password: Option<Secret>,
    /// PEM certificates to trust beside those of the system.
    pub ca_file: Option<AbsolutePath>,
    /// Whether calls go through a proxy.
    #[serde(default)]
    pub proxy: Proxy,
}

impl InstanceSettings {
    /// An instance called `name`, with nothing else known of it yet.
    pub fn new(name: InstanceName) -> Self {
        Self {
            name,
            url: None,
            kind: InstanceKind::Bitbucket,
            username: None,
            password: None,
            ca_file: None,
            proxy: Proxy::default(),
        }
    }
}

/// Whether calls to the instance go through a proxy. A loopback address never does.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Deserialize)]
#[serde(rename_all = "kebab-case")]
#[non_exhaustive]
pub enum Proxy {
    /// Through the one that `HTTP_PROXY`, `HTTPS_PROXY` or `ALL_PROXY` name, unless `NO_PROXY` has the host.
    #[default]
    Environment,
    /// Through none.
    None,
}

/// What stands behind `[instance]`.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Deserialize)]
#[serde(rename_all = "kebab-case")]
#[non_exhaustive]
pub enum InstanceKind {
    /// Bitbucket Server or Data Center.
    #[default]
    Bitbucket,
    /// A Mesh node: repositories only, no database, no search, nothing to lock.
    Mesh,
}

/// The section `[backup]`: where a run works, and how long it may take.
#[derive(Debug, Clone, Deserialize)]
#[serde(deny_unknown_fields, rename_all = "kebab-case")]
#[non_exhaustive]
pub struct BackupSettings {
    /// Where the copy of home and database grows before it is archived.
    pub staging: AbsolutePath,
    /// Where the run lock and the journal stand.
    pub state: AbsolutePath,
    /// Whether people are kept out during the capture.
    #[serde(default)]
    pub downtime: Downtime,
    /// How long draining may take before the run gives up. Bitbucket's own deadlines add up to 180 seconds.
    #[serde(default = "default_drain_timeout")]
    pub drain_timeout: HumanDuration,
    /// The longest time the instance may stay locked; when it is over, the run unlocks and fails.
    #[serde(default = "default_max_locked")]
    pub max_locked: HumanDuration,
}

impl BackupSettings {
    /// Settings with the two folders and every default.
    pub fn new(staging: AbsolutePath, state: AbsolutePath) -> Self {
        Self {
            staging,
            state,
            downtime: Downtime::Locked,
            drain_timeout: default_drain_timeout(),
            max_locked: default_max_locked(),
        }
    }
}

fn default_drain_timeout() -> HumanDuration {
    Duration::from_mins(4).into()
}

fn default_max_locked() -> HumanDuration {
    Duration::from_mins(15).into()
}

/// Whether people are kept out during the capture.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Deserialize)]
#[serde(rename_all = "kebab-case")]
#[non_exhaustive]
pub enum Downtime {
    /// The instance is locked and drained while the state is pinned.
    #[default]
    Locked,
    /// Nothing is locked. Needs strategies that pin atomically, and Bitbucket 4.8 or newer.
    Zero,
}

/// The section `[retention]`: which old backups go. Without it nothing is ever deleted.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Deserialize)]
#[serde(deny_unknown_fields, rename_all = "kebab-case")]
#[non_exhaustive]
pub struct RetentionSettings {
    /// How many of the newest good backups stay; at least one.
    pub keep_last: std::num::NonZeroUsize,
}

impl RetentionSettings {
    /// Keeps the newest `keep_last` backups.
    pub fn keep_last(keep_last: std::num::NonZeroUsize) -> Self {
        Self { keep_last }
    }
}
