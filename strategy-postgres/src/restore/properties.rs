//! What a restore gives a database as far as the login may: its settings, grants, comments, publications.

use diy_backup_core::Events;

use super::target::TargetDatabase;
use crate::failure::Failure;
use crate::original::Original;
use crate::psql::Psql;
use crate::statement::{DatabaseStatement, Subject};

/// What an empty database that was there before keeps of its own.
#[derive(Debug, Clone, Copy)]
pub(super) struct Kept {
    privileges: bool,
    settings: bool,
}

impl Kept {
    /// Beside the target, its settings are carried over later and prevail; who may use it is said there alone.
    pub(super) fn beside(target: Option<&TargetDatabase>) -> Self {
        Self {
            privileges: target.is_some_and(|target| target.has_privileges),
            settings: false,
        }
    }

    /// In the target itself, what was set is left alone.
    pub(super) fn inside(target: Option<&TargetDatabase>) -> Self {
        Self {
            privileges: target.is_some_and(|target| target.has_privileges),
            settings: target.is_some_and(|target| target.has_settings),
        }
    }

    fn has(self, statement: &DatabaseStatement) -> bool {
        match statement.subject {
            Subject::Privilege => self.privileges,
            Subject::Setting => self.settings,
            Subject::Description => false,
        }
    }
}

/// How many refusals are told one by one.
const SHOWN: usize = 10;

/// A schema that every database has from the start.
const DUPLICATE_SCHEMA: &str = "42P06";

/// A statement that may be refused, and how it is shown to whoever has to run it then.
struct Optional {
    sql: String,
    shown: String,
}

/// Gives `database` the settings, grants and comments of the original. What the login may not do is a warning with the
/// statement for `target`, the name that the database will have. The session must be in a transaction.
pub(super) async fn apply(
    psql: &mut Psql,
    original: &Original,
    (database, target): (&str, &str),
    kept: Kept,
    events: &Events,
) -> Result<(), Failure> {
    let wanted = original
        .statements
        .iter()
        .filter(|statement| !kept.has(statement));
    let optional = wanted.map(|statement| Optional {
        sql: statement.for_database(database),
        shown: statement.for_database(target),
    });
    run_each(psql, optional, events).await
}

/// Adds what a database can do without: a restore does not fail for what the login may not do of it, but says so. The
/// session must be in a transaction.
pub(super) async fn add(
    psql: &mut Psql,
    statements: Vec<String>,
    events: &Events,
) -> Result<(), Failure> {
    let optional = statements.into_iter().map(|sql| Optional {
        shown: sql.clone(),
        sql,
    });
    run_each(psql, optional, events).await
}

async fn run_each(
    psql: &mut Psql,
    statements: impl Iterator<Item = Optional>,
    events: &Events,
) -> Result<(), Failure> {
    let mut refused = 0;
    for statement in statements {
        psql.execute("SAVEPOINT optional").await?;
        let refusal = match psql.execute(&statement.sql).await {
            Ok(()) => {
                psql.execute("RELEASE SAVEPOINT optional").await?;
                continue;
            }
            Err(Failure::Refused(refusal)) => refusal,
            Err(lost) => return Err(lost),
        };
        psql.execute("ROLLBACK TO SAVEPOINT optional").await?;
        if refusal.sqlstate == DUPLICATE_SCHEMA {
            continue;
        }
        refused += 1;
        if refused <= SHOWN {
            events.warning(format!(
                "the server has refused something of the dump ({refusal}); run in the database as a superuser: `{};`",
                diy_backup_core::printable(&statement.shown)
            ));
        }
    }
    if refused > SHOWN {
        events.warning(format!(
            "the server has refused {} more statements for grants, settings or comments: restore with a superuser as `username`",
            refused - SHOWN
        ));
    }
    Ok(())
}
