//! Damage to stored backups: whatever it is, verify and fetch both find it.

use std::fs;
use std::path::Path;

use diy_backup_core::{BackupEntry, Control, ErrorKind};

use super::archive::Stage;
use super::broken::{Breaks, BrokenPromise, Promise, ensure};
use super::harness::ArchiveHarness;

/// What happens to a file.
#[derive(Debug, Clone, Copy)]
enum Harm {
    /// One bit is another, at this thousandth of the file.
    Flip(usize),
    /// It ends at this thousandth.
    Truncate(usize),
    /// Its last byte is gone.
    LoseLastByte,
    /// There is something behind its end.
    Extend(&'static [u8]),
    /// It is gone.
    Delete,
}

const HARMS: [Harm; 11] = [
    Harm::Flip(0),
    Harm::Flip(3),
    Harm::Flip(333),
    Harm::Flip(666),
    Harm::Flip(1000),
    Harm::Truncate(0),
    Harm::Truncate(500),
    Harm::LoseLastByte,
    Harm::Extend(b"\0"),
    Harm::Extend(b"something"),
    Harm::Delete,
];

pub(super) async fn every_damage_is_found<H: ArchiveHarness>(
    stage: Stage<H>,
) -> Result<(), BrokenPromise> {
    let entry = stage.store(1).await?;
    let files = stage.harness.files(&entry);
    ensure(!files.is_empty(), Promise::Harness, || {
        "a stored backup has no files".to_owned()
    })?;
    for file in &files {
        let what = file.display().to_string();
        let sound = fs::read(file).breaks(Promise::Harness, &what)?;
        for harm in HARMS {
            // A bit or half of nothing is nothing.
            if sound.is_empty() && !matches!(harm, Harm::Extend(_) | Harm::Delete) {
                continue;
            }
            do_harm(file, &sound, harm).breaks(Promise::Harness, &what)?;
            is_found(&stage, &entry, &format!("{harm:?} of {what}")).await?;
            fs::write(file, &sound).breaks(Promise::Harness, &what)?;
        }
    }
    let verdict = stage.verify(&entry, &Control::new()).await;
    let verdict = verdict.breaks(Promise::Damage, "after all was made good again")?;
    ensure(verdict.is_good(), Promise::Damage, || {
        format!("after all was made good again: {verdict:?}")
    })
}

fn do_harm(file: &Path, sound: &[u8], harm: Harm) -> std::io::Result<()> {
    let at = |thousandth: usize| (sound.len() * thousandth / 1000).min(sound.len() - 1);
    let mut damaged = sound.to_vec();
    match harm {
        Harm::Flip(thousandth) => damaged[at(thousandth)] ^= 1,
        Harm::Truncate(thousandth) => damaged.truncate(at(thousandth)),
        Harm::LoseLastByte => damaged.truncate(sound.len() - 1),
        Harm::Extend(more) => damaged.extend_from_slice(more),
        Harm::Delete => return fs::remove_file(file),
    }
    fs::write(file, damaged)
}

async fn is_found<H: ArchiveHarness>(
    stage: &Stage<H>,
    entry: &BackupEntry,
    what: &str,
) -> Result<(), BrokenPromise> {
    // Through a fresh list, as a restore would find it.
    let listed = stage.list().await?;
    let Some(found) = listed.iter().find(|other| other.id == entry.id) else {
        return Ok(());
    };
    if !found.is_good() {
        return Ok(());
    }
    let verdict = stage.verify(found, &Control::new()).await;
    let verdict = verdict.breaks(Promise::Damage, what)?;
    ensure(!verdict.is_good(), Promise::Damage, || {
        format!("{what}: `verify` does not find it")
    })?;
    match stage.fetch(found, &Control::new()).await {
        Ok(_) => Err(BrokenPromise::new(
            Promise::Damage,
            format!("{what}: `fetch` does not find it"),
        )),
        Err(error) => ensure(error.kind() == ErrorKind::Damaged, Promise::Damage, || {
            format!("{what}: `fetch` fails as {:?}: {error}", error.kind())
        }),
    }
}
