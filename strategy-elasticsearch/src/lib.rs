//! Search index strategies of diy-backup for Elasticsearch and OpenSearch: `fs`, `s3` and `amazon-es`.
//!
//! All three let the cluster itself take a snapshot of the indices into a *snapshot repository*: a folder that all
//! nodes share, an S3 bucket, or the bucket of an Amazon OpenSearch Service domain, whose calls are signed. They differ
//! in the repository and in how they log in.
//!
//! The snapshot begins while the instance drains and is waited for when people work again. It counts only with every
//! shard in it. A snapshot that a failed run has begun is deleted, and so is that of a backup that retention deletes.
//!
//! A restore refuses to touch an index that exists. What it makes bears a mark until the restore is committed: only
//! what bears that mark is ever deleted.
//!
//! ```
//! use diy_backup_core::Registry;
//!
//! let mut registry = Registry::with_builtins();
//! strategy_elasticsearch::register(&mut registry)?;
//! # Ok::<(), diy_backup_core::Error>(())
//! ```

mod check;
mod cluster;
mod config;
mod counts;
mod hint;
mod indices;
mod login;
mod product;
mod reply;
mod repository;
mod restore;
mod session;
mod signing;
mod snapshot;
mod strategy;
mod tls;

use std::sync::Arc;

use diy_backup_core::{Registry, Result};

pub use config::{RepositoryKind, SearchConfig, SettingValue};
pub use strategy::SearchStrategy;

/// Adds the search strategies `fs`, `s3` and `amazon-es`.
///
/// # Errors
/// [`ErrorKind::Config`](diy_backup_core::ErrorKind::Config) when there is one of that name.
pub fn register(registry: &mut Registry) -> Result<()> {
    for kind in RepositoryKind::ALL {
        registry.register_elasticsearch(kind.name(), move |config| {
            Ok(Arc::new(SearchStrategy::from_config(kind, config)?))
        })?;
    }
    Ok(())
}
