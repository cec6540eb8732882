//! What can be known to fail before a backup begins, and how to mend it.

use diy_backup_core::ElasticsearchStrategy as _;
use diy_backup_core::{
    CheckContext, Control, Error, ErrorKind, Findings, InstanceKind, Purpose, Requirement, Result,
    Severity, error_chain,
};
use serde_json::Value;

use crate::cluster::{Call, Cluster};
use crate::config::RepositoryKind;
use crate::hint;
use crate::indices;
use crate::product::Product;
use crate::repository::{Found, Repository};
use crate::session;
use crate::strategy::SearchStrategy;

const SUBJECT: &str = "elasticsearch";

/// Looks at everything a snapshot needs. What would fail a backup that can do without the index is a warning.
pub(crate) async fn check(strategy: &SearchStrategy, cx: &CheckContext) -> Result<Findings> {
    let mut findings = Findings::new();
    if let Err(error) = look(strategy, cx, &mut findings).await {
        if error.kind() == ErrorKind::Cancelled {
            return Err(error);
        }
        findings.failure(SUBJECT, &error);
    }
    if strategy.requirement() == Requirement::Optional {
        for finding in &mut findings.findings {
            if finding.severity == Severity::Error {
                finding.severity = Severity::Warning;
                finding.message = format!(
                    "the backup would be without the search index: {}",
                    finding.message
                );
            }
        }
    }
    Ok(findings)
}

async fn look(strategy: &SearchStrategy, cx: &CheckContext, findings: &mut Findings) -> Result<()> {
    if cx.kind == InstanceKind::Mesh {
        findings.error(
            SUBJECT,
            "a Mesh node has no search index",
            "Leave out [elasticsearch].",
        );
        return Ok(());
    }
    let config = strategy.config();
    let control = &cx.control;
    let cluster = strategy.cluster().await?;
    let product = Product::of(&cluster, control).await?;
    findings.info(SUBJECT, format!("{product} at {}", config.url));
    let has_secret = config.password.is_some() || config.api_key.is_some();
    if has_secret && config.url.starts_with("http://") && !config.is_local() {
        findings.warning(
            SUBJECT,
            "the credentials travel over plain HTTP",
            "Use an https:// `url`, with the authority of its certificate as `ca-file`.",
        );
    }
    look_at_indices(strategy, &cluster, control, findings).await?;
    look_at_repository(strategy, &cluster, cx, findings).await
}

async fn look_at_indices(
    strategy: &SearchStrategy,
    cluster: &Cluster,
    control: &Control,
    findings: &mut Findings,
) -> Result<()> {
    let patterns = &strategy.config().indices;
    let names: Vec<String> = indices::matching(cluster, patterns, control)
        .await?
        .into_keys()
        .collect();
    if names.is_empty() {
        findings.failure(SUBJECT, &session::no_index(patterns));
        return Ok(());
    }
    for part in indices::in_parts(&names) {
        let call = Call::get(&["_cluster", "health", &part]).query("timeout", "1s");
        let reply = cluster.ask(&call, control).await?;
        let health = reply.accepted("show the health of the indices")?;
        if health["status"] == "red" {
            findings.error(
                SUBJECT,
                "a primary shard of the search indices is not available, so a snapshot would fail",
                "`GET /_cluster/allocation/explain` says why, `POST /_cluster/reroute?retry_failed=true` tries again.",
            );
        }
    }
    Ok(())
}

async fn look_at_repository(
    strategy: &SearchStrategy,
    cluster: &Cluster,
    cx: &CheckContext,
    findings: &mut Findings,
) -> Result<()> {
    let control = &cx.control;
    let repository = strategy.repository();
    let found = repository.look(cluster, control).await?;
    match &found {
        Found::Same => {
            if let Err(error) = repository.verify(cluster, control).await {
                told(findings, error)?;
            }
        }
        Found::Other(differences) => findings.failure(SUBJECT, &repository.other(differences)),
        Found::Missing => {
            let message = format!(
                "the snapshot repository `{}` will be made",
                repository.name()
            );
            findings.info(SUBJECT, message);
            look_at_nodes(strategy, cluster, control, &repository, findings).await?;
        }
    }
    if cx.purpose == Purpose::Everything && found == Found::Missing {
        findings.info(SUBJECT, format!("by hand: {}", repository.call()));
    }
    Ok(())
}

fn told(findings: &mut Findings, error: Error) -> Result<()> {
    if error.kind() == ErrorKind::Cancelled {
        return Err(error);
    }
    tracing::debug!(error = %error_chain(&error), "the check goes on");
    findings.failure(SUBJECT, &error);
    Ok(())
}

/// Whether the nodes are set up for a repository that is still to be made. A cluster that does not tell is not asked
/// twice: making the repository will show.
async fn look_at_nodes(
    strategy: &SearchStrategy,
    cluster: &Cluster,
    control: &Control,
    repository: &Repository,
    findings: &mut Findings,
) -> Result<()> {
    let what = match strategy.kind() {
        RepositoryKind::Fs => "settings",
        RepositoryKind::S3 => "plugins",
        // The service sees to its nodes itself.
        RepositoryKind::AmazonEs => return Ok(()),
    };
    let reply = cluster.ask(&Call::get(&["_nodes", what]), control).await?;
    if reply.is_forbidden() {
        findings.warning(
            SUBJECT,
            "the user may not look at the nodes' settings",
            hint::ROLE,
        );
    }
    let nodes = reply.body["nodes"].as_object().into_iter().flatten();
    for (id, node) in nodes {
        let name = node["name"].as_str().unwrap_or(id);
        match strategy.kind() {
            RepositoryKind::Fs => {
                let location = strategy.config().location.as_deref().unwrap_or_default();
                if !is_in_path_repo(location, &node["settings"]["path"]["repo"]) {
                    findings.error(
                        SUBJECT,
                        format!("the node {name} may not make the repository `{}` at {location}", repository.name()),
                        format!(
                            "On every node, add `path.repo: [\"{location}\"]` to elasticsearch.yml or opensearch.yml, let the server's account own \
                             that folder, which all nodes must share, and restart the node."
                        ),
                    );
                }
            }
            _ if !has_s3(node) => {
                let message = format!("the node {name} has no plugin `repository-s3`");
                findings.error(SUBJECT, message, hint::S3_PLUGIN);
            }
            _ => {}
        }
    }
    Ok(())
}

/// A relative location lies below the first folder of `path.repo`.
fn is_in_path_repo(location: &str, path_repo: &Value) -> bool {
    let folders: Vec<&str> = match path_repo {
        Value::String(folder) => vec![folder.as_str()],
        Value::Array(folders) => folders.iter().filter_map(Value::as_str).collect(),
        _ => Vec::new(),
    };
    let is_absolute = location.starts_with('/') || location.contains(':');
    let below = |folder: &&str| std::path::Path::new(location).starts_with(folder);
    folders
        .iter()
        .any(|folder| below(folder) || (!is_absolute && !folder.is_empty()))
}

fn has_s3(node: &Value) -> bool {
    ["plugins", "modules"].iter().any(|list| {
        let parts = node[list].as_array().into_iter().flatten();
        parts
            .into_iter()
            .any(|part| part["name"] == "repository-s3")
    })
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn a_location_must_be_below_a_folder_of_path_repo() {
        let folders = json!(["/mnt/a", "/mnt/b"]);
        assert!(is_in_path_repo("/mnt/b/x", &folders) && is_in_path_repo("x", &folders));
        assert!(is_in_path_repo("/mnt/a", &json!("/mnt/a")));
        assert!(!is_in_path_repo("/mnt/bb", &folders));
        assert!(!is_in_path_repo("/mnt/a", &Value::Null) && !is_in_path_repo("x", &json!([])));
    }
}
