//! What the server and its files are like, and whether that survives a snapshot.

use std::path::{Path, PathBuf};

use diy_backup_core::{
    Control, Error, ErrorKind, Findings, HomeCoverage, Inventory, Pinning, Result, Severity,
};
use serde::Deserialize;

use super::SUBJECT;
use super::config::FslevelConfig;
use crate::check;
use crate::facts::{self, Facts, Table};
use crate::failure::{Failure, INSUFFICIENT_PRIVILEGE};
use crate::instance;
use crate::psql::Psql;
use crate::release::Release;
use crate::server::Server;
use crate::sql;

/// A server that was looked at.
#[derive(Debug)]
pub(super) struct Survey {
    pub(super) findings: Findings,
    pub(super) facts: Facts,
    settings: Option<Settings>,
}

#[derive(Debug, Clone, Deserialize)]
struct Settings {
    data_directory: PathBuf,
    config_file: Option<PathBuf>,
    fsync: String,
    full_page_writes: String,
    synchronous_commit: String,
    data_checksums: String,
}

#[derive(Debug, Deserialize)]
struct Tablespace {
    name: String,
    location: String,
}

#[derive(Debug, Deserialize)]
struct Count {
    number: i64,
}

const SETTINGS: &str = "SELECT current_setting('data_directory') AS data_directory, \
    current_setting('config_file') AS config_file, current_setting('fsync') AS fsync, \
    current_setting('full_page_writes') AS full_page_writes, \
    current_setting('synchronous_commit') AS synchronous_commit, \
    current_setting('data_checksums') AS data_checksums";

const TABLESPACES: &str = "SELECT spcname AS name, pg_tablespace_location(oid) AS location FROM pg_tablespace \
    WHERE pg_tablespace_location(oid) <> ''";

const UNLOGGED: &str =
    "SELECT count(*) AS number FROM pg_class WHERE relpersistence = 'u' AND relkind = 'r'";

impl Survey {
    pub(super) async fn of(
        config: &FslevelConfig,
        home: &HomeCoverage,
        control: &Control,
    ) -> Result<Self> {
        let connection = config.connection();
        let server = Server::reach(&connection).await?;
        let mut psql = Psql::open(&server, &config.name, control).await?;
        let looked = look(&mut psql, config, home).await;
        psql.close().await;
        looked.map_err(|failure| failure.doing("look at the server"))
    }

    /// That nothing was found which would spoil a backup.
    pub(super) fn require_good(&self) -> Result<()> {
        let mut findings = self.findings.findings.iter();
        let Some(first) = findings.find(|finding| finding.severity == Severity::Error) else {
            return Ok(());
        };
        let error = Error::new(ErrorKind::Check, first.message.clone());
        Err(match &first.fix {
            Some(fix) => error.with_hint(fix.clone()),
            None => error,
        })
    }

    pub(super) fn has_checksums(&self) -> bool {
        self.settings
            .as_ref()
            .is_some_and(|settings| settings.data_checksums == "on")
    }
}

async fn look(
    psql: &mut Psql,
    config: &FslevelConfig,
    home: &HomeCoverage,
) -> Result<Survey, Failure> {
    let facts = Facts::of(psql).await?;
    let mut findings = Findings::new();
    findings.info(
        SUBJECT,
        format!(
            "PostgreSQL {} in {}, which travels with the home directory (strategy `{}`)",
            facts.server_version,
            config.data_directory.as_path().display(),
            home.strategy
        ),
    );
    check_pinning(home, &mut findings);
    if facts.in_recovery {
        findings.error(
            SUBJECT,
            "the server is a standby, and a standby is what would be restored",
            "Back up the primary server.",
        );
    }
    let settings: Option<Settings> = match psql.one(SETTINGS).await {
        Ok(settings) => Some(settings),
        Err(refused) if refused.sqlstate() == INSUFFICIENT_PRIVILEGE => {
            let role = sql::identifier(&config.username);
            findings.error(
                SUBJECT,
                format!(
                    "{:?} may not see where the server has its files",
                    config.username
                ),
                format!("Run as a superuser: `GRANT pg_read_all_settings TO {role};`."),
            );
            None
        }
        Err(failure) => return Err(failure),
    };
    if let Some(settings) = &settings {
        check_risks(settings, config, &mut findings);
        check_places(settings, config, home, facts.release(), &mut findings);
    }
    for tablespace in psql.query::<Tablespace>(TABLESPACES).await? {
        // One that was made in place has a path below the data directory.
        let location = config.data_directory.as_path().join(&tablespace.location);
        if !home.covers(&location) {
            findings.error(
                SUBJECT,
                format!(
                    "the tablespace {:?} lies outside of what the home strategy takes a snapshot of: {}",
                    tablespace.name,
                    location.display()
                ),
                "Move its tables and drop it, or use the strategy `postgresql`.",
            );
        }
    }
    let tables = Table::all(psql).await?;
    let bytes = facts::dump_bytes(psql).await?;
    findings.inventory = Inventory::new()
        .with_tables(instance::count(&tables))
        .with_bytes(bytes);
    check::look_at_instance(psql, &config.name, &tables, &mut findings).await?;
    let unlogged: Count = psql.one(UNLOGGED).await?;
    if unlogged.number > 0 {
        findings.warning(
            SUBJECT,
            format!(
                "{} unlogged tables will be empty after a restore, as after a power cut",
                unlogged.number
            ),
            "`ALTER TABLE … SET LOGGED;`",
        );
    }
    Ok(Survey {
        findings,
        facts,
        settings,
    })
}

/// Copied file by file while the server writes, its files would be of many instants, and no WAL would tell.
fn check_pinning(home: &HomeCoverage, findings: &mut Findings) {
    if home.pinning != Pinning::Atomic {
        findings.error(
            SUBJECT,
            format!(
                "the home strategy `{}` copies file by file, and what it copies of a running server cannot be recovered",
                home.strategy
            ),
            "Use the database strategy `postgresql`, or a home strategy that takes atomic snapshots.",
        );
    }
}

/// What makes a server fast by trusting that there is no power cut.
fn check_risks(settings: &Settings, config: &FslevelConfig, findings: &mut Findings) {
    let set = |name: &str| {
        format!("Run as a superuser: `ALTER SYSTEM SET {name} = on; SELECT pg_reload_conf();`.")
    };
    if settings.fsync != "on" {
        findings.error(
            SUBJECT,
            "fsync is off: a snapshot of the server's files may not be recoverable",
            set("fsync"),
        );
    }
    if settings.full_page_writes != "on" && !config.pages_are_written_whole {
        findings.error(
            SUBJECT,
            "full_page_writes is off: a snapshot may hold half of a page that was being written",
            format!(
                "{} Where the file system writes pages whole (ZFS), set `pages-are-written-whole = true`.",
                set("full_page_writes")
            ),
        );
    }
    if settings.synchronous_commit == "off" {
        findings.error(
            SUBJECT,
            "synchronous_commit is off: what was committed last may be missing in a snapshot, and the home directory would be newer",
            set("synchronous_commit"),
        );
    }
    if settings.data_checksums != "on" {
        findings.warning(
            SUBJECT,
            "the server keeps no checksums of its pages: what storage damages travels unseen into every backup",
            "Stop the server once and run `pg_checksums --enable` (PostgreSQL 12 and newer).",
        );
    }
}

fn check_places(
    settings: &Settings,
    config: &FslevelConfig,
    home: &HomeCoverage,
    release: Release,
    findings: &mut Findings,
) {
    let configured = config.data_directory.as_path();
    if !same_folder(configured, &settings.data_directory) {
        findings.error(
            SUBJECT,
            format!(
                "the server has its files in {}, and not in {}",
                settings.data_directory.display(),
                configured.display()
            ),
            "Correct `data-directory`, or `host` and `port`, in the section [database].",
        );
        return;
    }
    let wal = configured.join(if release >= Release::major(10) {
        "pg_wal"
    } else {
        "pg_xlog"
    });
    let places = [("data directory", configured), ("WAL", wal.as_path())];
    for (what, path) in places {
        match path.canonicalize() {
            Ok(real) if home.covers(&real) => {}
            Ok(real) => findings.error(
                SUBJECT,
                format!(
                    "the server's {what} lies outside of what the home strategy takes a snapshot of: {}",
                    real.display()
                ),
                "Move it to the volume of the home directory, or use the strategy `postgresql`.",
            ),
            Err(error) => findings.error(
                SUBJECT,
                format!("cannot see where the server's {what} is: {}: {error}", path.display()),
                "Run as root, or as the account of the server.",
            ),
        }
    }
    let outside = settings
        .config_file
        .as_ref()
        .filter(|file| !home.covers(file));
    if let Some(file) = outside {
        findings.info(
            SUBJECT,
            format!(
                "the server's configuration is no part of the backups: {} and what stands beside it",
                file.display()
            ),
        );
    }
}

fn same_folder(one: &Path, other: &Path) -> bool {
    match (one.canonicalize(), other.canonicalize()) {
        (Ok(one), Ok(other)) => one == other,
        _ => one == other,
    }
}
