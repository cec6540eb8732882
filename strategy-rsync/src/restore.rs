//! The way back: everything is built beside its target, then moved into place.

mod build;
mod finish;
mod leave_out;
mod session;
mod site;

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};

use diy_backup_core::{
    Committed, Error, ErrorKind, InstanceKind, Leftover, Restore, RestoreContext, RestoreSession,
    Result, ResultExt, async_trait, match_data_stores,
};

use crate::config::RsyncConfig;
use crate::folder::Role;
use crate::platform;
use crate::rsync::Rsync;
use crate::walk::blocking;
use leave_out::LeaveOut;
use session::RsyncRestoreSession;
use site::Site;

/// The kind of the leftovers that a restore records.
const LEFTOVER: &str = "restored-folder";

/// Restores what the strategy `rsync` has backed up.
#[derive(Debug)]
pub(crate) struct RsyncRestore {
    config: RsyncConfig,
    kind: InstanceKind,
}

impl RsyncRestore {
    pub(crate) fn new(config: RsyncConfig, kind: InstanceKind) -> Self {
        Self { config, kind }
    }

    /// Removes what a restore that died has built.
    ///
    /// # Errors
    /// When it is still there.
    pub(crate) async fn discard(&self, leftover: &Leftover) -> Result<()> {
        let (config, leftover) = (self.config.clone(), leftover.clone());
        blocking(move || match site_of(&config, &leftover) {
            Some((site, _)) => build::discard(&site),
            None => unknown(&leftover),
        })
        .await
    }

    /// All places of the restore that `leftover` belongs to: data stores, then the home directory.
    fn sites(config: &RsyncConfig, leftover: &Leftover) -> Result<Vec<Site>> {
        let Some((_, restore)) = site_of(config, leftover) else {
            return unknown(leftover).map(|()| Vec::new());
        };
        let targets = roles(config);
        let mut sites: Vec<Site> = targets
            .iter()
            .filter_map(|(role, path)| Site::of_restore(*role, path, &restore))
            .collect();
        sites.reverse();
        Ok(sites)
    }
}

#[async_trait]
impl Restore for RsyncRestore {
    async fn prepare_restore(&self, cx: &RestoreContext) -> Result<Box<dyn RestoreSession>> {
        let rsync = Rsync::find(cx.control()).await?;
        let owner = match &self.config.owner {
            Some(name) => Some(name.resolve_for_giving()?),
            None => None,
        };
        let stores = self.data_stores_of_backup(cx)?;
        let (config, context) = (self.config.clone(), cx.clone());
        let sites = blocking(move || {
            let roles = roles(&config);
            let in_order = std::iter::once(0).chain(stores.iter().map(|number| number + 1));
            let sites = in_order
                .map(|number| {
                    let (role, path) = &roles[number];
                    Site::plan(*role, path, &context.id().to_string())
                })
                .collect::<Result<Vec<_>>>()?;
            ensure_room(&sites, &context)?;
            Ok(sites)
        })
        .await?;
        Ok(Box::new(RsyncRestoreSession::new(
            sites,
            owner,
            rsync,
            self.kind,
            LeaveOut::of_restore(&self.config, cx),
            cx.clone(),
        )))
    }

    /// The first folder that stands in its final place decides: from there on, the only way is forward.
    async fn was_committed(&self, leftover: &Leftover) -> Result<Committed> {
        let (config, leftover) = (self.config.clone(), leftover.clone());
        blocking(move || {
            for site in Self::sites(&config, &leftover)? {
                if build::is_committed(&site)? {
                    return Ok(Committed::Yes);
                }
            }
            Ok(Committed::No)
        })
        .await
    }

    async fn resume_commit(&self, leftover: &Leftover) -> Result<()> {
        let (config, leftover) = (self.config.clone(), leftover.clone());
        blocking(move || {
            Self::sites(&config, &leftover)?
                .iter()
                .try_for_each(build::resume)
        })
        .await
    }
}

impl RsyncRestore {
    /// Returns for each data store of the backup, in the order of their numbers there, its number in the configuration.
    fn data_stores_of_backup(&self, cx: &RestoreContext) -> Result<Vec<usize>> {
        let configured: Vec<PathBuf> = self.config.folders().skip(1).map(Path::to_owned).collect();
        let in_order = (0..configured.len()).collect();
        let Some(artifact) = cx.artifact() else {
            return Ok(in_order);
        };
        let number = artifact
            .detail("data-stores")
            .and_then(|number| number.parse::<usize>().ok());
        let Some(number) = number else {
            return Ok(in_order);
        };
        let stored: Option<Vec<PathBuf>> = (0..number)
            .map(|number| {
                artifact
                    .detail(&Role::DataStore(number).label())
                    .map(PathBuf::from)
            })
            .collect();
        let Some(stored) = stored else {
            return same_number(number, in_order);
        };
        let found = match_data_stores(&stored, &configured)?;
        for (from, to) in found.moved {
            cx.events().warning(format!(
                "the data store {} is restored to {}; Bitbucket's database names the old path (table bb_data_store)",
                from.display(),
                to.display()
            ));
        }
        Ok(found.targets)
    }
}

/// A backup that does not say where its data stores were has numbers alone.
fn same_number(stored: usize, in_order: Vec<usize>) -> Result<Vec<usize>> {
    let configured = in_order.len();
    if stored == configured {
        return Ok(in_order);
    }
    let message =
        format!("the backup has {stored} data stores, and the configuration names {configured}");
    Err(Error::new(ErrorKind::Check, message)
        .with_hint("Name one directory in `data-stores` for each, in the order of the backup."))
}

/// What each configured path is: the home directory, then the data stores.
fn roles(config: &RsyncConfig) -> Vec<(Role, PathBuf)> {
    let roles = std::iter::once(Role::Home).chain((0..).map(Role::DataStore));
    roles.zip(config.folders().map(Path::to_owned)).collect()
}

/// The place that a leftover is at, and the restore that made it.
fn site_of(config: &RsyncConfig, leftover: &Leftover) -> Option<(Site, String)> {
    let build = Path::new(&leftover.id);
    roles(config)
        .iter()
        .find_map(|(role, path)| Site::of_build(*role, path, build))
}

/// What no configured folder explains is not touched.
fn unknown(leftover: &Leftover) -> Result<()> {
    if std::fs::symlink_metadata(&leftover.id).is_err() {
        return Ok(());
    }
    let message = format!(
        "{} was built by a restore to a folder that the section [home] names no more",
        leftover.id
    );
    Err(Error::new(ErrorKind::Check, message)
        .with_hint("Restore the old paths in the configuration, or move the folder away by hand."))
}

/// Makes sure that every file system has room for what is built on it, as far as the backup tells.
fn ensure_room(sites: &[Site], cx: &RestoreContext) -> Result<()> {
    let Some(artifact) = cx.artifact() else {
        return Ok(());
    };
    let mut needs: BTreeMap<u64, (u64, u64, &Path)> = BTreeMap::new();
    let labels = std::iter::once(Role::Home).chain((0..).map(Role::DataStore));
    for (site, in_backup) in sites.iter().zip(labels) {
        let detail = artifact.detail(&format!("{}-bytes", in_backup.label()));
        let bytes = match detail.and_then(|text| text.parse().ok()) {
            Some(bytes) => bytes,
            // The total is all that is known: it counts where most of it goes.
            None if site.role() == Role::Home => artifact.bytes,
            None => 0,
        };
        let place = site.place();
        let (device, free) = platform::free_bytes(place)
            .io_context(|| format!("cannot tell how much room there is at {}", place.display()))?;
        let need = needs.entry(device).or_insert((0, free, place));
        need.0 = need.0.saturating_add(bytes);
    }
    for (need, free, place) in needs.into_values() {
        if need > free {
            let message = format!(
                "the restore needs {need} bytes on the file system of {}, and {free} are free",
                place.display()
            );
            return Err(Error::new(ErrorKind::Space, message)
                .with_hint("Make room there, or restore to a larger file system."));
        }
    }
    Ok(())
}
