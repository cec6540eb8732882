//! The database that a restore is to fill: whether it is there, whether it is empty, who may do what.

use std::collections::BTreeSet;

use diy_backup_core::{Error, ErrorKind, Result};
use serde::Deserialize;

use super::place::Place;
use crate::config::PostgresConfig;
use crate::failure::Failure;
use crate::psql::Psql;
use crate::release::Release;
use crate::sql;

/// What the login may do, and what there is of the target.
#[derive(Debug, Clone)]
pub(super) struct Standing {
    pub(super) login: Login,
    /// The target, if it is there.
    pub(super) target: Option<TargetDatabase>,
    roles: Vec<Role>,
    extensions: BTreeSet<String>,
    tablespaces: BTreeSet<String>,
}

/// The role that is logged in.
#[derive(Debug, Clone, Deserialize)]
pub(super) struct Login {
    pub(super) creates_databases: bool,
    pub(super) superuser: bool,
}

/// A database that is there already.
#[derive(Debug, Clone, Deserialize)]
pub(super) struct TargetDatabase {
    pub(super) owner: String,
    /// Whether somebody has said who may use it.
    pub(super) has_privileges: bool,
    /// Whether somebody has changed its settings.
    pub(super) has_settings: bool,
}

/// A role of the server.
#[derive(Debug, Clone, Deserialize)]
pub(super) struct Role {
    name: String,
    /// Whether the login is it, or may act as it.
    pub(super) usable: bool,
    pub(super) superuser: bool,
}

#[derive(Debug, Deserialize)]
struct Name {
    name: String,
}

impl Standing {
    /// Looks from the maintenance database at the target and at the server.
    pub(super) async fn of(
        psql: &mut Psql,
        release: Release,
        target: &str,
    ) -> std::result::Result<Self, Failure> {
        // Whoever is a member may still be kept from acting as the role, since 16.
        let membership = if release >= Release::major(16) {
            "SET"
        } else {
            "MEMBER"
        };
        let login = psql
            .one(
                "SELECT rolcreatedb OR rolsuper AS creates_databases, rolsuper AS superuser \
                 FROM pg_roles WHERE rolname = current_user",
            )
            .await?;
        let target = psql
            .query(&format!(
                "SELECT pg_get_userbyid(d.datdba) AS owner, d.datacl IS NOT NULL AS has_privileges, \
                 EXISTS (SELECT 1 FROM pg_db_role_setting s WHERE s.setdatabase = d.oid) AS has_settings \
                 FROM pg_database d WHERE d.datname = {}",
                sql::literal(target)
            ))
            .await?
            .pop();
        let roles = psql
            .query(&format!(
                "SELECT rolname AS name, pg_has_role(oid, '{membership}') AS usable, rolsuper AS superuser FROM pg_roles"
            ))
            .await?;
        let extensions = psql
            .query("SELECT name FROM pg_available_extensions")
            .await?;
        let tablespaces = psql
            .query("SELECT spcname AS name FROM pg_tablespace")
            .await?;
        let set = |names: Vec<Name>| names.into_iter().map(|name| name.name).collect();
        Ok(Self {
            login,
            target,
            roles,
            extensions: set(extensions),
            tablespaces: set(tablespaces),
        })
    }

    /// The role of this name, if the server has it.
    pub(super) fn role(&self, name: &str) -> Option<&Role> {
        self.roles.iter().find(|role| role.name == name)
    }

    /// The owner of the target, if the login may act as it.
    pub(super) fn usable_owner(&self) -> Option<&str> {
        let owner = self.target.as_ref()?.owner.as_str();
        let usable = self.role(owner).is_some_and(|role| role.usable);
        usable.then_some(owner)
    }

    /// Those of the extensions that cannot be installed on the server.
    pub(super) fn missing_extensions<'a>(&'a self, wanted: &'a BTreeSet<String>) -> Vec<&'a str> {
        let missing = wanted.difference(&self.extensions);
        missing.map(String::as_str).collect()
    }

    /// Whether the server has a tablespace.
    pub(super) fn has_tablespace(&self, name: &str) -> bool {
        self.tablespaces.contains(name)
    }
}

/// Whether a database of this name is there.
pub(super) async fn exists(psql: &mut Psql, database: &str) -> std::result::Result<bool, Failure> {
    #[derive(Deserialize)]
    struct Found {
        found: bool,
    }
    let sql = format!(
        "SELECT EXISTS (SELECT 1 FROM pg_database WHERE datname = {}) AS found",
        sql::literal(database)
    );
    let found: Found = psql.one(&sql).await?;
    Ok(found.found)
}

/// Fails unless the database that `psql` is connected to is empty and the login may do there what the place takes.
pub(super) async fn ensure_ready(
    psql: &mut Psql,
    config: &PostgresConfig,
    place: &Place,
) -> Result<()> {
    #[derive(Deserialize)]
    struct Rights {
        schemas: bool,
        tables: bool,
    }
    let database = &config.name;
    ensure_empty(psql, database).await?;
    if matches!(place, Place::Beside(_)) {
        return Ok(());
    }
    let sql = "SELECT has_database_privilege(current_database(), 'CREATE') AS schemas, \
        COALESCE((SELECT has_schema_privilege(oid, 'CREATE') FROM pg_namespace WHERE nspname = 'public'), true) AS tables";
    let rights: Rights = psql
        .one(sql)
        .await
        .map_err(|failure| failure.doing("look up what the role may do"))?;
    if rights.schemas && rights.tables {
        return Ok(());
    }
    let (name, login) = (sql::identifier(database), sql::identifier(&config.username));
    let message = format!(
        "{:?} may create neither databases nor what is in {database:?}",
        config.username
    );
    Err(Error::new(ErrorKind::Check, message).with_hint(format!(
        "Run as a superuser: `ALTER DATABASE {name} OWNER TO {login};`, or `ALTER ROLE {login} CREATEDB;`."
    )))
}

/// Fails if the database that `psql` is connected to holds anything that `CREATE DATABASE` does not put there.
pub(super) async fn ensure_empty(psql: &mut Psql, database: &str) -> Result<()> {
    let content = content(psql).await.map_err(|failure| {
        failure.doing(format!("see whether the database {database:?} is empty"))
    })?;
    if content.is_empty() {
        return Ok(());
    }
    let message = format!(
        "the database {database:?} is not empty: it holds {}",
        content.join(", ")
    );
    Err(Error::new(ErrorKind::TargetNotEmpty, message).with_hint(format!(
        "A restore never overwrites. Rename the old database, which also keeps it: `ALTER DATABASE {} RENAME TO {};`, or restore under another `name`.",
        sql::identifier(database),
        sql::identifier(&sql::with_suffix(database, "_old"))
    )))
}

/// What there is in the database, as a few readable words each.
async fn content(psql: &mut Psql) -> std::result::Result<Vec<String>, Failure> {
    #[derive(Deserialize)]
    struct Kind {
        objects: String,
        number: u64,
        example: String,
    }
    let own = "n.nspname <> 'information_schema' AND n.nspname !~ '^pg_'";
    let of_extension = |catalog: &str, object: &str| {
        format!(
            "NOT EXISTS (SELECT 1 FROM pg_depend e WHERE e.classid = '{catalog}'::regclass \
             AND e.objid = {object} AND e.deptype = 'e')"
        )
    };
    let relations = of_extension("pg_class", "c.oid");
    let functions = of_extension("pg_proc", "p.oid");
    let types = of_extension("pg_type", "t.oid");
    let schemas = of_extension("pg_namespace", "n.oid");
    let sql = format!(
        "SELECT kind AS objects, count(*) AS number, min(name) AS example FROM ( \
           SELECT CASE c.relkind WHEN 'S' THEN 'sequences' WHEN 'v' THEN 'views' WHEN 'm' THEN 'materialized views' \
             WHEN 'f' THEN 'foreign tables' WHEN 'c' THEN 'types' ELSE 'tables' END AS kind, n.nspname || '.' || c.relname AS name \
             FROM pg_class c JOIN pg_namespace n ON n.oid = c.relnamespace \
             WHERE c.relkind IN ('r', 'p', 'S', 'v', 'm', 'f', 'c') AND c.relpersistence <> 't' AND {own} AND {relations} \
           UNION ALL SELECT 'functions', n.nspname || '.' || p.proname \
             FROM pg_proc p JOIN pg_namespace n ON n.oid = p.pronamespace WHERE {own} AND {functions} \
           UNION ALL SELECT 'types', n.nspname || '.' || t.typname \
             FROM pg_type t JOIN pg_namespace n ON n.oid = t.typnamespace \
             WHERE t.typtype IN ('d', 'e', 'r') AND {own} AND {types} \
           UNION ALL SELECT 'schemas', n.nspname FROM pg_namespace n \
             WHERE {own} AND n.nspname <> 'public' AND {schemas} \
           UNION ALL SELECT 'large objects', l.oid::text FROM pg_largeobject_metadata l \
           UNION ALL SELECT 'extensions', x.extname FROM pg_extension x WHERE x.extname <> 'plpgsql' \
         ) AS objects GROUP BY kind ORDER BY kind = 'tables' DESC, kind"
    );
    let kinds: Vec<Kind> = psql.query(&sql).await?;
    Ok(kinds
        .into_iter()
        .map(|kind| format!("{} {} ({})", kind.number, kind.objects, kind.example))
        .collect())
}

/// The names of tables, each as `schema name`, without those of extensions.
pub(super) fn names(tables: Vec<crate::facts::Table>) -> Vec<String> {
    tables
        .into_iter()
        .filter(|table| !table.of_extension)
        .map(|table| format!("{} {}", table.schema, table.name))
        .collect()
}
