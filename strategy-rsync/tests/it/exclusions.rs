use std::fs;
use std::path::Path;

use diy_backup_core::{DatabaseLocation, HomeStrategy, InstanceKind};
use diy_backup_testkit::home::Names;
use strategy_rsync::RsyncHome;

use crate::support::{Bench, config_for};

fn exists(bench: &Bench, path: &str) -> bool {
    bench.staging().home().join(path).symlink_metadata().is_ok()
}

#[tokio::test(flavor = "multi_thread")]
async fn what_an_earlier_run_copied_goes_once_it_is_excluded() {
    let Some(bench) = Bench::with(1, Names::Plain, "home") else {
        return;
    };
    bench.back_up("include-logs = true").await;
    assert!(exists(&bench, "log/audit/audit.log"));
    bench.back_up("exclude-repositories = [2, '5']").await;
    assert!(!exists(&bench, "log"));
    assert!(!exists(&bench, "shared/data/repositories/2"));
    assert!(exists(&bench, "shared/data/repositories/3"));
    let store = bench.staging().data_store(0).join("repositories/0a");
    assert!(!store.join("1f/5").exists() && store.join("ff/6").exists());
}

#[tokio::test(flavor = "multi_thread")]
async fn ids_with_wildcards_exclude_themselves_alone() {
    let Some(bench) = Bench::with(1, Names::Plain, "home") else {
        return;
    };
    let places = [
        bench.home.path.join("shared/data/repositories"),
        bench.path("ds0/repositories/0a/1f"),
    ];
    let odd = [
        "a*b",
        "[x]",
        "q?",
        "back\\slash",
        "both*\\x",
        "-rf",
        "new\nline",
    ];
    let near = ["axb", "x", "qq", "backslash", "bothx"];
    for name in odd.iter().chain(&near) {
        for place in &places {
            fs::create_dir(place.join(name)).unwrap();
            fs::write(place.join(name).join("HEAD"), "x").unwrap();
        }
    }
    bench
        .back_up(&format!("exclude-repositories = {odd:?}"))
        .await;
    let copies = [
        bench.staging().home().join("shared/data/repositories"),
        bench.staging().data_store(0).join("repositories/0a/1f"),
    ];
    for copy in copies {
        assert!(odd.iter().all(|name| !copy.join(name).exists()));
        assert!(
            near.iter()
                .all(|name| copy.join(name).join("HEAD").exists())
        );
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn the_database_in_the_home_is_copied_when_it_is_the_database() {
    let Some(bench) = Bench::with(0, Names::Plain, "home") else {
        return;
    };
    let cx = bench.context().with_database(DatabaseLocation::InHome);
    bench
        .try_back_up(&bench.strategy(""), &cx, || {})
        .await
        .unwrap();
    assert!(exists(&bench, "shared/data/db.h2.db"));
    bench.back_up("").await;
    assert!(!exists(&bench, "shared/data/db.h2.db"));
}

#[tokio::test(flavor = "multi_thread")]
async fn a_repository_of_a_mesh_node_is_excluded_wherever_it_lies() {
    let Some(bench) = Bench::with(0, Names::Plain, "other") else {
        return;
    };
    let mesh = bench.path("mesh");
    let repository = |path: &str| {
        let path = mesh.join("store/data").join(path);
        fs::create_dir_all(path.join("objects/17")).unwrap();
        fs::write(path.join("objects/17/x"), "x").unwrap();
        fs::write(path.join("HEAD"), "ref: refs/heads/x\n").unwrap();
    };
    repository("p/0000/r/17");
    repository("p/0000/r/18");
    fs::create_dir_all(mesh.join("caches")).unwrap();
    fs::create_dir_all(mesh.join("shared/export")).unwrap();
    let config = config_for(&mesh, &[], "exclude-repositories = [17]");
    let strategy = RsyncHome::new(config, InstanceKind::Mesh);
    drop(strategy.prepare(&bench.context()).await.unwrap());
    let copy = bench.staging().home();
    assert!(!copy.join("store/data/p/0000/r/17").exists());
    assert!(copy.join("store/data/p/0000/r/18/objects/17/x").exists());
    assert!(!copy.join("caches").exists() && copy.join("shared/export").exists());
    assert!(Path::new(&copy).is_dir());
}

#[tokio::test(flavor = "multi_thread")]
async fn what_an_nfs_client_keeps_of_deleted_files_is_left_out() {
    for more in ["track-changes = 'auto'", "track-changes = 'never'"] {
        let Some(bench) = Bench::with(0, Names::Plain, "home") else {
            return;
        };
        let name = ".nfs000000000123456700000042";
        let objects = "shared/data/repositories/1/objects";
        let place = bench.home.path.join(objects);
        fs::create_dir_all(place.join(".nfs-directory")).unwrap();
        fs::write(place.join(name), "deleted and open").unwrap();
        // As if an earlier copy had it.
        let copy = bench.staging().home().join(objects);
        fs::create_dir_all(&copy).unwrap();
        fs::write(copy.join(name), "deleted and open").unwrap();
        let strategy = bench.strategy(more);
        let between = || fs::write(place.join(".nfs0000000000000007"), "x").unwrap();
        let taken = bench
            .try_back_up(&strategy, &bench.context(), between)
            .await;
        taken.unwrap();
        let left = fs::read_dir(&copy).unwrap().flatten();
        let silly: Vec<_> = left
            .map(|entry| entry.file_name().into_string().unwrap())
            .filter(|name| name.starts_with(".nfs"))
            .collect();
        assert_eq!(silly, [".nfs-directory"], "{more}");
    }
}
