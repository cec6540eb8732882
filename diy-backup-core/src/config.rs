//! What a configuration file is made of: sections, secrets, and values that check themselves.

mod secret;
mod section;
mod settings;
mod values;

pub use secret::Secret;
pub(crate) use secret::has_white_space_around;
pub use section::{ConfigSource, Section};
pub use settings::{
    BackupSettings, Downtime, InstanceKind, InstanceSettings, Proxy, RetentionSettings,
};
pub use values::{AbsolutePath, HumanDuration};
