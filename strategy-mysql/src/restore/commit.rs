//! The last step of a restore, and taking back what was not committed.

use diy_backup_core::{Error, ErrorKind, Result};

use super::objects;
use super::place::Beside;
use super::target;
use crate::client::Client;
use crate::facts::{Database, Table};
use crate::failure::Failure;
use crate::sql;

/// Moves every table to the target with one statement, and makes there what cannot be moved.
///
/// When that fails, the target is emptied again: it was empty right before.
pub(super) async fn commit(client: &Client, beside: &Beside) -> Result<()> {
    let existing = look(client, &beside.target).await?;
    if existing.is_some() {
        target::ensure_empty(client, &beside.target).await?;
    }
    let like = look(client, &beside.temporary)
        .await?
        .ok_or_else(|| nothing_to_commit(&beside.target))?;
    if existing.is_none() {
        create(client, &beside.target, &like).await?;
    }
    match fill(client, beside).await {
        Ok(()) => Ok(()),
        Err(error) => {
            // A run that was cancelled has to clean up all the same.
            let emptied = empty(client, &beside.target, existing.as_ref()).await;
            Err(match emptied {
                Ok(()) => error,
                Err(left) => left.with_source(error),
            })
        }
    }
}

/// Finishes a commit that a run which died has begun, or has not begun yet.
pub(super) async fn resume(client: &Client, beside: &Beside) -> Result<()> {
    if look(client, &beside.temporary).await?.is_none() {
        return match look(client, &beside.target).await? {
            Some(_) => Ok(()),
            None => Err(nothing_to_commit(&beside.target)),
        };
    }
    if is_moved(client, beside).await? {
        make_objects(client, beside).await?;
    } else {
        commit(client, beside).await?;
    }
    drop_temporary(client, beside).await
}

/// Whether the tables are in the target.
pub(super) async fn is_moved(client: &Client, beside: &Beside) -> Result<bool> {
    let temporary = look(client, &beside.temporary).await?;
    if temporary.is_some() && !movable(client, &beside.temporary).await?.is_empty() {
        return Ok(false);
    }
    let there = look(client, &beside.target).await?;
    Ok(match (temporary, there) {
        (_, None) => false,
        (None, Some(_)) => true,
        (Some(_), Some(_)) => !movable(client, &beside.target).await?.is_empty(),
    })
}

/// Drops the database beside the target. Does nothing if it is gone already.
pub(super) async fn drop_temporary(client: &Client, beside: &Beside) -> Result<()> {
    let name = sql::identifier(&beside.temporary);
    client
        .execute(&format!("DROP DATABASE IF EXISTS {name};"))
        .await
        .map_err(|failure| {
            failure
                .doing(format!(
                    "drop the temporary database {:?}",
                    beside.temporary
                ))
                .with_hint(format!("Drop it by hand: `DROP DATABASE {name};`."))
        })
}

/// Creates a database.
pub(super) async fn create(client: &Client, name: &str, like: &Database) -> Result<()> {
    try_create(client, name, Some(like))
        .await
        .map_err(|failure| failure.doing(format!("create the database {name:?}")))
}

pub(super) async fn try_create(
    client: &Client,
    name: &str,
    like: Option<&Database>,
) -> std::result::Result<(), Failure> {
    let options = like.map_or_else(String::new, |like| {
        format!(
            " CHARACTER SET {} COLLATE {}",
            sql::literal(&like.charset),
            sql::literal(&like.collation)
        )
    });
    let sql = format!("CREATE DATABASE {}{options};", sql::identifier(name));
    client.execute(&sql).await
}

async fn fill(client: &Client, beside: &Beside) -> Result<()> {
    let tables = movable(client, &beside.temporary).await?;
    if !tables.is_empty() {
        let moves: Vec<String> = tables
            .iter()
            .map(|table| {
                let (from, to) = (&beside.temporary, &beside.target);
                let name = &table.name;
                format!(
                    "{} TO {}",
                    sql::qualified(from, name),
                    sql::qualified(to, name)
                )
            })
            .collect();
        client
            .execute(&format!("RENAME TABLE {};", moves.join(", ")))
            .await
            .map_err(|failure| failure.doing(format!("move the tables to {:?}", beside.target)))?;
    }
    make_objects(client, beside).await
}

async fn make_objects(client: &Client, beside: &Beside) -> Result<()> {
    let kept = Table::all(client, &beside.temporary)
        .await
        .map_err(|failure| failure.doing("list the tables that were not moved"))?;
    if kept.iter().any(|table| table.name == objects::TABLE) {
        objects::make_anew(client, &beside.temporary, &beside.target).await?;
    }
    Ok(())
}

/// Makes the target what it was: absent or empty.
async fn empty(client: &Client, name: &str, like: Option<&Database>) -> Result<()> {
    let dropped = client
        .execute(&format!("DROP DATABASE {};", sql::identifier(name)))
        .await;
    dropped.map_err(|failure| failure.doing(format!("empty the database {name:?} again")))?;
    match like {
        Some(like) => create(client, name, like).await,
        None => Ok(()),
    }
}

async fn movable(client: &Client, database: &str) -> Result<Vec<Table>> {
    let tables = Table::all(client, database)
        .await
        .map_err(|failure| failure.doing(format!("list the tables of {database:?}")))?;
    Ok(tables
        .into_iter()
        .filter(|table| !table.is_view() && table.name != objects::TABLE)
        .collect())
}

async fn look(client: &Client, name: &str) -> Result<Option<Database>> {
    Database::of(client, name)
        .await
        .map_err(|failure| failure.doing(format!("look at the database {name:?}")))
}

fn nothing_to_commit(target: &str) -> Error {
    let message = format!(
        "the restore into the database {target:?} was not finished, and nothing of it is left"
    );
    Error::new(ErrorKind::Database, message)
        .with_hint("The database is as it was before: restore the backup once more.")
}
