//! The strategy `fs` keeps the promises of its trait, on a real node.

use std::collections::BTreeSet;
use std::sync::{Arc, Mutex};

use diy_backup_core::{Artifact, ArtifactKind, ElasticsearchStrategy, async_trait};
use diy_backup_testkit::contract::{self, Harness, SearchHarness, Target};
use diy_backup_testkit::skip_unless;
use serde_json::json;

use crate::node::{Documents, Place};
use crate::support;

struct Environment {
    place: Place,
    strategy: Arc<dyn ElasticsearchStrategy>,
    kept: Mutex<BTreeSet<String>>,
}

impl Environment {
    fn on(place: Place) -> Self {
        place.fill();
        Self {
            strategy: support::fs(&place.section()),
            place,
            kept: Mutex::default(),
        }
    }
}

#[async_trait]
impl Harness for Environment {
    type State = Documents;

    async fn change(&self, round: u32) {
        let id = round.to_string();
        self.place.put("search-v1", &id, &json!({"round": round}));
        if round % 2 == 1 {
            self.place
                .put("search-v1", "1", &json!({"changed in": round}));
        }
    }

    async fn state(&self) -> Documents {
        self.place.documents()
    }

    fn difference(&self, wanted: &Documents, found: &Documents) -> Option<String> {
        (wanted != found).then(|| format!("there is {found:?} instead of {wanted:?}"))
    }

    async fn lose(&self, _: Target) {
        self.place.lose_indices();
    }

    async fn target_is(&self, _: Target) -> bool {
        self.place.indices().is_empty()
    }

    async fn remains(&self) -> Vec<String> {
        let kept = self.kept.lock().unwrap();
        let mut remains = self.place.snapshots();
        remains.retain(|name| !kept.contains(name));
        remains.extend(self.place.marked());
        remains
    }

    fn keeps(&self, artifact: &Artifact) {
        if let ArtifactKind::External { ids } = &artifact.kind {
            let names = ids.iter().filter_map(|id| id.split_once('/'));
            let mut kept = self.kept.lock().unwrap();
            kept.extend(names.map(|(_, name)| name.to_owned()));
        }
    }
}

impl SearchHarness for Environment {
    fn strategy(&self) -> Arc<dyn ElasticsearchStrategy> {
        self.strategy.clone()
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn every_promise_of_a_search_strategy_is_kept() {
    let place = skip_unless!(Place::shared());
    let environment = async || Environment::on(Place::on(place.node.clone()));
    contract::search(environment).await.unwrap();
}
