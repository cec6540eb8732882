//! How many documents indices have, and whether anything was written to them in the meantime.

use std::collections::BTreeMap;

use diy_backup_core::{Control, ErrorKind, Result};
use serde_json::Value;

use crate::cluster::{Call, Cluster};
use crate::indices::in_parts;

/// What stands before the name of an index in the details of an artifact.
const DETAIL: &str = "documents.";

/// Documents and write operations, by index.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(crate) struct Counts(BTreeMap<String, Count>);

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
struct Count {
    documents: u64,
    /// Rises with every document that is indexed or deleted, until the shard moves.
    writes: u64,
}

impl Counts {
    /// Counts; `None` where the cluster does not let us, such as for a closed index or without the privilege.
    ///
    /// # Errors
    /// When the cluster cannot be reached, or the run is cancelled.
    pub(crate) async fn take(
        cluster: &Cluster,
        names: &[String],
        control: &Control,
    ) -> Result<Option<Self>> {
        let mut counts = Self::default();
        for part in in_parts(names) {
            // What is not refreshed is not counted.
            let refresh = Call::post(&[&part, "_refresh"]);
            let refreshed = cluster.ask(&refresh, control).await?;
            let stats = Call::get(&[&part, "_stats", "docs,indexing"]);
            let stats = cluster.ask(&stats, control).await?;
            if !refreshed.is_success() || !stats.is_success() {
                return Ok(None);
            }
            counts.add(&stats.body);
        }
        let complete = counts.0.len() == names.len();
        Ok(complete.then_some(counts))
    }

    /// As [`take`](Self::take), for numbers that a backup can do without.
    pub(crate) async fn try_take(
        cluster: &Cluster,
        names: &[String],
        control: &Control,
    ) -> Result<Option<Self>> {
        match Self::take(cluster, names, control).await {
            Err(error) if error.kind() == ErrorKind::Search => Ok(None),
            other => other,
        }
    }

    fn add(&mut self, stats: &Value) {
        for (name, index) in stats["indices"].as_object().into_iter().flatten() {
            let primaries = &index["primaries"];
            let number = |group: &str, name: &str| primaries[group][name].as_u64();
            if let (Some(documents), Some(indexed), Some(deleted)) = (
                number("docs", "count"),
                number("indexing", "index_total"),
                number("indexing", "delete_total"),
            ) {
                let writes = indexed.saturating_add(deleted);
                self.0.insert(name.clone(), Count { documents, writes });
            }
        }
    }

    /// What is certain for every moment between this count and a `later` one: the indices that nobody wrote to.
    pub(crate) fn unchanged(&self, later: &Self) -> impl Iterator<Item = (String, u64)> {
        let same = |name: &String, count: &Count| later.0.get(name) == Some(count);
        self.0
            .iter()
            .filter(move |(name, count)| same(name, count))
            .map(|(name, count)| (format!("{DETAIL}{name}"), count.documents))
    }

    /// The documents of one index.
    pub(crate) fn documents(&self, index: &str) -> Option<u64> {
        self.0.get(index).map(|count| count.documents)
    }
}

/// The name of the detail that holds the documents of `index`.
pub(crate) fn detail_of(index: &str) -> String {
    format!("{DETAIL}{index}")
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    fn counts(first: [u64; 3], second: [u64; 3]) -> Counts {
        let index = |[count, indexed, deleted]: [u64; 3]| {
            json!({"primaries": {
                "docs": {"count": count},
                "indexing": {"index_total": indexed, "delete_total": deleted},
            }})
        };
        let mut counts = Counts::default();
        counts.add(&json!({"indices": {"a": index(first), "b": index(second), "closed": {}}}));
        counts
    }

    #[test]
    fn only_what_nobody_wrote_to_is_certain() {
        let before = counts([3, 5, 0], [7, 7, 0]);
        let after = counts([3, 5, 0], [7, 8, 1]);
        let certain: Vec<_> = before.unchanged(&after).collect();
        assert_eq!(certain, [(detail_of("a"), 3)]);
    }
}
