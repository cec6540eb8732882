use std::fs;
use std::os::unix::fs::symlink;

use diy_backup_core::{CheckContext, Findings, HomeStrategy, Severity};
use diy_backup_testkit::home::Names;

use crate::support::{Bench, strategy_for};

async fn check(bench: &Bench, more: &str) -> Findings {
    let cx = CheckContext::new(bench.staging());
    bench.strategy(more).check(&cx).await.unwrap()
}

fn has(findings: &Findings, severity: Severity, text: &str) -> bool {
    findings.findings.iter().any(|finding| {
        finding.severity == severity
            && format!("{}: {}", finding.subject, finding.message).contains(text)
    })
}

#[tokio::test(flavor = "multi_thread")]
async fn a_good_home_has_no_errors_and_its_room_is_known() {
    let Some(bench) = Bench::new(1) else { return };
    let before = check(&bench, "").await;
    assert!(!before.has_errors(), "{:?}", before.findings);
    assert!(has(&before, Severity::Info, "rsync: version"));
    assert!(before.staged_bytes > 0 && before.staged_files > 100);
    assert_eq!(before.space[0].inodes, before.staged_files);
    bench.back_up("").await;
    let after = check(&bench, "").await;
    assert_eq!(after.space[0].inodes, 0);
    assert!(after.space[0].bytes < before.space[0].bytes / 2);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_check_changes_nothing() {
    let Some(bench) = Bench::new(0) else { return };
    check(&bench, "").await;
    assert!(!bench.staging().root().exists());
}

#[tokio::test(flavor = "multi_thread")]
async fn a_home_that_is_missing_or_another_folder_is_found() {
    let Some(bench) = Bench::with(0, Names::Plain, "home") else {
        return;
    };
    let cx = CheckContext::new(bench.staging());
    let missing = strategy_for(&bench.path("nowhere"), &[], "");
    let findings = missing.check(&cx).await.unwrap();
    assert!(has(&findings, Severity::Error, "nowhere"));
    let other = bench.path("other");
    fs::create_dir(&other).unwrap();
    let findings = strategy_for(&other, &[], "").check(&cx).await.unwrap();
    assert!(has(&findings, Severity::Error, "is an empty directory"));
    fs::create_dir(other.join("unrelated")).unwrap();
    let findings = strategy_for(&other, &[], "").check(&cx).await.unwrap();
    assert!(has(
        &findings,
        Severity::Error,
        "does not look like the home"
    ));
}

#[tokio::test(flavor = "multi_thread")]
async fn data_that_a_link_leads_away_from_the_home_is_an_error() {
    let Some(bench) = Bench::with(0, Names::Plain, "home") else {
        return;
    };
    let shared = bench.home.path.join("shared");
    fs::rename(&shared, bench.path("elsewhere")).unwrap();
    symlink(bench.path("elsewhere"), &shared).unwrap();
    assert!(has(
        &check(&bench, "").await,
        Severity::Error,
        "leads out of the folder"
    ));
}

#[tokio::test(flavor = "multi_thread")]
async fn links_to_what_is_not_in_the_backup_are_told() {
    let Some(bench) = Bench::with(1, Names::Plain, "home") else {
        return;
    };
    let shared = bench.home.path.join("shared");
    let told = "is a link to what is not in the backup";
    // To what a data store holds, and to nothing.
    symlink(bench.path("ds0"), shared.join("store")).unwrap();
    symlink("/nowhere", shared.join("nothing")).unwrap();
    assert!(!has(&check(&bench, "").await, Severity::Warning, told));
    let properties = shared.join("bitbucket.properties");
    fs::rename(&properties, bench.path("elsewhere")).unwrap();
    symlink(bench.path("elsewhere"), &properties).unwrap();
    let told = format!("{} {told}", properties.display());
    assert!(has(&check(&bench, "").await, Severity::Warning, &told));
}

#[tokio::test(flavor = "multi_thread")]
async fn excluding_what_a_fork_borrows_from_is_refused_by_name() {
    let Some(bench) = Bench::with(0, Names::Plain, "home") else {
        return;
    };
    let (origin, fork) = (&bench.home.repositories[2], &bench.home.repositories[3]);
    let info = fork.join("objects/info");
    fs::create_dir_all(&info).unwrap();
    fs::write(
        info.join("alternates"),
        format!("{}\n", origin.join("objects").display()),
    )
    .unwrap();
    let findings = check(&bench, "exclude-repositories = [3]").await;
    assert!(has(
        &findings,
        Severity::Error,
        "borrows objects from the repository 3"
    ));
    assert!(has(&findings, Severity::Error, "repositories/4"));
    assert!(
        !check(&bench, "exclude-repositories = [3, 4]")
            .await
            .has_errors()
    );
    let findings = check(&bench, "exclude-repositories = [99]").await;
    assert!(has(&findings, Severity::Warning, "no repository 99"));
}

#[tokio::test(flavor = "multi_thread")]
async fn a_file_that_cannot_be_read_is_found() {
    use std::os::unix::fs::PermissionsExt;
    if crate::support::is_root() {
        diy_backup_testkit::report_skipped(&"root can read every file");
        return;
    }
    let Some(bench) = Bench::with(0, Names::Plain, "home") else {
        return;
    };
    for name in ["secret", "shut"] {
        fs::create_dir(bench.home.path.join("shared").join(name)).unwrap();
    }
    let file = bench.home.path.join("shared/secret/file");
    fs::write(&file, "x").unwrap();
    for path in [file, bench.home.path.join("shared/shut")] {
        fs::set_permissions(path, fs::Permissions::from_mode(0o000)).unwrap();
    }
    let findings = check(&bench, "").await;
    assert!(has(
        &findings,
        Severity::Error,
        "2 files or folders in it cannot be read"
    ));
}
