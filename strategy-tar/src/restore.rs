//! Getting a backup back, and finding out whether that would work: the same reading of the same bytes.

use std::path::PathBuf;

use diy_backup_core::{
    BackupEntry, Damage, Destinations, Error, ErrorKind, Phase, RestoreContext, RestoreSource,
    Result, Verdict,
};

use crate::read::{Bounded, Discard, Inspection, OnDamage, Subject, Unpack};
use crate::stop::Stop;

/// Unpacks the backup `entry` to `destinations`, checking every byte of it.
pub(crate) fn fetch(
    cx: &RestoreContext,
    entry: &BackupEntry,
    destinations: &Destinations,
    stop: &Stop,
) -> Result<RestoreSource> {
    let subject = subject(cx, entry)?;
    let bounded = if is_sealed(entry) {
        Bounded::BySeal
    } else {
        Bounded::ByFreeSpace
    };
    let destinations = match &entry.manifest {
        Some(_) => destinations.clone(),
        None => destinations.clone().of_scripts(),
    };
    let mut unpack = Unpack::new(&destinations, cx.work(), bounded, stop, cx.events())?;
    let meter = cx.events().meter(Phase::Fetch);
    let verdict = Inspection::run(&subject, &mut unpack, OnDamage::Stop, stop, meter)?;
    match verdict.damage.first() {
        Some(damage) => Err(damaged(entry, damage)),
        None => Ok(unpack.source()),
    }
}

/// Reads the backup `entry` and says everything that is wrong with it.
pub(crate) fn verify(cx: &RestoreContext, entry: &BackupEntry, stop: &Stop) -> Result<Verdict> {
    let subject = subject(cx, entry)?;
    let meter = cx.events().meter(Phase::Verify);
    Inspection::run(&subject, &mut Discard, OnDamage::Collect, stop, meter)
}

fn subject(cx: &RestoreContext, entry: &BackupEntry) -> Result<Subject> {
    let path = PathBuf::from(&entry.location);
    if !path.exists() {
        let message = format!("{} is not there any more", path.display());
        return Err(Error::new(ErrorKind::NotFound, message)
            .with_hint("`diy-backup list` shows the backups there are."));
    }
    Ok(Subject {
        path,
        manifest: entry.manifest.clone(),
        // What has a seal is compared with it once more.
        problem: entry
            .damage()
            .filter(|_| !is_sealed(entry))
            .map(str::to_owned),
        work: cx.work().to_owned(),
    })
}

fn is_sealed(entry: &BackupEntry) -> bool {
    let manifest = entry.manifest.as_ref();
    manifest.is_some_and(|manifest| manifest.archive.is_some())
}

fn damaged(entry: &BackupEntry, damage: &Damage) -> Error {
    let place = damage
        .path
        .as_ref()
        .map(|path| format!(" at `{path}`"))
        .unwrap_or_default();
    let message = format!(
        "the backup {} is damaged{place}: {}",
        entry.id, damage.problem
    );
    Error::new(ErrorKind::Damaged, message).with_hint(format!(
        "`diy-backup verify {}` lists everything that is wrong with it; `diy-backup list` shows other backups.",
        entry.id
    ))
}
