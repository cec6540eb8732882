//! Database strategy of diy-backup for PostgreSQL.
