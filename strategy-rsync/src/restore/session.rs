//! One restore of the home directory and the data stores.

use std::path::{Path, PathBuf};
use std::sync::Arc;

use diy_backup_core::{
    Error, ErrorKind, InstanceKind, Leftover, Phase, RestoreContext, RestoreSession, RestoreSource,
    Result, ResultExt, async_trait,
};

use super::LEFTOVER;
use super::build::{self, Build};
use super::finish;
use super::leave_out::LeaveOut;
use super::site::Site;
use crate::owner::Owner;
use crate::platform::Facts;
use crate::rsync::{self, Rsync};
use crate::strategy::NAME;
use crate::walk::{Stop, blocking};

/// A restore whose targets have been found absent or empty.
#[derive(Debug)]
pub(super) struct RsyncRestoreSession {
    /// The home directory, then the data stores in the order of their numbers in the backup.
    sites: Vec<Site>,
    /// What is built at each of them, as far as that has begun.
    builds: Arc<Vec<Build>>,
    owner: Option<Owner>,
    rsync: Rsync,
    kind: InstanceKind,
    leave_out: Option<LeaveOut>,
    cx: RestoreContext,
    leftovers: Vec<Leftover>,
    /// The folders that were committed, by device and inode, as [`sites`](Self::sites).
    committed: Vec<(u64, u64)>,
}

impl RsyncRestoreSession {
    pub(super) fn new(
        sites: Vec<Site>,
        owner: Option<Owner>,
        rsync: Rsync,
        kind: InstanceKind,
        leave_out: Option<LeaveOut>,
        cx: RestoreContext,
    ) -> Self {
        Self {
            sites,
            builds: Arc::default(),
            owner,
            rsync,
            kind,
            leave_out,
            cx,
            leftovers: Vec::new(),
            committed: Vec::new(),
        }
    }

    /// Copies what does not lie where it is built: a backup that is kept in the staging folder stays there.
    async fn copy(&self, from: &Path, number: usize) -> Result<()> {
        let content = self.builds[number].create_content()?;
        // rsync takes a path, which leads into this directory also when others move it.
        let to = content.handle_path();
        let meter = self.cx.events().meter(Phase::Apply);
        let mut counted = 0;
        rsync::exact_copy(self.rsync.extras(from, &to))
            .args(["--info=progress2", "--outbuf=N", "--"])
            .arg(rsync::content_of(from))
            .arg(rsync::content_of(&to))
            .run_watched(self.cx.control(), |line| {
                if let Some(bytes) = rsync::progress_bytes(line.text) {
                    meter.advance(bytes.saturating_sub(counted));
                    counted = bytes.max(counted);
                }
            })
            .await?;
        Ok(())
    }

    fn forget_all(&mut self) -> Result<()> {
        for leftover in self.leftovers.drain(..) {
            self.cx.forget_leftover(&leftover)?;
        }
        Ok(())
    }
}

#[async_trait]
impl RestoreSession for RsyncRestoreSession {
    async fn intake(&mut self) -> Result<Vec<PathBuf>> {
        for site in &self.sites {
            let path = site.build().to_str().ok_or_else(|| {
                let message = format!("the path {} is not UTF-8", site.build().display());
                Error::new(ErrorKind::Unsupported, message)
            })?;
            let leftover = Leftover::new(NAME, LEFTOVER, path);
            self.cx.record_leftover(leftover.clone())?;
            self.leftovers.push(leftover);
        }
        // Not on another thread: that would go on, and make them, when nobody waits for it any more.
        let builds = self.sites.iter().map(Build::create);
        self.builds = Arc::new(builds.collect::<Result<_>>()?);
        Ok(self.sites.iter().map(Site::content).collect())
    }

    async fn apply(&mut self, source: &RestoreSource) -> Result<()> {
        if self.leftovers.is_empty() {
            self.intake().await?;
        }
        let sources: Vec<&PathBuf> = source.home.iter().chain(&source.data_stores).collect();
        let complete = source.home.is_some() && sources.len() == self.sites.len();
        if !complete || sources.iter().any(|path| !path.is_dir()) {
            let message = format!(
                "the backup does not hold the home directory and {} data stores",
                self.sites.len() - 1
            );
            return Err(Error::new(ErrorKind::Damaged, message).with_hint(
                "Compare `data-stores` in the section [home] with the folders in the backup.",
            ));
        }
        for (number, from) in sources.into_iter().enumerate() {
            if *from != self.sites[number].content() {
                self.copy(from, number).await?;
            }
        }
        let stop = Stop::new(self.cx.control());
        let _stop_with_us = stop.on_drop();
        let (builds, owner, kind) = (Arc::clone(&self.builds), self.owner, self.kind);
        let leave_out = self.leave_out.clone();
        let finished =
            blocking(move || finish::all(&builds, owner, kind, leave_out.as_ref(), &stop)).await?;
        let (left_out, locks) = (finished.left_out, finished.locks);
        for warning in finished.warnings {
            self.cx.events().warning(warning);
        }
        if left_out > 0 {
            self.cx.events().message(format!(
                "Left out {left_out} entries that the shell scripts had kept and that belong into no backup: locks, caches, search indexes, exports and excluded repositories"
            ));
        }
        if locks > 0 {
            self.cx.events().message(format!(
                "Removed {locks} lock files that the backup had caught in repositories"
            ));
        }
        Ok(())
    }

    /// Data stores come first: as long as there is no home directory, nobody starts an instance.
    async fn commit(&mut self) -> Result<()> {
        let builds = Arc::clone(&self.builds);
        self.committed = blocking(move || commit_all(&builds)).await?;
        // What fails to be forgotten stands in its place all the same, and recovery sees that.
        if let Err(error) = self.forget_all() {
            tracing::warn!(%error, "cannot write down that the restore was committed");
        }
        Ok(())
    }

    async fn verify(&mut self) -> Result<()> {
        let (sites, committed) = (self.sites.clone(), self.committed.clone());
        blocking(move || {
            sites
                .iter()
                .zip(committed)
                .try_for_each(|(site, id)| verify_site(site, id))
        })
        .await
    }

    async fn abort(mut self: Box<Self>) -> Result<()> {
        if !self.committed.is_empty() {
            return Ok(());
        }
        if !self.leftovers.is_empty() {
            let (sites, builds) = (self.sites.clone(), Arc::clone(&self.builds));
            blocking(move || {
                if builds.is_empty() {
                    sites.iter().try_for_each(build::discard)
                } else {
                    builds.iter().try_for_each(Build::discard)
                }
            })
            .await?;
        }
        self.forget_all()
    }
}

/// Commits the data stores, then the home directory; all or none. Returns what stands there now, in the order of
/// `builds`.
fn commit_all(builds: &[Build]) -> Result<Vec<(u64, u64)>> {
    let ids = builds
        .iter()
        .map(Build::id_in_place)
        .collect::<Result<_>>()?;
    let mut done = Vec::new();
    for build in builds.iter().rev() {
        match build.commit() {
            Ok(undo) => done.push(undo),
            Err(error) => {
                for undo in done.iter().rev() {
                    undo.undo()?;
                }
                return Err(error);
            }
        }
    }
    for build in builds {
        if let Err(error) = build.close() {
            tracing::warn!(%error, "what shielded the restored directory is left");
        }
    }
    Ok(ids)
}

fn id_of(path: &Path) -> Result<(u64, u64)> {
    let metadata = std::fs::symlink_metadata(path)
        .io_context(|| format!("cannot look at {}", path.display()))?;
    Ok(Facts::of(&metadata).id)
}

fn verify_site(site: &Site, committed: (u64, u64)) -> Result<()> {
    let target = site.target();
    let mut entries =
        std::fs::read_dir(target).io_context(|| format!("cannot read {}", target.display()))?;
    if id_of(target)? == committed
        && (entries.next().is_some() || site.role() != crate::folder::Role::Home)
    {
        return Ok(());
    }
    let message = format!(
        "{} is not what was restored: something has replaced it",
        target.display()
    );
    Err(Error::new(ErrorKind::Damaged, message))
}
