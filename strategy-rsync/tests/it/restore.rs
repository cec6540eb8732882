use std::fs;
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};

use diy_backup_core::{ErrorKind, HomeStrategy, RestoreContext, RestoreSource, Result};
use diy_backup_testkit::home::Names;
use diy_backup_testkit::tree::Exclusions;

use crate::support::{Bench, assert_same, is_root, restore_context, strategy_for};

fn source(bench: &Bench) -> RestoreSource {
    let mut source = RestoreSource::new();
    source.home = Some(bench.staging().home());
    source.data_stores = (0..bench.home.data_stores.len())
        .map(|number| bench.staging().data_store(number))
        .collect();
    source
}

async fn restore(
    bench: &Bench,
    cx: &RestoreContext,
    home: &Path,
    stores: &[&Path],
    more: &str,
) -> Result<()> {
    let strategy = strategy_for(home, stores, more);
    let mut session = strategy.restore().unwrap().prepare_restore(cx).await?;
    session.intake().await?;
    if let Err(error) = session.apply(&source(bench)).await {
        session.abort().await?;
        return Err(error);
    }
    session.commit().await?;
    session.verify().await
}

fn names_in(folder: &Path) -> Vec<PathBuf> {
    let entries = fs::read_dir(folder).unwrap();
    entries.map(|entry| entry.unwrap().path()).collect()
}

#[tokio::test(flavor = "multi_thread")]
async fn absent_and_empty_targets_become_what_was_backed_up() {
    let Some(bench) = Bench::new(2) else { return };
    let artifact = bench.back_up("").await;
    let cx = restore_context(&bench, &artifact);
    let to = bench.path("to");
    fs::create_dir_all(to.join("ds1")).unwrap();
    let (home, one, other) = (to.join("home"), to.join("ds0"), to.join("ds1"));
    restore(&bench, &cx, &home, &[&one, &other], "")
        .await
        .unwrap();
    assert_same(&bench.staging().home(), &Exclusions::none(), &home);
    assert_same(&bench.path("ds0"), &Exclusions::none(), &one);
    assert_same(&bench.path("ds1"), &Exclusions::none(), &other);
    assert!(!other.join("ds1").exists());
    assert_eq!(names_in(&to).len(), 3, "nothing is left beside the targets");
    let mtime = |path: &Path| fs::metadata(path).unwrap().mtime();
    assert_eq!(mtime(&home), mtime(&bench.home.path));
}

#[tokio::test(flavor = "multi_thread")]
async fn a_target_with_something_in_it_is_refused_and_untouched() {
    let Some(bench) = Bench::with(1, Names::Plain, "home") else {
        return;
    };
    let artifact = bench.back_up("").await;
    let cx = restore_context(&bench, &artifact);
    let to = bench.path("to");
    fs::create_dir_all(to.join("full/thing")).unwrap();
    for (home, store) in [("full", "ds"), ("home", "full")] {
        let (home, store) = (to.join(home), to.join(store));
        let error = restore(&bench, &cx, &home, &[&store], "")
            .await
            .unwrap_err();
        assert_eq!(error.kind(), ErrorKind::TargetNotEmpty);
        assert!(error.to_string().contains("`thing`"), "{error}");
    }
    assert_eq!(names_in(&to), [to.join("full")]);
}

#[tokio::test(flavor = "multi_thread")]
async fn data_stores_go_to_their_own_places_whatever_their_order() {
    let Some(bench) = Bench::with(2, Names::Plain, "home") else {
        return;
    };
    for number in 0..2 {
        let mark = bench.path(&format!("ds{number}/mark"));
        fs::write(mark, number.to_string()).unwrap();
    }
    let artifact = bench.back_up("").await;
    let original = bench.path("original");
    fs::create_dir(&original).unwrap();
    for name in ["home", "ds0", "ds1"] {
        fs::rename(bench.path(name), original.join(name)).unwrap();
    }
    let cx = restore_context(&bench, &artifact);
    let (home, one, other) = (bench.path("home"), bench.path("ds1"), bench.path("ds0"));
    restore(&bench, &cx, &home, &[&one, &other], "")
        .await
        .unwrap();
    assert_same(&original.join("ds1"), &Exclusions::none(), &one);
    assert_same(&original.join("ds0"), &Exclusions::none(), &other);
    // A data store that has moved, beside one that has not.
    for name in ["home", "ds0", "ds1"] {
        fs::remove_dir_all(bench.path(name)).unwrap();
    }
    let moved = bench.path("elsewhere");
    restore(&bench, &cx, &home, &[&moved, &other], "")
        .await
        .unwrap();
    assert_same(&original.join("ds1"), &Exclusions::none(), &moved);
    assert_same(&original.join("ds0"), &Exclusions::none(), &other);
    assert!(
        cx.events()
            .warnings()
            .join(
                "
"
            )
            .contains("elsewhere")
    );
}

#[tokio::test(flavor = "multi_thread")]
async fn data_stores_that_could_be_any_are_refused_by_name() {
    let Some(bench) = Bench::with(2, Names::Plain, "home") else {
        return;
    };
    let artifact = bench.back_up("").await;
    let cx = restore_context(&bench, &artifact);
    let (home, one, other) = (bench.path("to"), bench.path("x"), bench.path("y"));
    let refused = restore(&bench, &cx, &home, &[&one, &other], "").await;
    let error = refused.unwrap_err();
    assert_eq!(error.kind(), ErrorKind::Check);
    for path in ["ds0", "ds1", "x", "y"] {
        let path = bench.path(path).display().to_string();
        assert!(error.to_string().contains(&path), "{error}");
    }
    assert!(!home.exists() && !one.exists());
}

#[tokio::test(flavor = "multi_thread")]
async fn another_number_of_data_stores_is_refused() {
    let Some(bench) = Bench::with(1, Names::Plain, "home") else {
        return;
    };
    let artifact = bench.back_up("").await;
    let cx = restore_context(&bench, &artifact);
    let error = restore(&bench, &cx, &bench.path("to"), &[], "")
        .await
        .unwrap_err();
    assert_eq!(error.kind(), ErrorKind::Check);
}

#[tokio::test(flavor = "multi_thread")]
async fn too_little_room_is_found_before_anything_is_written() {
    let Some(bench) = Bench::with(0, Names::Plain, "home") else {
        return;
    };
    let artifact = bench.back_up("").await;
    let artifact = artifact.with_detail("home-bytes", (u64::MAX / 2).to_string());
    let cx = restore_context(&bench, &artifact);
    let error = restore(&bench, &cx, &bench.path("to"), &[], "")
        .await
        .unwrap_err();
    assert_eq!(error.kind(), ErrorKind::Space);
}

#[tokio::test(flavor = "multi_thread")]
async fn lock_files_in_repositories_go_and_nothing_else() {
    let Some(bench) = Bench::with(1, Names::Plain, "home") else {
        return;
    };
    let repositories = [
        bench.home.repositories[1].clone(),
        bench.path("ds0/repositories/0a/1f/5"),
    ];
    let locks = [
        "HEAD.lock",
        "gc.pid",
        "packed-refs.lock",
        "refs/heads/a/b.lock",
        "logs/HEAD.lock",
        "stash-refs/x.lock",
    ];
    let kept = [
        "hooks/x.lock",
        "refs/heads/lock",
        "other.lock",
        "objects/x.lock",
    ];
    for repository in &repositories {
        for name in locks.iter().chain(&kept) {
            let path = repository.join(name);
            fs::create_dir_all(path.parent().unwrap()).unwrap();
            fs::write(path, "").unwrap();
        }
    }
    // What a link leads to is not part of the repository.
    fs::write(bench.path("outside.lock"), "").unwrap();
    let link = repositories[0].join("refs/outside");
    std::os::unix::fs::symlink(bench.folder.path(), link).unwrap();
    let artifact = bench.back_up("").await;
    let cx = restore_context(&bench, &artifact);
    let (home, store) = (bench.path("to-home"), bench.path("to-store"));
    restore(&bench, &cx, &home, &[&store], "").await.unwrap();
    let number = repositories[0].file_name().unwrap();
    for restored in [
        home.join("shared/data/repositories").join(number),
        store.join("repositories/0a/1f/5"),
    ] {
        assert!(locks.iter().all(|name| !restored.join(name).exists()));
        assert!(kept.iter().all(|name| restored.join(name).exists()));
    }
    assert!(bench.path("outside.lock").exists());
}

fn assert_owned(path: &Path) {
    let metadata = fs::symlink_metadata(path).unwrap();
    assert_eq!(
        (metadata.uid(), metadata.gid()),
        (4711, 4712),
        "{}",
        path.display()
    );
    if metadata.is_dir() {
        for path in names_in(path) {
            assert_owned(&path);
        }
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn everything_belongs_to_the_owner() {
    if !is_root() {
        diy_backup_testkit::report_skipped(&"only root can give files away");
        return;
    }
    let Some(bench) = Bench::new(1) else { return };
    let artifact = bench.back_up("").await;
    let cx = restore_context(&bench, &artifact);
    let (home, store) = (bench.path("to"), bench.path("to-store"));
    restore(&bench, &cx, &home, &[&store], "owner = '4711:4712'")
        .await
        .unwrap();
    assert_owned(&home);
    assert_owned(&store);
    assert_same(&bench.staging().home(), &Exclusions::none(), &home);
}

#[tokio::test(flavor = "multi_thread")]
async fn an_owner_that_cannot_be_had_is_refused_before_anything_is_written() {
    let Some(bench) = Bench::with(0, Names::Plain, "home") else {
        return;
    };
    let artifact = bench.back_up("").await;
    let cx = restore_context(&bench, &artifact);
    let mut owners = vec!["no-such-user-anywhere"];
    if !is_root() {
        owners.push("0:0");
    }
    for owner in owners {
        let more = format!("owner = '{owner}'");
        let error = restore(&bench, &cx, &bench.path("to"), &[], &more)
            .await
            .unwrap_err();
        assert_eq!(error.kind(), ErrorKind::Check);
    }
    assert!(!bench.path("to").exists());
}

#[tokio::test(flavor = "multi_thread")]
async fn a_mount_point_is_filled_from_inside() {
    let Some(bench) = Bench::with(0, Names::Plain, "home") else {
        return;
    };
    let artifact = bench.back_up("").await;
    let cx = restore_context(&bench, &artifact);
    let target = bench.path("mounted");
    fs::create_dir(&target).unwrap();
    let mount = std::process::Command::new("mount")
        .args(["-t", "tmpfs", "tmpfs"])
        .arg(&target)
        .output();
    if !mount.is_ok_and(|output| output.status.success()) {
        diy_backup_testkit::report_skipped(&"a tmpfs cannot be mounted here");
        return;
    }
    fs::create_dir(target.join("lost+found")).unwrap();
    let restored = restore(&bench, &cx, &target, &[], "").await;
    let same = restored.map(|()| {
        fs::remove_dir(target.join("lost+found")).unwrap();
        assert_same(&bench.staging().home(), &Exclusions::none(), &target);
    });
    let _ = std::process::Command::new("umount")
        .arg("--lazy")
        .arg(&target)
        .status();
    same.unwrap();
}
