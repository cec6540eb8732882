//! The snapshot repository: made when it is missing, refused when it is another one, verified before it is relied on.

use std::collections::BTreeMap;

use diy_backup_core::{Control, Error, ErrorKind, Result, printable};
use serde_json::{Value, json};

use crate::cluster::{Call, Cluster};
use crate::config::{RepositoryKind, SearchConfig};

/// Settings that say *which* repository it is. One that the configuration does not have must not be set in the cluster.
const IDENTITY: [&str; 7] = [
    "location",
    "bucket",
    "base_path",
    "endpoint",
    "client",
    "role_arn",
    "readonly",
];

/// The repository that the configuration asks for.
#[derive(Debug, Clone)]
pub(crate) struct Repository {
    name: String,
    kind: &'static str,
    settings: BTreeMap<String, String>,
}

/// What the cluster has under the repository's name.
#[derive(Debug, PartialEq, Eq)]
pub(crate) enum Found {
    Missing,
    Same,
    /// Another one; what is different, in words.
    Other(String),
}

impl Repository {
    pub(crate) fn new(kind: RepositoryKind, config: &SearchConfig) -> Self {
        // Amazon takes either of the two; the region signs the calls all the same.
        let by_endpoint = kind == RepositoryKind::AmazonEs && config.endpoint.is_some();
        let keys = config.repository_keys().into_iter();
        let keys = keys.filter(|(key, _)| !(by_endpoint && *key == "region"));
        let own = keys.filter_map(|(key, value)| Some((key.replace('-', "_"), value?.to_owned())));
        let more = config.repository_settings.iter();
        let more = more.map(|(key, value)| (key.clone(), value.to_string()));
        Self {
            name: config.repository.clone(),
            kind: match kind {
                RepositoryKind::Fs => "fs",
                RepositoryKind::S3 | RepositoryKind::AmazonEs => "s3",
            },
            settings: own.chain(more).collect(),
        }
    }

    pub(crate) fn name(&self) -> &str {
        &self.name
    }

    /// The call that makes it by hand, for messages.
    pub(crate) fn call(&self) -> String {
        format!("PUT /_snapshot/{} {}", self.name, self.definition())
    }

    fn definition(&self) -> Value {
        json!({"type": self.kind, "settings": self.settings})
    }

    pub(crate) async fn look(&self, cluster: &Cluster, control: &Control) -> Result<Found> {
        let call = Call::get(&["_snapshot", &self.name]);
        let reply = cluster.ask(&call, control).await?;
        if reply.is_missing() {
            return Ok(Found::Missing);
        }
        let found = reply.accepted(&format!("show the snapshot repository `{}`", self.name))?;
        Ok(self.compare(&found[self.name.as_str()]))
    }

    fn compare(&self, found: &Value) -> Found {
        let mut differences = Vec::new();
        let shown =
            |value: Option<&str>| value.map_or("not set".to_owned(), |text| format!("{text:?}"));
        let mut differs = |name: &str, there: Option<&str>, wanted: Option<&str>| {
            differences.push(format!("{name} is {}, not {}", shown(there), shown(wanted)));
        };
        let kind = found["type"].as_str();
        if kind != Some(self.kind) {
            differs("type", kind, Some(self.kind));
        }
        let there = flat(&found["settings"]);
        for (name, wanted) in &self.settings {
            let value = there.get(name);
            if value != Some(wanted) {
                differs(name, value.map(String::as_str), Some(wanted));
            }
        }
        for name in IDENTITY {
            let harmless =
                name == "readonly" && there.get(name).is_some_and(|value| value == "false");
            if let Some(value) = there
                .get(name)
                .filter(|_| !harmless && !self.settings.contains_key(name))
            {
                differs(name, Some(value), None);
            }
        }
        if differences.is_empty() {
            Found::Same
        } else {
            Found::Other(printable(&differences.join(", ")))
        }
    }

    /// The error that the name belongs to another repository.
    pub(crate) fn other(&self, differences: &str) -> Error {
        let message = format!(
            "the cluster has a snapshot repository `{}` with other settings: {differences}",
            self.name
        );
        Error::new(ErrorKind::Search, message).with_hint(format!(
            "Choose another name with `repository` in [elasticsearch], or make its settings those of the cluster: `GET /_snapshot/{}` shows them.",
            self.name
        ))
    }

    /// Makes it if it is missing, and has every node prove that it can work with it.
    pub(crate) async fn ensure(&self, cluster: &Cluster, control: &Control) -> Result<()> {
        match self.look(cluster, control).await? {
            Found::Same => {}
            Found::Other(differences) => return Err(self.other(&differences)),
            Found::Missing => {
                let call = Call::put(&["_snapshot", &self.name])
                    .query("verify", "false")
                    .json(self.definition());
                let reply = cluster.tell(call, control).await?;
                reply.accepted(&format!("make the snapshot repository `{}`", self.name))?;
            }
        }
        self.verify(cluster, control).await
    }

    /// Has every node prove that it can write there; leaves nothing.
    pub(crate) async fn verify(&self, cluster: &Cluster, control: &Control) -> Result<()> {
        let call = Call::post(&["_snapshot", &self.name, "_verify"]);
        let reply = cluster.ask(&call, control).await?;
        reply.accepted(&format!("verify the snapshot repository `{}`", self.name))?;
        Ok(())
    }
}

/// Nested settings under their dotted names; all values as text, as clusters keep them.
fn flat(settings: &Value) -> BTreeMap<String, String> {
    fn add(into: &mut BTreeMap<String, String>, prefix: &str, settings: &Value) {
        for (name, value) in settings.as_object().into_iter().flatten() {
            let name = format!("{prefix}{name}");
            match value {
                Value::Object(_) => add(into, &format!("{name}."), value),
                Value::String(text) => drop(into.insert(name, text.clone())),
                other => drop(into.insert(name, other.to_string())),
            }
        }
    }
    let mut into = BTreeMap::new();
    add(&mut into, "", settings);
    into
}

#[cfg(test)]
mod tests {
    use diy_backup_core::Section;

    use super::*;

    fn repository() -> Repository {
        let text = "url = 'http://x'\nbucket = 'b'\nbase-path = 'p'\nrepository-settings = { compress = true }";
        let section = Section::from_text("elasticsearch", text).unwrap();
        let config = SearchConfig::from_section(RepositoryKind::S3, &section).unwrap();
        Repository::new(RepositoryKind::S3, &config)
    }

    fn compared(kind: &str, settings: &Value) -> Found {
        repository().compare(&json!({"type": kind, "settings": settings}))
    }

    #[test]
    fn what_was_asked_for_is_the_same_whatever_else_is_tuned() {
        let settings = json!({"bucket": "b", "base_path": "p", "compress": "true", "max_snapshot_bytes_per_sec": "40mb", "readonly": "false"});
        assert_eq!(compared("s3", &settings), Found::Same);
    }

    #[test]
    fn amazon_is_told_the_endpoint_or_the_region() {
        let text = "url = 'https://x'\nbucket = 'b'\nregion = 'us-east-1'\nrole-arn = 'r'\n";
        for (more, sent) in [
            ("", "region"),
            ("endpoint = 's3.amazonaws.com'", "endpoint"),
        ] {
            let section = Section::from_text("elasticsearch", &format!("{text}{more}")).unwrap();
            let config = SearchConfig::from_section(RepositoryKind::AmazonEs, &section).unwrap();
            let repository = Repository::new(RepositoryKind::AmazonEs, &config);
            let names: Vec<&str> = repository.settings.keys().map(String::as_str).collect();
            assert_eq!(names, ["bucket", sent, "role_arn"]);
        }
    }

    #[test]
    fn another_place_is_another_repository() {
        let base = json!({"bucket": "b", "base_path": "p", "compress": "true"});
        let with = |name: &str, value: &str| {
            let mut settings = base.clone();
            settings[name] = value.into();
            compared("s3", &settings)
        };
        for (name, value) in [
            ("bucket", "c"),
            ("compress", "false"),
            ("endpoint", "minio"),
            ("client", "other"),
            ("readonly", "true"),
        ] {
            let Found::Other(differences) = with(name, value) else {
                panic!("{name} makes no difference");
            };
            assert!(
                differences.starts_with(&format!("{name} is \"{value}\"")),
                "{differences}"
            );
        }
        assert!(matches!(compared("fs", &base), Found::Other(_)));
        assert!(matches!(compared("s3", &Value::Null), Found::Other(_)));
    }
}
