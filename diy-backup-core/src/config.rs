//! What a configuration file is made of: sections, secrets, and values that check themselves.

mod secret;
mod section;
mod settings;
mod values;

pub use secret::Secret;
pub use section::{ConfigSource, Section};
pub use settings::{BackupSettings, Downtime, InstanceKind, InstanceSettings, RetentionSettings};
pub use values::{AbsolutePath, HumanDuration};
