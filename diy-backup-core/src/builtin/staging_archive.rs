//! The archive strategy `none`: the staging folder is the one backup there is.

use std::fs::File;
use std::io::{self, BufRead, BufReader, BufWriter, Read, Write};
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use async_trait::async_trait;
use serde::Deserialize;
use sha2::{Digest, Sha256};

use crate::checksums::{self, ChecksumLine};
use crate::control::Control;
use crate::durable;
use crate::error::{Error, ErrorKind, Result, ResultExt};
use crate::event::Meter;
use crate::findings::Findings;
use crate::id::{BackupId, InstanceName};
use crate::manifest::Manifest;
use crate::phase::Phase;
use crate::platform;
use crate::registry::StrategyConfig;
use crate::staging::{self, Staging};
use crate::strategy::{
    ArchiveStrategy, BackupContext, BackupEntry, CheckContext, Damage, Destinations, Leftover,
    RestoreContext, RestoreSource, StoredArchive, Verdict,
};

/// How much damage is named before the reading ends.
const MAX_DAMAGE: usize = 1000;

/// The archive strategy `none`: the staging folder itself, as long as its last copy is whole. The next backup changes
/// it, so there is none while that runs, and none after it has failed.
#[derive(Debug)]
#[non_exhaustive]
pub struct StagingArchive {
    instance: InstanceName,
    staging: Staging,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct NoKeys {}

impl StagingArchive {
    /// Reads its section of the configuration.
    ///
    /// # Errors
    /// [`ErrorKind::Config`] when there is any key.
    pub fn from_config(config: &StrategyConfig) -> Result<Self> {
        config.section.parse::<NoKeys>()?;
        Ok(Self {
            instance: config.instance.name.clone(),
            staging: Staging::new(config.backup.staging.as_path()),
        })
    }

    /// The ID of a backup whose manifest cannot be read, by the time at which that was written.
    fn id_by_age(&self, manifest: &Path) -> BackupId {
        let written = std::fs::metadata(manifest).and_then(|metadata| metadata.modified());
        let since = written
            .ok()
            .and_then(|time| time.duration_since(std::time::UNIX_EPOCH).ok());
        let seconds = since.and_then(|since| i64::try_from(since.as_secs()).ok());
        BackupId::at_unix(&self.instance, seconds.unwrap_or_default())
    }

    fn list_path(&self) -> PathBuf {
        self.staging.root().join(checksums::FILE_NAME)
    }
}

#[async_trait]
impl ArchiveStrategy for StagingArchive {
    fn name(&self) -> &'static str {
        "none"
    }

    async fn check(&self, _: &CheckContext, _: &Findings) -> Result<Findings> {
        let mut findings = Findings::new();
        findings.info(
            "archive",
            "no archive is made: the staging folder is the one backup (strategy `none`)",
        );
        Ok(findings)
    }

    async fn store(&self, cx: &BackupContext, manifest: &Manifest) -> Result<StoredArchive> {
        let staging = self.staging.clone();
        let list = self.list_path();
        let meter = cx.events().meter(Phase::Archive);
        let work = move |stop: &Stop| write_list(&staging, &list, stop, &meter);
        let bytes = blocking(cx.control(), work).await?;
        // What makes the folder a backup comes last.
        self.staging.seal(manifest)?;
        Ok(StoredArchive::new(
            self.staging.root().display().to_string(),
            bytes,
        ))
    }

    async fn list(&self) -> Result<Vec<BackupEntry>> {
        let path = self.staging.manifest_path();
        if !path.exists() {
            return Ok(Vec::new());
        }
        let location = self.staging.root().display().to_string();
        let manifest = match Manifest::read(&path) {
            Ok(manifest) => manifest,
            Err(error) => {
                let manifest = Manifest::new(self.id_by_age(&path));
                let entry = BackupEntry::ours(location, 0, manifest);
                return Ok(vec![entry.with_problem(crate::error::chain(&error))]);
            }
        };
        let bytes = manifest
            .parts
            .values()
            .map(|part| part.artifact.bytes)
            .sum();
        Ok(vec![BackupEntry::ours(location, bytes, manifest)])
    }

    async fn fetch(
        &self,
        cx: &RestoreContext,
        entry: &BackupEntry,
        destinations: &Destinations,
    ) -> Result<RestoreSource> {
        let verdict = self.verify(cx, entry).await?;
        if let Some(damage) = verdict.damage.first() {
            let path = damage.path.as_deref().unwrap_or("the staging folder");
            return Err(Error::new(
                ErrorKind::Damaged,
                format!("{path}: {}", damage.problem),
            ));
        }
        let there = |path: PathBuf| path.is_dir().then_some(path);
        let mut source = RestoreSource::new();
        source.database = there(self.staging.database());
        source.home = there(self.staging.home());
        source.data_stores = (0..destinations.data_stores.len())
            .map_while(|number| there(self.staging.data_store(number)))
            .collect();
        Ok(source)
    }

    async fn verify(&self, cx: &RestoreContext, _: &BackupEntry) -> Result<Verdict> {
        let staging = self.staging.clone();
        let list = self.list_path();
        let meter = cx.events().meter(Phase::Verify);
        let work = move |stop: &Stop| compare_list(&staging, &list, stop, &meter);
        blocking(cx.control(), work).await
    }

    async fn delete(&self, _: &BackupEntry) -> Result<()> {
        durable::remove(&self.staging.manifest_path())
    }

    async fn discard(&self, _: &Leftover) -> Result<()> {
        Ok(())
    }
}

/// How work on another thread learns that the run is cancelled, or that nobody waits for it any more.
#[derive(Debug)]
struct Stop {
    control: Control,
    abandoned: Arc<AtomicBool>,
}

/// Held by the future that waits.
struct Waiting(Arc<AtomicBool>);

impl Drop for Waiting {
    fn drop(&mut self) {
        self.0.store(true, Ordering::Relaxed);
    }
}

impl Stop {
    fn ensure_running(&self) -> Result<()> {
        if self.abandoned.load(Ordering::Relaxed) {
            let message = "nobody waits for the staging folder any more";
            return Err(Error::new(ErrorKind::Cancelled, message));
        }
        self.control.ensure_running()
    }
}

async fn blocking<T: Send + 'static>(
    control: &Control,
    work: impl FnOnce(&Stop) -> Result<T> + Send + 'static,
) -> Result<T> {
    let waiting = Waiting(Arc::default());
    let stop = Stop {
        control: control.clone(),
        abandoned: waiting.0.clone(),
    };
    let ended = tokio::task::spawn_blocking(move || {
        // It may have waited for its turn for longer than anybody waited for it.
        stop.ensure_running()?;
        work(&stop)
    });
    let ended = ended.await;
    ended.map_err(|error| {
        Error::new(
            ErrorKind::Internal,
            "the reading of the staging folder broke off",
        )
        .with_source(error)
    })?
}

/// Writes the checksum of every file, and returns how many bytes they hold.
fn write_list(staging: &Staging, list: &Path, stop: &Stop, meter: &Meter) -> Result<u64> {
    staging::remove_file_if_there(list)
        .io_context(|| format!("cannot remove {}", list.display()))?;
    let file = platform::create_private_file(list)
        .io_context(|| format!("cannot write {}", list.display()))?;
    let mut writer = BufWriter::new(file);
    let mut total = 0;
    walk(staging, |path, relative| {
        stop.ensure_running()?;
        let (sha256, bytes) =
            hash(path, stop, meter)?.io_context(|| format!("cannot read {}", path.display()))?;
        total += bytes;
        let line = ChecksumLine {
            sha256,
            path: relative.to_owned(),
        };
        writer
            .write_all(&line.encode())
            .io_context(|| format!("cannot write {}", list.display()))
    })?;
    let synced = writer
        .into_inner()
        .map_err(io::IntoInnerError::into_error)
        .and_then(|file| file.sync_all());
    synced.io_context(|| format!("cannot write {}", list.display()))?;
    make_durable(staging)?;
    Ok(total)
}

/// The parts may lie on file systems of their own.
fn make_durable(staging: &Staging) -> Result<()> {
    let parts = [staging.home(), staging.database(), staging.data_stores()];
    for part in parts.iter().filter(|part| part.exists()) {
        platform::sync_file_system(part)
            .io_context(|| format!("cannot write {} to its disk", part.display()))?;
    }
    Ok(())
}

fn compare_list(staging: &Staging, list: &Path, stop: &Stop, meter: &Meter) -> Result<Verdict> {
    let mut verdict = Verdict {
        has_checksums: true,
        ..Verdict::default()
    };
    let file = match File::open(list) {
        Ok(file) => file,
        Err(error) if error.kind() == io::ErrorKind::NotFound => {
            verdict.damage.push(Damage::whole(format!(
                "the list of checksums {} is missing",
                checksums::FILE_NAME
            )));
            return Ok(verdict);
        }
        Err(error) => return Err(Error::io(format!("cannot read {}", list.display()), error)),
    };
    let mut reader = BufReader::new(file);
    let mut line = Vec::new();
    while verdict.damage.len() < MAX_DAMAGE {
        stop.ensure_running()?;
        line.clear();
        let count = reader
            .read_until(b'\n', &mut line)
            .io_context(|| format!("cannot read {}", list.display()))?;
        if count == 0 {
            break;
        }
        let Some(expected) = ChecksumLine::decode(&line) else {
            verdict.damage.push(Damage::whole(format!(
                "the list of checksums {} is damaged",
                checksums::FILE_NAME
            )));
            break;
        };
        verdict.files += 1;
        compare(staging.root(), &expected, stop, meter, &mut verdict)?;
    }
    // A file that nobody listed is as wrong as one that is gone.
    let mut present = 0;
    walk(staging, |_, _| {
        present += 1;
        stop.ensure_running()
    })?;
    if verdict.is_good() && present != verdict.files {
        verdict.damage.push(Damage::whole(format!(
            "{} files are listed, and {present} are there",
            verdict.files
        )));
    }
    Ok(verdict)
}

fn compare(
    root: &Path,
    expected: &ChecksumLine,
    stop: &Stop,
    meter: &Meter,
    verdict: &mut Verdict,
) -> Result<()> {
    let problem = match hash(&root.join(&expected.path), stop, meter)? {
        Ok((sha256, bytes)) => {
            verdict.content_bytes += bytes;
            (sha256 != expected.sha256).then(|| "its content is not what was backed up".to_owned())
        }
        Err(error) => Some(format!("it cannot be read: {error}")),
    };
    if let Some(problem) = problem {
        verdict
            .damage
            .push(Damage::file(expected.path.display().to_string(), problem));
    }
    Ok(())
}

/// Calls `visit` with every regular file of the three parts: its path, and its path below the staging folder.
fn walk(staging: &Staging, mut visit: impl FnMut(&Path, &Path) -> Result<()>) -> Result<()> {
    for part in [staging::DATABASE, staging::HOME, staging::DATA_STORES] {
        let path = staging.root().join(part);
        if path.is_dir() {
            walk_folder(&path, Path::new(part), &mut visit)?;
        }
    }
    Ok(())
}

fn walk_folder(
    folder: &Path,
    relative: &Path,
    visit: &mut impl FnMut(&Path, &Path) -> Result<()>,
) -> Result<()> {
    let shown = || format!("cannot read the folder {}", folder.display());
    for entry in std::fs::read_dir(folder).io_context(shown)? {
        let entry = entry.io_context(shown)?;
        let kind = entry.file_type().io_context(shown)?;
        let path = folder.join(entry.file_name());
        let relative = relative.join(entry.file_name());
        if kind.is_dir() {
            walk_folder(&path, &relative, visit)?;
        } else if kind.is_file() {
            visit(&path, &relative)?;
        }
    }
    Ok(())
}

/// The checksum of a file and its length, or why it cannot be read. The outer error says that nobody wants to know.
fn hash(path: &Path, stop: &Stop, meter: &Meter) -> Result<io::Result<([u8; 32], u64)>> {
    let mut file = match File::open(path) {
        Ok(file) => file,
        Err(error) => return Ok(Err(error)),
    };
    let mut hasher = Sha256::new();
    let mut buffer = vec![0; 256 * 1024];
    let mut total = 0;
    loop {
        stop.ensure_running()?;
        let count = match file.read(&mut buffer) {
            Ok(0) => return Ok(Ok((hasher.finalize().into(), total))),
            Ok(count) => count,
            Err(error) => return Ok(Err(error)),
        };
        hasher.update(&buffer[..count]);
        total += count as u64;
        meter.advance(count as u64);
    }
}
