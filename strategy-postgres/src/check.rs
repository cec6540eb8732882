//! What can be known to fail before a backup or a restore.

use diy_backup_core::{CheckContext, Error, ErrorKind, Findings, Inventory, Purpose, Result};
use serde::Deserialize;

use crate::config::PostgresConfig;
use crate::facts::{self, Facts, Unreadable};
use crate::failure::Failure;
use crate::instance;
use crate::psql::Psql;
use crate::release::Release;
use crate::server::{Server, tool_release};
use crate::sql;

const SUBJECT: &str = "database";

/// Why a hot standby's state is not pinned.
pub(crate) const STANDBY: &str =
    "the server is a hot standby, where replication may end the pinning transaction at any time";

/// Files of a dump beside one for each table.
const OTHER_FILES: u64 = 2;

/// The check of the strategy `postgresql`.
pub(crate) async fn check(config: &PostgresConfig, cx: &CheckContext) -> Result<Findings> {
    let mut findings = Findings::new();
    let Some(client) = check_tools(config, cx, &mut findings).await? else {
        return Ok(findings);
    };
    let server = match Server::reach(config).await {
        Ok(server) => server,
        Err(error) => {
            findings.failure(SUBJECT, &error);
            return Ok(findings);
        }
    };
    match Psql::open(&server, &config.name, &cx.control).await {
        Ok(mut psql) => {
            let looked = look(&mut psql, config, client, cx, &mut findings).await;
            psql.close().await;
            looked.map_err(|failure| failure.doing("check the database"))?;
        }
        Err(error) if error.kind() == ErrorKind::Cancelled => return Err(error),
        Err(error) => findings.failure(SUBJECT, &error),
    }
    if cx.purpose == Purpose::Everything {
        check_restore(&server, cx, &mut findings).await?;
    }
    Ok(findings)
}

/// That `tool` cannot dump a server that is newer than itself.
pub(crate) fn client_too_old(tool: &str, client: Release, server: Release) -> Error {
    let message = format!(
        "{tool} is of PostgreSQL {client} and the server of {server}: it refuses newer servers"
    );
    Error::new(ErrorKind::Check, message).with_hint(format!(
        "Install the client tools of PostgreSQL {server} or newer (on Debian and Ubuntu: `apt-get install postgresql-client-{server}`) and name their folder with `tools`."
    ))
}

/// The release of `pg_dump`, unless a tool is missing.
async fn check_tools(
    config: &PostgresConfig,
    cx: &CheckContext,
    findings: &mut Findings,
) -> Result<Option<Release>> {
    let mut releases = Vec::new();
    for program in ["psql", "pg_restore", "pg_dump"] {
        match tool_release(config, program, &cx.control).await {
            Ok(release) if release < Release::OLDEST_CLIENT => findings.error(
                program,
                format!("{program} is of PostgreSQL {release}, which is too old"),
                format!(
                    "Install the client tools of PostgreSQL {} or newer.",
                    Release::OLDEST_CLIENT
                ),
            ),
            Ok(release) => releases.push(release),
            Err(error) if error.kind() == ErrorKind::Cancelled => return Err(error),
            Err(error) => findings.failure(program, &error),
        }
    }
    if let [psql, pg_restore, pg_dump] = releases[..] {
        if psql != pg_dump || pg_restore != pg_dump {
            findings.warning(
                SUBJECT,
                format!("the tools are of different releases: psql {psql}, pg_restore {pg_restore}, pg_dump {pg_dump}"),
                "Name the folder of one release with `tools`.",
            );
        }
        return Ok(Some(pg_dump));
    }
    Ok(None)
}

async fn look(
    psql: &mut Psql,
    config: &PostgresConfig,
    client: Release,
    cx: &CheckContext,
    findings: &mut Findings,
) -> std::result::Result<(), Failure> {
    let facts = Facts::of(psql).await?;
    let server = facts.release();
    findings.info(
        SUBJECT,
        format!(
            "PostgreSQL {} with {} in {:?}, pg_dump of {client}",
            facts.server_version, facts.encoding, config.name
        ),
    );
    if client < server {
        findings.failure(SUBJECT, &client_too_old("pg_dump", client, server));
    }
    if facts.in_recovery {
        findings.warning(
            SUBJECT,
            format!("the whole dump will be made inside the lock window: {STANDBY}. What has not reached it yet will not be in the dump"),
            "Let `host` and `port` lead to the primary server.",
        );
    } else {
        look_for_pooler(psql, &facts, findings).await?;
    }
    look_at_connections(config, &facts, findings);
    let unreadable = facts::unreadable(psql, server).await?;
    if !unreadable.is_empty() {
        findings.error(
            SUBJECT,
            unreadable_message(&unreadable),
            grants(&unreadable, config, server),
        );
    }
    let bytes = facts::dump_bytes(psql).await?;
    let tables = facts::Table::all(psql).await?;
    findings.inventory = Inventory::new()
        .with_tables(instance::count(&tables))
        .with_bytes(bytes);
    look_at_instance(psql, &config.name, &tables, findings).await?;
    if cx.purpose == Purpose::Everything && config.owner.is_none() && !facts.superuser {
        look_at_owners(psql, config, &tables, findings).await?;
    }
    let files = OTHER_FILES + tables.len() as u64;
    findings.staged_bytes += bytes;
    findings.staged_files += files;
    findings.need_space(cx.staging.database(), bytes, files, "the database dump");
    Ok(())
}

/// What tells Bitbucket's database from another one, and what the instance says of itself there.
pub(crate) async fn look_at_instance(
    psql: &mut Psql,
    database: &str,
    tables: &[facts::Table],
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
    if let Some(lock) = instance::change_log_lock(psql, tables).await? {
        let (message, fix) = lock.of_source();
        findings.error(SUBJECT, message, fix);
    }
    let stores = instance::data_stores(psql, tables).await?;
    findings.data_stores = stores.into_iter().map(Into::into).collect();
    Ok(())
}

/// A restore gives everything back to whom it belonged, which takes membership in those roles.
async fn look_at_owners(
    psql: &mut Psql,
    config: &PostgresConfig,
    tables: &[facts::Table],
    findings: &mut Findings,
) -> std::result::Result<(), Failure> {
    #[derive(Deserialize)]
    struct Role {
        name: String,
    }
    let foreign: Vec<Role> = psql
        .query("SELECT rolname AS name FROM pg_roles WHERE NOT pg_has_role(oid, 'MEMBER')")
        .await?;
    let owned = |role: &&Role| {
        let mut tables = tables.iter().filter(|table| !table.of_extension);
        tables.any(|table| table.owner == role.name)
    };
    let foreign: Vec<&str> = foreign
        .iter()
        .filter(owned)
        .map(|role| role.name.as_str())
        .collect();
    if foreign.is_empty() {
        return Ok(());
    }
    let login = sql::identifier(&config.username);
    let grants: Vec<String> = foreign
        .iter()
        .map(|owner| format!("GRANT {} TO {login};", sql::identifier(owner)))
        .collect();
    findings.warning(
        SUBJECT,
        format!(
            "a restore with this login would fail: it may not give back what belongs to {}",
            foreign.join(", ")
        ),
        format!(
            "Restore with the owner or a superuser as `username`, or run as a superuser: `{}`",
            grants.join(" ")
        ),
    );
    Ok(())
}

/// A pooler that hands out server sessions for single transactions forgets settings, or gives another backend.
async fn look_for_pooler(
    psql: &mut Psql,
    facts: &Facts,
    findings: &mut Findings,
) -> std::result::Result<(), Failure> {
    #[derive(Deserialize)]
    struct Session {
        backend: i32,
        kept: Option<String>,
    }
    let mark = format!("{:08x}", fastrand::u32(..));
    psql.execute(&format!(
        "SELECT set_config('diy_backup.session', '{mark}', false)"
    ))
    .await?;
    let session: Session = psql
        .one("SELECT pg_backend_pid() AS backend, current_setting('diy_backup.session', true) AS kept")
        .await?;
    if session.backend != facts.backend || session.kept.as_deref() != Some(mark.as_str()) {
        findings.warning(
            SUBJECT,
            "a connection pooler is in between, which ends sessions between transactions and may end the pinned one",
            "Let `host` and `port` lead to the server itself.",
        );
    }
    Ok(())
}

fn look_at_connections(config: &PostgresConfig, facts: &Facts, findings: &mut Findings) {
    // The dump's workers and leader, and the pin.
    let needed = i64::from(config.jobs.get()) + 2;
    // Our own connection is among those in use, and will be free again.
    let free = facts.free_connections.map(|free| free + 1);
    if let Some(free) = free.filter(|&free| free < needed && !facts.superuser) {
        findings.warning(
            SUBJECT,
            format!("a dump with {} jobs needs {needed} connections, and {} are free now", config.jobs, free.max(0)),
            "Lower `jobs`, or raise max_connections or the connection limit of the role or database.",
        );
    }
}

fn unreadable_message(unreadable: &[Unreadable]) -> String {
    const SHOWN: usize = 5;
    let names: Vec<String> = unreadable
        .iter()
        .take(SHOWN)
        .map(|object| match object.kind.as_str() {
            "SCHEMA" => format!("schema {}", object.name),
            "LARGE OBJECT" => format!("large object {}", object.name),
            kind => format!("{} {}.{}", kind.to_lowercase(), object.schema, object.name),
        })
        .collect();
    let rest = unreadable.len().saturating_sub(SHOWN);
    let more = if rest > 0 {
        format!(" and {rest} more")
    } else {
        String::new()
    };
    format!(
        "the role may not read all of the database, so pg_dump would fail: {}{more}",
        names.join(", ")
    )
}

fn grants(unreadable: &[Unreadable], config: &PostgresConfig, server: Release) -> String {
    let role = sql::identifier(&config.username);
    let has = |kind: &str| unreadable.iter().any(|object| object.kind == kind);
    let mut statements = Vec::new();
    if server >= Release::major(14) && (has("SCHEMA") || has("TABLE") || has("SEQUENCE")) {
        statements.push(format!("GRANT pg_read_all_data TO {role};"));
    } else {
        for object in unreadable {
            let name = sql::qualified(&object.schema, &object.name);
            match object.kind.as_str() {
                "SCHEMA" => statements.push(format!(
                    "GRANT USAGE ON SCHEMA {} TO {role};",
                    sql::identifier(&object.name)
                )),
                "TABLE" => statements.push(format!("GRANT SELECT ON {name} TO {role};")),
                "SEQUENCE" => {
                    statements.push(format!("GRANT SELECT ON SEQUENCE {name} TO {role};"));
                }
                _ => {}
            }
        }
    }
    let large_objects = unreadable
        .iter()
        .filter(|object| object.kind == "LARGE OBJECT");
    statements.extend(
        large_objects
            .map(|object| format!("GRANT SELECT ON LARGE OBJECT {} TO {role};", object.name)),
    );
    statements.truncate(20);
    format!(
        "Run as the owner or a superuser: `{}` (row security needs `ALTER ROLE {role} BYPASSRLS;`).",
        statements.join(" ")
    )
}

/// What a restore would need of the role; a backup does without.
async fn check_restore(server: &Server, cx: &CheckContext, findings: &mut Findings) -> Result<()> {
    #[derive(Deserialize)]
    struct Rights {
        creates: bool,
        owner_exists: bool,
    }
    let config = server.config();
    let database = &config.maintenance_database;
    let role = sql::identifier(&config.username);
    let mut psql = match Psql::open(server, database, &cx.control).await {
        Ok(psql) => psql,
        Err(error) if error.kind() == ErrorKind::Cancelled => return Err(error),
        Err(error) => {
            let fix = error.hint().unwrap_or_default().to_owned();
            let message = diy_backup_core::error_chain(&error);
            findings.warning(SUBJECT, format!("a restore would fail: {message}"), fix);
            return Ok(());
        }
    };
    let owner = config.owner.as_ref().unwrap_or(&config.username);
    let sql = format!(
        "SELECT rolcreatedb OR rolsuper AS creates, \
         EXISTS (SELECT 1 FROM pg_roles WHERE rolname = {}) AS owner_exists \
         FROM pg_roles WHERE rolname = current_user",
        sql::literal(owner)
    );
    let rights: std::result::Result<Rights, Failure> = psql.one(&sql).await;
    psql.close().await;
    let rights = rights.map_err(|failure| failure.doing("look up what the role may do"))?;
    if !rights.creates {
        findings.warning(
            SUBJECT,
            format!("{} may not create databases: a restore needs an empty database to be there, and works with one connection", config.username),
            format!("Run as a superuser: `ALTER ROLE {role} CREATEDB;`, or create the empty database before a restore."),
        );
    }
    if !rights.owner_exists {
        let fix = format!(
            "Run as a superuser: `CREATE ROLE {} LOGIN;`.",
            sql::identifier(owner)
        );
        findings.warning(
            SUBJECT,
            format!("a restore would fail: the role {owner:?} does not exist"),
            fix,
        );
    }
    Ok(())
}
