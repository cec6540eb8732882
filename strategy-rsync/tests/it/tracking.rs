//! Backups that learn from the kernel what changes.

use std::fs::{self, File};
use std::io::Write;
use std::os::unix::ffi::OsStrExt;
use std::os::unix::fs::{MetadataExt, PermissionsExt, symlink};
use std::path::Path;
use std::sync::{Arc, Mutex, PoisonError};

use diy_backup_core::{
    Artifact, CheckContext, ErrorKind, Event, Events, HomeStrategy, Observer, Result, Severity,
    Staging,
};
use diy_backup_testkit::home::Names;
use filetime::FileTime;

use crate::support::{Bench, config_for, strategy_for};

/// Keeps what users are told.
#[derive(Debug, Default)]
pub(crate) struct Recorder(Mutex<Vec<String>>);

impl Observer for Recorder {
    fn observe(&self, event: &Event) {
        if let Event::Message { text } = event {
            self.messages().push(text.clone());
        }
    }
}

impl Recorder {
    fn messages(&self) -> std::sync::MutexGuard<'_, Vec<String>> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Whether the capture went by what the kernel told, and nothing else.
    pub(crate) fn saw_tracking(&self) -> bool {
        !self
            .messages()
            .iter()
            .any(|text| text.contains("every file is looked at"))
    }
}

/// What happens at which point of a backup.
pub(crate) struct Script<A, B, C> {
    pub(crate) before_lock: A,
    pub(crate) captured: B,
    pub(crate) released: C,
}

/// Runs a backup that must track changes; says whether it did so to the end.
pub(crate) async fn run(
    bench: &Bench,
    script: Script<impl FnOnce(), impl FnOnce(), impl FnOnce()>,
) -> (Result<Artifact>, bool) {
    let recorder = Arc::new(Recorder::default());
    let cx = bench
        .context()
        .with_events(Events::new(recorder.clone() as Arc<dyn Observer>));
    let strategy = bench.strategy("track-changes = 'always'");
    let mut session = strategy.prepare(&cx).await.unwrap();
    (script.before_lock)();
    let window = bench.lock(&cx).await;
    session.capture(&window).await.unwrap();
    (script.captured)();
    let released = window.release(cx.control()).await.unwrap();
    (script.released)();
    let result = session.complete(&released).await;
    (result, recorder.saw_tracking())
}

/// A bench where changes can be tracked.
pub(crate) async fn tracked_bench(stores: usize) -> Option<Bench> {
    let bench = Bench::with(stores, Names::Plain, "home")?;
    let strategy = bench.strategy("track-changes = 'always'");
    let checked = strategy.check(&CheckContext::new(bench.staging())).await;
    let findings = checked.unwrap().findings;
    let refused = findings
        .iter()
        .find(|finding| finding.subject == "track-changes" && finding.severity == Severity::Error);
    if let Some(refused) = refused {
        diy_backup_testkit::report_skipped(&refused.message);
        return None;
    }
    Some(bench)
}

pub(crate) async fn capture_changes(bench: &Bench, changes: impl FnOnce()) -> bool {
    let script = Script {
        before_lock: changes,
        captured: || {},
        released: || {},
    };
    let (result, tracked) = run(bench, script).await;
    result.unwrap();
    bench.assert_staged();
    tracked
}

pub(crate) fn write(path: &Path, content: &str) {
    fs::create_dir_all(path.parent().unwrap()).unwrap();
    fs::write(path, content).unwrap();
}

pub(crate) fn rewrite_unnoticed(path: &Path, content: &str) {
    let time = FileTime::from_last_modification_time(&fs::metadata(path).unwrap());
    fs::write(path, content).unwrap();
    filetime::set_file_mtime(path, time).unwrap();
}

#[tokio::test(flavor = "multi_thread")]
async fn every_kind_of_change_lands_exactly() {
    let Some(bench) = tracked_bench(1).await else {
        return;
    };
    let data = bench.home.path.join("shared/data/kinds");
    let at = |name: &str| data.join(name);
    for name in [
        "append",
        "rewrite",
        "chmod",
        "chown",
        "utime",
        "xattr",
        "cut",
        "grow",
        "rename",
        "over",
        "overwritten",
        "unlink",
        "file to folder",
        "file to link",
        "deep/a/b/c",
        "moved/a/b/file",
        "old/a/file",
        "swap one/file",
        "swap two/file",
        "rmdir/a/b",
        "folder to file/x",
        "emptied/a",
        "mode/x",
        "times/x",
    ] {
        write(&at(name), "content");
    }
    symlink("one", at("link")).unwrap();
    let store = bench.path("ds0/repositories/0a/1f/5");
    let old = FileTime::from_unix_time(1_000_000_000, 7);
    for side in ["swap one/file", "swap two/file"] {
        fs::write(at(side), if side.contains("one") { "1111" } else { "2222" }).unwrap();
        filetime::set_file_mtime(at(side), old).unwrap();
    }
    let change = || {
        File::options()
            .append(true)
            .open(at("append"))
            .unwrap()
            .write_all(b" and more")
            .unwrap();
        rewrite_unnoticed(&at("rewrite"), "CONTENT");
        fs::set_permissions(at("chmod"), fs::Permissions::from_mode(0o4751)).unwrap();
        std::os::unix::fs::chown(at("chown"), Some(12), Some(34)).unwrap();
        filetime::set_file_times(at("utime"), old, old).unwrap();
        let _ = xattr::set(at("xattr"), "user.test", b"value");
        File::options()
            .write(true)
            .open(at("cut"))
            .unwrap()
            .set_len(3)
            .unwrap();
        File::options()
            .write(true)
            .open(at("grow"))
            .unwrap()
            .set_len(1 << 20)
            .unwrap();
        fs::rename(at("rename"), at("renamed")).unwrap();
        fs::rename(at("over"), at("overwritten")).unwrap();
        fs::remove_file(at("unlink")).unwrap();
        fs::remove_file(at("file to folder")).unwrap();
        write(&at("file to folder/x"), "x");
        fs::remove_file(at("file to link")).unwrap();
        symlink("append", at("file to link")).unwrap();
        fs::remove_dir_all(at("folder to file")).unwrap();
        fs::write(at("folder to file"), "x").unwrap();
        fs::remove_file(at("link")).unwrap();
        symlink("two", at("link")).unwrap();
        // A tree moves, and one that is moved changes.
        fs::rename(at("deep"), at("deeper")).unwrap();
        fs::rename(at("moved"), at("moved away")).unwrap();
        write(&at("moved away/a/b/new"), "new");
        fs::remove_file(at("moved away/a/b/file")).unwrap();
        fs::rename(at("old"), data.join("moved away/a/old")).unwrap();
        fs::rename(at("swap one"), at("aside")).unwrap();
        fs::rename(at("swap two"), at("swap one")).unwrap();
        fs::rename(at("aside"), at("swap two")).unwrap();
        fs::remove_dir_all(at("rmdir")).unwrap();
        write(&at("made/at/once/file"), "x");
        fs::create_dir_all(at("empty/folders")).unwrap();
        fs::remove_file(at("emptied/a")).unwrap();
        fs::set_permissions(at("mode"), fs::Permissions::from_mode(0o2711)).unwrap();
        filetime::set_file_times(at("times"), old, old).unwrap();
        for name in [
            &b"new\nline"[..],
            b"quotes\"'`$(x)",
            b"\xff\xfe",
            b"-rf",
            b"#x",
            b" ",
        ] {
            let name = std::ffi::OsStr::from_bytes(name);
            fs::write(data.join(name), "odd").unwrap();
            write(&data.join("odd").join(name).join(name), "odd");
        }
        fs::write(store.join("HEAD"), "ref: refs/heads/other\n").unwrap();
        // The folder itself, and what is left out of it.
        filetime::set_file_times(&bench.home.path, old, old).unwrap();
        write(&bench.home.path.join("caches/new/file"), "x");
        filetime::set_file_times(&bench.home.path, old, old).unwrap();
    };
    assert!(capture_changes(&bench, change).await);
    let copy = bench.staging().home().join("shared/data/kinds/chown");
    let copied = fs::metadata(copy).unwrap();
    assert_eq!((copied.uid(), copied.gid()), (12, 34));
}

#[tokio::test(flavor = "multi_thread")]
async fn what_is_left_out_sets_the_time_of_the_directory_that_it_comes_to() {
    let Some(bench) = tracked_bench(0).await else {
        return;
    };
    let change = || {
        write(&bench.home.path.join("shared/.lock"), "");
        fs::create_dir_all(bench.home.path.join("export")).unwrap();
    };
    assert!(capture_changes(&bench, change).await);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_change_of_a_file_with_several_names_reaches_all_of_them() {
    let Some(bench) = tracked_bench(0).await else {
        return;
    };
    let data = bench.home.path.join("shared/data/links");
    let at = |name: &str| data.join(name);
    for name in [
        "write", "remove", "replace", "chmod", "move", "split", "tree",
    ] {
        write(&at("one").join(name), "content");
        write(&at("two/x"), "");
        fs::hard_link(at("one").join(name), at("two").join(name)).unwrap();
    }
    write(&at("folder/deep/x"), "x");
    fs::hard_link(at("folder/deep/x"), at("two/of folder")).unwrap();
    let change = || {
        rewrite_unnoticed(&at("one/write"), "CONTENT");
        fs::remove_file(at("two/remove")).unwrap();
        fs::write(at("new"), "another").unwrap();
        fs::rename(at("new"), at("two/replace")).unwrap();
        fs::set_permissions(at("two/chmod"), fs::Permissions::from_mode(0o600)).unwrap();
        fs::rename(at("two/move"), at("moved")).unwrap();
        // The same content, size and time, and another file.
        let time = FileTime::from_last_modification_time(&fs::metadata(at("one/split")).unwrap());
        fs::remove_file(at("two/split")).unwrap();
        fs::copy(at("one/split"), at("two/split")).unwrap();
        filetime::set_file_mtime(at("two/split"), time).unwrap();
        fs::rename(at("folder"), at("folder2")).unwrap();
    };
    // Where the other names of a file are not known any more, all of the folder is looked at: that is exact, too.
    capture_changes(&bench, change).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn names_that_come_and_go_leave_no_stale_copy() {
    let Some(bench) = tracked_bench(0).await else {
        return;
    };
    let data = bench.home.path.join("shared/data");
    for name in ["single", "written", "passing", "outside"] {
        write(&data.join(name), "content");
    }
    fs::hard_link(data.join("written"), data.join("written too")).unwrap();
    fs::hard_link(data.join("outside"), bench.home.path.join("caches/outside")).unwrap();
    let change = || {
        fs::hard_link(data.join("single"), data.join("second")).unwrap();
        rewrite_unnoticed(&data.join("written too"), "CONTENT");
        fs::remove_file(data.join("written too")).unwrap();
        fs::hard_link(data.join("passing"), data.join("passed")).unwrap();
        rewrite_unnoticed(&data.join("passed"), "CONTENT");
        fs::remove_file(data.join("passed")).unwrap();
        rewrite_unnoticed(&data.join("outside"), "CONTENT");
    };
    // Whether every file has to be looked at depends on which names the kernel remembers.
    capture_changes(&bench, change).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_repository_that_is_written_packed_and_pruned_lands_exactly() {
    let Some(bench) = tracked_bench(0).await else {
        return;
    };
    let repository = bench.home.path.join("shared/data/repositories/git");
    let git = |arguments: &[&str]| {
        let output = std::process::Command::new("git")
            .arg("--git-dir")
            .arg(&repository)
            .args(["-c", "user.name=x", "-c", "user.email=x@example.com"])
            .args(arguments)
            .output();
        output.map(|output| {
            assert!(output.status.success(), "{output:?}");
            String::from_utf8(output.stdout).unwrap().trim().to_owned()
        })
    };
    if git(&["init", "--bare", "-q"]).is_err() {
        return diy_backup_testkit::report_skipped(&"git is not installed");
    }
    let commit = |text: &str| {
        let tree = git(&["write-tree"]).unwrap();
        let commit = git(&["commit-tree", "-m", text, &tree]).unwrap();
        git(&["update-ref", &format!("refs/heads/{text}"), &commit]).unwrap();
    };
    for text in ["a", "b", "c"] {
        commit(text);
    }
    let change = || {
        commit("d");
        git(&["gc", "-q", "--prune=now"]).unwrap();
        commit("e");
        git(&["pack-refs", "--all", "--prune"]).unwrap();
    };
    assert!(capture_changes(&bench, change).await);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_capture_that_lost_track_looks_at_every_file() {
    let Some(bench) = tracked_bench(0).await else {
        return;
    };
    let home = &bench.home.path;
    let change = || {
        rewrite_unnoticed(&home.join("shared/bitbucket.properties"), &"x".repeat(7));
        // Meanwhile, changes would be those of another folder.
        let aside = home.with_extension("aside");
        fs::rename(home, &aside).unwrap();
        fs::write(aside.join("shared/data/unseen"), "x").unwrap();
        fs::rename(&aside, home).unwrap();
    };
    assert!(!capture_changes(&bench, change).await);
}

#[tokio::test(flavor = "multi_thread")]
async fn what_changes_after_the_capture_does_not_disturb_its_proof() {
    let Some(bench) = tracked_bench(0).await else {
        return;
    };
    let data = bench.home.path.join("shared/data");
    for name in ["a/b/file", "c/d/file", "e/file", "f", "g"] {
        write(&data.join(name), name);
    }
    fs::hard_link(data.join("f"), data.join("f2")).unwrap();
    let script = Script {
        before_lock: || write(&data.join("new"), "new"),
        captured: || {},
        released: || {
            fs::rename(data.join("a"), data.join("z")).unwrap();
            fs::rename(data.join("c"), data.join("a")).unwrap();
            fs::write(data.join("a/touched"), "x").unwrap();
            fs::rename(data.join("z/b"), data.join("a/d/b")).unwrap();
            fs::remove_dir_all(data.join("e")).unwrap();
            fs::write(data.join("f"), "other").unwrap();
            fs::remove_file(data.join("g")).unwrap();
            fs::create_dir(data.join("g")).unwrap();
            fs::set_permissions(data.join("new"), fs::Permissions::from_mode(0o600)).unwrap();
        },
    };
    let (result, tracked) = run(&bench, script).await;
    result.unwrap();
    assert!(tracked);
    let copy = bench.staging().home().join("shared/data");
    assert_eq!(fs::read(copy.join("a/b/file")).unwrap(), b"a/b/file");
    assert_eq!(fs::read(copy.join("f2")).unwrap(), b"f");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_copy_that_was_tampered_with_fails_the_backup_by_name() {
    type Tamper = fn(&Path);
    let cases: [(&str, Tamper); 8] = [
        ("other content", |path| rewrite_unnoticed(path, "CONTENT")),
        ("missing", |path| fs::remove_file(path).unwrap()),
        ("another size", |path| fs::write(path, "x").unwrap()),
        ("permissions", |path| {
            fs::set_permissions(path, fs::Permissions::from_mode(0o611)).unwrap();
        }),
        ("modification time", |path| {
            filetime::set_file_mtime(path, FileTime::zero()).unwrap();
        }),
        ("hard links", |path| {
            fs::hard_link(path, path.with_extension("link")).unwrap();
        }),
        ("another type", |path| {
            fs::remove_file(path).unwrap();
            fs::create_dir(path).unwrap();
        }),
        ("not in the original", |path| {
            fs::write(path.with_file_name("target-extra"), "x").unwrap();
        }),
    ];
    let Some(bench) = tracked_bench(0).await else {
        return;
    };
    write(&bench.home.path.join("shared/data/target"), "content");
    for (aspect, tamper) in cases {
        let script = Script {
            before_lock: || {},
            captured: || tamper(&bench.staging().home().join("shared/data/target")),
            released: || {},
        };
        let (result, tracked) = run(&bench, script).await;
        let error = result.unwrap_err().to_string();
        assert!(tracked && error.contains(aspect), "{aspect}: {error}");
        assert!(error.contains("shared/data/target"), "{error}");
        capture_changes(&bench, || {}).await;
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn what_cannot_be_tracked_is_refused_or_done_without() {
    let folder = tempfile::tempdir().unwrap();
    let cx = CheckContext::new(Staging::new(folder.path()));
    let home = Path::new("/proc/sys/fs/fanotify");
    if !home.is_dir() {
        return diy_backup_testkit::report_skipped(&"there is no /proc/sys/fs/fanotify");
    }
    for (wanted, severity) in [
        ("always", Some(Severity::Error)),
        ("auto", Some(Severity::Info)),
        ("never", Some(Severity::Info)),
    ] {
        let strategy = strategy_for(home, &[], &format!("track-changes = '{wanted}'"));
        let findings = strategy.check(&cx).await.unwrap().findings;
        let found = findings.iter().find(|one| one.subject == "track-changes");
        assert_eq!(found.map(|one| one.severity), severity, "{wanted}");
        assert_eq!(wanted == "never", found.unwrap().message.contains("never"));
    }
    let config = config_for(home, &[], "track-changes = 'always'");
    let strategy = strategy_rsync::RsyncHome::new(config, diy_backup_core::InstanceKind::Bitbucket);
    let cx = diy_backup_core::BackupContext::new(crate::support::id(), Staging::new(folder.path()));
    let error = strategy.prepare(&cx).await.unwrap_err();
    assert_eq!(error.kind(), ErrorKind::Check);
    assert!(error.hint().is_some());
}
