//! The database that a restore is to fill: whether it is there, whether it is empty, who may do what.

use diy_backup_core::{Error, ErrorKind, Result};
use serde::Deserialize;

use crate::failure::Failure;
use crate::psql::Psql;
use crate::sql;

/// What the login may do, and what there is of the target.
#[derive(Debug, Clone, Deserialize)]
pub(super) struct Standing {
    pub(super) creates_databases: bool,
    pub(super) owner: OwnerRole,
    pub(super) target_exists: bool,
    /// The owner of the target, if the login may act as it.
    pub(super) target_owner: Option<String>,
}

/// The role that is to own the content.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub(super) enum OwnerRole {
    /// There is none of that name.
    Missing,
    /// The login may not act as it.
    Foreign,
    /// The login is it, or may act as it.
    Usable,
}

/// Looks from the maintenance database at the target and at the role that is to own its content.
pub(super) async fn look(
    psql: &mut Psql,
    target: &str,
    owner: &str,
) -> std::result::Result<Standing, Failure> {
    let sql = format!(
        "SELECT r.rolcreatedb OR r.rolsuper AS creates_databases, \
           CASE WHEN o.rolname IS NULL THEN 'missing' WHEN pg_has_role(o.oid, 'MEMBER') THEN 'usable' \
             ELSE 'foreign' END AS owner, \
           d.oid IS NOT NULL AS target_exists, \
           CASE WHEN pg_has_role(d.datdba, 'USAGE') THEN pg_get_userbyid(d.datdba) END AS target_owner \
         FROM pg_roles r LEFT JOIN pg_roles o ON o.rolname = {} LEFT JOIN pg_database d ON d.datname = {} \
         WHERE r.rolname = current_user",
        sql::literal(owner),
        sql::literal(target)
    );
    psql.one(&sql).await
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
