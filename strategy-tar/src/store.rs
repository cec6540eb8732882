//! Writing archives.
use crate::config::TarConfig;
use crate::stop::Stop;
use diy_backup_core::{BackupContext, Error, ErrorKind, Manifest, Result, StoredArchive};
/// Keeps the staging folder as an archive.
pub(crate) fn store(
    config: &TarConfig,
    cx: &BackupContext,
    _: &Manifest,
    stop: &Stop,
) -> Result<StoredArchive> {
    stop.ensure_running()?;
    let name = format!("{}{}", cx.id(), config.compression.suffix());
    let partial = crate::remove::partial_path(config.directory.as_path(), &name);
    crate::remove::sweep(config.directory.as_path(), cx.id().name())?;
    Err(Error::new(
        ErrorKind::Unsupported,
        format!(
            "{} {} {} cannot be written yet",
            config.level(),
            crate::remove::PARTIAL_KIND,
            partial.display()
        ),
    ))
}
