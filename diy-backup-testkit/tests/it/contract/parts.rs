//! A home and a database that are folders of small files, with faults on demand.

use std::collections::BTreeMap;
use std::fs;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use async_trait::async_trait;
use diy_backup_core::{
    Artifact, BackupContext, CheckContext, Committed, Control, DbStrategy, Error, ErrorKind,
    Findings, HomeStrategy, Leftover, LockWindow, PartName, Released, Restore, RestoreContext,
    RestoreSession, RestoreSource, Result, ResultExt, Session,
};
use diy_backup_testkit::contract::{DatabaseHarness, Harness, HomeHarness, Target};
use tempfile::TempDir;

/// How the strategy breaks its promises.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum PartFault {
    None,
    FindsErrors,
    CopiesLate,
    ChangesData,
    KeepsOldFiles,
    AcceptsAnyTarget,
    AppliesInPlace,
    LeavesAFileOnAbort,
    RecordsNothing,
    IgnoresCancel,
    DiscardsOnce,
    ResumesOnce,
    ClaimsToBeCommitted,
}

#[derive(Debug)]
pub(super) struct Environment {
    folder: TempDir,
    fault: PartFault,
}

impl Environment {
    pub(super) fn new(fault: PartFault) -> Self {
        let environment = Self {
            folder: tempfile::tempdir().unwrap(),
            fault,
        };
        fs::create_dir(environment.data()).unwrap();
        fs::write(environment.data().join("first"), "first").unwrap();
        environment
    }

    pub(super) fn data(&self) -> PathBuf {
        self.folder.path().join("data")
    }

    fn part(&self, role: PartName) -> Part {
        Part {
            role,
            data: self.data(),
            temporary: self.folder.path().join("temporary"),
            beside: self.folder.path().join("beside"),
            fault: self.fault,
        }
    }
}

#[async_trait]
impl Harness for Environment {
    type State = BTreeMap<String, String>;

    async fn change(&self, round: u32) {
        fs::create_dir_all(self.data()).unwrap();
        fs::write(self.data().join(format!("file-{round}")), "new").unwrap();
        fs::write(self.data().join("changing"), round.to_string()).unwrap();
        let _ = fs::remove_file(self.data().join("first"));
        if round % 100 == 3 {
            let _ = fs::remove_file(self.data().join(format!("file-{}", round - 1)));
            let _ = fs::remove_file(self.data().join(format!("file-{}", round - 2)));
        }
        if round.is_multiple_of(100) && round > 0 {
            for entry in fs::read_dir(self.data()).unwrap() {
                fs::remove_file(entry.unwrap().path()).unwrap();
            }
        }
    }

    async fn state(&self) -> Self::State {
        let Ok(entries) = fs::read_dir(self.data()) else {
            return BTreeMap::new();
        };
        entries
            .map(|entry| entry.unwrap())
            .map(|entry| {
                let name = entry.file_name().into_string().unwrap();
                (name, fs::read_to_string(entry.path()).unwrap())
            })
            .collect()
    }

    fn difference(&self, wanted: &Self::State, found: &Self::State) -> Option<String> {
        (wanted != found).then(|| format!("it is {found:?}, and was {wanted:?}"))
    }

    async fn lose(&self, target: Target) {
        let _ = fs::remove_dir_all(self.data());
        if target == Target::Empty {
            fs::create_dir(self.data()).unwrap();
        }
    }

    async fn target_is(&self, target: Target) -> bool {
        match target {
            Target::Absent => !self.data().exists(),
            Target::Empty => {
                fs::read_dir(self.data()).is_ok_and(|mut entries| entries.next().is_none())
            }
        }
    }

    async fn remains(&self) -> Vec<String> {
        let names = ["temporary", "beside"].map(str::to_owned).into_iter();
        names
            .filter(|name| self.folder.path().join(name).exists())
            .collect()
    }

    fn patience(&self) -> Duration {
        Duration::from_secs(5)
    }
}

impl HomeHarness for Environment {
    fn strategy(&self) -> Arc<dyn HomeStrategy> {
        Arc::new(self.part(PartName::Home))
    }
}

impl DatabaseHarness for Environment {
    fn strategy(&self) -> Arc<dyn DbStrategy> {
        Arc::new(self.part(PartName::Database))
    }
}

/// Both strategies: data in a folder, a temporary file while a session lives, a folder beside the target for restores.
#[derive(Debug, Clone)]
struct Part {
    role: PartName,
    data: PathBuf,
    temporary: PathBuf,
    beside: PathBuf,
    fault: PartFault,
}

const NAME: &str = "folder";

impl Part {
    /// Something that takes a while and stops when it is told to.
    async fn work(&self, control: &Control) -> Result<()> {
        for _ in 0..10 {
            if self.fault == PartFault::IgnoresCancel && control.is_cancelled() {
                std::future::pending::<()>().await;
            }
            control.ensure_running()?;
            tokio::time::sleep(Duration::from_millis(1)).await;
        }
        Ok(())
    }

    fn findings(&self) -> Findings {
        let mut findings = Findings::new();
        if self.fault == PartFault::FindsErrors {
            findings.error("folder", "it is haunted", "Call somebody.");
        }
        findings
    }

    async fn begin(&self, cx: &BackupContext) -> Result<Box<dyn Session>> {
        cx.control().ensure_running()?;
        if self.fault != PartFault::RecordsNothing {
            cx.record_leftover(leftover(&self.temporary))?;
        }
        fs::write(&self.temporary, "").io_context(|| "cannot write".to_owned())?;
        let begun = self.work(cx.control()).await;
        if let Err(error) = begun {
            remove(&self.temporary)?;
            return Err(error);
        }
        Ok(Box::new(PartSession {
            part: self.clone(),
            cx: cx.clone(),
        }))
    }

    fn discard(&self, leftover: &Leftover) -> Result<()> {
        let path = Path::new(&leftover.id);
        if self.fault == PartFault::DiscardsOnce && !path.exists() {
            return Err(Error::new(ErrorKind::Io, "there is no such file"));
        }
        remove(path)
    }
}

fn leftover(path: &Path) -> Leftover {
    Leftover::new(NAME, "path", path.display().to_string())
}

pub(super) fn remove(path: &Path) -> Result<()> {
    let removed = if path.is_dir() {
        fs::remove_dir_all(path)
    } else {
        fs::remove_file(path)
    };
    match removed {
        Err(error) if error.kind() != std::io::ErrorKind::NotFound => {
            Err(Error::io("cannot remove", error))
        }
        _ => Ok(()),
    }
}

pub(super) fn copy(from: &Path, to: &Path) -> std::io::Result<()> {
    fs::create_dir_all(to)?;
    for entry in fs::read_dir(from)? {
        let entry = entry?;
        fs::copy(entry.path(), to.join(entry.file_name()))?;
    }
    Ok(())
}

#[derive(Debug)]
struct PartSession {
    part: Part,
    cx: BackupContext,
}

impl PartSession {
    fn copy_out(&self) -> Result<()> {
        let staging = self.cx.staging();
        let target = match self.part.role {
            PartName::Home => staging.home(),
            _ => staging.database(),
        };
        if self.part.fault != PartFault::KeepsOldFiles {
            remove(&target)?;
        }
        copy(&self.part.data, &target).io_context(|| "cannot copy".to_owned())
    }
}

#[async_trait]
impl Session for PartSession {
    async fn capture(&mut self, _: &LockWindow) -> Result<()> {
        self.part.work(self.cx.control()).await?;
        match self.part.fault {
            PartFault::CopiesLate => Ok(()),
            PartFault::ChangesData => {
                self.copy_out()?;
                fs::write(self.part.data.join("marker"), "").io_context(|| "a marker".to_owned())
            }
            _ => self.copy_out(),
        }
    }

    async fn complete(&mut self, _: &Released) -> Result<Artifact> {
        self.part.work(self.cx.control()).await?;
        if self.part.fault == PartFault::CopiesLate {
            self.copy_out()?;
        }
        remove(&self.part.temporary)?;
        self.cx.forget_leftover(&leftover(&self.part.temporary))?;
        Ok(Artifact::staged(0))
    }

    async fn abort(self: Box<Self>) -> Result<()> {
        let recorded = leftover(&self.part.temporary);
        if self.part.fault != PartFault::LeavesAFileOnAbort {
            remove(&self.part.temporary)?;
        }
        self.cx.forget_leftover(&recorded)
    }
}

#[async_trait]
impl HomeStrategy for Part {
    fn name(&self) -> &'static str {
        NAME
    }

    fn home(&self) -> Option<&Path> {
        Some(&self.data)
    }

    async fn check(&self, _: &CheckContext) -> Result<Findings> {
        Ok(self.findings())
    }

    async fn prepare(&self, cx: &BackupContext) -> Result<Box<dyn Session>> {
        self.begin(cx).await
    }

    fn restore(&self) -> Option<&dyn Restore> {
        Some(self)
    }

    async fn discard(&self, leftover: &Leftover) -> Result<()> {
        Part::discard(self, leftover)
    }
}

#[async_trait]
impl DbStrategy for Part {
    fn name(&self) -> &'static str {
        NAME
    }

    async fn check(&self, _: &CheckContext) -> Result<Findings> {
        Ok(self.findings())
    }

    async fn prepare(&self, cx: &BackupContext) -> Result<Box<dyn Session>> {
        self.begin(cx).await
    }

    fn restore(&self) -> Option<&dyn Restore> {
        Some(self)
    }

    async fn discard(&self, leftover: &Leftover) -> Result<()> {
        Part::discard(self, leftover)
    }
}

#[derive(Debug)]
struct PartRestore {
    part: Part,
    cx: RestoreContext,
}

#[async_trait]
impl Restore for Part {
    async fn prepare_restore(&self, cx: &RestoreContext) -> Result<Box<dyn RestoreSession>> {
        let is_empty =
            fs::read_dir(&self.data).map_or(true, |mut entries| entries.next().is_none());
        if !is_empty && self.fault != PartFault::AcceptsAnyTarget {
            return Err(Error::new(ErrorKind::TargetNotEmpty, "it is not empty"));
        }
        Ok(Box::new(PartRestore {
            part: self.clone(),
            cx: cx.clone(),
        }))
    }

    async fn was_committed(&self, _: &Leftover) -> Result<Committed> {
        let there = self.data.exists() || self.fault == PartFault::ClaimsToBeCommitted;
        Ok(if there { Committed::Yes } else { Committed::No })
    }

    async fn resume_commit(&self, _: &Leftover) -> Result<()> {
        if self.fault != PartFault::ResumesOnce && !self.beside.exists() {
            return Ok(());
        }
        fs::rename(&self.beside, &self.data).io_context(|| "cannot move".to_owned())
    }
}

#[async_trait]
impl RestoreSession for PartRestore {
    async fn intake(&mut self) -> Result<Vec<PathBuf>> {
        if self.part.role != PartName::Home {
            return Ok(Vec::new());
        }
        self.cx.record_leftover(leftover(&self.part.beside))?;
        Ok(vec![self.part.beside.clone()])
    }

    async fn apply(&mut self, source: &RestoreSource) -> Result<()> {
        let wanted = match self.part.role {
            PartName::Home => source.home.as_ref(),
            _ => source.database.as_ref(),
        };
        let from = wanted.ok_or_else(|| Error::new(ErrorKind::Damaged, "there is nothing"))?;
        let to = match self.part.fault {
            PartFault::AppliesInPlace => &self.part.data,
            _ => &self.part.beside,
        };
        if self.part.role != PartName::Home {
            self.cx.record_leftover(leftover(&self.part.beside))?;
        }
        if from != to {
            copy(from, to).io_context(|| "cannot copy".to_owned())?;
        }
        self.part.work(self.cx.control()).await
    }

    async fn commit(&mut self) -> Result<()> {
        let _ = fs::remove_dir(&self.part.data);
        fs::rename(&self.part.beside, &self.part.data).io_context(|| "cannot move".to_owned())?;
        self.cx.forget_leftover(&leftover(&self.part.beside))
    }

    async fn abort(self: Box<Self>) -> Result<()> {
        remove(&self.part.beside)?;
        self.cx.forget_leftover(&leftover(&self.part.beside))
    }
}
