use std::sync::Arc;
use std::time::Duration;

use async_trait::async_trait;
use diy_backup_core::DbStrategy;
use diy_backup_testkit::contract::{self, DatabaseHarness, Harness, Target};
use diy_backup_testkit::mssql::SqlServerDouble;
use diy_backup_testkit::{Pushes, RowSink};

use crate::support::{self, DATABASE, names};

struct Environment(SqlServerDouble);

#[async_trait]
impl Harness for Environment {
    type State = Option<Pushes>;

    async fn change(&self, round: u32) {
        if self.0.pushes(DATABASE).unwrap().is_none() {
            return;
        }
        if round % 4 == 2 {
            self.0.truncate(DATABASE).unwrap();
        }
        let rows = self.0.rows(DATABASE);
        for number in 0..20 {
            rows.insert(&format!("r{round}-{number}"), "pushed")
                .await
                .unwrap();
        }
        rows.rename(&format!("r{round}-0"), &format!("r{round}-x"))
            .await
            .unwrap();
        rows.update(&format!("r{round}-1"), "changed")
            .await
            .unwrap();
        rows.delete(&format!("r{round}-2")).await.unwrap();
    }

    async fn state(&self) -> Self::State {
        self.0.pushes(DATABASE).unwrap()
    }

    fn difference(&self, wanted: &Self::State, found: &Self::State) -> Option<String> {
        let count = |state: &Self::State| state.as_ref().map(Pushes::len);
        (wanted != found)
            .then(|| format!("{:?} rows in place of {:?}", count(found), count(wanted)))
    }

    async fn lose(&self, target: Target) {
        self.0.drop_database(DATABASE).unwrap();
        if target == Target::Empty {
            self.0.create_database(DATABASE).unwrap();
        }
    }

    async fn target_is(&self, target: Target) -> bool {
        let there = support::databases(&self.0)
            .iter()
            .any(|name| name == DATABASE);
        there == (target == Target::Empty) && self.0.pushes(DATABASE).unwrap().is_none()
    }

    async fn remains(&self) -> Vec<String> {
        let others = support::databases(&self.0)
            .into_iter()
            .filter(|name| name != DATABASE);
        others.chain(names(&self.0.directory())).collect()
    }

    fn patience(&self) -> Duration {
        Duration::from_mins(1)
    }
}

impl DatabaseHarness for Environment {
    fn strategy(&self) -> Arc<dyn DbStrategy> {
        Arc::new(support::strategy(&self.0))
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn the_strategy_keeps_the_promises_of_a_database_strategy() {
    contract::database(async || Environment(support::server().await))
        .await
        .unwrap();
}
