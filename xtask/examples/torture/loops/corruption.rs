//! Damage to what is kept: `verify` sees it, and `restore` refuses it, with its targets untouched.

use std::fmt;
use std::fs;
use std::path::{Path, PathBuf};

use super::Result;
use super::audit::{Targets, Wrong};
use super::lab::Lab;
use super::probes::files_below;
use super::report::{Report, Tally, say};
use super::stage::{Archive, Config, Options, Stage};

/// What is damaged.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Subject {
    Archive,
    Manifest,
    /// The archive, with no manifest beside it.
    BareArchive,
    /// A file of the dump or the home copy, where that is the one backup.
    StagedFile,
    StagedManifest,
    Checksums,
    /// What has no content: links and folders.
    OtherChecksums,
}

const SUBJECTS: [(Subject, Archive); 7] = [
    (Subject::Archive, Archive::Tar),
    (Subject::Manifest, Archive::Tar),
    (Subject::BareArchive, Archive::Tar),
    (Subject::StagedFile, Archive::Staging),
    (Subject::StagedManifest, Archive::Staging),
    (Subject::Checksums, Archive::Staging),
    (Subject::OtherChecksums, Archive::Staging),
];

#[derive(Debug, Clone, Copy)]
enum Damage {
    Flip(usize, u8),
    Truncate(usize),
    Delete,
    Extend(usize),
    SwapBytes(usize, usize),
    SwapBlocks(usize, usize),
    Zero(usize, usize),
}

const BLOCK: usize = 512;

impl Damage {
    fn draw(rng: &mut fastrand::Rng, length: usize) -> Self {
        let place = |rng: &mut fastrand::Rng| rng.usize(..length.max(1));
        match rng.u8(..10) {
            0..3 => Self::Flip(place(rng), 1 << rng.u8(..8)),
            3 | 4 => Self::Truncate(place(rng)),
            5 => Self::Delete,
            6 => Self::Extend(rng.usize(1..2000)),
            7 => Self::SwapBytes(place(rng), place(rng)),
            8 => Self::SwapBlocks(place(rng), place(rng)),
            _ => Self::Zero(place(rng), rng.usize(1..BLOCK)),
        }
    }

    /// `None` is a file that is gone.
    fn apply(self, bytes: &[u8]) -> Option<Vec<u8>> {
        let mut bytes = bytes.to_vec();
        match self {
            Self::Delete => return None,
            Self::Truncate(length) => bytes.truncate(length),
            Self::Extend(more) => bytes.extend(std::iter::repeat_n(0, more)),
            _ if bytes.is_empty() => {}
            Self::Flip(at, bit) => bytes[at] ^= bit,
            Self::SwapBytes(one, other) => bytes.swap(one, other),
            Self::SwapBlocks(one, other) => {
                let (one, other) = (one / BLOCK * BLOCK, other / BLOCK * BLOCK);
                for at in 0..BLOCK {
                    if one.max(other) + at < bytes.len() {
                        bytes.swap(one + at, other + at);
                    }
                }
            }
            Self::Zero(at, length) => {
                let end = bytes.len().min(at + length);
                bytes[at..end].fill(0);
            }
        }
        Some(bytes)
    }

    fn name(self) -> &'static str {
        match self {
            Self::Flip(..) => "flip",
            Self::Truncate(_) => "truncate",
            Self::Delete => "delete",
            Self::Extend(_) => "extend",
            Self::SwapBytes(..) => "swap bytes",
            Self::SwapBlocks(..) => "swap blocks",
            Self::Zero(..) => "zero",
        }
    }
}

impl fmt::Display for Damage {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{self:?}")
    }
}

pub(crate) fn run(lab: &Lab, corruptions: usize, seed: u64) -> Result<Report> {
    let tally = Tally::default();
    std::thread::scope(|scope| {
        let handles: Vec<_> = [Archive::Tar, Archive::Staging]
            .map(|archive| {
                let tally = &tally;
                scope.spawn(move || work(lab, archive, corruptions, tally, seed))
            })
            .into_iter()
            .collect();
        handles.into_iter().try_for_each(|handle| {
            handle
                .join()
                .unwrap_or_else(|_| Err("a worker panicked".into()))
        })
    })?;
    let mut report = tally.into_report(format!("{corruptions} corruptions"), "subject, damage");
    report.notes.push(format!(
        "what is accepted has come back equal: a manifest is no part of what is restored; seed {seed}"
    ));
    Ok(report)
}

fn work(lab: &Lab, archive: Archive, corruptions: usize, tally: &Tally, seed: u64) -> Result {
    let mut stage = Stage::set(lab, &Options::new(archive, seed))?;
    let id = match stage.back_up()? {
        Ok(id) => id,
        Err(ended) => return Err(format!("no backup: {}", ended.words()).into()),
    };
    for number in 0..corruptions {
        let mut rng = fastrand::Rng::with_seed(seed ^ (number as u64).wrapping_mul(0x9e37_79b9));
        let (subject, kept_as) = SUBJECTS[number % SUBJECTS.len()];
        if kept_as != archive {
            continue;
        }
        let path = path_of(&stage, subject, &id, &mut rng)?;
        let pristine = fs::read(&path)?;
        let damage = Damage::draw(&mut rng, pristine.len());
        let damaged = damage.apply(&pristine);
        if damaged.as_ref() == Some(&pristine) {
            continue;
        }
        let mut aside = vec![SetAside::new(&stage, &path)?];
        if subject == Subject::BareArchive {
            aside.push(SetAside::new(&stage, &manifest_of(&stage, &id))?);
        }
        if let Some(bytes) = damaged {
            fs::write(&path, bytes)?;
            fs::set_permissions(&path, fs::metadata(&aside[0].kept)?.permissions())?;
        }
        let name = format!(
            "corruption {number}: {subject:?} {}, {damage}",
            path.display()
        );
        let row = format!("{subject:?}, {}", damage.name());
        let mut wrong = Wrong::new();
        let judged = judge(&stage, subject, &path, &id, &row, tally, &mut wrong);
        for file in aside {
            file.put_back()?;
        }
        judged.map_err(|error| format!("{name}: {error}"))?;
        say(&name);
        tally.violate_all(&name, wrong);
    }
    let mut wrong = Wrong::new();
    stage.restores(&id, &mut wrong)?;
    tally.violate_all("undamaged again", wrong);
    Ok(())
}

/// A file that was moved away as it is, with its links and times.
struct SetAside {
    path: PathBuf,
    kept: PathBuf,
}

impl SetAside {
    fn new(stage: &Stage<'_>, path: &Path) -> Result<Self> {
        let name = path.file_name().ok_or("a file without a name")?;
        let kept = stage.root.join("aside").join(name);
        fs::create_dir_all(stage.root.join("aside"))?;
        fs::rename(path, &kept)?;
        Ok(Self {
            path: path.to_owned(),
            kept,
        })
    }

    fn put_back(self) -> Result {
        Ok(fs::rename(self.kept, self.path)?)
    }
}

fn manifest_of(stage: &Stage<'_>, id: &str) -> PathBuf {
    stage.archives.join(format!("{id}.manifest.json"))
}

fn path_of(
    stage: &Stage<'_>,
    subject: Subject,
    id: &str,
    rng: &mut fastrand::Rng,
) -> Result<PathBuf> {
    let staged = |name: &str| Ok(stage.staging.join(name));
    match subject {
        Subject::Archive | Subject::BareArchive => {
            let files = files_below(&stage.archives).into_iter();
            let archive = files.into_iter().find(|path| {
                let name = path.file_name().unwrap_or_default().to_string_lossy();
                name.starts_with(id) && name.contains(".tar")
            });
            Ok(archive.ok_or("there is no archive")?)
        }
        Subject::Manifest => Ok(manifest_of(stage, id)),
        Subject::StagedManifest => staged("manifest.json"),
        Subject::Checksums => staged("SHA256SUMS"),
        Subject::OtherChecksums => staged("SHA256SUMS.others"),
        Subject::StagedFile => {
            let folder = ["bitbucket-db", "bitbucket-home"][rng.usize(..2)];
            let files = files_below(&stage.staging.join(folder));
            Ok(rng.choice(files).ok_or("nothing is staged")?)
        }
    }
}

fn judge(
    stage: &Stage<'_>,
    subject: Subject,
    path: &Path,
    id: &str,
    row: &str,
    tally: &Tally,
    wrong: &mut Wrong,
) -> Result {
    let listed = stage.list()?.into_iter().find(|listed| listed.id == id);
    let unlisted = listed
        .as_ref()
        .is_none_or(|listed| listed.state == "damaged");
    let verified = stage.run(Config::Original, &["verify", id])?;
    let restored = stage.run(Config::Restored, &["restore", id])?;
    let targets = stage.targets(id, wrong)?;
    stage.clear_targets()?;
    if restored.is(0) {
        tally.count(row, "accepted, equal");
        if targets != Targets::Whole {
            wrong.push("it was restored, and is not whole".to_owned());
        }
        if !verified.is(0) || unlisted {
            wrong.push(format!(
                "restored, although `verify` refuses it: {} {}",
                verified.stdout,
                verified.words()
            ));
        }
        if subject == Subject::Archive || subject == Subject::StagedFile {
            wrong.push("damage was accepted".to_owned());
        }
        return Ok(());
    }
    tally.count(row, "refused");
    if targets != Targets::Untouched {
        wrong.push(format!("refused, and the targets are {targets:?}"));
    }
    if verified.is(0) {
        wrong.push(format!(
            "`verify` accepts what `restore` refuses: {}",
            restored.words()
        ));
    } else if !verified.is(6) && !unlisted {
        wrong.push(format!("`verify` failed: {}", verified.words()));
    }
    if listed.is_some() && !restored.is(6) {
        wrong.push(format!("`restore` failed otherwise: {}", restored.words()));
    }
    let said = format!("{}{}", verified.stdout, verified.stderr);
    let file = path.file_name().unwrap_or_default().to_string_lossy();
    let names_file = said.contains(&*file) || said.contains("  \"");
    if names_file {
        tally.count(row, "names a file");
    } else if subject == Subject::StagedFile {
        wrong.push(format!("the damaged file is not named: {said}"));
    }
    if stage.journal().exists() {
        wrong.push("the journal is still there".to_owned());
    }
    Ok(())
}
