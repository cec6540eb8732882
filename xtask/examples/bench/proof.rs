//! A number counts only when the backup it belongs to is good.

use diy_backup_testkit::home::{DATABASE_EXCLUSIONS, EXCLUSIONS};
use diy_backup_testkit::tree::Aspect;
use diy_backup_testkit::{Comparison, TreeSnapshot};

use crate::Result;
use crate::contender::{Contender, Stand};
use crate::instance::{DATABASE, Instance, fingerprint, outside_of_pushes};

/// How closely a restore is looked at.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Depth {
    /// What people pushed, compared with the moment of DRAINED.
    Pushes,
    /// Every file and every row besides.
    Everything,
}

/// Makes sure that the restore of the last backup is what the instance was when it was drained.
pub(crate) fn require(stand: &Stand<'_>, instance: &Instance, depth: Depth) -> Result {
    let name = stand.contender.name();
    let application = instance.application()?;
    let drained = application.drained_set().ok_or("nothing was drained")?;
    let rows = instance.other_postgres.pushes(DATABASE)?;
    let home = stand.restored_home();
    let pushes = Comparison::against(&home, &rows, &drained)?;
    if !pushes.is_consistent() || pushes.pushes == 0 {
        return Err(format!("{name} has restored something else: {pushes}").into());
    }
    if let Some(failure) = application.failures().first() {
        return Err(format!("somebody could not push: {failure}").into());
    }
    if depth == Depth::Pushes {
        return Ok(());
    }
    let restored = TreeSnapshot::of(&home, &outside_of_pushes())?;
    let mut allowed = vec![Aspect::FolderModified];
    if stand.contender == Contender::Scripts {
        // The archives of `tar` hold whole seconds.
        allowed.push(Aspect::Modified);
    }
    let difference = instance.contents.diff(&restored).without(&allowed);
    if !difference.is_empty() {
        return Err(format!("{name} has restored another home: {difference}").into());
    }
    let left_out = [EXCLUSIONS, DATABASE_EXCLUSIONS].concat();
    if let Some(path) = left_out.iter().find(|path| {
        let path = path.trim_matches('/');
        !path.contains('*') && home.join(path).exists()
    }) {
        return Err(format!("{name} has restored {path}, which is no part of a backup").into());
    }
    let (expected, found) = (
        fingerprint(&instance.postgres)?,
        fingerprint(&instance.other_postgres)?,
    );
    if expected != found {
        return Err(format!("{name} has restored other rows: {found}, not {expected}").into());
    }
    Ok(())
}
