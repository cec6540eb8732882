//! What is found before anything is touched.

use diy_backup_core::{
    AbsolutePath, Control, Downtime, ErrorKind, Findings, Purpose, Secret, Severity,
};
use diy_backup_testkit::Simulator;
use diy_backup_testkit::simulator::{BasicAuthentication, ServerState};

use crate::support::Stage;

/// The check's errors, and that a backup refuses to begin for them without locking anything.
async fn errors(stage: &Stage) -> String {
    let report = diy_backup_core::check(&stage.site, Purpose::Backup, &Control::new())
        .await
        .unwrap();
    assert!(!report.is_good());
    let all: Vec<String> = report
        .of(Severity::Error)
        .map(|finding| {
            assert!(
                finding.fix.is_some(),
                "it does not say what to do: {finding:?}"
            );
            format!("{}: {}", finding.subject, finding.message)
        })
        .collect();
    let error = stage.backup().await.unwrap_err();
    assert_eq!(error.kind(), ErrorKind::Check, "{error:?}");
    assert!(error.hint().is_some());
    assert!(stage.journal().is_none() && !stage.staging().join("bitbucket-db").exists());
    all.join("\n")
}

#[tokio::test]
async fn folders_inside_each_other() {
    let mut stage = Stage::new();
    let inside = stage.home.folder().join("staging");
    stage.site.backup.staging = AbsolutePath::new(inside).unwrap();
    let found = errors(&stage).await;
    assert!(
        found.contains("[backup] staging") && found.contains("lies inside"),
        "{found}"
    );
}

#[tokio::test]
async fn a_locked_instance_is_refused() {
    let stage = Stage::new();
    stage.simulator.lock_as("somebody").unwrap();
    assert!(
        errors(&stage)
            .await
            .contains("locked for maintenance already")
    );
    assert_eq!(stage.simulator.lock_owner().unwrap(), "somebody");
}

#[tokio::test]
async fn an_instance_that_starts_is_refused() {
    let stage = Stage::new();
    stage.simulator.set_server_state(ServerState::Starting);
    assert!(errors(&stage).await.contains("STARTING"));
}

#[tokio::test]
async fn a_wrong_password_is_tried_once_a_check() {
    let mut stage = Stage::new();
    stage.site.instance.password = Some(Secret::value("wrong".into()));
    let found = errors(&stage).await;
    assert!(found.contains("401"), "{found}");
    assert_eq!(stage.simulator.lock_count(), 0);
    let with_login = stage
        .simulator
        .requests()
        .iter()
        .filter(|r| r.authorized)
        .count();
    assert_eq!(
        with_login, 2,
        "one per check, or the account gets a CAPTCHA"
    );
}

#[tokio::test]
async fn basic_authentication_that_is_switched_off() {
    let simulator = Simulator::builder().basic_authentication(BasicAuthentication::Disabled);
    let stage = Stage::with(simulator);
    assert!(errors(&stage).await.contains("403"));
}

#[tokio::test]
async fn too_little_space() {
    let stage = Stage::new();
    let mut findings = Findings::new();
    findings.need_space(
        stage.staging(),
        u64::MAX / 2,
        0,
        "the copy of the home directory",
    );
    stage.home.finds(findings);
    let found = errors(&stage).await;
    assert!(
        found.contains("the copy of the home directory may need"),
        "{found}"
    );
}

#[tokio::test]
async fn zero_downtime_without_atomic_pinning() {
    let mut stage = Stage::new();
    stage.site.backup.downtime = Downtime::Zero;
    let found = errors(&stage).await;
    assert!(
        found.contains("zero") && found.contains("fake-home"),
        "{found}"
    );
}

#[tokio::test]
async fn a_bitbucket_too_old_for_zero_downtime() {
    let mut stage = Stage::with(Simulator::builder().version("4.7.1"));
    stage.home.pins(diy_backup_core::Pinning::Atomic);
    stage.site.backup.downtime = Downtime::Zero;
    assert!(errors(&stage).await.contains("4.8"));
}

#[tokio::test]
async fn an_address_where_nobody_answers() {
    let mut stage = Stage::new();
    stage.site.patience.retry = std::time::Duration::ZERO;
    stage.site.instance.url = Some("http://127.0.0.1:1/".parse().unwrap());
    errors(&stage).await;
}

#[tokio::test]
async fn data_stores_that_only_the_database_knows_of_are_named() {
    let stage = Stage::new();
    let mut findings = Findings::new();
    findings.data_stores = vec!["/mnt/store-1/".into(), "/mnt/store-2".into()];
    stage.database.finds(findings);
    let warnings = async || {
        let report = diy_backup_core::check(&stage.site, Purpose::Backup, &Control::new())
            .await
            .unwrap();
        let texts = report.of(Severity::Warning).map(|warning| {
            assert!(warning.fix.as_ref().unwrap().contains("`data-stores`"));
            warning.message.clone()
        });
        texts.collect::<Vec<_>>().join("\n")
    };
    let found = warnings().await;
    assert!(
        found.contains("2 data stores and the configuration names 0")
            && found.contains("/mnt/store-1")
            && found.contains("/mnt/store-2"),
        "{found}"
    );
    stage.database.finds(Findings::new());
    assert_eq!(warnings().await, "");
}
