//! The indices of a cluster: which there are, and which of them a restore has made.

use std::collections::BTreeMap;

use diy_backup_core::{Control, Result};
use serde_json::{Value, json};

use crate::cluster::{Call, Cluster};

/// The node attribute that no node has: keeping shards from nodes that have it changes nothing, so that the setting
/// can say who has made an index. It comes to be with the index, in one step.
const MARK: &str = "diy_backup_restore";

/// Calls name indices in their path, whose length servers limit: 4096 bytes.
const LONGEST_PATH: usize = 2_000;

/// The mark of an index that a restore has made and not committed.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Mark(String);

impl Mark {
    /// A mark that no other restore has.
    pub(crate) fn new() -> Self {
        Self(format!("{:016x}", fastrand::u64(..)))
    }

    pub(crate) fn from_text(text: &str) -> Self {
        Self(text.to_owned())
    }

    pub(crate) fn as_str(&self) -> &str {
        &self.0
    }

    /// The name of the setting that holds it.
    pub(crate) fn setting() -> String {
        format!("index.routing.allocation.exclude.{MARK}")
    }
}

/// The indices that match names and patterns, by their names, with the mark that they bear. Closed ones too.
pub(crate) async fn matching(
    cluster: &Cluster,
    patterns: &[String],
    control: &Control,
) -> Result<BTreeMap<String, Option<Mark>>> {
    let mut found = BTreeMap::new();
    for part in in_parts(patterns) {
        let call = Call::get(&[&part, "_settings"])
            .query("ignore_unavailable", "true")
            .query("allow_no_indices", "true")
            .query("expand_wildcards", "open,closed")
            .query("flat_settings", "true");
        let reply = cluster.ask(&call, control).await?;
        if reply.is_missing() {
            continue;
        }
        let Value::Object(indices) = reply.accepted("list the indices")? else {
            continue;
        };
        for (name, index) in indices {
            let mark = index["settings"][Mark::setting()]
                .as_str()
                .map(Mark::from_text);
            found.insert(name, mark);
        }
    }
    Ok(found)
}

/// Those of `names` that bear `mark`.
pub(crate) async fn marked(
    cluster: &Cluster,
    names: &[String],
    mark: &Mark,
    control: &Control,
) -> Result<Vec<String>> {
    let found = matching(cluster, names, control).await?;
    Ok(found
        .into_iter()
        .filter(|(_, found)| found.as_ref() == Some(mark))
        .map(|(name, _)| name)
        .collect())
}

/// Takes the mark away from `names`: they are nobody's but Bitbucket's from here on.
pub(crate) async fn unmark(cluster: &Cluster, names: &[String], control: &Control) -> Result<()> {
    for part in in_parts(names) {
        let call = Call::put(&[&part, "_settings"]).json(json!({ Mark::setting(): null }));
        let reply = cluster.tell(call, control).await?;
        reply.accepted("take the mark of the restore from the indices")?;
    }
    Ok(())
}

/// Deletes those of `names` that bear `mark`, and no others.
pub(crate) async fn delete_marked(
    cluster: &Cluster,
    names: &[String],
    mark: &Mark,
    control: &Control,
) -> Result<()> {
    let ours = marked(cluster, names, mark, control).await?;
    for part in in_parts(&ours) {
        let reply = cluster.tell(Call::delete(&[&part]), control).await?;
        if !reply.is_missing() {
            reply.accepted("delete the indices of a restore that was not committed")?;
        }
    }
    Ok(())
}

/// Names joined by commas, in as many parts as calls need.
pub(crate) fn in_parts(names: &[String]) -> Vec<String> {
    // A pattern that excludes counts for what stands before it: such a list stays whole.
    let whole = names.iter().any(|name| name.starts_with('-'));
    let mut parts: Vec<String> = Vec::new();
    for name in names {
        match parts.last_mut() {
            Some(part) if whole || part.len() + name.len() < LONGEST_PATH => {
                part.push(',');
                part.push_str(name);
            }
            _ => parts.push(name.clone()),
        }
    }
    parts
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn long_lists_are_parted_and_lists_that_exclude_are_not() {
        let names: Vec<String> = (0..100).map(|n| format!("{n:0>60}")).collect();
        let parts = in_parts(&names);
        assert!(parts.len() > 1 && parts.iter().all(|part| part.len() < LONGEST_PATH));
        assert_eq!(parts.join(",").split(',').count(), 100);
        let mut excluding = names;
        excluding.push("-x*".to_owned());
        assert_eq!(in_parts(&excluding).len(), 1);
        assert!(in_parts(&[]).is_empty());
    }
}
