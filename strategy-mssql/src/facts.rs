//! What the server says about itself and about a database.

use diy_backup_core::{Error, ErrorKind, Result};

use crate::config::Compression;
use crate::failure::Failure;
use crate::sql;
use crate::sqlcmd::Server;

/// SQL Server 2016.
pub(crate) const OLDEST: u32 = 13;

/// Values of `SERVERPROPERTY('EngineEdition')` of servers that write backups to folders.
const STANDARD: u64 = 2;
const ENTERPRISE: u64 = 3;
const EXPRESS: u64 = 4;

/// A server, and what the login may do there.
#[derive(Debug, Clone)]
pub(crate) struct Facts {
    /// `15.0.4261.1`
    pub(crate) version: String,
    /// `Standard Edition (64-bit)`
    pub(crate) edition: String,
    engine: u64,
    pub(crate) data_directory: Option<String>,
    pub(crate) log_directory: Option<String>,
    pub(crate) login: String,
    /// Restoring, and reading or verifying a backup, needs this right.
    pub(crate) creates_databases: bool,
    /// Renaming a database of somebody else needs this one.
    pub(crate) alters_databases: bool,
}

impl Facts {
    pub(crate) async fn of(server: &Server) -> Result<Self, Failure> {
        let property = |name: &str| sql::hex(&format!("SERVERPROPERTY('{name}')"));
        let row = server
            .one(&format!(
                "SELECT {} AS version, {} AS edition, CONVERT(int, SERVERPROPERTY('EngineEdition')) AS engine, \
                 {} AS data_directory, {} AS log_directory, {} AS login, \
                 HAS_PERMS_BY_NAME(N'master', N'DATABASE', N'CREATE DATABASE') AS creates, \
                 HAS_PERMS_BY_NAME(NULL, NULL, N'ALTER ANY DATABASE') AS alters;",
                property("ProductVersion"),
                property("Edition"),
                property("InstanceDefaultDataPath"),
                property("InstanceDefaultLogPath"),
                sql::hex("SUSER_SNAME()"),
            ))
            .await?;
        Ok(Self {
            version: row.hex("version")?.unwrap_or_default(),
            edition: row.hex("edition")?.unwrap_or_default(),
            engine: row.number("engine")?.unwrap_or_default(),
            data_directory: row.hex("data_directory")?,
            log_directory: row.hex("log_directory")?,
            login: row.hex("login")?.unwrap_or_default(),
            creates_databases: row.is_one("creates")?,
            alters_databases: row.is_one("alters")?,
        })
    }

    pub(crate) fn release(&self) -> u32 {
        release_of(&self.version)
    }

    /// That this is a server which writes backups to a folder, and knows what we ask of it.
    pub(crate) fn ensure_supported(&self) -> Result<()> {
        if self.release() < OLDEST {
            let message = format!("SQL Server {} is too old", self.version);
            return Err(Error::new(ErrorKind::Check, message)
                .with_hint("SQL Server 2016 (13.0) or newer is needed."));
        }
        if !matches!(self.engine, STANDARD | ENTERPRISE | EXPRESS) {
            let message = format!("{:?} does not write backups to a folder", self.edition);
            return Err(Error::new(ErrorKind::Unsupported, message)
                .with_hint("Azure SQL and managed instances have backups of their own."));
        }
        Ok(())
    }

    /// Whether backups are to be compressed: Express and Web cannot.
    pub(crate) fn compresses(&self, compression: Compression) -> bool {
        compression == Compression::Auto
            && matches!(self.engine, STANDARD | ENTERPRISE)
            && !self.edition.starts_with("Web")
    }
}

/// The first number of a version.
pub(crate) fn release_of(version: &str) -> u32 {
    let first = version.split('.').next().unwrap_or_default();
    first.parse().unwrap_or_default()
}

/// A database, as everybody may see it.
#[derive(Debug, Clone)]
pub(crate) struct DatabaseFacts {
    /// `ONLINE`
    pub(crate) state: String,
    /// `MULTI_USER`
    pub(crate) access: String,
    /// `SIMPLE`
    pub(crate) recovery_model: String,
    pub(crate) collation: String,
    pub(crate) encrypted: bool,
    pub(crate) rights: Rights,
}

/// What the login may do with a database.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Rights {
    /// Connect to it.
    pub(crate) enter: bool,
    pub(crate) back_up: bool,
    /// See what others have made in it: the server shows nobody what he may not use.
    pub(crate) see_everything: bool,
}

impl DatabaseFacts {
    /// `None` when there is none of that name.
    pub(crate) async fn of(server: &Server, name: &str) -> Result<Option<Self>, Failure> {
        let rows = server
            .query(&format!(
                "SELECT {} AS state, {} AS access, {} AS recovery, {} AS collation, CONVERT(int, d.is_encrypted) AS encrypted, \
                 HAS_DBACCESS(d.name) AS accessible, \
                 HAS_PERMS_BY_NAME(QUOTENAME(d.name), N'DATABASE', N'BACKUP DATABASE') AS may_back_up, \
                 HAS_PERMS_BY_NAME(QUOTENAME(d.name), N'DATABASE', N'VIEW DEFINITION') AS sees_everything \
                 FROM sys.databases AS d WHERE d.name = {};",
                sql::hex("d.state_desc"),
                sql::hex("d.user_access_desc"),
                sql::hex("d.recovery_model_desc"),
                sql::hex("d.collation_name"),
                sql::literal(name)
            ))
            .await?;
        let Some(row) = rows.first() else {
            return Ok(None);
        };
        Ok(Some(Self {
            state: row.hex("state")?.unwrap_or_default(),
            access: row.hex("access")?.unwrap_or_default(),
            recovery_model: row.hex("recovery")?.unwrap_or_default(),
            collation: row.hex("collation")?.unwrap_or_default(),
            encrypted: row.is_one("encrypted")?,
            rights: Rights {
                enter: row.is_one("accessible")?,
                back_up: row.is_one("may_back_up")?,
                see_everything: row.is_one("sees_everything")?,
            },
        }))
    }

    pub(crate) fn is_online(&self) -> bool {
        self.state == "ONLINE"
    }
}

/// Whether there is a database of that name, in whatever state.
pub(crate) async fn exists(server: &Server, name: &str) -> Result<bool, Failure> {
    let query = format!(
        "SELECT COUNT(*) AS there FROM sys.databases AS d WHERE d.name = {};",
        sql::literal(name)
    );
    Ok(server.one(&query).await?.is_one("there")?)
}

/// How many bytes of a database's data files are in use: what a full backup copies, before it is compressed.
pub(crate) async fn used_bytes(server: &Server, name: &str) -> Result<u64, Failure> {
    const PAGE_BYTES: u64 = 8192;
    let query = format!(
        "USE {};\nSELECT SUM(CONVERT(bigint, FILEPROPERTY(f.name, 'SpaceUsed'))) AS pages \
         FROM sys.database_files AS f WHERE f.type = 0;",
        sql::identifier(name)
    );
    let pages = server.one(&query).await?.number("pages")?;
    Ok(pages.unwrap_or_default().saturating_mul(PAGE_BYTES))
}

/// The number of tables that users have made in a database, as far as the login may see them.
pub(crate) async fn tables(server: &Server, name: &str) -> Result<u64, Failure> {
    let query = format!(
        "SELECT COUNT(*) AS tables FROM {}.sys.tables AS t WHERE t.is_ms_shipped = 0;",
        sql::identifier(name)
    );
    Ok(server
        .one(&query)
        .await?
        .number("tables")?
        .unwrap_or_default())
}

/// The error of a database that holds no tables: one that was just made, or another than Bitbucket's.
pub(crate) fn no_tables(database: &str) -> Error {
    let message = format!(
        "the database {database:?} holds no tables, so it is not the one that Bitbucket works with"
    );
    Error::new(ErrorKind::Check, message).with_hint(
        "Correct `name` and `host` in the section [database]: `jdbc.url` in `shared/bitbucket.properties` says where Bitbucket's database is. If its content was lost, restore the last backup.",
    )
}

/// How many tables, views and other objects of its users a database has.
pub(crate) async fn user_objects(server: &Server, name: &str) -> Result<u64, Failure> {
    let query = format!(
        "SELECT COUNT(*) AS objects FROM {}.sys.objects AS o WHERE o.is_ms_shipped = 0;",
        sql::identifier(name)
    );
    Ok(server
        .one(&query)
        .await?
        .number("objects")?
        .unwrap_or_default())
}
