//! One backup of the server.

use diy_backup_core::{
    Artifact, BackupContext, LockWindow, Released, Result, Session, async_trait,
};

use super::config::FslevelConfig;
use super::survey::Survey;
use crate::failure::INSUFFICIENT_PRIVILEGE;
use crate::psql::Psql;
use crate::server::Server;

/// A backup of one PostgreSQL server, which the home strategy takes.
#[derive(Debug)]
pub(super) struct FslevelSession {
    cx: BackupContext,
    config: FslevelConfig,
}

impl FslevelSession {
    pub(super) async fn begin(config: &FslevelConfig, cx: &BackupContext) -> Result<Self> {
        let session = Self {
            cx: cx.clone(),
            config: config.clone(),
        };
        session.survey().await?;
        session.checkpoint().await?;
        Ok(session)
    }

    async fn survey(&self) -> Result<Survey> {
        let survey = Survey::of(&self.config, self.cx.home(), self.cx.control()).await?;
        survey.require_good()?;
        Ok(survey)
    }

    /// The less has been written since the latest checkpoint, the sooner a restored server is ready.
    async fn checkpoint(&self) -> Result<()> {
        let connection = self.config.connection();
        let server = Server::reach(&connection).await?;
        let mut psql = Psql::open(&server, &self.config.name, self.cx.control()).await?;
        let done = psql.execute("CHECKPOINT").await;
        psql.close().await;
        match done {
            Ok(()) => Ok(()),
            Err(refused) if refused.sqlstate() == INSUFFICIENT_PRIVILEGE => {
                self.cx.events().message(
                    "the role may not ask for a checkpoint (pg_checkpoint): after a restore the server may take longer to recover",
                );
                Ok(())
            }
            Err(failure) => Err(failure.doing("ask for a checkpoint")),
        }
    }
}

#[async_trait]
impl Session for FslevelSession {
    /// The snapshot of the home directory is that of the database too.
    async fn capture(&mut self, _: &LockWindow) -> Result<()> {
        Ok(())
    }

    async fn complete(&mut self, _: &Released) -> Result<Artifact> {
        // A tablespace may have come, or a setting gone, while the backup was taken.
        let survey = self.survey().await?;
        let checksums = if survey.has_checksums() { "on" } else { "off" };
        Ok(Artifact::none()
            .with_inventory(survey.findings.inventory)
            .with_detail("database", &self.config.name)
            .with_detail("release", survey.facts.release().to_string())
            .with_detail("server-version", &survey.facts.server_version)
            .with_detail("data-checksums", checksums)
            .with_detail(
                "data-directory",
                self.config.data_directory.as_path().display().to_string(),
            ))
    }

    async fn abort(self: Box<Self>) -> Result<()> {
        Ok(())
    }
}
