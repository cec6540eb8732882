use std::sync::Arc;
use std::sync::atomic::{AtomicU32, Ordering};

use diy_backup_core::{DbStrategy, async_trait};
use diy_backup_testkit::contract::{self, DatabaseHarness, Harness, Target};
use diy_backup_testkit::{PrivateMariaDb, skip_unless};

use crate::support;

/// A database of its own on a server that all checks share.
struct Environment {
    mariadb: Arc<PrivateMariaDb>,
    database: String,
}

impl Environment {
    fn new(mariadb: &Arc<PrivateMariaDb>, number: u32) -> Self {
        let environment = Self {
            mariadb: Arc::clone(mariadb),
            database: format!("contract{number}"),
        };
        mariadb.create_database(&environment.database).unwrap();
        let tables = "CREATE TABLE push (push_id varchar(40) PRIMARY KEY, payload longtext);
            CREATE TABLE log (n int AUTO_INCREMENT PRIMARY KEY, push_id varchar(40));
            CREATE TRIGGER logged AFTER DELETE ON push FOR EACH ROW INSERT INTO log (push_id) VALUES (OLD.push_id);
            CREATE VIEW recent AS SELECT push_id FROM push;
            INSERT INTO push SELECT CONCAT('seed', seq), REPEAT('x', 900) FROM seq_1_to_2000;";
        mariadb.sql(&environment.database, tables).unwrap();
        environment
    }

    fn sql(&self, sql: &str) -> String {
        self.mariadb.sql("mysql", sql).unwrap()
    }
}

#[async_trait]
impl Harness for Environment {
    type State = String;

    async fn change(&self, round: u32) {
        let name = &self.database;
        let mut sql = format!(
            "REPLACE INTO push VALUES ('round{round}', 'ä'); UPDATE push SET payload = '{round}' WHERE push_id = 'seed7';"
        );
        if round % 100 == 3 {
            sql.push_str("DELETE FROM push;");
        }
        self.mariadb.sql(name, &sql).unwrap();
    }

    async fn state(&self) -> String {
        let columns = "SELECT push_id, MD5(payload) FROM push ORDER BY 1; SELECT n, push_id FROM log ORDER BY 1;
            SELECT COUNT(*) FROM recent; SHOW TRIGGERS;";
        self.mariadb.sql(&self.database, columns).unwrap()
    }

    fn difference(&self, wanted: &String, found: &String) -> Option<String> {
        let without_account = |text: &String| text.replace("root@localhost", "bitbucketuser@%");
        // The time at which a trigger was made is not that of the original.
        let lines = |text: &String| -> Vec<String> {
            let text = without_account(text);
            text.lines()
                .map(|line| line.split("\t2").next().unwrap_or_default().to_owned())
                .collect()
        };
        let (wanted, found) = (lines(wanted), lines(found));
        let differs = wanted
            .iter()
            .zip(&found)
            .find(|(wanted, found)| wanted != found);
        differs
            .map(|(wanted, found)| format!("{found:?}, and it was {wanted:?}"))
            .or_else(|| {
                (wanted.len() != found.len())
                    .then(|| format!("{} rows, and there were {}", found.len(), wanted.len()))
            })
    }

    async fn lose(&self, target: Target) {
        self.sql(&format!("DROP DATABASE IF EXISTS {};", self.database));
        if target == Target::Empty {
            self.mariadb.create_database(&self.database).unwrap();
        }
    }

    async fn target_is(&self, target: Target) -> bool {
        let there = support::databases(&self.mariadb).contains(&self.database);
        let tables = format!(
            "SELECT COUNT(*) FROM information_schema.TABLES WHERE TABLE_SCHEMA = '{}';",
            self.database
        );
        match target {
            Target::Absent => !there,
            Target::Empty => there && self.sql(&tables) == "0",
        }
    }

    async fn remains(&self) -> Vec<String> {
        let temporary = format!("{}_restore_", self.database);
        let databases = support::databases(&self.mariadb);
        let databases = databases
            .into_iter()
            .filter(|name| name.starts_with(&temporary));
        let sessions = "SELECT CONCAT('session ', ID, ': ', COALESCE(INFO, '')) FROM information_schema.PROCESSLIST \
            WHERE USER = 'bitbucketuser';";
        let sessions = self.sql(sessions);
        databases
            .chain(sessions.lines().map(str::to_owned))
            .collect()
    }
}

impl DatabaseHarness for Environment {
    fn strategy(&self) -> Arc<dyn DbStrategy> {
        Arc::new(support::strategy_for(&self.mariadb, &self.database))
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn the_strategy_keeps_the_promises_of_its_trait() {
    let mariadb = Arc::new(skip_unless!(PrivateMariaDb::start()));
    mariadb
        .create_user(support::USER, support::PASSWORD)
        .unwrap();
    mariadb.sql("mysql", support::ALL).unwrap();
    let number = AtomicU32::new(0);
    contract::database(async || Environment::new(&mariadb, number.fetch_add(1, Ordering::Relaxed)))
        .await
        .unwrap();
}
