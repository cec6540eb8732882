//! Where the rows of the live application go.

use std::fmt::Debug;
use std::sync::Mutex;

use async_trait::async_trait;

use super::{Pushes, locked};
use crate::error::{Error, ErrorKind, Result};

/// A database as the live application sees it. Each call changes exactly one row, and has changed it durably (as far
/// as the next reader can tell) when it returns.
///
/// The calls come from several tasks at once, all of them on the runtime of the simulator.
#[async_trait]
pub trait RowSink: Debug + Send + Sync {
    /// Adds a row. Push ids are unique.
    async fn insert(&self, push_id: &str, payload: &str) -> Result<()>;
    /// Changes the payload of a row that was inserted before.
    async fn update(&self, push_id: &str, payload: &str) -> Result<()>;
    /// Gives a row that was inserted before another id.
    async fn rename(&self, push_id: &str, new_id: &str) -> Result<()>;
    /// Removes a row that was inserted before.
    async fn delete(&self, push_id: &str) -> Result<()>;
}

/// Rows in memory, for tests without a database.
#[derive(Debug, Default)]
pub struct MemoryRows {
    rows: Mutex<Pushes>,
}

impl MemoryRows {
    /// No rows yet.
    pub fn new() -> Self {
        Self::default()
    }

    /// All rows at this moment.
    pub fn rows(&self) -> Pushes {
        locked(&self.rows).clone()
    }
}

fn no_such_row(push_id: &str) -> Error {
    Error::new(ErrorKind::Database, format!("there is no row {push_id}"))
}

#[async_trait]
impl RowSink for MemoryRows {
    async fn insert(&self, push_id: &str, payload: &str) -> Result<()> {
        let before = locked(&self.rows).insert(push_id.to_owned(), payload.to_owned());
        match before {
            None => Ok(()),
            Some(_) => Err(Error::new(
                ErrorKind::Database,
                format!("there is a row {push_id} already"),
            )),
        }
    }

    async fn update(&self, push_id: &str, payload: &str) -> Result<()> {
        let mut rows = locked(&self.rows);
        let row = rows.get_mut(push_id).ok_or_else(|| no_such_row(push_id))?;
        payload.clone_into(row);
        Ok(())
    }

    async fn rename(&self, push_id: &str, new_id: &str) -> Result<()> {
        let mut rows = locked(&self.rows);
        let payload = rows.remove(push_id).ok_or_else(|| no_such_row(push_id))?;
        rows.insert(new_id.to_owned(), payload);
        Ok(())
    }

    async fn delete(&self, push_id: &str) -> Result<()> {
        locked(&self.rows)
            .remove(push_id)
            .map(drop)
            .ok_or_else(|| no_such_row(push_id))
    }
}
