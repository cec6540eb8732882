//! What to do about a refusal: the call, the setting or the command that mends it.

use crate::reply::Reply;

/// Which folders the nodes may keep repositories in.
const PATH_REPO: &str = "On every node, name the folder in elasticsearch.yml or opensearch.yml, `path.repo: [\"/mnt/bitbucket-snapshots\"]`, and restart the node; \
     `location` must be that folder or one below it.";

/// What to do about a refusal, where that is known.
pub(crate) fn for_refusal(reply: &Reply) -> Option<String> {
    let reason = reply.reason();
    let says = |words: &str| reason.contains(words);
    let hint = if says("path.repo") {
        PATH_REPO.to_owned()
    } else if says("repository type [s3] does not exist") {
        S3_PLUGIN.to_owned()
    } else if reply.is_of_type("repository_missing_exception") {
        "The cluster does not know this snapshot repository: set `repository` in [elasticsearch] to the one that the backup was made with, or make \
         it with `PUT /_snapshot/NAME`."
            .to_owned()
    } else if says("license") {
        "Renew the cluster's licence: `GET /_license` shows which one it has.".to_owned()
    } else if reply.status == 401 {
        "Check `username` and `password`, or `api-key`, against the cluster: `GET /_security/_authenticate` \
         (Elasticsearch) or `GET /_plugins/_security/authinfo` (OpenSearch)."
            .to_owned()
    } else if says("iam:PassRole") {
        PASS_ROLE.to_owned()
    } else if says("es:ESHttp") {
        "Allow the caller `es:ESHttpGet`, `es:ESHttpHead`, `es:ESHttpPut`, `es:ESHttpPost` and `es:ESHttpDelete` on the domain, in its access \
         policy or in IAM."
            .to_owned()
    } else if reply.status == 403 {
        ROLE.to_owned()
    } else if reply.is_of_type("repository_verification_exception") {
        VERIFICATION.to_owned()
    } else {
        return None;
    };
    Some(hint)
}

/// How the S3 plugin gets onto the nodes.
pub(crate) const S3_PLUGIN: &str = "On every node, run `bin/opensearch-plugin install repository-s3` or, before Elasticsearch 8, \
     `bin/elasticsearch-plugin install repository-s3`, and restart it; its credentials go into the keystore: \
     `bin/opensearch-keystore add s3.client.default.access_key` and `… s3.client.default.secret_key`, then `POST /_nodes/reload_secure_settings`.";

const PASS_ROLE: &str = "Allow the caller `iam:PassRole` for `role-arn`; with fine-grained access control, map the caller to the role \
     `manage_snapshots` as well: `PATCH /_plugins/_security/api/rolesmapping/manage_snapshots`.";

/// What a user must be granted, for both products.
pub(crate) const ROLE: &str = "Grant the user what snapshots need. OpenSearch: `PUT /_plugins/_security/api/rolesmapping/manage_snapshots {\"users\":[\"USER\"]}` and a role with \
     `cluster_monitor`, `indices_monitor` and `manage` on the indices. Elasticsearch: `PUT /_security/role/diy-backup {\"cluster\":[\"monitor\",\
     \"cluster:admin/repository/*\",\"cluster:admin/snapshot/*\"],\"indices\":[{\"names\":[\"bitbucket-*\"],\"privileges\":[\"manage\"]}]}`.";

const VERIFICATION: &str = "Every node must be able to write to the repository: mount the same folder on all of them, owned by the account of the server \
     (`chown -R opensearch`), or give all of them the bucket's credentials.";
