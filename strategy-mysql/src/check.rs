//! What can be known to fail before a backup or a restore.

use diy_backup_core::{CheckContext, Error, ErrorKind, Findings, Inventory, Purpose, Result};

use crate::client::Client;
use crate::config::MysqlConfig;
use crate::facts::{self, Database, Facts, Table};
use crate::failure::Failure;
use crate::grants::{self, Grants};
use crate::instance;
use crate::option_file::Hideout;
use crate::restore;
use crate::server::Server;
use crate::sql;
use crate::tools::Release;

const SUBJECT: &str = "database";

/// What a dump needs for the whole database. What an account may not see is missing in a dump without an error.
const DUMPS: [&str; 4] = ["SELECT", "SHOW VIEW", "TRIGGER", "EVENT"];
/// What a dump inside the lock window needs beside it.
const LOCKS: &str = "LOCK TABLES";

/// The check of the strategy.
pub(crate) async fn check(config: &MysqlConfig, cx: &CheckContext) -> Result<Findings> {
    let mut findings = Findings::new();
    let (server, facts) = match Server::reach(config, Hideout::Temporary, &cx.control).await {
        Ok(reached) => reached,
        Err(error) if error.kind() == ErrorKind::Cancelled => return Err(error),
        Err(error) => {
            findings.failure(SUBJECT, &error);
            return Ok(findings);
        }
    };
    look_at_releases(&server, &facts, &mut findings);
    look_at_role(&facts, &mut findings);
    let client = server.client(&cx.control);
    let tools = server.release();
    look_at_database(&client, config, &facts, tools, cx, &mut findings)
        .await
        .map_err(|failure| failure.doing("check the database"))?;
    if cx.purpose == Purpose::Everything {
        let missing = restore::missing_grants(&client, config, facts.release.flavour)
            .await
            .map_err(|failure| failure.doing("look up what the account may do"))?;
        if let Some((message, fix)) = missing {
            findings.warning(SUBJECT, format!("a restore would fail: {message}"), fix);
        }
    }
    Ok(findings)
}

/// Fails for a server that is too old.
pub(crate) fn ensure_supported(server: Release) -> Result<()> {
    let oldest = Release::oldest(server.flavour);
    if !server.is_older_than(oldest) {
        return Ok(());
    }
    let message = format!("the server is of {server}, which is older than {oldest}");
    Err(Error::new(ErrorKind::Check, message)
        .with_hint(format!("Upgrade the server to {oldest} or newer.")))
}

pub(crate) fn no_such_database(name: &str) -> Error {
    let message = format!("there is no database {name:?}, or the account may not see it");
    Error::new(ErrorKind::Check, message).with_hint(
        "Correct `name` in the section [database]; `SHOW DATABASES;` lists those there are.",
    )
}

fn look_at_releases(server: &Server, facts: &Facts, findings: &mut Findings) {
    let client = server.release();
    findings.info(
        SUBJECT,
        format!(
            "server {} ({}), tools of {client}",
            facts.release, facts.version
        ),
    );
    if let Err(error) = ensure_supported(facts.release) {
        findings.failure(SUBJECT, &error);
    }
    let package = facts.release.flavour.package();
    if client.flavour != facts.release.flavour {
        findings.warning(
            SUBJECT,
            format!("the tools are of {client}, and the server of {}", facts.release),
            format!("Install the tools of the server's maker (on Debian and Ubuntu: `apt-get install {package}`), or name their folder with `tools`."),
        );
    } else if client.is_older_than(facts.release) {
        findings.warning(
            SUBJECT,
            format!("the tools are of {client}, which is older than the server's {}: they may not know all that there is to dump", facts.release),
            "Install tools as new as the server, and name their folder with `tools`.",
        );
    }
}

fn look_at_role(facts: &Facts, findings: &mut Findings) {
    if facts.read_only {
        findings.warning(
            SUBJECT,
            "the server is read-only, so probably a replica: what has not reached it when the instance is locked will not be in the dump",
            "Let `host` and `port` lead to the primary server.",
        );
    }
}

async fn look_at_database(
    client: &Client,
    config: &MysqlConfig,
    facts: &Facts,
    tools: Release,
    cx: &CheckContext,
    findings: &mut Findings,
) -> std::result::Result<(), Failure> {
    let name = &config.name;
    let Some(database) = Database::of(client, name).await? else {
        findings.failure(SUBJECT, &no_such_database(name));
        return Ok(());
    };
    findings.info(
        SUBJECT,
        format!(
            "{name:?} has the character set {} and the collation {}",
            database.charset, database.collation
        ),
    );
    let tables = Table::all(client, name).await?;
    let unpinnable = facts::unpinnable(&tables);
    look_at_grants(client, config, facts, unpinnable.is_some(), findings).await?;
    if let Some(reason) = unpinnable {
        findings.warning(
            SUBJECT,
            format!("the whole dump will be made inside the lock window: {reason}"),
            conversions(name, &tables),
        );
    }
    look_at_routines(client, config, facts, findings).await?;
    if tools.flavour != facts.release.flavour {
        look_for_generated_columns(client, name, tools, findings).await?;
    }
    look_at_instance(client, name, &tables, findings).await?;
    let bytes = facts::dump_bytes(&tables);
    findings.inventory = Inventory::new()
        .with_tables(instance::count(&tables))
        .with_bytes(bytes);
    findings.staged_bytes += bytes;
    findings.staged_files += 1;
    findings.need_space(cx.staging.database(), bytes, 1, "the database dump");
    Ok(())
}

/// What tells Bitbucket's database from another one, and what the instance says of itself there.
async fn look_at_instance(
    client: &Client,
    database: &str,
    tables: &[Table],
    findings: &mut Findings,
) -> std::result::Result<(), Failure> {
    if instance::count(tables) == 0 {
        findings.failure(SUBJECT, &instance::no_tables(database));
        return Ok(());
    }
    if !instance::is_bitbuckets(tables) {
        findings.warning(
            SUBJECT,
            format!("the database {database:?} has none of the tables that Bitbucket's has, such as `repository`"),
            "Correct `name` in the section [database], unless this is the right one.",
        );
    }
    if let Some(lock) = instance::change_log_lock(client, database, tables).await? {
        let (message, fix) = lock.of_source();
        findings.error(SUBJECT, message, fix);
    }
    let stores = instance::data_stores(client, database, tables).await?;
    findings.data_stores = stores.into_iter().map(Into::into).collect();
    Ok(())
}

/// MariaDB's dump program gives them values in a dump of MySQL, which MySQL then refuses.
async fn look_for_generated_columns(
    client: &Client,
    database: &str,
    tools: Release,
    findings: &mut Findings,
) -> std::result::Result<(), Failure> {
    let sql = format!(
        "SELECT JSON_QUOTE(CONCAT(TABLE_NAME, '.', COLUMN_NAME)) FROM information_schema.COLUMNS \
         WHERE TABLE_SCHEMA = {} AND EXTRA LIKE '% GENERATED' LIMIT 1;",
        sql::literal(database)
    );
    let columns: Vec<String> = client.rows(&sql).await?;
    if let Some(column) = columns.first() {
        findings.error(
            SUBJECT,
            format!("the column {column:?} is generated, and a dump of it by the tools of {tools} may not restore"),
            "Install the tools of the server's maker, and name their folder with `tools`.",
        );
    }
    Ok(())
}

fn conversions(database: &str, tables: &[Table]) -> String {
    let statements: Vec<String> = tables
        .iter()
        .filter(|table| table.is_unpinnable())
        .take(20)
        .map(|table| {
            format!(
                "ALTER TABLE {} ENGINE = InnoDB;",
                sql::qualified(database, &table.name)
            )
        })
        .collect();
    format!(
        "Convert them while Bitbucket is stopped: `{}`",
        statements.join(" ")
    )
}

async fn look_at_grants(
    client: &Client,
    config: &MysqlConfig,
    facts: &Facts,
    needs_locks: bool,
    findings: &mut Findings,
) -> std::result::Result<(), Failure> {
    let grants = Grants::of(client, facts.release.flavour).await?;
    let mut needed = DUMPS.to_vec();
    if needs_locks {
        needed.push(LOCKS);
    }
    let missing = grants.missing(&config.name, &needed);
    if missing.is_empty() {
        return Ok(());
    }
    let account = grants::account(client).await?;
    let pattern = sql::grant_pattern(&config.name);
    findings.error(
        SUBJECT,
        format!(
            "the account lacks {} for the whole database, so the dump would fail or lack what the account does not see",
            missing.join(", ")
        ),
        format!(
            "Run as an administrator: `{}`",
            grants::statement(&missing, &pattern, &account)
        ),
    );
    Ok(())
}

/// A routine whose body the account does not see ends the dump with an error.
async fn look_at_routines(
    client: &Client,
    config: &MysqlConfig,
    facts: &Facts,
    findings: &mut Findings,
) -> std::result::Result<(), Failure> {
    use crate::tools::Flavour;

    let sql = format!(
        "SELECT JSON_QUOTE(ROUTINE_NAME) FROM information_schema.ROUTINES \
         WHERE ROUTINE_SCHEMA = {} AND ROUTINE_DEFINITION IS NULL AND ROUTINE_BODY = 'SQL';",
        sql::literal(&config.name)
    );
    let hidden: Vec<String> = client.rows(&sql).await?;
    let Some(first) = hidden.first() else {
        return Ok(());
    };
    let account = grants::account(client).await?;
    let grant = match facts.release.flavour {
        Flavour::MySql => format!("GRANT SHOW_ROUTINE ON *.* TO {account};"),
        Flavour::MariaDb => format!("GRANT SELECT ON `mysql`.`proc` TO {account};"),
    };
    findings.error(
        SUBJECT,
        format!("the account does not see the body of {} routines, {first:?} among them, so the dump would fail", hidden.len()),
        format!("Run as an administrator: `{grant}`"),
    );
    Ok(())
}
