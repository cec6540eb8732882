//! The last step of a restore beside its target, and taking back what was not committed.

use diy_backup_core::{Control, Error, ErrorKind, Events, Result};
use serde::Deserialize;

use super::create;
use super::place::Beside;
use super::target;
use crate::facts::Facts;
use crate::failure::Failure;
use crate::psql::Psql;
use crate::release::Release;
use crate::server::Server;
use crate::sql;

/// Gives the new database the target's name. One transaction renames the empty database that has it and the new one,
/// so that at no moment there is none.
pub(super) async fn commit(server: &Server, beside: &Beside, control: &Control) -> Result<()> {
    let failed = |failure: Failure| {
        failure.doing(format!(
            "give the restored database the name {:?}",
            beside.target
        ))
    };
    if beside.replaced.is_some() {
        let mut psql = Psql::open(server, &beside.target, control).await?;
        let empty = target::ensure_empty(&mut psql, &beside.target).await;
        psql.close().await;
        empty?;
    }
    let mut psql = Psql::open(server, &server.config().maintenance_database, control).await?;
    let mut statements = vec!["BEGIN".to_owned()];
    if let Some(replaced) = &beside.replaced {
        statements.push(rename(&beside.target, replaced));
    }
    statements.push(rename(&beside.temporary, &beside.target));
    statements.push("COMMIT".to_owned());
    // As one message: whatever becomes of the connection, the server does all of it or nothing.
    let renamed = psql.execute(&crate::psql::batch(&statements)).await;
    psql.close().await;
    renamed.map_err(failed)
}

/// Gives the new database what an administrator has set for the empty one: privileges and settings. Says what failed.
pub(super) async fn copy_properties(
    server: &Server,
    beside: &Beside,
    control: &Control,
    events: &Events,
) -> Result<()> {
    if beside.replaced.is_none() {
        return Ok(());
    }
    let mut psql = Psql::open(server, &server.config().maintenance_database, control).await?;
    let copied = async {
        for statement in property_statements(&mut psql, beside).await? {
            match psql.execute(&statement).await {
                Ok(()) => {}
                Err(Failure::Refused(refusal)) => events.warning(format!(
                    "a privilege or setting of the empty database {:?} could not be carried over: {refusal}",
                    beside.target
                )),
                Err(lost) => return Err(lost),
            }
        }
        Ok(())
    };
    let copied = copied.await;
    psql.close().await;
    copied.map_err(|lost: Failure| {
        lost.doing("carry over privileges and settings of the empty database")
    })
}

async fn property_statements(
    psql: &mut Psql,
    beside: &Beside,
) -> std::result::Result<Vec<String>, Failure> {
    #[derive(Deserialize)]
    struct Grant {
        privilege: String,
        grantable: bool,
        grantee: Option<String>,
    }
    #[derive(Deserialize)]
    struct Setting {
        name: String,
        value: String,
        role: Option<String>,
    }
    let name = sql::literal(&beside.target);
    let new = sql::identifier(&beside.temporary);
    let grants: Vec<Grant> = psql
        .query(&format!(
            "SELECT a.privilege_type AS privilege, a.is_grantable AS grantable, g.rolname AS grantee \
             FROM pg_database d CROSS JOIN LATERAL aclexplode(d.datacl) a LEFT JOIN pg_roles g ON g.oid = a.grantee \
             WHERE d.datname = {name} AND a.grantee <> d.datdba"
        ))
        .await?;
    let settings: Vec<Setting> = psql
        .query(&format!(
            "SELECT split_part(s.setting, '=', 1) AS name, substr(s.setting, strpos(s.setting, '=') + 1) AS value, \
               s.role FROM (SELECT unnest(r.setconfig) AS setting, o.rolname AS role FROM pg_db_role_setting r \
               JOIN pg_database d ON d.oid = r.setdatabase LEFT JOIN pg_roles o ON o.oid = r.setrole \
               WHERE d.datname = {name}) AS s WHERE s.setting ~ '^[A-Za-z_][A-Za-z0-9_.]*='"
        ))
        .await?;
    let has_own_privileges = target_has_privileges(psql, &name).await?;
    let mut statements = Vec::new();
    if has_own_privileges {
        statements.push(format!("REVOKE ALL ON DATABASE {new} FROM PUBLIC"));
    }
    for grant in grants {
        let grantee = grant
            .grantee
            .map_or_else(|| "PUBLIC".to_owned(), |role| sql::identifier(&role));
        let option = if grant.grantable {
            " WITH GRANT OPTION"
        } else {
            ""
        };
        statements.push(format!(
            "GRANT {} ON DATABASE {new} TO {grantee}{option}",
            grant.privilege
        ));
    }
    for Setting { name, value, role } in settings {
        // The server's own form of a list cannot be told from a text; taken from the session, it stays what it is.
        statements.push(format!(
            "SELECT pg_catalog.set_config({}, {}, false)",
            sql::literal(&name),
            sql::literal(&value)
        ));
        let whose = match role {
            Some(role) => format!("ROLE {} IN DATABASE {new}", sql::identifier(&role)),
            None => format!("DATABASE {new}"),
        };
        statements.push(format!("ALTER {whose} SET {name} FROM CURRENT"));
    }
    Ok(statements)
}

async fn target_has_privileges(psql: &mut Psql, name: &str) -> std::result::Result<bool, Failure> {
    #[derive(Deserialize)]
    struct Own {
        own: bool,
    }
    let sql = format!("SELECT datacl IS NOT NULL AS own FROM pg_database WHERE datname = {name}");
    Ok(psql
        .query::<Own>(&sql)
        .await?
        .pop()
        .is_some_and(|own| own.own))
}

/// Drops what a restore has left beside its target. Does nothing for what is gone already.
pub(super) async fn take_back(server: &Server, beside: &Beside, control: &Control) -> Result<()> {
    let mut psql = Psql::open(server, &server.config().maintenance_database, control).await?;
    let dropped = drop_all(&mut psql, server, beside, control).await;
    psql.close().await;
    dropped
}

async fn drop_all(
    psql: &mut Psql,
    server: &Server,
    beside: &Beside,
    control: &Control,
) -> Result<()> {
    let release = Facts::of(psql)
        .await
        .map_err(|failure| failure.doing("look at the server"))?
        .release();
    drop_database(psql, release, &beside.temporary).await?;
    drop_replaced(psql, server, beside, control).await
}

/// Drops the database that was empty when its name was given to the restored one.
pub(super) async fn drop_replaced(
    psql: &mut Psql,
    server: &Server,
    beside: &Beside,
    control: &Control,
) -> Result<()> {
    let Some(replaced) = &beside.replaced else {
        return Ok(());
    };
    let there = target::exists(psql, replaced).await;
    if !there.map_err(|failure| failure.doing("list the databases"))? {
        return Ok(());
    }
    let mut inside = Psql::open(server, replaced, control).await?;
    let empty = target::ensure_empty(&mut inside, replaced).await;
    inside.close().await;
    empty?;
    // Without force: nobody had a reason to be connected to it.
    psql.execute(&format!(
        "DROP DATABASE IF EXISTS {}",
        sql::identifier(replaced)
    ))
    .await
    .map_err(|failure| failure.doing(format!("drop the empty database {replaced:?}")))
}

async fn drop_database(psql: &mut Psql, release: Release, name: &str) -> Result<()> {
    create::end_creation(psql, name)
        .await
        .map_err(|failure| failure.doing("end the creation of a database"))?;
    let quoted = sql::identifier(name);
    let statement = if release >= Release::major(13) {
        format!("DROP DATABASE IF EXISTS {quoted} WITH (FORCE)")
    } else {
        // A pg_restore that was killed may have left its sessions for a moment.
        let sessions = format!(
            "SELECT pg_terminate_backend(pid) FROM pg_stat_activity WHERE datname = {} AND usename = current_user",
            sql::literal(name)
        );
        psql.execute(&sessions)
            .await
            .map_err(|failure| failure.doing("end the sessions of a restore"))?;
        format!("DROP DATABASE IF EXISTS {quoted}")
    };
    psql.execute(&statement).await.map_err(|failure| {
        failure
            .doing(format!("drop the unfinished database {name:?}"))
            .with_hint(format!("Drop it by hand: `DROP DATABASE {quoted};`."))
    })
}

/// That nothing is left to commit.
pub(super) fn nothing_to_commit(target: &str) -> Error {
    let message = format!(
        "the restore into the database {target:?} was not finished, and nothing of it is left"
    );
    Error::new(ErrorKind::Database, message)
        .with_hint("The database is as it was before: restore the backup once more.")
}

fn rename(from: &str, to: &str) -> String {
    format!(
        "ALTER DATABASE {} RENAME TO {}",
        sql::identifier(from),
        sql::identifier(to)
    )
}
