//! What can be known to fail before a backup or a restore.

use diy_backup_core::{CheckContext, ErrorKind, Findings, Inventory, Purpose, Result};

use crate::config::{Compression, MssqlConfig};
use crate::facts::{self, DatabaseFacts, Facts};
use crate::failure::{CANNOT_OPEN_DEVICE, Failure, PERMISSION_DENIED};
use crate::header::Header;
use crate::shared::Probe;
use crate::sql;
use crate::sqlcmd::Server;

const SUBJECT: &str = "database";

/// The files of a backup: a full and a differential one.
const FILES: u64 = 2;

/// The check of the strategy `mssql`.
pub(crate) async fn check(config: &MssqlConfig, cx: &CheckContext) -> Result<Findings> {
    let mut findings = Findings::new();
    let server = match Server::reach_for_now(config, &cx.control).await {
        Ok(server) => server,
        Err(error) if error.kind() == ErrorKind::Cancelled => return Err(error),
        Err(error) => {
            findings.failure(SUBJECT, &error);
            return Ok(findings);
        }
    };
    let facts = match Facts::of(&server).await {
        Ok(facts) => facts,
        Err(failure) => {
            let error = failure.doing(format!("log in to the server {}", config.host));
            if error.kind() == ErrorKind::Cancelled {
                return Err(error);
            }
            findings.failure(SUBJECT, &error);
            return Ok(findings);
        }
    };
    findings.info(
        SUBJECT,
        format!(
            "SQL Server {} ({}), {}",
            facts.version,
            facts.edition,
            server.flavour()
        ),
    );
    if let Err(error) = facts.ensure_supported() {
        findings.failure(SUBJECT, &error);
        return Ok(findings);
    }
    if config.compression == Compression::Auto && !facts.compresses(config.compression) {
        findings.info(
            SUBJECT,
            format!("{} does not compress backups", facts.edition),
        );
    }
    check_rights(&facts, &mut findings);
    check_folder(&server, &facts, &mut findings).await?;
    check_database(&server, &facts, cx, &mut findings).await?;
    if cx.purpose == Purpose::Everything && !facts.alters_databases {
        findings.warning(
            SUBJECT,
            format!("a restore cannot take the place of an empty database: the login {:?} may not rename it", facts.login),
            format!("Run as an administrator: {}, or restore to a `name` that does not exist.", add_to_dbcreator(&facts)),
        );
    }
    Ok(findings)
}

fn add_to_dbcreator(facts: &Facts) -> String {
    format!(
        "`ALTER SERVER ROLE dbcreator ADD MEMBER {};`",
        sql::identifier(&facts.login)
    )
}

/// Even to read the header of a backup, the server wants the right to create databases.
fn check_rights(facts: &Facts, findings: &mut Findings) {
    if !facts.creates_databases {
        findings.error(
            SUBJECT,
            format!("the login {:?} may not create databases, which SQL Server wants of whoever verifies or restores a backup", facts.login),
            format!(
                "Run as an administrator: {}, or for backups alone `GRANT CREATE ANY DATABASE TO {};`.",
                add_to_dbcreator(facts),
                sql::identifier(&facts.login)
            ),
        );
    }
}

/// Looks through the server at a file that we have written.
async fn check_folder(server: &Server, facts: &Facts, findings: &mut Findings) -> Result<()> {
    let config = server.config();
    let subject = config.directory.as_path().display().to_string();
    let probe = match Probe::put(config) {
        Ok(probe) => probe,
        Err(error) => {
            findings.error(
                subject,
                format!("the folder that the server and this program share cannot be written to: {error}"),
                "Create it or mount it, let the account of this program and that of the SQL Server service write in it, and \
                 name it with `directory` and `server-directory`.",
            );
            return Ok(());
        }
    };
    if !facts.creates_databases {
        // The server would refuse to look.
        return Ok(());
    }
    match Header::of(server, probe.servers()).await {
        Err(Failure::Refused(refusal)) if refusal.number == CANNOT_OPEN_DEVICE => findings.error(
            subject,
            format!("the server cannot read what this program writes there: it looks for {:?} ({refusal})", probe.servers()),
            "`server-directory` must be this folder as the server sees it, and the account of the SQL Server service must be \
             able to read and write in it (on Linux: `chgrp mssql` and `chmod 2770`).",
        ),
        Err(Failure::Refused(refusal)) if refusal.number == PERMISSION_DENIED => findings.error(
            SUBJECT,
            format!("the server does not let the login look at backups: {refusal}"),
            format!("Run as an administrator: {}.", add_to_dbcreator(facts)),
        ),
        // It has read the file, and found no backup in it.
        Ok(_) | Err(Failure::Refused(_)) => {}
        Err(lost) => return Err(lost.doing("look at the shared folder")),
    }
    Ok(())
}

async fn check_database(
    server: &Server,
    facts: &Facts,
    cx: &CheckContext,
    findings: &mut Findings,
) -> Result<()> {
    let name = &server.config().name;
    let looked = DatabaseFacts::of(server, name).await;
    let Some(database) = looked.map_err(|failure| failure.doing("look at the database"))? else {
        findings.error(
            SUBJECT,
            format!("there is no database {name:?}, or the login may not see it"),
            "Correct `name` in the section [database].",
        );
        return Ok(());
    };
    if !database.is_online() {
        findings.error(
            SUBJECT,
            format!("the database {name:?} is {}", database.state),
            "Bring it online: the server's error log says what is wrong with it.",
        );
        return Ok(());
    }
    let login = sql::identifier(&facts.login);
    if !database.rights.enter || !database.rights.back_up {
        findings.error(
            SUBJECT,
            format!("the login {:?} may not back up {name:?}", facts.login),
            format!(
                "Run as an administrator: `USE {}; CREATE USER {login} FOR LOGIN {login}; ALTER ROLE db_backupoperator ADD MEMBER {login};` \
                 (without the CREATE USER if there is one).",
                sql::identifier(name)
            ),
        );
        return Ok(());
    }
    if database.access != "MULTI_USER" {
        findings.warning(
            SUBJECT,
            format!(
                "the database {name:?} is in the mode {}, and so will be what is restored",
                database.access
            ),
            format!("`ALTER DATABASE {} SET MULTI_USER;`", sql::identifier(name)),
        );
    }
    if database.encrypted {
        findings.warning(
            SUBJECT,
            format!("the database {name:?} is encrypted (TDE): its backups restore only where its certificate is"),
            "Keep a copy of the certificate and its private key apart from the server: `BACKUP CERTIFICATE … WITH PRIVATE KEY`.",
        );
    }
    findings.info(
        SUBJECT,
        format!(
            "recovery model {}, which makes no difference to full and differential backups",
            database.recovery_model
        ),
    );
    let used = facts::used_bytes(server, name).await;
    let bytes = used.map_err(|failure| failure.doing("measure the database"))?;
    findings.inventory = Inventory::new().with_bytes(bytes);
    // Whoever may not see definitions is shown no tables, which says nothing of what there is.
    if database.rights.see_everything {
        let tables = facts::tables(server, name).await;
        let tables = tables.map_err(|failure| failure.doing("count the tables"))?;
        findings.inventory = findings.inventory.with_tables(tables);
        if tables == 0 {
            findings.failure(SUBJECT, &facts::no_tables(name));
        }
    }
    findings.staged_bytes += bytes;
    findings.staged_files += FILES;
    findings.need_space(
        cx.staging.database(),
        bytes,
        FILES,
        "the backup of the database",
    );
    let directory = server.config().directory.as_path();
    findings.need_space(
        directory,
        bytes,
        FILES,
        "the server's backup of the database",
    );
    Ok(())
}
