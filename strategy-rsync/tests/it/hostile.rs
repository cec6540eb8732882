//! Restores into places where somebody else may write, who does all he can to be given what is not his.

use std::fs;
use std::os::unix::fs::{MetadataExt, PermissionsExt, chown, symlink};
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicBool, Ordering};

use diy_backup_core::{HomeStrategy, RestoreContext, RestoreSource};
use rustix::fs::{Gid, Uid};

use crate::support::{id, is_root, strategy_for};

const OTHER: u32 = 4711;
const DIRECTORIES: usize = 40;

/// A place that belongs to another user, with something of ours beside it.
struct Scene {
    folder: tempfile::TempDir,
}

impl Scene {
    fn new() -> Option<Self> {
        if !is_root() {
            diy_backup_testkit::report_skipped(&"only root can give files away");
            return None;
        }
        let scene = Self {
            folder: tempfile::tempdir().unwrap(),
        };
        open(scene.folder.path());
        fs::create_dir(scene.sentinel()).unwrap();
        fs::write(scene.sentinel().join("secret"), "ours").unwrap();
        fs::write(scene.sentinel().join("HEAD.lock"), "ours").unwrap();
        fs::create_dir(scene.place()).unwrap();
        chown(scene.place(), Some(OTHER), Some(OTHER)).unwrap();
        Some(scene)
    }

    fn sentinel(&self) -> PathBuf {
        self.folder.path().join("sentinel")
    }

    fn place(&self) -> PathBuf {
        self.folder.path().join("place")
    }

    /// A backup of a home that belonged to the other user.
    fn backup(&self) -> PathBuf {
        let home = self.folder.path().join("backup");
        for number in 0..DIRECTORIES {
            let directory = home.join(format!("shared/data/repositories/{number}"));
            fs::create_dir_all(&directory).unwrap();
            for name in ["HEAD", "config", "secret"] {
                fs::write(directory.join(name), "theirs").unwrap();
            }
        }
        give(&home);
        home
    }

    fn assert_untouched(&self, when: &str) {
        for path in ["", "secret", "HEAD.lock"] {
            let path = self.sentinel().join(path);
            let metadata = fs::symlink_metadata(&path)
                .unwrap_or_else(|error| panic!("{when}: {}: {error}", path.display()));
            assert_eq!(
                metadata.uid(),
                0,
                "{when}: {} was given away",
                path.display()
            );
        }
        assert_eq!(fs::read_dir(self.sentinel()).unwrap().count(), 2, "{when}");
    }

    /// Swaps directories for links again and again, as the other user, while `work` goes on.
    fn while_attacked(&self, work: impl AsyncFn()) {
        let over = AtomicBool::new(false);
        let over = &over;
        std::thread::scope(|scope| {
            scope.spawn(|| {
                let user = Uid::from_raw(OTHER);
                let group = Gid::from_raw(OTHER);
                rustix::thread::set_thread_res_gid(group, group, group).unwrap();
                rustix::thread::set_thread_res_uid(user, user, user).unwrap();
                while !over.load(Ordering::Relaxed) {
                    swap_directories(self);
                }
            });
            // Also when the work panics: the scope waits for its thread.
            let _over = Over(over);
            tokio::task::block_in_place(|| {
                tokio::runtime::Handle::current().block_on(work());
            });
        });
    }

    async fn restore(&self, round: usize, source: &RestoreSource, more: &str) {
        let home = self.place().join(format!("home-{round}"));
        let strategy = strategy_for(&home, &[], more);
        let cx = RestoreContext::new(id(), self.folder.path().join("work"));
        let prepared = strategy.restore().unwrap().prepare_restore(&cx).await;
        let Ok(mut session) = prepared else { return };
        let restored = match session.apply(source).await {
            Ok(()) => session.commit().await,
            Err(error) => Err(error),
        };
        // Whoever may rename what is restored can keep it from being restored, and no more.
        if restored.is_err() {
            let _ = session.abort().await;
        }
    }
}

struct Over<'a>(&'a AtomicBool);

impl Drop for Over<'_> {
    fn drop(&mut self) {
        self.0.store(true, Ordering::Relaxed);
    }
}

fn open(path: &Path) {
    fs::set_permissions(path, fs::Permissions::from_mode(0o755)).unwrap();
}

fn give(path: &Path) {
    if path.is_dir() {
        for entry in fs::read_dir(path).unwrap() {
            give(&entry.unwrap().path());
        }
    }
    chown(path, Some(OTHER), Some(OTHER)).unwrap();
}

/// Every directory that a restore may be building in.
fn builds(place: &Path) -> impl Iterator<Item = PathBuf> {
    let entries = fs::read_dir(place).into_iter().flatten().flatten();
    entries
        .map(|entry| entry.path())
        .filter(|path| path.to_string_lossy().contains(".restore-"))
        .flat_map(|path| [path.join("content"), path])
}

/// Puts links to the sentinel in the place of directories, and puts these back.
fn swap_directories(scene: &Scene) {
    for build in builds(&scene.place()) {
        for number in 0..DIRECTORIES {
            let repository = build.join(format!("shared/data/repositories/{number}"));
            let aside = repository.with_extension("aside");
            if fs::rename(&repository, &aside).is_ok() {
                let _ = symlink(scene.sentinel(), &repository);
                std::thread::yield_now();
                let _ = fs::remove_file(&repository);
                let _ = fs::rename(&aside, &repository);
            }
        }
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn directories_that_are_swapped_for_links_give_nothing_away() {
    for owner in ["owner = '4711:4711'", "owner = '4712:4712'"] {
        let Some(scene) = Scene::new() else { return };
        let mut source = RestoreSource::new();
        source.home = Some(scene.backup());
        scene.while_attacked(async || {
            for round in 0..30 {
                scene.restore(round, &source, owner).await;
                scene.assert_untouched(&format!("round {round}"));
            }
        });
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn what_stands_where_the_archive_was_unpacked_is_not_taken_for_it() {
    let Some(scene) = Scene::new() else { return };
    let home = scene.place().join("home");
    let strategy = strategy_for(&home, &[], "owner = '4711:4711'");
    let cx = RestoreContext::new(id(), scene.folder.path().join("work"));
    let restore = strategy.restore().unwrap();
    let mut session = restore.prepare_restore(&cx).await.unwrap();
    let mut source = RestoreSource::new();
    source.home = session.intake().await.unwrap().into_iter().next();
    let built = builds(&scene.place()).last().unwrap();
    fs::rename(&built, scene.place().join("stolen")).unwrap();
    fs::create_dir_all(built.join("content/shared/data/repositories")).unwrap();
    symlink(
        scene.sentinel(),
        built.join("content/shared/data/repositories/1"),
    )
    .unwrap();
    session.apply(&source).await.unwrap_err();
    session.abort().await.unwrap();
    scene.assert_untouched("after the restore");
    assert!(!home.exists() && built.join("content/shared").exists());
}

#[tokio::test(flavor = "multi_thread")]
async fn a_path_that_another_user_can_lead_elsewhere_is_refused() {
    let Some(scene) = Scene::new() else { return };
    let elsewhere = scene.folder.path().join("elsewhere");
    fs::create_dir(&elsewhere).unwrap();
    let link = scene.place().join("link");
    symlink(&elsewhere, &link).unwrap();
    let prepare = async || {
        let strategy = strategy_for(&link.join("home"), &[], "");
        let cx = RestoreContext::new(id(), scene.folder.path().join("work"));
        let prepared = strategy.restore().unwrap().prepare_restore(&cx).await;
        prepared.map(|_| ())
    };
    prepare().await.unwrap();
    std::os::unix::fs::lchown(&link, Some(OTHER), Some(OTHER)).unwrap();
    let error = prepare().await.unwrap_err();
    assert!(
        error.to_string().contains("belongs to another user"),
        "{error}"
    );
}
