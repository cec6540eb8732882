//! Reading archives back.
use crate::stop::Stop;
use diy_backup_core::{
    BackupEntry, Destinations, Error, ErrorKind, RestoreContext, RestoreSource, Result, Verdict,
};
/// Unpacks a backup.
pub(crate) fn fetch(
    _: &RestoreContext,
    entry: &BackupEntry,
    _: &Destinations,
    stop: &Stop,
) -> Result<RestoreSource> {
    stop.ensure_running()?;
    Err(Error::new(
        ErrorKind::Unsupported,
        format!("{} cannot be read yet", entry.location),
    ))
}
/// Checks a backup.
pub(crate) fn verify(_: &RestoreContext, entry: &BackupEntry, stop: &Stop) -> Result<Verdict> {
    stop.ensure_running()?;
    Err(Error::new(
        ErrorKind::Unsupported,
        format!("{} cannot be read yet", entry.location),
    ))
}
