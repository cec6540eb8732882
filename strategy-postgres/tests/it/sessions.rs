//! Sessions that have to last: through idle hours behind firewalls, and whatever limits a site has set.

use std::sync::Arc;

use diy_backup_core::DbStrategy;
use diy_backup_testkit::{PrivatePostgres, RoleKind, skip_unless};

use crate::support::{self, DATABASE, ROLE, Run};

/// When the next signs of life are due on connections to a port, in hundredths of a second, as the kernel tells it.
#[cfg(target_os = "linux")]
fn keepalives_due(port: u16) -> Vec<u64> {
    let table = std::fs::read_to_string("/proc/net/tcp").unwrap();
    let remote = format!(":{port:04X}");
    let lines = table.lines().skip(1).map(|line| {
        let fields: Vec<&str> = line.split_whitespace().collect();
        (fields[2].to_owned(), fields[5].to_owned())
    });
    lines
        .filter(|(address, _)| address.ends_with(&remote))
        .filter_map(|(_, timer)| {
            let (kind, due) = timer.split_once(':')?;
            (kind == "02").then(|| u64::from_str_radix(due, 16).unwrap())
        })
        .collect()
}

#[cfg(target_os = "linux")]
#[tokio::test(flavor = "multi_thread")]
async fn the_pinning_session_shows_signs_of_life_every_minute() {
    let postgres = skip_unless!(PrivatePostgres::start());
    support::fill(&postgres, RoleKind::Login);
    let run = Run::new().await;
    let session = support::strategy(&postgres).prepare(&run.cx).await.unwrap();
    let due = keepalives_due(postgres.port());
    assert!(
        !due.is_empty() && due.iter().all(|&due| due <= 6000),
        "{due:?}"
    );
    session.abort().await.unwrap();
}

#[tokio::test(flavor = "multi_thread")]
async fn limits_of_the_role_end_no_statement_that_waits() {
    let postgres = Arc::new(skip_unless!(PrivatePostgres::start()));
    support::fill(&postgres, RoleKind::Login);
    let limits = format!(
        "ALTER ROLE {ROLE} SET statement_timeout = '200ms'; ALTER ROLE {ROLE} SET lock_timeout = '200ms'; \
         ALTER ROLE {ROLE} SET idle_in_transaction_session_timeout = '200ms'; \
         ALTER DATABASE {DATABASE} SET idle_session_timeout = '200ms';"
    );
    postgres.psql("postgres", &limits).unwrap();
    let hold = "BEGIN; LOCK TABLE pg_largeobject IN ACCESS EXCLUSIVE MODE; \
        SELECT pg_advisory_lock(4711), pg_sleep(600);";
    let holder = support::in_background(&postgres, DATABASE, hold);
    let count = |condition: &str| {
        let sql = format!("SELECT count(*) FROM pg_stat_activity WHERE {condition};");
        postgres.psql("postgres", &sql).unwrap()
    };
    while count("wait_event = 'PgSleep'") != "1" {
        std::thread::yield_now();
    }
    let (strategy, run) = (support::strategy(&postgres), Run::new().await);
    let cx = run.cx.clone();
    let preparing = tokio::spawn(async move { strategy.prepare(&cx).await });
    // Longer than any of the limits, by the server's own clock.
    let waits = format!(
        "usename = '{ROLE}' AND wait_event_type = 'Lock' AND clock_timestamp() - query_start > '500ms'"
    );
    while count(&waits) != "1" && !preparing.is_finished() {
        std::thread::yield_now();
    }
    let end =
        "SELECT pg_terminate_backend(pid) FROM pg_stat_activity WHERE wait_event = 'PgSleep';";
    postgres.psql("postgres", end).unwrap();
    assert!(holder.join().unwrap().is_err());
    let mut session = preparing.await.unwrap().unwrap();
    let released = run.capture(&mut session).await;
    session.complete(&released).await.unwrap();
}
