//! Restores that die at every point, and what a later run makes of them.

use std::fs;
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};

use diy_backup_core::{Committed, HomeStrategy, Leftover};
use diy_backup_testkit::home::Names;
use strategy_rsync::RsyncHome;

use crate::support::{Bench, id, strategy_for};

struct Crash {
    bench: Bench,
    strategy: RsyncHome,
    home: PathBuf,
    store: PathBuf,
}

impl Crash {
    fn new() -> Option<Self> {
        let bench = Bench::with(0, Names::Plain, "unused")?;
        let (home, store) = (bench.path("home"), bench.path("store"));
        let strategy = strategy_for(&home, &[&store], "");
        Some(Self {
            bench,
            strategy,
            home,
            store,
        })
    }

    fn beside(target: &Path) -> PathBuf {
        let name = target.file_name().unwrap().to_str().unwrap();
        target.with_file_name(format!(".{name}.restore-{}", id()))
    }

    /// What a restore has built in the directory `shield`, which nobody else can enter.
    fn build(shield: &Path) {
        fs::create_dir(shield).unwrap();
        fs::set_permissions(shield, fs::Permissions::from_mode(0o700)).unwrap();
        Self::fill(&shield.join("content"));
    }

    fn fill(folder: &Path) {
        fs::create_dir_all(folder.join("shared/data")).unwrap();
        fs::write(folder.join("shared/file"), "x").unwrap();
    }

    async fn committed(&self, path: &Path) -> Committed {
        let restore = self.strategy.restore().unwrap();
        restore.was_committed(&leftover(path)).await.unwrap()
    }
}

fn leftover(path: &Path) -> Leftover {
    Leftover::new("rsync", "restored-folder", path.to_str().unwrap())
}

#[tokio::test(flavor = "multi_thread")]
async fn what_was_built_and_not_committed_goes() {
    let Some(crash) = Crash::new() else { return };
    for target in [&crash.home, &crash.store] {
        let build = Crash::beside(target);
        Crash::build(&build);
        assert_eq!(crash.committed(&build).await, Committed::No);
        for _ in 0..2 {
            crash.strategy.discard(&leftover(&build)).await.unwrap();
            assert!(!build.exists() && !target.exists());
        }
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_data_store_in_its_place_brings_the_home_to_its_own() {
    let Some(crash) = Crash::new() else { return };
    let (home, store) = (Crash::beside(&crash.home), Crash::beside(&crash.store));
    Crash::build(&home);
    Crash::fill(&crash.store);
    for path in [&home, &store] {
        assert_eq!(crash.committed(path).await, Committed::Yes);
    }
    for path in [&home, &store, &home] {
        let restore = crash.strategy.restore().unwrap();
        restore.resume_commit(&leftover(path)).await.unwrap();
        assert!(crash.home.join("shared/file").exists() && !home.exists());
        assert!(crash.store.join("shared/file").exists());
        assert_eq!(crash.committed(path).await, Committed::Yes);
        crash.strategy.discard(&leftover(path)).await.unwrap();
    }
    assert!(crash.home.join("shared/file").exists());
}

/// A restore inside its target that dies after `moved` entries were renamed.
fn inside(crash: &Crash, moved: bool) -> (PathBuf, PathBuf) {
    let build = crash.home.join(format!(".diy-backup-restore-{}", id()));
    let marker = crash
        .home
        .join(format!(".diy-backup-restore-{}.committing", id()));
    fs::create_dir(&crash.home).unwrap();
    Crash::build(&build);
    fs::write(build.join("content/second"), "y").unwrap();
    if moved {
        fs::write(&marker, "").unwrap();
        fs::rename(build.join("content/second"), crash.home.join("second")).unwrap();
    }
    (build, marker)
}

#[tokio::test(flavor = "multi_thread")]
async fn a_commit_inside_the_target_is_finished() {
    let Some(crash) = Crash::new() else { return };
    let (build, marker) = inside(&crash, true);
    assert_eq!(crash.committed(&build).await, Committed::Yes);
    for _ in 0..2 {
        let restore = crash.strategy.restore().unwrap();
        restore.resume_commit(&leftover(&build)).await.unwrap();
        assert!(crash.home.join("second").exists() && crash.home.join("shared/file").exists());
        assert!(!build.exists() && !marker.exists());
    }
    crash.strategy.discard(&leftover(&build)).await.unwrap();
    assert!(crash.home.join("second").exists());
}

#[tokio::test(flavor = "multi_thread")]
async fn a_commit_inside_the_target_is_taken_back() {
    for moved in [true, false] {
        let Some(crash) = Crash::new() else { return };
        let (build, _) = inside(&crash, moved);
        if !moved {
            assert_eq!(crash.committed(&build).await, Committed::No);
        }
        crash.strategy.discard(&leftover(&build)).await.unwrap();
        assert_eq!(fs::read_dir(&crash.home).unwrap().count(), 0);
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_path_that_no_configured_folder_explains_is_not_touched() {
    let Some(crash) = Crash::new() else { return };
    let stranger = crash.bench.path("stranger");
    Crash::build(&stranger);
    crash
        .strategy
        .discard(&leftover(&stranger))
        .await
        .unwrap_err();
    assert!(stranger.join("content/shared/file").exists());
    crash
        .strategy
        .discard(&leftover(&crash.bench.path("gone")))
        .await
        .unwrap();
}

#[tokio::test(flavor = "multi_thread")]
async fn a_restore_that_died_after_its_last_rename_leaves_nothing() {
    for inside in [false, true] {
        let Some(crash) = Crash::new() else { return };
        Crash::fill(&crash.home);
        let shield = if inside {
            crash.home.join(format!(".diy-backup-restore-{}", id()))
        } else {
            Crash::beside(&crash.home)
        };
        Crash::build(&shield);
        fs::remove_dir_all(shield.join("content")).unwrap();
        assert_eq!(crash.committed(&shield).await, Committed::Yes);
        let restore = crash.strategy.restore().unwrap();
        restore.resume_commit(&leftover(&shield)).await.unwrap();
        assert!(!shield.exists() && crash.home.join("shared/file").exists());
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_directory_that_others_can_enter_is_nothing_that_a_restore_made() {
    let Some(crash) = Crash::new() else { return };
    let build = Crash::beside(&crash.home);
    Crash::build(&build);
    fs::set_permissions(&build, fs::Permissions::from_mode(0o755)).unwrap();
    let restore = crash.strategy.restore().unwrap();
    restore.resume_commit(&leftover(&build)).await.unwrap_err();
    crash.strategy.discard(&leftover(&build)).await.unwrap_err();
    assert!(build.join("content/shared/file").exists() && !crash.home.exists());
}

#[tokio::test(flavor = "multi_thread")]
async fn a_home_that_was_never_built_cannot_be_brought_to_its_place() {
    let Some(crash) = Crash::new() else { return };
    let home = Crash::beside(&crash.home);
    let restore = crash.strategy.restore().unwrap();
    restore.resume_commit(&leftover(&home)).await.unwrap_err();
}
