use diy_backup_core::{
    BackupContext, CheckContext, DbStrategy, ErrorKind, Findings, HomeCoverage, Pinning, Staging,
};
use diy_backup_testkit::skip_unless;
use strategy_postgres::FslevelStrategy;

use super::volume::{Volume, run};
use crate::support::{DATABASE, ROLE, text};

async fn found(strategy: &FslevelStrategy, home: HomeCoverage) -> Findings {
    let mut cx = CheckContext::new(Staging::new("/nonexistent/staging"));
    cx.home = home;
    strategy.check(&cx).await.unwrap()
}

#[track_caller]
fn assert_says(findings: &Findings, said: &[&str]) {
    let text = text(findings);
    assert!(findings.has_errors(), "{text}");
    for said in said {
        assert!(text.contains(said), "{said}: {text}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_server_on_the_volume_is_good_and_one_beside_it_is_not() {
    let volume = skip_unless!(Volume::start());
    let strategy = volume.strategy();
    let home = volume.home_strategy();
    let good = found(&strategy, home.coverage()).await;
    assert!(!good.has_errors(), "{}", text(&good));
    assert!(
        text(&good).contains("keeps no checksums"),
        "{}",
        text(&good)
    );

    let mut copying = home.clone();
    copying.pinning = Pinning::None;
    assert_says(
        &found(&strategy, copying.coverage()).await,
        &["copies file by file", "strategy `postgresql`"],
    );

    let mut elsewhere = home.coverage();
    elsewhere.folders = vec![volume.home()];
    let error = ["data directory lies outside", "WAL lies outside"];
    assert_says(&found(&strategy, elsewhere.clone()).await, &error);

    let cx = BackupContext::new(
        "bitbucket-20260101-000000".parse().unwrap(),
        Staging::new(volume.folder.path().join("staging")),
    );
    let refused = strategy
        .prepare(&cx.with_home(elsewhere))
        .await
        .unwrap_err();
    assert_eq!(refused.kind(), ErrorKind::Check);

    let other = volume.strategy_with("data-directory = '/nonexistent/pg'");
    assert_says(
        &found(&other, home.coverage()).await,
        &["the server has its files in", "Correct `data-directory`"],
    );

    let silent = volume.strategy_with("service-status = ['false']");
    assert_says(
        &found(&silent, home.coverage()).await,
        &["says that the server does not run"],
    );

    // A tablespace and unlogged tables.
    let tablespace = volume.folder.path().join("tablespace");
    std::fs::create_dir(&tablespace).unwrap();
    run(std::process::Command::new("chmod")
        .arg("755")
        .arg(volume.folder.path()));
    run(std::process::Command::new("chown")
        .arg("--reference")
        .arg(volume.postgres.data_dir())
        .arg(&tablespace));
    let sql = format!(
        "CREATE TABLESPACE \"Out side\" LOCATION '{}';",
        tablespace.display()
    );
    volume.postgres.psql(DATABASE, &sql).unwrap();
    volume
        .postgres
        .psql(DATABASE, "CREATE UNLOGGED TABLE u ();")
        .unwrap();
    let outside = found(&strategy, home.coverage()).await;
    assert_says(
        &outside,
        &["tablespace \"Out side\" lies outside", "1 unlogged tables"],
    );

    volume
        .postgres
        .psql(
            "postgres",
            &format!("REVOKE pg_read_all_settings FROM {ROLE};"),
        )
        .unwrap();
    assert_says(
        &found(&strategy, home.coverage()).await,
        &["GRANT pg_read_all_settings TO \"bitbucketuser\""],
    );
}

#[tokio::test(flavor = "multi_thread")]
async fn a_server_that_trusts_in_the_power_supply_is_refused() {
    let volume = skip_unless!(Volume::with(&[
        ("fsync", "off"),
        ("full_page_writes", "off"),
        ("synchronous_commit", "off")
    ]));
    let home = volume.home_strategy().coverage();
    let said = [
        "ALTER SYSTEM SET fsync = on",
        "full_page_writes is off",
        "synchronous_commit is off",
    ];
    assert_says(&found(&volume.strategy(), home.clone()).await, &said);
    let whole = volume.strategy_with("pages-are-written-whole = true");
    let text = text(&found(&whole, home).await);
    assert!(!text.contains("full_page_writes"), "{text}");
}
