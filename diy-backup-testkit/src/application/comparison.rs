//! Comparing the files of a home with the rows of a database.

use std::collections::BTreeMap;
use std::fmt;
use std::path::Path;

use super::writer::PUSHES;
use crate::error::{IoContext, Result};

/// Push ids and their payloads.
pub type Pushes = BTreeMap<String, String>;

/// How many ids a message names of each sort.
const NAMED: usize = 5;

/// What of the live application is in a home and in a database, side by side.
///
/// `Display` is one line: `1234 pushes: every row has its file, every file its row`, or what is wrong.
#[derive(Debug, Clone, PartialEq, Eq)]
#[non_exhaustive]
pub struct Comparison {
    /// How many rows there are.
    pub pushes: usize,
    /// Ids of rows whose file is missing.
    pub rows_without_file: Vec<String>,
    /// Ids of files whose row is missing.
    pub files_without_row: Vec<String>,
    /// Ids whose file and row hold different payloads.
    pub different: Vec<String>,
    /// With [`Comparison::against`]: ids that should be in both and are not in the rows, or with another payload.
    pub lost: Vec<String>,
    /// With [`Comparison::against`]: ids in the rows that should not be.
    pub unexpected: Vec<String>,
}

impl Comparison {
    /// Compares the push files below a home with the rows of its database.
    ///
    /// # Errors
    /// [`ErrorKind::Io`](crate::ErrorKind::Io) when the home cannot be read.
    pub fn of(home: &Path, rows: &Pushes) -> Result<Self> {
        Ok(Self::between(&pushes_in(home)?, rows))
    }

    /// Compares the same, and the rows with what was pushed at the moment of DRAINED.
    ///
    /// # Errors
    /// As [`Comparison::of`].
    pub fn against(home: &Path, rows: &Pushes, drained: &Pushes) -> Result<Self> {
        let mut comparison = Self::of(home, rows)?;
        comparison.lost = keys(drained, |id, payload| rows.get(id) != Some(payload));
        comparison.unexpected = keys(rows, |id, _| !drained.contains_key(id));
        Ok(comparison)
    }

    fn between(files: &Pushes, rows: &Pushes) -> Self {
        Self {
            pushes: rows.len(),
            rows_without_file: keys(rows, |id, _| !files.contains_key(id)),
            files_without_row: keys(files, |id, _| !rows.contains_key(id)),
            different: keys(rows, |id, payload| {
                files.get(id).is_some_and(|file| file != payload)
            }),
            lost: Vec::new(),
            unexpected: Vec::new(),
        }
    }

    /// True if home and database are of one instant.
    pub fn is_consistent(&self) -> bool {
        self.findings().iter().all(|(_, ids)| ids.is_empty())
    }

    fn findings(&self) -> [(&'static str, &[String]); 5] {
        [
            ("rows without a file", &self.rows_without_file),
            ("files without a row", &self.files_without_row),
            ("different payloads", &self.different),
            ("lost since DRAINED", &self.lost),
            ("newer than DRAINED", &self.unexpected),
        ]
    }
}

impl fmt::Display for Comparison {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} pushes: ", self.pushes)?;
        if self.is_consistent() {
            return f.write_str("every row has its file, every file its row");
        }
        let mut separator = "";
        for (what, ids) in self.findings() {
            if ids.is_empty() {
                continue;
            }
            let named = ids[..ids.len().min(NAMED)].join(", ");
            let more = if ids.len() > NAMED { ", …" } else { "" };
            write!(f, "{separator}{} {what} ({named}{more})", ids.len())?;
            separator = "; ";
        }
        Ok(())
    }
}

/// The pushes that have a file below a home, with the files' contents.
///
/// # Errors
/// [`ErrorKind::Io`](crate::ErrorKind::Io) when the home cannot be read. A home without repositories has no pushes.
pub(super) fn pushes_in(home: &Path) -> Result<Pushes> {
    let mut pushes = Pushes::new();
    let repositories = home.join("shared/data/repositories");
    if !repositories.exists() {
        return Ok(pushes);
    }
    for repository in std::fs::read_dir(&repositories).doing("list", &repositories)? {
        let folder = repository.doing("list", &repositories)?.path().join(PUSHES);
        if !folder.is_dir() {
            continue;
        }
        for file in std::fs::read_dir(&folder).doing("list", &folder)? {
            let path = file.doing("list", &folder)?.path();
            let payload = std::fs::read(&path).doing("read", &path)?;
            let id = path.file_name().unwrap_or_default().to_string_lossy();
            pushes.insert(
                id.into_owned(),
                String::from_utf8_lossy(&payload).into_owned(),
            );
        }
    }
    Ok(pushes)
}

fn keys(pushes: &Pushes, keep: impl Fn(&String, &String) -> bool) -> Vec<String> {
    pushes
        .iter()
        .filter(|(id, payload)| keep(id, payload))
        .map(|(id, _)| id.clone())
        .collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn pushes(pairs: &[(&str, &str)]) -> Pushes {
        pairs
            .iter()
            .map(|&(id, payload)| (id.to_owned(), payload.to_owned()))
            .collect()
    }

    #[test]
    fn equal_sets_are_reported_in_one_line() {
        let set = pushes(&[("a", "1"), ("b", "2")]);
        assert_eq!(
            Comparison::between(&set, &set).to_string(),
            "2 pushes: every row has its file, every file its row"
        );
    }

    #[test]
    fn every_sort_of_difference_is_named() {
        let files = pushes(&[("a", "1"), ("b", "2")]);
        let rows = pushes(&[("b", "3"), ("c", "4")]);
        let comparison = Comparison::between(&files, &rows);
        assert!(!comparison.is_consistent());
        assert_eq!(
            comparison.to_string(),
            "2 pushes: 1 rows without a file (c); 1 files without a row (a); 1 different payloads (b)"
        );
    }
}
