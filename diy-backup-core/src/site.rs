//! A site: one instance, and the strategies that back it up.

use std::sync::Arc;

use bitbucket_maintenance_client::{Client, Credentials, ProxyUse, RetryPolicy};
use secrecy::SecretString;

use crate::config::{
    BackupSettings, Downtime, InstanceKind, InstanceSettings, Proxy, RetentionSettings, Secret,
};
use crate::error::{Error, ErrorKind, Result};
use crate::patience::Patience;
use crate::staging::Staging;
use crate::strategy::{ArchiveStrategy, DbStrategy, ElasticsearchStrategy, HomeStrategy};

/// One instance with everything that its backups and restores are made of.
#[derive(Debug, Clone)]
#[non_exhaustive]
pub struct Site {
    /// Which Bitbucket, and how to log in.
    pub instance: InstanceSettings,
    /// Where a run works, and how long it may take.
    pub backup: BackupSettings,
    /// Which old backups go; none without it.
    pub retention: Option<RetentionSettings>,
    /// How long Bitbucket and sessions are waited for.
    pub patience: Patience,
    /// The home directory.
    pub home: Arc<dyn HomeStrategy>,
    /// The database.
    pub database: Arc<dyn DbStrategy>,
    /// The search index.
    pub search: Option<Arc<dyn ElasticsearchStrategy>>,
    /// Where finished backups are kept.
    pub archive: Arc<dyn ArchiveStrategy>,
}

impl Site {
    /// A site without a search index and without retention.
    pub fn new(
        instance: InstanceSettings,
        backup: BackupSettings,
        home: Arc<dyn HomeStrategy>,
        database: Arc<dyn DbStrategy>,
        archive: Arc<dyn ArchiveStrategy>,
    ) -> Self {
        Self {
            instance,
            backup,
            retention: None,
            patience: Patience::default(),
            home,
            database,
            search: None,
            archive,
        }
    }

    /// The same with a search index.
    #[must_use]
    pub fn with_search(mut self, search: Arc<dyn ElasticsearchStrategy>) -> Self {
        self.search = Some(search);
        self
    }

    /// The same with a retention policy.
    #[must_use]
    pub fn with_retention(mut self, retention: RetentionSettings) -> Self {
        self.retention = Some(retention);
        self
    }

    /// The same with another patience.
    #[must_use]
    pub fn with_patience(mut self, patience: Patience) -> Self {
        self.patience = patience;
        self
    }

    /// The staging folder.
    pub fn staging(&self) -> Staging {
        Staging::new(self.backup.staging.as_path())
    }

    /// Whether there is something to lock: a Mesh node has nothing, and a backup without downtime locks nothing.
    pub(crate) fn locks(&self) -> bool {
        self.instance.kind == InstanceKind::Bitbucket && self.backup.downtime == Downtime::Locked
    }

    /// A client for the instance; `None` for a Mesh node. Dropping the future ends a command that gives the password.
    ///
    /// # Errors
    /// [`ErrorKind::Config`] when URL, user or password are missing or cannot be used.
    pub async fn client(&self) -> Result<Option<Client>> {
        match self.password()? {
            Some(secret) => self.client_with(secret.reveal().await?).map(Some),
            None => Ok(None),
        }
    }

    /// Where the password comes from; `None` for a Mesh node, which has no login.
    pub(crate) fn password(&self) -> Result<Option<&Secret>> {
        if self.instance.kind == InstanceKind::Mesh {
            return Ok(None);
        }
        let InstanceSettings {
            url,
            username,
            password,
            ..
        } = &self.instance;
        match (url, username, password) {
            (None, ..) => Err(missing("url")),
            (_, None, _) => Err(missing("username")),
            (_, _, None) => Err(missing("password")),
            (_, _, Some(secret)) => Ok(Some(secret)),
        }
    }

    /// A client that logs in with `password`.
    pub(crate) fn client_with(&self, password: SecretString) -> Result<Client> {
        let url = self.instance.url.as_ref().ok_or_else(|| missing("url"))?;
        let username = self.instance.username.as_ref();
        let username = username.ok_or_else(|| missing("username"))?;
        let mut builder = Client::builder(url.as_str())
            .credentials(Credentials::basic(username, password))
            .request_timeout(self.patience.request)
            .retry(RetryPolicy::default().with_deadline(self.patience.retry));
        builder = builder.proxy(match self.instance.proxy {
            Proxy::Environment => ProxyUse::Environment,
            Proxy::None => ProxyUse::Direct,
        });
        if let Some(ca_file) = &self.instance.ca_file {
            builder = builder.ca_file(ca_file.as_path());
        }
        builder
            .build()
            .map_err(|error| Error::from(error).with_kind(ErrorKind::Config))
    }

    /// A client, for what cannot be done without one.
    pub(crate) async fn required_client(&self) -> Result<Client> {
        self.client().await?.ok_or_else(|| {
            Error::new(
                ErrorKind::Unsupported,
                "a Mesh node has no maintenance lock",
            )
        })
    }
}

fn missing(key: &str) -> Error {
    Error::new(
        ErrorKind::Config,
        format!("`{key}` is missing in the section [instance]"),
    )
    .with_hint("A backup locks Bitbucket over REST: it needs `url`, `username` and `password`.")
}
