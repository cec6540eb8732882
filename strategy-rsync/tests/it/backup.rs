use std::fs;
use std::os::unix::fs::{FileTypeExt, PermissionsExt};

use diy_backup_core::{CancelReason, Control, ErrorKind, HomeStrategy};
use diy_backup_testkit::home::Names;

use crate::support::{Bench, is_root};

#[tokio::test(flavor = "multi_thread")]
async fn the_copy_is_exact_and_leaves_out_what_belongs_into_no_backup() {
    let Some(bench) = Bench::new(2) else { return };
    let artifact = bench.back_up("").await;
    bench.assert_staged();
    assert!(artifact.bytes > 0);
    assert_eq!(artifact.detail("data-stores"), Some("2"));
    assert_eq!(
        artifact.detail("data-store-1"),
        Some(bench.path("ds1").to_str().unwrap())
    );
    let listed: u64 = artifact.detail("files").unwrap().parse().unwrap();
    assert!(listed > 100, "{listed}");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_second_backup_adds_and_deletes_and_keeps_the_rest() {
    let Some(bench) = Bench::new(0) else { return };
    bench.back_up("").await;
    let data = bench.home.path.join("shared/data");
    fs::remove_dir_all(data.join("repositories/2")).unwrap();
    fs::write(data.join("attachments/new"), "new").unwrap();
    fs::remove_file(data.join("attachments/odd/hard/second")).unwrap();
    fs::write(data.join("attachments/odd/hard/second"), "on its own now").unwrap();
    // A file where a folder was, and the other way round.
    fs::remove_dir_all(data.join("attachments/odd/setgid")).unwrap();
    fs::write(data.join("attachments/odd/setgid"), "a file").unwrap();
    fs::remove_file(data.join("attachments/odd/script")).unwrap();
    fs::create_dir(data.join("attachments/odd/script")).unwrap();
    bench.back_up("").await;
    bench.assert_staged();
}

#[tokio::test(flavor = "multi_thread")]
async fn what_happens_between_the_passes_is_in_the_backup() {
    let Some(bench) = Bench::new(1) else { return };
    let repository = bench.home.repositories[2].clone();
    let store = bench.path("ds0/repositories/0a");
    let change = || {
        fs::write(repository.join("refs/heads/new"), "0".repeat(41)).unwrap();
        fs::remove_file(repository.join("HEAD")).unwrap();
        fs::remove_dir_all(store.join("1f")).unwrap();
        fs::set_permissions(&store, fs::Permissions::from_mode(0o701)).unwrap();
    };
    bench
        .try_back_up(&bench.strategy(""), &bench.context(), change)
        .await
        .unwrap();
    bench.assert_staged();
}

#[tokio::test(flavor = "multi_thread")]
async fn a_home_of_any_name_can_be_copied() {
    for name in [
        "-rf --delete",
        "a'b\"c\\d",
        "[x]*?",
        "new\nline",
        "host:path",
    ] {
        let Some(bench) = Bench::with(0, Names::Plain, name) else {
            return;
        };
        bench.back_up("").await;
        bench.assert_staged();
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_home_that_is_a_link_is_followed_once() {
    let Some(bench) = Bench::with(0, Names::Plain, "real") else {
        return;
    };
    let link = bench.path("link");
    std::os::unix::fs::symlink("real", &link).unwrap();
    let strategy = crate::support::strategy_for(&link, &[], "");
    bench
        .try_back_up(&strategy, &bench.context(), || {})
        .await
        .unwrap();
    bench.assert_staged();
}

#[tokio::test(flavor = "multi_thread")]
async fn sockets_and_pipes_are_passed_over() {
    let Some(bench) = Bench::with(0, Names::Plain, "home") else {
        return;
    };
    let socket = bench.home.path.join("shared/socket");
    let _listener = std::os::unix::net::UnixListener::bind(&socket).unwrap();
    bench.back_up("").await;
    assert!(socket.symlink_metadata().unwrap().file_type().is_socket());
    assert!(!bench.staging().home().join("shared/socket").exists());
}

#[tokio::test(flavor = "multi_thread")]
async fn data_stores_of_the_shell_scripts_are_built_upon_and_strangers_go() {
    let Some(bench) = Bench::with(1, Names::Plain, "home") else {
        return;
    };
    let stores = bench.staging().data_stores();
    fs::create_dir_all(stores.join("ds0/old")).unwrap();
    fs::create_dir_all(stores.join("gone/old")).unwrap();
    bench.back_up("").await;
    bench.assert_staged();
    let names: Vec<_> = fs::read_dir(&stores)
        .unwrap()
        .map(|entry| entry.unwrap().file_name())
        .collect();
    assert_eq!(names, ["0"]);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_file_that_cannot_be_read_fails_the_backup() {
    if is_root() {
        diy_backup_testkit::report_skipped(&"root can read every file");
        return;
    }
    let Some(bench) = Bench::with(0, Names::Plain, "home") else {
        return;
    };
    let secret = bench.home.path.join("shared/config/secret");
    fs::write(&secret, "x").unwrap();
    fs::set_permissions(&secret, fs::Permissions::from_mode(0o000)).unwrap();
    let error = bench
        .strategy("")
        .prepare(&bench.context())
        .await
        .unwrap_err();
    assert_eq!(error.kind(), ErrorKind::Tool);
    assert!(error.to_string().contains("secret"), "{error}");
}

/// When a folder shuts, seen from the backup that it shuts for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Shut {
    BeforeTheFirst,
    BeforeTheSecond,
    BetweenThePasses,
}

/// What is below a folder that cannot be read may be anything: no copy may be taken for whole then.
#[tokio::test(flavor = "multi_thread")]
async fn a_folder_that_cannot_be_read_fails_the_backup() {
    if is_root() {
        diy_backup_testkit::report_skipped(&"root can read every file");
        return;
    }
    for when in [
        Shut::BeforeTheFirst,
        Shut::BeforeTheSecond,
        Shut::BetweenThePasses,
    ] {
        let Some(bench) = Bench::with(0, Names::Plain, "home") else {
            return;
        };
        let folder = bench.home.path.join("shared/data/shut");
        fs::create_dir(&folder).unwrap();
        fs::write(folder.join("file"), "old").unwrap();
        let shut = || {
            fs::write(folder.join("file"), "new").unwrap();
            fs::set_permissions(&folder, fs::Permissions::from_mode(0o000)).unwrap();
        };
        if when != Shut::BeforeTheFirst {
            bench.back_up("").await;
        }
        if when != Shut::BetweenThePasses {
            shut();
            // Long enough for its change time to lie before what the backup sees change.
            std::thread::sleep(std::time::Duration::from_millis(100));
        }
        let between = || {
            if when == Shut::BetweenThePasses {
                shut();
            }
        };
        let result = bench
            .try_back_up(&bench.strategy(""), &bench.context(), between)
            .await;
        fs::set_permissions(&folder, fs::Permissions::from_mode(0o700)).unwrap();
        let error = result.expect_err(&format!("{when:?}"));
        assert_eq!(error.kind(), ErrorKind::Tool, "{error}");
        assert!(error.to_string().contains("shut"), "{error}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_cancelled_run_ends_without_copying() {
    let Some(bench) = Bench::with(0, Names::Plain, "home") else {
        return;
    };
    let control = Control::new();
    control.cancel(CancelReason::Requested);
    let cx = bench.context().with_control(control);
    let error = bench.strategy("").prepare(&cx).await.unwrap_err();
    assert_eq!(error.kind(), ErrorKind::Cancelled);
}
