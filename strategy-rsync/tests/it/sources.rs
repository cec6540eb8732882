//! Sources that are not there, or not all of them: the copy of an earlier backup must outlive them.

use std::fs;
use std::path::Path;

use diy_backup_core::{CheckContext, ErrorKind, HomeStrategy, Severity, Shrink};
use diy_backup_testkit::home::Names;

use crate::support::{Bench, is_root};

const TRACKING: [&str; 2] = ["track-changes = 'auto'", "track-changes = 'never'"];

fn bench(stores: usize) -> Option<Bench> {
    Bench::with(stores, Names::Plain, "home")
}

/// What the strategy says of the source, in a check and then without one.
async fn refusals(bench: &Bench) -> Vec<String> {
    let strategy = bench.strategy("");
    let checked = strategy.check(&CheckContext::new(bench.staging())).await;
    let found = checked.unwrap().findings;
    let errors = found
        .into_iter()
        .filter(|one| one.severity == Severity::Error);
    let mut refusals: Vec<String> = errors
        .map(|one| {
            assert!(one.fix.is_some());
            format!("{} {}", one.subject, one.message)
        })
        .collect();
    let error = bench
        .strategy("")
        .prepare(&bench.context())
        .await
        .unwrap_err();
    assert!(error.hint().is_some());
    refusals.push(error.to_string());
    refusals
}

fn empty(path: &Path) {
    fs::remove_dir_all(path).unwrap();
    fs::create_dir(path).unwrap();
}

#[tokio::test(flavor = "multi_thread")]
async fn a_source_that_is_not_there_is_refused_and_its_copy_stays() {
    type Lose = fn(&Bench);
    let cases: [(&str, Lose); 9] = [
        ("home", |bench| empty(&bench.home.path)),
        ("home", |bench| {
            empty(&bench.home.path);
            fs::create_dir(bench.home.path.join("lost+found")).unwrap();
        }),
        ("home", |bench| {
            fs::remove_dir_all(&bench.home.path).unwrap();
        }),
        ("home", |bench| {
            fs::remove_dir_all(&bench.home.path).unwrap();
            fs::write(&bench.home.path, "a file").unwrap();
        }),
        ("home", |bench| {
            fs::remove_dir_all(&bench.home.path).unwrap();
            std::os::unix::fs::symlink("nowhere", &bench.home.path).unwrap();
        }),
        ("shared", |bench| empty(&bench.home.path.join("shared"))),
        ("shared/data", |bench| {
            empty(&bench.home.path.join("shared/data"));
        }),
        ("ds0", |bench| empty(&bench.path("ds0"))),
        ("ds0", |bench| {
            empty(&bench.path("ds0"));
            fs::write(bench.path("ds0/README"), "not mounted").unwrap();
        }),
    ];
    for (name, lose) in cases {
        let Some(bench) = bench(1) else { return };
        bench.back_up("").await;
        lose(&bench);
        for refusal in refusals(&bench).await {
            assert!(refusal.contains(name), "{name}: {refusal}");
        }
        let copy = bench.staging();
        assert!(copy.home().join("shared/data/repositories/1").is_dir());
        assert!(copy.data_store(0).join("repositories").is_dir());
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn repositories_that_are_gone_with_their_directory_are_missed() {
    let Some(bench) = bench(0) else { return };
    fs::remove_dir_all(bench.home.path.join("shared/data/repositories")).unwrap();
    // An instance that never had one is backed up.
    bench.back_up("").await;
    fs::create_dir_all(bench.home.path.join("shared/data/repositories/1/objects")).unwrap();
    bench.back_up("").await;
    fs::remove_dir_all(bench.home.path.join("shared/data/repositories")).unwrap();
    for refusal in refusals(&bench).await {
        assert!(refusal.contains("repositories"), "{refusal}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_source_that_is_replaced_after_the_check_is_refused() {
    let Some(bench) = bench(0) else { return };
    bench.back_up("").await;
    let strategy = bench.strategy("");
    let cx = CheckContext::new(bench.staging());
    assert!(!strategy.check(&cx).await.unwrap().has_errors());
    let data = bench.home.path.join("shared/data");
    fs::rename(&data, bench.path("aside")).unwrap();
    fs::create_dir_all(data.join("repositories/7")).unwrap();
    let error = strategy.prepare(&bench.context()).await.unwrap_err();
    assert_eq!(error.kind(), ErrorKind::Check);
    assert!(error.to_string().contains("shared/data"), "{error}");
    let repositories = bench.staging().home().join("shared/data/repositories");
    assert!(repositories.join("1").is_dir());
}

#[tokio::test(flavor = "multi_thread")]
async fn a_source_that_lost_most_of_itself_is_copied_only_when_that_is_meant() {
    for more in TRACKING {
        let Some(bench) = bench(0) else { return };
        bench.back_up(more).await;
        let repositories = bench.home.path.join("shared/data/repositories");
        for entry in fs::read_dir(&repositories).unwrap().flatten() {
            if entry.file_name() != "1" {
                fs::remove_dir_all(entry.path()).unwrap();
            }
        }
        fs::remove_dir_all(bench.home.path.join("shared/data/attachments")).unwrap();
        let strategy = bench.strategy(more);
        let error = strategy.prepare(&bench.context()).await.unwrap_err();
        assert_eq!(error.kind(), ErrorKind::Check);
        assert!(error.hint().unwrap().contains("--accept-shrink"));
        let copy = bench.staging().home().join("shared/data");
        assert!(copy.join("repositories/2").is_dir(), "{more}");
        let accepted = bench.context().with_shrink(Shrink::Accepted);
        let taken = bench.try_back_up(&strategy, &accepted, || {}).await;
        taken.unwrap();
        bench.assert_staged();
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn the_source_and_the_backup_are_counted_alike() {
    for more in ["", "exclude-repositories = [3]", "track-changes = 'never'"] {
        let Some(bench) = Bench::new(1) else { return };
        let cx = CheckContext::new(bench.staging());
        let source = bench.strategy(more).check(&cx).await.unwrap().inventory;
        let artifact = bench.back_up(more).await;
        assert_eq!(source, artifact.inventory, "{more}");
        let excluded = u64::from(more.starts_with("exclude"));
        assert_eq!(source.repositories, Some(bench.repositories() - excluded));
        assert!(source.bytes.unwrap() > 0 && source.entries.unwrap() > 100);
    }
}

/// A temporary file system for as long as the value lives.
struct Mount<'a>(&'a Path);

impl<'a> Mount<'a> {
    fn new(point: &'a Path) -> Option<Self> {
        if !is_root() {
            diy_backup_testkit::report_skipped(&"only root may mount");
            return None;
        }
        let mut mount = std::process::Command::new("mount");
        mount.args(["-t", "tmpfs", "tmpfs"]).arg(point);
        let mounted = mount.output();
        if !mounted.is_ok_and(|output| output.status.success()) {
            diy_backup_testkit::report_skipped(&"no tmpfs can be mounted");
            return None;
        }
        Some(Self(point))
    }
}

impl Drop for Mount<'_> {
    fn drop(&mut self) {
        let unmounted = std::process::Command::new("umount").arg(self.0).status();
        assert!(unmounted.unwrap().success());
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn what_was_mounted_for_the_last_backup_has_to_be_mounted() {
    let Some(bench) = bench(0) else { return };
    let data = bench.home.path.join("shared/data");
    // Below the mount point lies what was there before there was a file system of its own.
    let content = bench.path("content");
    assert!(copy_tree(&data, &content));
    let Some(mount) = Mount::new(&data) else {
        return;
    };
    assert!(copy_tree(&content.join("."), &data));
    fs::write(data.join("repositories/1/new"), "new").unwrap();
    bench.back_up("").await;
    drop(mount);
    for refusal in refusals(&bench).await {
        assert!(refusal.contains("tmpfs"), "{refusal}");
    }
    let copy = bench.staging().home().join("shared/data");
    assert!(copy.join("repositories/1/new").exists());
    // The way out that the message names.
    fs::remove_file(bench.staging().root().join(".rsync-proven.json")).unwrap();
    bench.back_up("").await;
    bench.assert_staged();
}

fn copy_tree(from: &Path, to: &Path) -> bool {
    let mut copy = std::process::Command::new("cp");
    copy.arg("-a").arg(from).arg(to);
    copy.status().is_ok_and(|status| status.success())
}
