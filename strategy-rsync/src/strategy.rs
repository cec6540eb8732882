//! The home strategy `rsync`.

use std::path::{Path, PathBuf};
use std::sync::Mutex;

use diy_backup_core::{
    BackupContext, CheckContext, Findings, HomeStrategy, InstanceKind, Leftover, Restore, Result,
    Session, StrategyConfig, async_trait,
};

use crate::check;
use crate::config::RsyncConfig;
use crate::copier::Copier;
use crate::folder::Circumstances;
use crate::proven::Proven;
use crate::restore::RsyncRestore;
use crate::rsync::Rsync;
use crate::session::{self, RsyncSession, Task};
use crate::source::{self, Anchors};
use crate::sync::lock;
use crate::unsynced::Unsynced;
use crate::walk::blocking;

/// The name that a configuration chooses the strategy by.
pub(crate) const NAME: &str = "rsync";

/// Copies the home directory and the data stores with rsync: most of it while people work, the rest while the
/// instance is drained.
#[derive(Debug)]
pub struct RsyncHome {
    config: RsyncConfig,
    kind: InstanceKind,
    data_stores: Vec<PathBuf>,
    restore: RsyncRestore,
    checked: Mutex<LastCheck>,
}

/// What the last check has learnt for the backup that follows.
#[derive(Debug, Clone, Default)]
struct LastCheck {
    /// What the live pass will copy.
    expected_bytes: Option<u64>,
    /// The sources that were looked at.
    anchors: Vec<Anchors>,
}

impl RsyncHome {
    /// A strategy with this configuration, for an instance of this kind.
    pub fn new(config: RsyncConfig, kind: InstanceKind) -> Self {
        let data_stores = config
            .data_stores
            .iter()
            .map(|store| store.as_path().to_owned())
            .collect();
        Self {
            restore: RsyncRestore::new(config.clone(), kind),
            config,
            kind,
            data_stores,
            checked: Mutex::default(),
        }
    }

    /// Reads its section of the configuration.
    ///
    /// # Errors
    /// Like [`RsyncConfig::from_config`].
    pub fn from_config(config: &StrategyConfig) -> Result<Self> {
        Ok(Self::new(
            RsyncConfig::from_config(config)?,
            config.instance.kind,
        ))
    }
}

#[async_trait]
impl HomeStrategy for RsyncHome {
    fn name(&self) -> &'static str {
        NAME
    }

    fn home(&self) -> Option<&Path> {
        Some(self.config.path.as_path())
    }

    fn data_stores(&self) -> &[PathBuf] {
        &self.data_stores
    }

    async fn check(&self, cx: &CheckContext) -> Result<Findings> {
        let checked = check::check(&self.config, self.kind, cx).await?;
        *lock(&self.checked) = LastCheck {
            expected_bytes: Some(checked.bytes_to_copy),
            anchors: checked.anchors,
        };
        Ok(checked.findings)
    }

    async fn prepare(&self, cx: &BackupContext) -> Result<Box<dyn Session>> {
        let checked = lock(&self.checked).clone();
        let (config, kind, context) = (self.config.clone(), self.kind, cx.clone());
        let (folders, anchors, proven) = blocking(move || {
            let folders = Circumstances::of_backup(&config, kind, &context).folders()?;
            let has_stores = folders.len() > 1;
            let known = Proven::read(context.staging());
            for folder in &folders {
                // What was checked may have been unmounted since, and there may have been no check.
                Anchors::ensure_still(&checked.anchors, folder)?;
                source::require(folder, kind, has_stores, &known)?;
            }
            session::tidy_data_stores(context.staging(), &folders)?;
            let anchors: Vec<Anchors> = folders.iter().map(Anchors::of).collect();
            Ok((folders, anchors, known))
        })
        .await?;
        let copier = Copier {
            rsync: Rsync::find(cx.control()).await?,
            control: cx.control().clone(),
            anchors: anchors.into(),
            shrink: cx.shrink(),
            unsynced: Unsynced::default(),
        };
        let configured = self.config.folders().map(Path::to_owned);
        let task = Task {
            folders: folders.into_iter().zip(configured).collect(),
            proven,
            excluded: self.config.exclude_repositories.iter().cloned().collect(),
            track_changes: self.config.track_changes,
            expected_bytes: checked.expected_bytes,
        };
        Ok(Box::new(RsyncSession::prepare(copier, task, cx).await?))
    }

    fn restore(&self) -> Option<&dyn Restore> {
        Some(&self.restore)
    }

    async fn discard(&self, leftover: &Leftover) -> Result<()> {
        self.restore.discard(leftover).await
    }
}
