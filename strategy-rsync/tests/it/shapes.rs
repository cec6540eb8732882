//! Homes of other shapes than one directory with everything in it.

use std::fs;
use std::os::unix::fs::symlink;
use std::path::{Path, PathBuf};

use diy_backup_core::{
    Artifact, CheckContext, Events, Findings, HomeStrategy, RestoreContext, RestoreSource,
    Severity, Silent,
};
use diy_backup_testkit::home::Names;
use diy_backup_testkit::tree::Exclusions;

use crate::support::{Bench, assert_same, id, restore_context, strategy_for};

fn source(home: PathBuf) -> RestoreSource {
    let mut source = RestoreSource::new();
    source.home = Some(home);
    source
}

async fn restore(cx: &RestoreContext, from: PathBuf, to: &Path) {
    let strategy = strategy_for(to, &[], "");
    let restore = strategy.restore().unwrap();
    let mut session = restore.prepare_restore(cx).await.unwrap();
    session.apply(&source(from)).await.unwrap();
    session.commit().await.unwrap();
    session.verify().await.unwrap();
}

fn events() -> Events {
    Events::new(std::sync::Arc::new(Silent))
}

/// Each directory that a link may stand for, in a backup that holds the link alone.
#[tokio::test(flavor = "multi_thread")]
async fn lock_files_behind_links_stay() {
    for linked in [
        "shared",
        "shared/data",
        "shared/data/repositories",
        "shared/data/repositories/1",
        "shared/data/repositories/1/refs",
    ] {
        let Some(bench) = Bench::with(0, Names::Plain, "unused") else {
            return;
        };
        let live = bench.path("live");
        let repository = live.join("shared/data/repositories/1");
        for lock in ["HEAD.lock", "refs/heads/x.lock"] {
            fs::create_dir_all(repository.join(lock).parent().unwrap()).unwrap();
            fs::write(repository.join(lock), "").unwrap();
        }
        let backup = bench.path("backup");
        fs::create_dir_all(backup.join(linked).parent().unwrap()).unwrap();
        symlink(live.join(linked), backup.join(linked)).unwrap();
        let events = events();
        let cx = RestoreContext::new(id(), bench.path("work")).with_events(events.clone());
        let to = bench.path("to");
        restore(&cx, backup, &to).await;
        for lock in ["HEAD.lock", "refs/heads/x.lock"] {
            assert!(repository.join(lock).exists(), "{linked}: {lock}");
        }
        assert_eq!(fs::read_link(to.join(linked)).unwrap(), live.join(linked));
        let warned = events.warnings().join("\n");
        let expected = !linked.contains("repositories/");
        assert_eq!(
            warned.contains(&*live.join(linked).to_string_lossy()),
            expected,
            "{warned}"
        );
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn lock_files_behind_links_in_a_data_store_stay() {
    let Some(bench) = Bench::with(1, Names::Plain, "home") else {
        return;
    };
    let artifact = bench.back_up("").await;
    let lock = bench.path("ds0/repositories/0a/1f/5/HEAD.lock");
    fs::write(&lock, "").unwrap();
    let backup = bench.path("backup-of-store");
    fs::create_dir(&backup).unwrap();
    symlink(bench.path("ds0/repositories"), backup.join("repositories")).unwrap();
    let strategy = strategy_for(&bench.path("to"), &[&bench.path("to-ds0")], "");
    let restore = strategy.restore().unwrap();
    let cx = restore_context(&bench, &artifact);
    let mut session = restore.prepare_restore(&cx).await.unwrap();
    let mut source = source(bench.staging().home());
    source.data_stores = vec![backup];
    session.apply(&source).await.unwrap();
    session.commit().await.unwrap();
    assert!(lock.exists());
}

/// The shared home of the generated home alone, and what a backup leaves out of it.
fn shared_home(bench: &Bench) -> (PathBuf, Exclusions) {
    let shared = bench.home.path.join("shared");
    for junk in ["plugins/.osgi/x", "plugins/.bundled/y"] {
        fs::create_dir_all(shared.join(junk)).unwrap();
    }
    let left_out = Exclusions::new(&[
        "/.lock",
        "/export/",
        "/plugins/.*/",
        "/search/data/",
        "/data/db.*",
        "/data/repositories/2/",
    ]);
    (shared, left_out)
}

async fn check(bench: &Bench, home: &Path, more: &str) -> Findings {
    let cx = CheckContext::new(bench.staging());
    strategy_for(home, &[], more).check(&cx).await.unwrap()
}

fn has(findings: &Findings, severity: Severity, text: &str) -> bool {
    findings.findings.iter().any(|finding| {
        finding.severity == severity
            && (finding.message.contains(text) || finding.subject.contains(text))
    })
}

#[tokio::test(flavor = "multi_thread")]
async fn a_shared_home_alone_is_backed_up_and_restored_as_one() {
    let Some(bench) = Bench::with(0, Names::Plain, "home") else {
        return;
    };
    let (shared, left_out) = shared_home(&bench);
    fs::write(shared.join("data/repositories/3/HEAD.lock"), "").unwrap();
    let strategy = strategy_for(&shared, &[], "exclude-repositories = [2]");
    let backed_up = bench.try_back_up(&strategy, &bench.context(), || {}).await;
    let artifact: Artifact = backed_up.unwrap();
    assert_eq!(artifact.detail("layout"), Some("shared"));
    assert_same(&shared, &left_out, &bench.staging().home());
    let to = bench.path("to");
    let cx = restore_context(&bench, &artifact);
    restore(&cx, bench.staging().home(), &to).await;
    assert!(!to.join("data/repositories/3/HEAD.lock").exists());
    fs::remove_file(shared.join("data/repositories/3/HEAD.lock")).unwrap();
    fs::remove_file(bench.staging().home().join("data/repositories/3/HEAD.lock")).unwrap();
    assert!(to.join("data/repositories/3/HEAD").exists());
}

#[tokio::test(flavor = "multi_thread")]
async fn a_check_knows_the_repositories_of_a_shared_home_alone() {
    let Some(bench) = Bench::with(0, Names::Plain, "home") else {
        return;
    };
    let (shared, _) = shared_home(&bench);
    let findings = check(&bench, &shared, "exclude-repositories = [2]").await;
    assert!(!findings.has_errors() && !has(&findings, Severity::Warning, "shared"));
    let fork = shared.join("data/repositories/4/objects/info/alternates");
    fs::create_dir_all(fork.parent().unwrap()).unwrap();
    fs::write(&fork, "../../3/objects\n").unwrap();
    let findings = check(&bench, &shared, "exclude-repositories = [3]").await;
    assert!(has(&findings, Severity::Error, "borrows objects"));
    fs::rename(shared.join("data/repositories"), bench.path("elsewhere")).unwrap();
    symlink(bench.path("elsewhere"), shared.join("data/repositories")).unwrap();
    let findings = check(&bench, &shared, "").await;
    assert!(has(&findings, Severity::Error, "leads out of the folder"));
}

#[tokio::test(flavor = "multi_thread")]
async fn a_link_in_a_data_store_whose_content_is_not_backed_up_is_found() {
    for linked in ["repositories", "repositories/0a", "repositories/0a/1f/5"] {
        let Some(bench) = Bench::with(1, Names::Plain, "home") else {
            return;
        };
        let store = bench.path("ds0");
        fs::rename(store.join(linked), bench.path("elsewhere")).unwrap();
        symlink(bench.path("elsewhere"), store.join(linked)).unwrap();
        let cx = CheckContext::new(bench.staging());
        let findings = bench.strategy("").check(&cx).await.unwrap();
        assert!(has(&findings, Severity::Error, linked), "{linked}");
    }
}
