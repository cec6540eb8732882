//! One restore of the home directory and the data stores.

use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicU64, Ordering};

use diy_backup_core::{
    Error, ErrorKind, InstanceKind, Leftover, Phase, RestoreContext, RestoreSession, RestoreSource,
    Result, ResultExt, async_trait,
};

use super::LEFTOVER;
use super::leave_out::LeaveOut;
use super::site::Site;
use crate::exclude::Exclusions;
use crate::owner::Owner;
use crate::platform::{self, Facts};
use crate::repositories;
use crate::rsync::{self, Rsync};
use crate::strategy::NAME;
use crate::walk::{Stop, Walk, blocking};

/// A restore whose targets have been found absent or empty.
#[derive(Debug)]
pub(super) struct RsyncRestoreSession {
    /// The home directory, then the data stores.
    sites: Vec<Site>,
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
    async fn copy(&self, from: &Path, site: &Site) -> Result<()> {
        let build = site.build().to_owned();
        blocking(move || {
            platform::create_private_folder(&build)
                .io_context(|| format!("cannot make {}", build.display()))
        })
        .await?;
        let meter = self.cx.events().meter(Phase::Apply);
        let mut counted = 0;
        rsync::exact_copy(self.rsync.extras(from, site.build()))
            .args(["--info=progress2", "--outbuf=N", "--"])
            .arg(rsync::content_of(from))
            .arg(rsync::content_of(site.build()))
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
        Ok(self
            .sites
            .iter()
            .map(|site| site.build().to_owned())
            .collect())
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
        for (from, site) in sources.into_iter().zip(&self.sites) {
            if from != site.build() {
                self.copy(from, site).await?;
            }
        }
        let stop = Stop::new(self.cx.control());
        let _stop_with_us = stop.on_drop();
        let (sites, owner, kind) = (self.sites.clone(), self.owner, self.kind);
        let leave_out = self.leave_out.clone();
        let (left_out, locks) = blocking(move || {
            let (mut left_out, mut locks) = (0, 0);
            for site in &sites {
                if let Some(rules) = &leave_out {
                    left_out += rules.apply(site.role(), site.build(), &stop)?;
                }
                locks += finish(site, owner, kind, &stop)?;
            }
            Ok((left_out, locks))
        })
        .await?;
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
        let sites = self.sites.clone();
        self.committed = blocking(move || commit_all(&sites)).await?;
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
        let sites = self.sites.clone();
        if !self.leftovers.is_empty() {
            blocking(move || sites.iter().try_for_each(Site::discard)).await?;
        }
        self.forget_all()
    }
}

/// Makes a folder that was built what it has to be in its place. Returns how many lock files it had.
fn finish(site: &Site, owner: Option<Owner>, kind: InstanceKind, stop: &Stop) -> Result<u64> {
    let mut locks = 0;
    for repository in repositories::of(site.build(), site.role(), kind)? {
        stop.ensure_going_on()?;
        locks += repositories::remove_locks(&repository)?;
    }
    if let Some(owner) = owner {
        give_to(site.build(), owner, stop)?;
    }
    platform::sync_file_system(site.build())
        .io_context(|| format!("cannot sync the file system of {}", site.build().display()))?;
    Ok(locks)
}

fn give_to(root: &Path, owner: Owner, stop: &Stop) -> Result<()> {
    let give = |path: &Path, metadata: &std::fs::Metadata| {
        platform::change_owner(path, metadata, owner)
            .io_context(|| format!("cannot change the owner of {}", path.display()))
    };
    let everything = Exclusions::default();
    let walk = Walk {
        root,
        exclusions: &everything,
        stop,
    };
    let given = AtomicU64::new(0);
    walk.run((), |entry, ()| {
        give(entry.path, entry.metadata)?;
        given.fetch_add(1, Ordering::Relaxed);
        Ok(Some(()))
    })?;
    tracing::debug!(entries = given.into_inner(), root = %root.display(), "owners are set");
    let top = std::fs::symlink_metadata(root)
        .io_context(|| format!("cannot look at {}", root.display()))?;
    give(root, &top)
}

/// Commits the data stores, then the home directory; all or none. Returns what stands there now, as `sites`.
fn commit_all(sites: &[Site]) -> Result<Vec<(u64, u64)>> {
    let mut done: Vec<super::site::Undo> = Vec::new();
    for site in sites.iter().rev() {
        match site.commit() {
            Ok(undo) => done.push(undo),
            Err(error) => {
                for undo in done.iter().rev() {
                    undo.undo()?;
                }
                return Err(error);
            }
        }
    }
    sites.iter().map(|site| id_of(site.target())).collect()
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
