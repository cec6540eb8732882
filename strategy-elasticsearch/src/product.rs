//! Which search server it is.

use std::fmt;

use diy_backup_core::{Control, Error, ErrorKind, Result};
use serde::Deserialize;

use crate::cluster::{Call, Cluster};
use crate::reply;

/// A server and its release.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Product {
    is_opensearch: bool,
    number: String,
    release: (u32, u32),
}

#[derive(Deserialize)]
struct Root {
    version: Version,
}

#[derive(Deserialize)]
struct Version {
    number: String,
    #[serde(default)]
    distribution: Option<String>,
}

impl Product {
    pub(crate) async fn of(cluster: &Cluster, control: &Control) -> Result<Self> {
        let answer = cluster.ask(&Call::get(&[]), control).await?;
        let root: Root = reply::read(answer.accepted("say what it is")?, "itself")?;
        let product = Self::new(root.version.distribution.as_deref(), &root.version.number);
        if !product.is_opensearch && product.release < (7, 0) {
            let message = format!("the search cluster is {product}, which is too old");
            return Err(Error::new(ErrorKind::Unsupported, message)
                .with_hint("Elasticsearch 7 or newer and every OpenSearch are supported; leave out [elasticsearch] otherwise: the index can be built anew."));
        }
        Ok(product)
    }

    fn new(distribution: Option<&str>, number: &str) -> Self {
        let release = release(number);
        Self {
            is_opensearch: distribution == Some("opensearch"),
            number: diy_backup_core::printable(number),
            release,
        }
    }

    /// Whether a snapshot can say who has made it.
    pub(crate) fn keeps_metadata(&self) -> bool {
        self.is_opensearch || self.release >= (7, 3)
    }

    /// Whether a snapshot of the server release `made_by` may be too new for this one. OpenSearch counts anew from 1,
    /// and reads what Elasticsearch 7 has made.
    pub(crate) fn is_older_than(&self, made_by: &str) -> bool {
        let same_line = (self.release.0 >= 7) == (release(made_by).0 >= 7);
        same_line && release(made_by) > self.release
    }
}

fn release(number: &str) -> (u32, u32) {
    let mut parts = number
        .split(['.', '-'])
        .map(|part| part.parse().unwrap_or(0));
    (parts.next().unwrap_or(0), parts.next().unwrap_or(0))
}

impl fmt::Display for Product {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let name = if self.is_opensearch {
            "OpenSearch"
        } else {
            "Elasticsearch"
        };
        write!(f, "{name} {}", self.number)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn snapshots_of_newer_servers_of_the_same_line_are_too_new() {
        let opensearch = Product::new(Some("opensearch"), "2.19.6");
        assert_eq!(opensearch.to_string(), "OpenSearch 2.19.6");
        assert!(opensearch.is_older_than("3.1.0"));
        assert!(!opensearch.is_older_than("2.19.9") && !opensearch.is_older_than("7.10.2"));
        let elasticsearch = Product::new(None, "7.2.1");
        assert!(elasticsearch.is_older_than("8.1.0") && !elasticsearch.is_older_than("7.1.0"));
        assert!(!elasticsearch.keeps_metadata() && opensearch.keeps_metadata());
    }
}
