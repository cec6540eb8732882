//! Archives that are folders, with faults on demand; and the core's own archive strategy `none`.

use std::collections::BTreeMap;
use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::sync::Arc;
use std::time::Duration;

use async_trait::async_trait;
use diy_backup_core::{
    AbsolutePath, ArchiveStrategy, BackupContext, BackupEntry, BackupSettings, CheckContext,
    Control, Damage, Destinations, Error, ErrorKind, Findings, InstanceSettings, KeepReason,
    KeptBackup, Leftover, Manifest, PruneOutcome, PrunePlan, Registry, RestoreContext,
    RestoreSource, Result, ResultExt, RetentionSettings, Section, Staging, StoredArchive,
    StrategyConfig, Verdict,
};
use diy_backup_testkit::contract::{ArchiveHarness, Capacity};
use diy_backup_testkit::tree::{EntryKind, Exclusions, TreeSnapshot};
use tempfile::TempDir;

/// How the strategy breaks its promises.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum ArchiveFault {
    None,
    ListsEarly,
    ListsNewestFirst,
    LosesLinks,
    VerifiesNothing,
    FetchesUnverified,
    IgnoresCancel,
    RecordsNothing,
    DeletesOnce,
    PrunesNewest,
}

#[derive(Debug)]
pub(super) struct FolderEnvironment {
    folder: TempDir,
    fault: ArchiveFault,
}

impl FolderEnvironment {
    pub(super) fn new(fault: ArchiveFault) -> Self {
        let folder = tempfile::tempdir().unwrap();
        fs::create_dir(folder.path().join("archives")).unwrap();
        Self { folder, fault }
    }
}

#[async_trait]
impl ArchiveHarness for FolderEnvironment {
    fn strategy(&self) -> Arc<dyn ArchiveStrategy> {
        Arc::new(FolderArchive {
            directory: self.folder.path().join("archives"),
            fault: self.fault,
        })
    }

    fn staging(&self) -> Staging {
        Staging::new(self.folder.path().join("staging"))
    }

    fn files(&self, entry: &BackupEntry) -> Vec<PathBuf> {
        let home = Path::new(&entry.location).join("bitbucket-home");
        vec![
            home.join("shared/data/repositories/1/pack"),
            home.join("empty"),
        ]
    }

    async fn remains(&self) -> Vec<String> {
        names(&self.folder.path().join("archives"))
            .into_iter()
            .filter(|name| name.ends_with(".partial"))
            .collect()
    }
}

fn names(folder: &Path) -> Vec<String> {
    let entries = fs::read_dir(folder).unwrap();
    let names = entries.map(|entry| entry.unwrap().file_name().into_string().unwrap());
    names.collect()
}

/// A backup is a folder with a copy of staging, the content of every file, and a manifest.
#[derive(Debug)]
struct FolderArchive {
    directory: PathBuf,
    fault: ArchiveFault,
}

const PARTS: [&str; 3] = ["bitbucket-home", "bitbucket-db", "bitbucket-data-stores"];

impl FolderArchive {
    fn partial(&self, cx: &BackupContext) -> PathBuf {
        match self.fault {
            ArchiveFault::ListsEarly => self.directory.join(cx.id().to_string()),
            _ => self.directory.join(format!("{}.partial", cx.id())),
        }
    }

    fn ensure_running(&self, control: &Control) -> Result<()> {
        match self.fault {
            ArchiveFault::IgnoresCancel => Ok(()),
            _ => control.ensure_running(),
        }
    }

    fn damage(backup: &Path) -> Vec<Damage> {
        let sound = fs::read_to_string(backup.join("content")).ok();
        let problem =
            (sound != Some(content(backup))).then(|| Damage::whole("it is not what it was"));
        problem.into_iter().collect()
    }
}

/// Every file of a backup with its bytes, as one text.
fn content(backup: &Path) -> String {
    let files = PARTS.map(|part| {
        let Ok(snapshot) = TreeSnapshot::of(&backup.join(part), &Exclusions::none()) else {
            return String::new();
        };
        let kinds: BTreeMap<PathBuf, EntryKind> = snapshot
            .entries()
            .iter()
            .map(|(path, entry)| (path.clone(), entry.kind.clone()))
            .collect();
        format!("{kinds:?}")
    });
    files.join("\n")
}

fn cp(from: &Path, to: &Path) -> Result<()> {
    fs::create_dir_all(to.parent().unwrap()).io_context(|| "a parent".to_owned())?;
    let copied = Command::new("cp")
        .arg("-a")
        .arg("--")
        .args([from, to])
        .status();
    if copied.unwrap().success() {
        Ok(())
    } else {
        Err(Error::new(ErrorKind::Io, "cannot copy"))
    }
}

#[async_trait]
impl ArchiveStrategy for FolderArchive {
    fn name(&self) -> &'static str {
        "folders"
    }

    async fn check(&self, _: &CheckContext, _: &Findings) -> Result<Findings> {
        Ok(Findings::new())
    }

    async fn store(&self, cx: &BackupContext, manifest: &Manifest) -> Result<StoredArchive> {
        self.ensure_running(cx.control())?;
        let partial = self.partial(cx);
        if self.fault != ArchiveFault::RecordsNothing {
            cx.record_leftover(Leftover::new(
                "folders",
                "folder",
                partial.display().to_string(),
            ))?;
        }
        fs::create_dir(&partial).io_context(|| "cannot make it".to_owned())?;
        if self.fault == ArchiveFault::ListsEarly {
            manifest.write(&partial.join("manifest.json"))?;
            tokio::time::sleep(Duration::from_millis(20)).await;
            self.ensure_running(cx.control())?;
            cx.forget_leftover(&cx.leftovers()[0])?;
        }
        for part in PARTS {
            self.ensure_running(cx.control())?;
            tokio::time::sleep(Duration::from_millis(5)).await;
            cp(&cx.staging().root().join(part), &partial.join(part))?;
        }
        if self.fault == ArchiveFault::LosesLinks {
            fs::remove_file(partial.join("bitbucket-home/dangling")).unwrap();
        }
        fs::write(partial.join("content"), content(&partial)).unwrap();
        manifest.write(&partial.join("manifest.json"))?;
        self.ensure_running(cx.control())?;
        let path = self.directory.join(cx.id().to_string());
        fs::rename(&partial, &path).io_context(|| "cannot rename it".to_owned())?;
        for leftover in cx.leftovers() {
            cx.forget_leftover(&leftover)?;
        }
        Ok(StoredArchive::new(path.display().to_string(), 1))
    }

    async fn list(&self) -> Result<Vec<BackupEntry>> {
        let mut entries = Vec::new();
        for name in names(&self.directory) {
            let path = self.directory.join(&name);
            if let Ok(manifest) = Manifest::read(&path.join("manifest.json"))
                && !name.ends_with(".partial")
            {
                entries.push(BackupEntry::ours(path.display().to_string(), 1, manifest));
            }
        }
        entries.sort_by(|one, other| one.id.cmp(&other.id));
        if self.fault == ArchiveFault::ListsNewestFirst {
            entries.reverse();
        }
        Ok(entries)
    }

    async fn fetch(
        &self,
        cx: &RestoreContext,
        entry: &BackupEntry,
        destinations: &Destinations,
    ) -> Result<RestoreSource> {
        self.ensure_running(cx.control())?;
        let backup = Path::new(&entry.location);
        if self.fault != ArchiveFault::FetchesUnverified && !Self::damage(backup).is_empty() {
            return Err(Error::new(ErrorKind::Damaged, "it is damaged"));
        }
        let home = destinations.home.clone().unwrap();
        let store = destinations.data_stores[0].path.clone();
        cp(&backup.join(PARTS[0]), &home)?;
        cp(&backup.join(PARTS[1]), &destinations.database)?;
        cp(&backup.join(PARTS[2]).join("0"), &store)?;
        let mut source = RestoreSource::new();
        source.home = Some(home);
        source.database = Some(destinations.database.clone());
        source.data_stores = vec![store];
        Ok(source)
    }

    async fn verify(&self, cx: &RestoreContext, entry: &BackupEntry) -> Result<Verdict> {
        self.ensure_running(cx.control())?;
        let mut verdict = Verdict::default();
        verdict.has_checksums = true;
        if self.fault != ArchiveFault::VerifiesNothing {
            verdict.damage = Self::damage(Path::new(&entry.location));
        }
        Ok(verdict)
    }

    async fn delete(&self, entry: &BackupEntry) -> Result<()> {
        match fs::remove_dir_all(&entry.location) {
            Err(error) if self.fault == ArchiveFault::DeletesOnce => Err(Error::io("gone", error)),
            _ => Ok(()),
        }
    }

    async fn plan_prune(
        &self,
        mut entries: Vec<BackupEntry>,
        policy: &RetentionSettings,
    ) -> Result<PrunePlan> {
        if self.fault != ArchiveFault::PrunesNewest {
            return Ok(diy_backup_core::plan_retention(entries, policy));
        }
        let mut plan = PrunePlan::default();
        plan.delete = entries.split_off(entries.len().saturating_sub(policy.keep_last.get()));
        let kept = |entry| KeptBackup::new(entry, KeepReason::Policy);
        plan.keep = entries.into_iter().map(kept).collect();
        Ok(plan)
    }

    async fn apply_prune(&self, plan: &PrunePlan) -> Result<PruneOutcome> {
        let mut outcome = PruneOutcome::default();
        for entry in &plan.delete {
            self.delete(entry).await?;
            outcome.deleted.push(entry.id.clone());
        }
        Ok(outcome)
    }

    async fn discard(&self, leftover: &Leftover) -> Result<()> {
        let _ = fs::remove_dir_all(&leftover.id);
        Ok(())
    }
}

/// The archive strategy `none`.
#[derive(Debug)]
pub(super) struct StagingEnvironment {
    folder: TempDir,
}

impl StagingEnvironment {
    pub(super) fn new() -> Self {
        Self {
            folder: tempfile::tempdir().unwrap(),
        }
    }
}

#[async_trait]
impl ArchiveHarness for StagingEnvironment {
    fn strategy(&self) -> Arc<dyn ArchiveStrategy> {
        let at = |name: &str| AbsolutePath::new(self.folder.path().join(name)).unwrap();
        let instance = InstanceSettings::new("bitbucket".parse().unwrap());
        let backup = BackupSettings::new(at("staging"), at("state"));
        let section = Section::from_text("archive", "").unwrap();
        let config = StrategyConfig::new(section, instance, backup);
        Registry::with_builtins().archive("none", &config).unwrap()
    }

    fn staging(&self) -> Staging {
        Staging::new(self.folder.path().join("staging"))
    }

    fn capacity(&self) -> Capacity {
        Capacity::One
    }

    fn files(&self, _: &BackupEntry) -> Vec<PathBuf> {
        let staging = self.staging();
        vec![
            staging.database().join("toc.dat"),
            staging.home().join("empty"),
        ]
    }

    /// Files of the staging folder that somebody in this process still has open.
    async fn remains(&self) -> Vec<String> {
        let open = fs::read_dir("/proc/self/fd").unwrap().flatten();
        let paths = open.filter_map(|entry| fs::read_link(entry.path()).ok());
        paths
            .filter(|path| path.starts_with(self.folder.path()))
            .map(|path| path.display().to_string())
            .collect()
    }
}
