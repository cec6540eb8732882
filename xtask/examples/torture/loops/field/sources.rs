//! Sources and disks that are not there, or that have lost most of what they held.

use std::path::{Path, PathBuf};

use super::super::Result;
use super::super::audit::Wrong;
use super::super::lab::{DATABASE_USER, Lab};
use super::super::stage::{Config, Stage};
use super::{Cases, Kept, configuration, first_backup, quiet_stage, refuses};

pub(super) fn play(lab: &Lab, seed: u64, cases: &mut Cases) -> Result {
    let mut stage = quiet_stage(lab, seed)?;
    first_backup(&mut stage)?;
    let home = stage.home().to_owned();
    let config = stage.config(Config::Original);

    let absent = |path: &str| Absent::new(&home.join(path), Remains::Nothing);
    let emptied = |path: &str| Absent::new(&home.join(path), Remains::EmptyDirectory);
    refused(&stage, cases, "home is not there", &config, absent("")?)?;
    refused(
        &stage,
        cases,
        "home is an empty directory",
        &config,
        emptied("")?,
    )?;
    refused(
        &stage,
        cases,
        "`shared` is not there",
        &config,
        absent("shared")?,
    )?;
    refused(
        &stage,
        cases,
        "`shared/data` is empty",
        &config,
        emptied("shared/data")?,
    )?;
    refused(
        &stage,
        cases,
        "`shared/data/repositories` is empty",
        &config,
        emptied("shared/data/repositories")?,
    )?;
    let archives = Absent::new(&stage.archives, Remains::EmptyDirectory)?;
    archive_disk(&stage, cases, "the archive disk is not mounted", archives)?;
    let archives = Absent::new(&stage.archives, Remains::Nothing)?;
    archive_disk(&stage, cases, "the archive directory is gone", archives)?;
    tables_are_gone(&stage, cases)?;
    repositories_are_gone(&mut stage, cases)
}

/// What stands in the place of a directory that is not there.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Remains {
    Nothing,
    /// As below a mount that failed.
    EmptyDirectory,
}

/// A directory that is away until this is dropped.
pub(super) struct Absent {
    path: PathBuf,
    away: PathBuf,
}

impl Absent {
    pub(super) fn new(path: &Path, remains: Remains) -> Result<Self> {
        // Beside the stage's directories, where nothing of the program looks.
        let path: PathBuf = path.components().collect();
        let name = path.file_name().ok_or("a root cannot be away")?;
        let away = path.with_file_name(format!(".away-{}", name.display()));
        std::fs::rename(&path, &away)?;
        if remains == Remains::EmptyDirectory {
            std::fs::create_dir(&path)?;
        }
        Ok(Self { path, away })
    }
}

impl Drop for Absent {
    fn drop(&mut self) {
        // What a run has made in its place is judged before; here it is only in the way.
        let _ = std::fs::remove_dir_all(&self.path);
        let _ = std::fs::rename(&self.away, &self.path);
    }
}

fn refused(
    stage: &Stage<'_>,
    cases: &mut Cases,
    case: &str,
    config: &Path,
    absent: Absent,
) -> Result {
    let kept = Kept::of(stage)?;
    let (ended, mut wrong) = refuses(stage, config, 4, &[])?;
    drop(absent);
    kept.compare(stage, &mut wrong)?;
    cases.keep(case, &ended, wrong);
    Ok(())
}

fn archive_disk(stage: &Stage<'_>, cases: &mut Cases, case: &str, absent: Absent) -> Result {
    let (ended, mut wrong) = refuses(stage, &stage.config(Config::Original), 4, &[])?;
    let made = std::fs::read_dir(&stage.archives).map_or(0, Iterator::count);
    if made > 0 {
        wrong.push("something was written below the mount point".to_owned());
    }
    drop(absent);
    Kept::of(stage)?.compare(stage, &mut wrong)?;
    cases.keep(case, &ended, wrong);
    Ok(())
}

fn tables_are_gone(stage: &Stage<'_>, cases: &mut Cases) -> Result {
    let kept = Kept::of(stage)?;
    let empty = format!("{}_empty", stage.database);
    stage.lab.postgres.create_database(&empty, DATABASE_USER)?;
    let change = (
        format!("name = {:?}", stage.database),
        format!("name = {empty:?}"),
    );
    let config = configuration(stage, "empty-database", &[(&change.0, &change.1)])?;
    let (ended, mut wrong) = refuses(stage, &config, 4, &["table"])?;
    kept.compare(stage, &mut wrong)?;
    cases.keep("a database without tables", &ended, wrong);
    let drop = format!("DROP DATABASE \"{empty}\"");
    stage.lab.postgres.psql("postgres", &drop)?;
    Ok(())
}

/// Three of four repositories are gone: refused, named, and let through once by hand.
fn repositories_are_gone(stage: &mut Stage<'_>, cases: &mut Cases) -> Result {
    let kept = Kept::of(stage)?;
    let repositories = stage.home().join("shared/data/repositories");
    let mut all: Vec<PathBuf> = std::fs::read_dir(&repositories)?
        .map(|entry| entry.map(|entry| entry.path()))
        .collect::<std::io::Result<_>>()?;
    all.sort();
    let mut away = Vec::new();
    for path in &all[1..] {
        away.push(Absent::new(path, Remains::Nothing)?);
    }
    // Outside of the tree: an `.away` beside them would count as a repository.
    let shelter = stage.root.join("shelter");
    std::fs::create_dir(&shelter)?;
    for absent in &mut away {
        let name = absent.away.file_name().ok_or("it has a name")?.to_owned();
        std::fs::rename(&absent.away, shelter.join(&name))?;
        absent.away = shelter.join(name);
    }
    let config = stage.config(Config::Original);
    let (ended, mut wrong) = refuses(stage, &config, 4, &["--accept-shrink", "repositories"])?;
    kept.compare(stage, &mut wrong)?;
    cases.keep("three of four repositories are gone", &ended, wrong);

    let mut wrong = Wrong::new();
    let before = stage.ids()?;
    let ended = stage.run(Config::Original, &["backup", "--accept-shrink"])?;
    if !ended.is(0) {
        wrong.push(format!("it must be let through; {}", ended.words()));
    }
    if !stage.ids()?.is_superset(&before) {
        wrong.push("an earlier backup was deleted after a doubtful run".to_owned());
    }
    cases.keep("the same with --accept-shrink", &ended, wrong);
    drop(away);
    Ok(())
}
