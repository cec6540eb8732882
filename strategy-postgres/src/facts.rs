//! What the catalog says about a server, a database and its tables.

use serde::Deserialize;

use crate::failure::Failure;
use crate::psql::Psql;
use crate::release::Release;

/// A server and the database that a session is connected to.
#[derive(Debug, Clone, Deserialize)]
pub(crate) struct Facts {
    server_version_num: u32,
    /// As the server prints it: `15.18 (Debian 15.18-0+deb12u1)`.
    pub(crate) server_version: String,
    pub(crate) in_recovery: bool,
    pub(crate) superuser: bool,
    pub(crate) encoding: String,
    pub(crate) backend: i32,
    pub(crate) free_connections: Option<i64>,
}

impl Facts {
    pub(crate) async fn of(psql: &mut Psql) -> Result<Self, Failure> {
        psql.one(FACTS).await
    }

    pub(crate) fn release(&self) -> Release {
        Release::from_number(self.server_version_num)
    }
}

const FACTS: &str = "SELECT current_setting('server_version_num')::int AS server_version_num, \
    current_setting('server_version') AS server_version, pg_is_in_recovery() AS in_recovery, \
    r.rolsuper AS superuser, pg_encoding_to_char(d.encoding) AS encoding, \
    pg_backend_pid() AS backend, \
    (SELECT min(f.free) FROM (SELECT current_setting('max_connections')::int \
        - current_setting('superuser_reserved_connections')::int - (SELECT count(*) FROM pg_stat_activity) AS free \
      UNION ALL SELECT NULLIF(r.rolconnlimit, -1) - (SELECT count(*) FROM pg_stat_activity WHERE usename = current_user) \
      UNION ALL SELECT NULLIF(d.datconnlimit, -1) - (SELECT count(*) FROM pg_stat_activity WHERE datname = d.datname)) AS f \
    ) AS free_connections \
    FROM pg_database d, pg_roles r WHERE d.datname = current_database() AND r.rolname = current_user";

/// The locale that a database was created with: what `CREATE DATABASE` has to be told to make one like it.
#[derive(Debug, Clone, PartialEq, Eq, Deserialize)]
pub(crate) struct Locale {
    pub(crate) encoding: String,
    /// `c` for libc, `i` for ICU, `b` for the built-in one.
    pub(crate) provider: String,
    pub(crate) collate: Option<String>,
    pub(crate) ctype: Option<String>,
    /// The locale of a provider other than libc.
    pub(crate) of_provider: Option<String>,
    /// Rules that ICU sorts by beside those of the locale.
    pub(crate) rules: Option<String>,
}

impl Locale {
    /// That of one database, from a session with any.
    pub(crate) async fn of(
        psql: &mut Psql,
        release: Release,
        database: &str,
    ) -> Result<Option<Self>, Failure> {
        let provider = if release >= Release::major(15) {
            "d.datlocprovider::text"
        } else {
            "'c'"
        };
        let of_provider = if release >= Release::major(17) {
            "d.datlocale"
        } else if release >= Release::major(15) {
            "d.daticulocale"
        } else {
            "NULL::text"
        };
        let rules = if release >= Release::major(16) {
            "d.daticurules"
        } else {
            "NULL::text"
        };
        let sql = format!(
            "SELECT pg_encoding_to_char(d.encoding) AS encoding, {provider} AS provider, \
             d.datcollate AS collate, d.datctype AS ctype, {of_provider} AS of_provider, {rules} AS rules \
             FROM pg_database d WHERE d.datname = {}",
            crate::sql::literal(database)
        );
        Ok(psql.query(&sql).await?.pop())
    }
}

/// A table with data of its own.
#[derive(Debug, Clone, PartialEq, Eq, Deserialize)]
pub(crate) struct Table {
    pub(crate) schema: String,
    pub(crate) name: String,
    pub(crate) owner: String,
    /// `r` for an ordinary one, `p` for one that consists of partitions.
    pub(crate) kind: String,
    pub(crate) readable: bool,
    /// Made by an extension: its data is dumped only if the extension says so.
    pub(crate) of_extension: bool,
}

/// The tables that `pg_dump` locks when it begins. What it skips without complaint is not among them.
pub(crate) const TABLES: &str = "SELECT n.nspname AS schema, c.relname AS name, \
    pg_get_userbyid(c.relowner) AS owner, c.relkind::text AS kind, \
    has_table_privilege(c.oid, 'SELECT') AS readable, \
    EXISTS (SELECT 1 FROM pg_depend e WHERE e.classid = 'pg_class'::regclass AND e.objid = c.oid \
        AND e.deptype = 'e') AS of_extension, c.oid AS oid \
    FROM pg_class c JOIN pg_namespace n ON n.oid = c.relnamespace \
    WHERE c.relkind IN ('r', 'p') AND c.relpersistence <> 't' \
    AND n.nspname <> 'information_schema' AND n.nspname !~ '^pg_'";

impl Table {
    pub(crate) async fn all(psql: &mut Psql) -> Result<Vec<Self>, Failure> {
        psql.query(&format!("{TABLES} ORDER BY 1, 2")).await
    }

    /// Whether the dump must hold its rows.
    pub(crate) fn has_data(&self) -> bool {
        self.kind == "r" && !self.of_extension
    }

    /// As `pg_restore --list` names it.
    pub(crate) fn in_list(&self) -> String {
        format!("{} {} {}", self.schema, self.name, self.owner)
    }
}

/// How much there is to dump, in bytes on the server's disk: tables with what is stored beside them, without indexes.
pub(crate) async fn dump_bytes(psql: &mut Psql) -> Result<u64, Failure> {
    #[derive(Deserialize)]
    struct Size {
        bytes: i64,
    }
    let sql = format!(
        "SELECT COALESCE(sum(pg_table_size(t.oid)), 0)::int8 + pg_table_size('pg_largeobject'::regclass) AS bytes \
         FROM ({TABLES} AND c.relkind = 'r') AS t"
    );
    let size: Size = psql.one(&sql).await?;
    Ok(size.bytes.unsigned_abs())
}

/// Something that the role may not read, so that `pg_dump` would fail.
#[derive(Debug, Clone, Deserialize)]
pub(crate) struct Unreadable {
    /// `TABLE`, `SEQUENCE`, `SCHEMA` or `LARGE OBJECT`.
    pub(crate) kind: String,
    pub(crate) schema: String,
    pub(crate) name: String,
}

/// Everything of the database that the role may not read.
pub(crate) async fn unreadable(
    psql: &mut Psql,
    release: Release,
) -> Result<Vec<Unreadable>, Failure> {
    // has_sequence_privilege and large objects' privileges need no newer server; rights on large objects can be switched off.
    let own = "n.nspname <> 'information_schema' AND n.nspname !~ '^pg_'";
    let not_of_extension = "NOT EXISTS (SELECT 1 FROM pg_depend e WHERE e.classid = 'pg_class'::regclass \
        AND e.objid = c.oid AND e.deptype = 'e')";
    let row_security = if release >= Release::from_number(90_500) {
        "OR (c.relrowsecurity AND row_security_active(c.oid))"
    } else {
        ""
    };
    let sql = format!(
        "SELECT 'SCHEMA' AS kind, n.nspname AS schema, n.nspname AS name FROM pg_namespace n \
           WHERE {own} AND NOT has_schema_privilege(n.oid, 'USAGE') \
             AND EXISTS (SELECT 1 FROM pg_class c WHERE c.relnamespace = n.oid AND c.relkind IN ('r', 'p', 'S')) \
         UNION ALL SELECT 'TABLE', n.nspname, c.relname FROM pg_class c JOIN pg_namespace n ON n.oid = c.relnamespace \
           WHERE c.relkind IN ('r', 'p') AND c.relpersistence <> 't' AND {own} AND {not_of_extension} \
             AND (NOT has_table_privilege(c.oid, 'SELECT') {row_security}) \
         UNION ALL SELECT 'SEQUENCE', n.nspname, c.relname FROM pg_class c JOIN pg_namespace n ON n.oid = c.relnamespace \
           WHERE c.relkind = 'S' AND c.relpersistence <> 't' AND {own} AND {not_of_extension} \
             AND CASE WHEN c.relkind = 'S' THEN NOT has_sequence_privilege(c.oid, 'SELECT') ELSE false END \
         UNION ALL SELECT 'LARGE OBJECT', '', l.oid::text FROM pg_largeobject_metadata l \
           WHERE current_setting('lo_compat_privileges') = 'off' \
             AND NOT pg_has_role(l.lomowner, 'USAGE') \
             AND NOT (SELECT rolsuper FROM pg_roles WHERE rolname = current_user) \
             AND NOT EXISTS (SELECT 1 FROM aclexplode(l.lomacl) a WHERE a.privilege_type = 'SELECT' \
               AND (a.grantee = 0 OR pg_has_role(a.grantee, 'USAGE'))) \
         ORDER BY 1, 2, 3"
    );
    psql.query(&sql).await
}
