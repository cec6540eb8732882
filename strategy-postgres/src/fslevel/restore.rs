//! The way back: the server is stopped while its files come back with the home directory, and then started.

use std::fs;
use std::io;
use std::path::Path;
use std::time::{Duration, Instant};

use diy_backup_core::{
    Committed, Error, ErrorKind, Leftover, Restore, RestoreContext, RestoreSession, RestoreSource,
    Result, ResultExt, async_trait, error_chain, remove_durably,
};

use super::config::FslevelConfig;
use super::{FslevelStrategy, service};
use crate::facts::{Facts, Table};
use crate::failure::Failure;
use crate::instance;
use crate::psql::Psql;
use crate::server::Server;

/// The pause between two looks at a server that recovers.
const LOOK: Duration = Duration::from_millis(250);

/// How long a server that was started may seem not to run before it counts as one that has given up.
const START: Duration = Duration::from_secs(20);

#[async_trait]
impl Restore for FslevelStrategy {
    async fn prepare_restore(&self, cx: &RestoreContext) -> Result<Box<dyn RestoreSession>> {
        let directory = self.config.data_directory.as_path();
        ensure_covered(directory, cx)?;
        ensure_empty(directory)?;
        let is_running = service::is_running(&self.config, cx.control()).await?;
        Ok(Box::new(FslevelRestore {
            cx: cx.clone(),
            config: self.config.clone(),
            is_running,
            has_stopped: false,
        }))
    }

    /// The server's files come into place with the home directory, which is the last part.
    async fn was_committed(&self, _: &Leftover) -> Result<Committed> {
        Ok(Committed::No)
    }

    /// The server is started by who has made sure that the home directory is in place.
    async fn resume_commit(&self, _: &Leftover) -> Result<()> {
        Ok(())
    }
}

fn ensure_covered(directory: &Path, cx: &RestoreContext) -> Result<()> {
    if cx.home().covers(directory) {
        return Ok(());
    }
    let message = format!(
        "the server's data directory {} does not come back with the home directory (strategy `{}`)",
        directory.display(),
        cx.home().strategy
    );
    Err(Error::new(ErrorKind::Check, message)
        .with_hint("Correct `data-directory` in the section [database], or the section [home]."))
}

fn ensure_empty(directory: &Path) -> Result<()> {
    let found = match fs::read_dir(directory) {
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(()),
        entries => entries
            .and_then(|mut entries| entries.next().transpose())
            .io_context(|| format!("cannot look into {}", directory.display()))?,
    };
    let Some(entry) = found else {
        return Ok(());
    };
    let message = format!(
        "the server's data directory {} is not empty: it holds {:?}",
        directory.display(),
        entry.file_name()
    );
    Err(Error::new(ErrorKind::TargetNotEmpty, message)
        .with_hint("Stop the server and move its files away, or restore to another folder."))
}

/// A restore of one server.
#[derive(Debug)]
struct FslevelRestore {
    cx: RestoreContext,
    config: FslevelConfig,
    /// Whether it ran before, without the files that it should have.
    is_running: bool,
    has_stopped: bool,
}

impl FslevelRestore {
    /// The release whose files these are, as they say themselves.
    fn ensure_release(&self, directory: &Path) -> Result<()> {
        let path = directory.join("PG_VERSION");
        let found = fs::read_to_string(&path).io_context(|| {
            format!(
                "the files of the server have not come back: cannot read {}",
                path.display()
            )
        })?;
        let recorded = self
            .cx
            .artifact()
            .and_then(|artifact| artifact.detail("release"));
        match recorded {
            Some(recorded) if recorded != found.trim() => {
                let message = format!(
                    "{} is of PostgreSQL {}, and the backup was taken of {recorded}",
                    directory.display(),
                    found.trim()
                );
                Err(Error::new(ErrorKind::Damaged, message))
            }
            _ => Ok(()),
        }
    }

    /// Waits until the server has recovered.
    async fn recovered(&self) -> Result<()> {
        let control = self.cx.control();
        let connection = self.config.connection();
        let server = Server::reach(&connection).await?;
        let started = Instant::now();
        loop {
            let error = match Psql::open(&server, &self.config.name, control).await {
                Ok(psql) => return self.ensure_sound(psql).await,
                Err(error) => error,
            };
            control.ensure_running()?;
            let waits = error.is_transient() || error_chain(&error).contains("No such file");
            let has_given_up =
                started.elapsed() >= START && !service::is_running(&self.config, control).await?;
            if !waits || has_given_up || started.elapsed() >= self.config.recovery_timeout.get() {
                let message = "the restored server has not become ready";
                return Err(Error::new(ErrorKind::Database, message)
                    .with_source(error)
                    .with_hint("Its log says how far it has come with its recovery; its files are in place."));
            }
            tokio::time::sleep(LOOK).await;
        }
    }

    async fn ensure_sound(&self, mut psql: Psql) -> Result<()> {
        let looked = async {
            let facts = Facts::of(&mut psql).await?;
            let tables = Table::all(&mut psql).await?;
            let lock = instance::change_log_lock(&mut psql, &tables).await?;
            Ok((facts, lock))
        }
        .await;
        psql.close().await;
        let (facts, lock) =
            looked.map_err(|failure: Failure| failure.doing("look at the restored server"))?;
        if let Some(lock) = lock {
            self.cx.events().warning(lock.of_restored());
        }
        if facts.in_recovery {
            let message = "the restored server has become a standby";
            return Err(Error::new(ErrorKind::Damaged, message));
        }
        Ok(())
    }

    fn forget(&mut self) -> Result<()> {
        self.has_stopped = false;
        self.cx.forget_leftover(&service::leftover(&self.config))
    }
}

#[async_trait]
impl RestoreSession for FslevelRestore {
    async fn apply(&mut self, _: &RestoreSource) -> Result<()> {
        if self.is_running {
            self.cx.record_leftover(service::leftover(&self.config))?;
            self.has_stopped = true;
            service::stop(&self.config, self.cx.control()).await?;
        }
        Ok(())
    }

    /// The home directory brings the files, as the last part of all.
    async fn commit(&mut self) -> Result<()> {
        Ok(())
    }

    async fn verify(&mut self) -> Result<()> {
        let directory = self.config.data_directory.as_path();
        self.ensure_release(directory)?;
        // Of the server that ran when the snapshot was taken; whoever has its number now would keep ours from starting.
        if !service::is_running(&self.config, self.cx.control()).await? {
            remove_durably(&directory.join("postmaster.pid"))?;
        }
        service::start(&self.config, self.cx.control()).await?;
        self.recovered().await?;
        self.forget()
    }

    async fn abort(mut self: Box<Self>) -> Result<()> {
        if self.has_stopped {
            service::start(&self.config, &self.cx.control().for_cleanup()).await?;
            self.forget()?;
        }
        Ok(())
    }
}
