//! The strategy `postgresql`, held to the promises of a database strategy.

use std::sync::Arc;
use std::sync::atomic::{AtomicU32, Ordering};
use std::time::Duration;

use async_trait::async_trait;
use diy_backup_core::DbStrategy;
use diy_backup_testkit::contract::{self, DatabaseHarness, Harness, Target};
use diy_backup_testkit::{PrivatePostgres, RoleKind, skip_unless};

use crate::support::{self, PASSWORD, ROLE};

/// One database of a server that all checks share.
struct Environment {
    postgres: Arc<PrivatePostgres>,
    database: String,
}

impl Environment {
    fn new(postgres: &Arc<PrivatePostgres>, number: u32) -> Self {
        let environment = Self {
            postgres: Arc::clone(postgres),
            database: format!("bitbucket{number}"),
        };
        environment.create();
        let database = &environment.database;
        postgres.create_schema(database, ROLE).unwrap();
        environment
    }

    fn create(&self) {
        self.postgres.create_database(&self.database, ROLE).unwrap();
    }

    fn run(&self, sql: &str) -> String {
        self.postgres.psql(&self.database, sql).unwrap()
    }

    fn names(&self, sql: &str) -> Vec<String> {
        let found = self.postgres.psql("postgres", sql).unwrap();
        found.lines().map(str::to_owned).collect()
    }

    fn databases(&self) -> Vec<String> {
        let name = &self.database;
        self.names(&format!(
            "SELECT datname FROM pg_database WHERE datname = '{name}' OR datname LIKE '{name}\\_%';"
        ))
    }

    fn tables(&self) -> String {
        self.run("SELECT count(*) FROM pg_tables WHERE schemaname = 'public';")
    }
}

#[async_trait]
impl Harness for Environment {
    /// The rows; none when there is no table for them.
    type State = Option<String>;

    async fn change(&self, round: u32) {
        if self.databases().is_empty() || self.tables() == "0" {
            return;
        }
        let sql = format!(
            "INSERT INTO push (push_id, payload) SELECT 'r{round}-' || n, repeat('ä☃', 20) FROM generate_series(1, 50) n; \
             UPDATE push SET payload = 'changed' WHERE push_id = 'r{round}-1'; \
             DELETE FROM push WHERE push_id = 'r{round}-2';"
        );
        // A truncation waits for the pin of a backup, and so for its end: only rounds before one may have it.
        if round % 4 == 1 {
            self.run(&format!("DELETE FROM push; {sql}"));
        } else {
            self.run(&sql);
        }
    }

    async fn state(&self) -> Self::State {
        if self.databases().is_empty() || self.tables() == "0" {
            return None;
        }
        // Not the sequences: a dump may have later values of them.
        let rows = "SELECT count(*), md5(string_agg(push_id || payload, ',' ORDER BY push_id)) FROM push; \
            SELECT count(*), md5(string_agg(name || full_name, ',' ORDER BY user_id)) FROM sta_normal_user; \
            SELECT count(*), md5(string_agg(lo_get(image)::text, ',' ORDER BY user_id)) FROM avatar; \
            SELECT md5(string_agg(indexdef, ',' ORDER BY indexname)) FROM pg_indexes WHERE schemaname = 'public';";
        Some(self.run(rows))
    }

    fn difference(&self, wanted: &Self::State, found: &Self::State) -> Option<String> {
        (wanted != found).then(|| format!("{found:?} in place of {wanted:?}"))
    }

    async fn lose(&self, target: Target) {
        let sql = format!("DROP DATABASE IF EXISTS {} WITH (FORCE);", self.database);
        self.postgres.psql("postgres", &sql).unwrap();
        if target == Target::Empty {
            self.create();
        }
    }

    async fn target_is(&self, target: Target) -> bool {
        let there = self.databases().contains(&self.database);
        there == (target == Target::Empty) && (!there || self.tables() == "0")
    }

    async fn remains(&self) -> Vec<String> {
        let mut remains = self.databases();
        remains.retain(|name| *name != self.database);
        remains.extend(self.names(&format!(
            "SELECT 'a session in ' || datname || ': ' || query FROM pg_stat_activity \
             WHERE (application_name LIKE 'diy-backup%' OR application_name IN ('pg_dump', 'pg_restore')) \
             AND datname LIKE '{}%';",
            self.database
        )));
        remains
    }

    fn patience(&self) -> Duration {
        Duration::from_mins(1)
    }
}

impl DatabaseHarness for Environment {
    fn strategy(&self) -> Arc<dyn DbStrategy> {
        let login = format!(
            "username = {ROLE:?}\npassword = {{ value = {} }}\njobs = 2\n",
            serde_json::to_string(PASSWORD).unwrap()
        );
        Arc::new(support::strategy_for(
            &self.postgres,
            &self.database,
            &login,
        ))
    }
}

async fn keeps_its_promises(kind: RoleKind) {
    let postgres = skip_unless!(PrivatePostgres::start());
    postgres.create_role(ROLE, PASSWORD, kind).unwrap();
    let postgres = Arc::new(postgres);
    let number = AtomicU32::new(0);
    contract::database(async || {
        Environment::new(&postgres, number.fetch_add(1, Ordering::Relaxed))
    })
    .await
    .unwrap();
}

#[tokio::test(flavor = "multi_thread")]
async fn the_strategy_keeps_the_promises_of_a_database_strategy() {
    keeps_its_promises(RoleKind::CreateDatabase).await;
}
