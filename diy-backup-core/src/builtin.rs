//! Strategies that need no tool: `none` for each part, the database `internal`, and the archive that is the staging folder.

mod database;
mod home;
mod staging_archive;

use std::sync::Arc;

use crate::registry::Registry;

pub use database::{InternalDatabase, NoDatabase};
pub use home::NoHome;
pub use staging_archive::StagingArchive;

pub(crate) fn register(registry: &mut Registry) {
    let _ = registry.register_home("none", |config| {
        NoHome::from_config(config).map(|home| Arc::new(home) as _)
    });
    let _ = registry.register_database("none", |config| {
        NoDatabase::from_config(config).map(|none| Arc::new(none) as _)
    });
    let _ = registry.register_database("internal", |config| {
        InternalDatabase::from_config(config).map(|db| Arc::new(db) as _)
    });
    let _ = registry.register_archive("none", |config| {
        StagingArchive::from_config(config).map(|archive| Arc::new(archive) as _)
    });
}
