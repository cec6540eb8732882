//! One person who pushes.

use std::ffi::OsString;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use fastrand::Rng;

use super::{Pushes, RowSink};
use crate::error::{Error, ErrorKind, IoContext, Result};

/// The folder of a repository that holds one file for each push.
pub(super) const PUSHES: &str = "pushes";

/// A file every push of a repository replaces, the way git replaces a ref. It is no real ref, because it would point
/// at a commit that does not exist and `git fsck` would complain about the restored repository.
const HEAD: &str = "pushes.head";

/// A push that is in the home and in the database.
#[derive(Debug)]
pub(super) enum Done {
    Written { id: String, payload: String },
    Renamed { id: String, new_id: String },
    Deleted { id: String },
}

impl Done {
    pub(super) fn apply(self, pushes: &mut Pushes) {
        match self {
            Self::Written { id, payload } => {
                pushes.insert(id, payload);
            }
            Self::Renamed { id, new_id } => {
                if let Some(payload) = pushes.remove(&id) {
                    pushes.insert(new_id, payload);
                }
            }
            Self::Deleted { id } => {
                pushes.remove(&id);
            }
        }
    }
}

/// What a push does to the home.
#[derive(Debug, Clone)]
enum FileChange {
    Write { path: PathBuf, payload: String },
    Rename { from: PathBuf, to: PathBuf },
    Remove { path: PathBuf },
}

#[derive(Debug)]
pub(super) struct Writer {
    number: usize,
    next: u64,
    rng: Rng,
    repositories: Vec<PathBuf>,
    rows: Arc<dyn RowSink>,
    /// The id and file of every earlier push of this writer that was not deleted.
    earlier: Vec<(String, PathBuf)>,
}

impl Writer {
    pub(super) fn new(
        number: usize,
        seed: u64,
        repositories: Vec<PathBuf>,
        rows: &Arc<dyn RowSink>,
    ) -> Self {
        Self {
            number,
            next: 0,
            rng: Rng::with_seed(seed.wrapping_add(number as u64)),
            repositories,
            rows: Arc::clone(rows),
            earlier: Vec::new(),
        }
    }

    /// One push: three in five are new, the others change, rename or delete an earlier one.
    pub(super) async fn push(&mut self) -> Result<Done> {
        if self.earlier.len() < 3 {
            return self.add().await;
        }
        match self.rng.u8(0..10) {
            0..6 => self.add().await,
            6 | 7 => self.update().await,
            8 => self.rename().await,
            _ => self.delete().await,
        }
    }

    async fn add(&mut self) -> Result<Done> {
        let id = self.new_id();
        let repository = &self.repositories[self.rng.usize(..self.repositories.len())];
        let path = repository.join(PUSHES).join(&id);
        let payload = self.new_payload();
        let change = FileChange::Write {
            path: path.clone(),
            payload: payload.clone(),
        };
        let rows = Arc::clone(&self.rows);
        self.pair(change, rows.insert(&id, &payload)).await?;
        self.earlier.push((id.clone(), path));
        Ok(Done::Written { id, payload })
    }

    async fn update(&mut self) -> Result<Done> {
        let (id, path) = self.earlier[self.rng.usize(..self.earlier.len())].clone();
        let payload = self.new_payload();
        let change = FileChange::Write {
            path,
            payload: payload.clone(),
        };
        let rows = Arc::clone(&self.rows);
        self.pair(change, rows.update(&id, &payload)).await?;
        Ok(Done::Written { id, payload })
    }

    async fn rename(&mut self) -> Result<Done> {
        let chosen = self.rng.usize(..self.earlier.len());
        let (id, from) = self.earlier[chosen].clone();
        let new_id = self.new_id();
        let to = from.with_file_name(&new_id);
        let change = FileChange::Rename {
            from,
            to: to.clone(),
        };
        let rows = Arc::clone(&self.rows);
        self.pair(change, rows.rename(&id, &new_id)).await?;
        self.earlier[chosen] = (new_id.clone(), to);
        Ok(Done::Renamed { id, new_id })
    }

    async fn delete(&mut self) -> Result<Done> {
        let chosen = self.rng.usize(..self.earlier.len());
        let (id, path) = self.earlier.swap_remove(chosen);
        let rows = Arc::clone(&self.rows);
        self.pair(FileChange::Remove { path }, rows.delete(&id))
            .await?;
        Ok(Done::Deleted { id })
    }

    /// Changes the file and the row, in either order, so that no order of copying the two is right by chance.
    async fn pair(
        &mut self,
        change: FileChange,
        row: impl Future<Output = Result<()>>,
    ) -> Result<()> {
        if self.rng.bool() {
            change_file(change).await?;
            row.await
        } else {
            row.await?;
            change_file(change).await
        }
    }

    fn new_id(&mut self) -> String {
        self.next += 1;
        format!("w{}-{:06}", self.number, self.next)
    }

    fn new_payload(&mut self) -> String {
        let length = self.rng.usize(8..400);
        std::iter::repeat_with(|| self.rng.alphanumeric())
            .take(length)
            .collect()
    }
}

async fn change_file(change: FileChange) -> Result<()> {
    let done = tokio::task::spawn_blocking(move || match change {
        FileChange::Write { path, payload } => {
            if path.exists() {
                std::fs::write(&path, payload).doing("write", &path)?;
            } else {
                receive(&path, &payload)?;
            }
            move_head(&path)
        }
        FileChange::Rename { from, to } => {
            std::fs::rename(&from, &to).doing("rename", &from)?;
            move_head(&to)
        }
        FileChange::Remove { path } => std::fs::remove_file(&path).doing("remove", &path),
    });
    done.await
        .map_err(|source| Error::new(ErrorKind::Io, "a push was broken off").with_source(source))?
}

/// Writes what is pushed into a folder of its own, moves it to where it belongs, and removes the folder, as git does with
/// the objects that it receives.
fn receive(push: &Path, payload: &str) -> Result<()> {
    let (Some(id), Some(folder), Some(repository)) =
        (push.file_name(), push.parent(), push.ancestors().nth(2))
    else {
        return Ok(());
    };
    let mut quarantine = OsString::from("tmp_objdir-incoming-");
    quarantine.push(id);
    let quarantine = repository.join("objects").join(quarantine);
    let received = quarantine.join(id);
    std::fs::create_dir_all(folder).doing("create", folder)?;
    std::fs::create_dir_all(&quarantine).doing("create", &quarantine)?;
    std::fs::write(&received, payload).doing("write", &received)?;
    std::fs::rename(&received, push).doing("rename", &received)?;
    std::fs::remove_dir(&quarantine).doing("remove", &quarantine)
}

/// Replaces the head of a repository by way of a lock file, as git does. Each push has a lock file of its own name,
/// because the writers do not wait for one another.
fn move_head(push: &Path) -> Result<()> {
    let (Some(id), Some(repository)) = (push.file_name(), push.ancestors().nth(2)) else {
        return Ok(());
    };
    let mut lock_name = id.to_owned();
    lock_name.push(".head.lock");
    let lock = repository.join(lock_name);
    std::fs::write(&lock, id.as_encoded_bytes()).doing("write", &lock)?;
    std::fs::rename(&lock, repository.join(HEAD)).doing("rename", &lock)
}
