//! A real node that the tests share, each with indices and a repository of its own.

use std::collections::BTreeMap;
use std::path::PathBuf;
use std::sync::atomic::{AtomicU32, Ordering};
use std::sync::{Arc, Mutex, PoisonError, Weak};

use diy_backup_testkit::{PrivateOpenSearch, Result};
use serde_json::{Value, json};

/// Documents by index and ID.
pub(crate) type Documents = BTreeMap<String, BTreeMap<String, Value>>;

static SHARED: Mutex<Weak<PrivateOpenSearch>> = Mutex::new(Weak::new());
static NUMBER: AtomicU32 = AtomicU32::new(0);

/// Indices and a place for a repository on a node.
#[derive(Debug, Clone)]
pub(crate) struct Place {
    pub(crate) node: Arc<PrivateOpenSearch>,
    pub(crate) name: String,
}

impl Place {
    /// On the node that all tests share; it ends with the last of them.
    pub(crate) fn shared() -> Result<Self> {
        let mut shared = SHARED.lock().unwrap_or_else(PoisonError::into_inner);
        let node = match shared.upgrade() {
            Some(node) => node,
            None => Arc::new(PrivateOpenSearch::start()?),
        };
        *shared = Arc::downgrade(&node);
        Ok(Self::on(node))
    }

    pub(crate) fn on(node: Arc<PrivateOpenSearch>) -> Self {
        let number = NUMBER.fetch_add(1, Ordering::Relaxed);
        Self {
            node,
            name: format!("place{number}"),
        }
    }

    pub(crate) fn pattern(&self) -> String {
        format!("bitbucket-{}-*", self.name)
    }

    pub(crate) fn index(&self, name: &str) -> String {
        format!("bitbucket-{}-{name}", self.name)
    }

    pub(crate) fn location(&self) -> PathBuf {
        self.node.repositories().join(&self.name)
    }

    /// The section `[elasticsearch]`, without its header.
    pub(crate) fn section(&self) -> String {
        format!(
            "url = '{}'\nlocation = '{}'\nindices = ['{}']\nrepository = '{}'\nretry-for = '200ms'\n",
            self.node.url(),
            self.location().display(),
            self.pattern(),
            self.name
        )
    }

    pub(crate) fn must(&self, method: &str, path: &str, body: &Value) -> Value {
        let body = if body.is_null() {
            String::new()
        } else {
            body.to_string()
        };
        let answer = self.node.must(method, path, &body).unwrap();
        serde_json::from_str(&answer).unwrap_or_default()
    }

    pub(crate) fn put(&self, index: &str, id: &str, document: &Value) {
        let path = format!("/{}/_doc/{id}?refresh=true", self.index(index));
        self.must("PUT", &path, document);
    }

    /// What an instance has after a while.
    pub(crate) fn fill(&self) {
        self.put("index-version", "version", &json!({"version": 1}));
        for id in 0..5 {
            let document = json!({"name": format!("repository {id} – ä ö ü")});
            self.put("search-v1", &id.to_string(), &document);
        }
    }

    pub(crate) fn documents(&self) -> Documents {
        let mut documents = Documents::new();
        for index in self.indices() {
            self.must("POST", &format!("/{index}/_refresh"), &Value::Null);
            let found = self.must("GET", &format!("/{index}/_search?size=1000"), &Value::Null);
            let hits = found["hits"]["hits"].as_array().unwrap().iter();
            let hits = hits.map(|hit| {
                (
                    hit["_id"].as_str().unwrap().to_owned(),
                    hit["_source"].clone(),
                )
            });
            documents.insert(index, hits.collect());
        }
        documents
    }

    pub(crate) fn indices(&self) -> Vec<String> {
        let found = self.must(
            "GET",
            &format!("/{}/_settings", self.pattern()),
            &Value::Null,
        );
        found.as_object().unwrap().keys().cloned().collect()
    }

    pub(crate) fn lose_indices(&self) {
        self.must("DELETE", &format!("/{}", self.pattern()), &Value::Null);
    }

    /// The snapshots in the repository, whatever their state.
    pub(crate) fn snapshots(&self) -> Vec<String> {
        let path = format!("/_snapshot/{}/_all", self.name);
        let (status, answer) = self.node.call("GET", &path, "").unwrap();
        if status == 404 {
            return Vec::new();
        }
        let answer: Value = serde_json::from_str(&answer).unwrap();
        let snapshots = answer["snapshots"].as_array().unwrap().iter();
        snapshots
            .map(|snapshot| snapshot["snapshot"].as_str().unwrap().to_owned())
            .collect()
    }

    /// The indices that a restore has made and not committed.
    pub(crate) fn marked(&self) -> Vec<String> {
        let found = self.must(
            "GET",
            &format!("/{}/_settings", self.pattern()),
            &Value::Null,
        );
        let indices = found.as_object().unwrap().iter();
        indices
            .filter(|(_, settings)| settings.to_string().contains("diy_backup_restore"))
            .map(|(name, _)| name.clone())
            .collect()
    }
}
