//! The last step of a restore, and taking back what was not committed.

use diy_backup_core::{Error, ErrorKind, Result};

use super::objects;
use super::place::Beside;
use super::target;
use crate::client::Client;
use crate::facts::{Database, Table};
use crate::failure::Failure;
use crate::sql;

/// Moves every table to the target with one statement, which the server does wholly or not at all, and makes there what
/// cannot be moved. When that last step fails, it can be resumed.
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
    if let Err(error) = move_tables(client, beside).await {
        if existing.is_none() {
            drop_database(client, &beside.target).await?;
        }
        return Err(error);
    }
    make_objects(client, beside).await
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

/// Makes the target what it was before a commit that has failed: absent or empty.
pub(super) async fn take_back(client: &Client, beside: &Beside) -> Result<()> {
    let Some(like) = look(client, &beside.target).await? else {
        return Ok(());
    };
    if !is_moved(client, beside).await? {
        return Ok(());
    }
    drop_database(client, &beside.target).await?;
    if beside.target_existed {
        create(client, &beside.target, &like).await?;
    }
    Ok(())
}

/// Drops the database beside the target. Does nothing if it is gone already.
pub(super) async fn drop_temporary(client: &Client, beside: &Beside) -> Result<()> {
    drop_database(client, &beside.temporary).await
}

async fn drop_database(client: &Client, name: &str) -> Result<()> {
    let quoted = sql::identifier(name);
    client
        .execute(&format!("DROP DATABASE IF EXISTS {quoted};"))
        .await
        .map_err(|failure| {
            failure
                .doing(format!("drop the unfinished database {name:?}"))
                .with_hint(format!("Drop it by hand: `DROP DATABASE {quoted};`."))
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
        let charset = format!(" CHARACTER SET {}", sql::literal(&like.charset));
        if like.collation.is_empty() {
            return charset;
        }
        format!("{charset} COLLATE {}", sql::literal(&like.collation))
    });
    let sql = format!("CREATE DATABASE {}{options};", sql::identifier(name));
    client.execute(&sql).await
}

async fn move_tables(client: &Client, beside: &Beside) -> Result<()> {
    let tables = movable(client, &beside.temporary).await?;
    if tables.is_empty() {
        return Ok(());
    }
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
        .map_err(|failure| failure.doing(format!("move the tables to {:?}", beside.target)))
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
