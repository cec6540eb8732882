//! The way back: a copy beside the target, renamed into place.

use std::fs;
use std::io;
use std::path::{Path, PathBuf};

use diy_backup_core::{
    Committed, Error, ErrorKind, Leftover, Restore, RestoreContext, RestoreSession, RestoreSource,
    Result, async_trait, sync_directory,
};

use crate::session::ensure_whole;
use crate::{DUMP, NAME, Sqlite, cannot};

/// What the journal calls the copy beside the target.
pub(crate) const RESTORED_FILE: &str = "restored-file";

#[async_trait]
impl Restore for Sqlite {
    async fn prepare_restore(&self, cx: &RestoreContext) -> Result<Box<dyn RestoreSession>> {
        ensure_absent(&self.path)?;
        let mut beside = self.path.clone().into_os_string();
        beside.push(format!(".{}", cx.id()));
        Ok(Box::new(SqliteRestore {
            target: self.path.clone(),
            beside: beside.into(),
            cx: cx.clone(),
        }))
    }

    async fn was_committed(&self, leftover: &Leftover) -> Result<Committed> {
        let is_beside = fs::exists(&leftover.id)
            .map_err(|source| cannot("look at", Path::new(&leftover.id), source))?;
        Ok(if is_beside {
            Committed::No
        } else {
            Committed::Yes
        })
    }

    async fn resume_commit(&self, leftover: &Leftover) -> Result<()> {
        match self.was_committed(leftover).await? {
            Committed::No => move_into_place(Path::new(&leftover.id), &self.path),
            _ => Ok(()),
        }
    }
}

#[derive(Debug)]
struct SqliteRestore {
    target: PathBuf,
    beside: PathBuf,
    cx: RestoreContext,
}

impl SqliteRestore {
    fn leftover(&self) -> Leftover {
        Leftover::new(NAME, RESTORED_FILE, self.beside.display().to_string())
    }
}

#[async_trait]
impl RestoreSession for SqliteRestore {
    async fn apply(&mut self, source: &RestoreSource) -> Result<()> {
        let folder = source
            .database
            .as_deref()
            .ok_or_else(|| Error::new(ErrorKind::Damaged, "the backup holds no database"))?;
        let dump = folder.join(DUMP);
        ensure_whole(&dump, self.cx.control()).await?;
        self.cx.record_leftover(self.leftover())?;
        fs::copy(&dump, &self.beside)
            .and_then(|_| fs::File::open(&self.beside)?.sync_all())
            .map_err(|source| cannot("write", &self.beside, source))
    }

    async fn commit(&mut self) -> Result<()> {
        move_into_place(&self.beside, &self.target)
    }

    async fn verify(&mut self) -> Result<()> {
        ensure_whole(&self.target, self.cx.control()).await?;
        self.cx.forget_leftover(&self.leftover())
    }

    async fn abort(self: Box<Self>) -> Result<()> {
        remove_if_there(&self.beside)?;
        self.cx.forget_leftover(&self.leftover())
    }
}

fn ensure_absent(target: &Path) -> Result<()> {
    match fs::metadata(target) {
        Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(()),
        Err(error) => Err(cannot("look at", target, error)),
        Ok(_) => {
            let message = format!("{} exists", target.display());
            Err(Error::new(ErrorKind::TargetNotEmpty, message)
                .with_hint("Move the file away, or restore to another path."))
        }
    }
}

fn move_into_place(beside: &Path, target: &Path) -> Result<()> {
    ensure_absent(target)?;
    fs::rename(beside, target).map_err(|source| cannot("make", target, source))?;
    sync_directory(target.parent().unwrap_or(target))
}

pub(crate) fn remove_if_there(path: &Path) -> Result<()> {
    match fs::remove_file(path) {
        Err(error) if error.kind() != io::ErrorKind::NotFound => Err(cannot("remove", path, error)),
        _ => Ok(()),
    }
}
