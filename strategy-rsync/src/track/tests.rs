//! The tracker on the real kernel.

use std::collections::HashSet;
use std::fs::{self, File};
use std::os::unix::ffi::OsStringExt;
use std::os::unix::fs::{PermissionsExt, symlink};
use std::path::{Path, PathBuf};

use super::{Change, Dirty, Tracker};
use crate::exclude::Exclusions;
use crate::folder::{Folder, Role};

struct Bench {
    root: tempfile::TempDir,
    tracker: Tracker,
}

impl Bench {
    /// A tracker of the folder `home`, which `fill` has filled; `None` where there can be none.
    fn new(fill: impl FnOnce(&Path)) -> Option<Self> {
        let root = tempfile::tempdir().unwrap();
        let source = root.path().canonicalize().unwrap().join("home");
        fs::create_dir(&source).unwrap();
        fill(&source);
        let mut folder = Folder {
            role: Role::Home,
            layout: crate::layout::Layout::Whole,
            source,
            copy: root.path().join("copy"),
            exclusions: Exclusions::default(),
        };
        folder.exclusions.leave_out(Path::new("out"));
        match Tracker::start(&[folder]) {
            Ok(tracker) => Some(Self { root, tracker }),
            Err(unavailable) => {
                diy_backup_testkit::report_skipped(&unavailable.reason);
                None
            }
        }
    }

    fn home(&self, path: &str) -> PathBuf {
        self.root.path().join("home").join(path)
    }

    fn take(&self) -> Vec<(PathBuf, Change)> {
        self.tracker.take().unwrap().remove(0).into_sorted()
    }

    fn tells_of(&self, path: &str) -> bool {
        let asked = self.tracker.ask(0, |dirty| dirty.tells_of(Path::new(path)));
        asked.unwrap()
    }

    fn assert_taken(&self, expected: &[(&str, Change)]) {
        let expected: Vec<(PathBuf, Change)> = expected
            .iter()
            .map(|(path, change)| (path.into(), *change))
            .collect();
        assert_eq!(self.take(), expected);
    }
}

#[test]
fn every_kind_of_change_is_told_before_the_call_is_forgotten() {
    let fill = |home: &Path| {
        for name in ["chmod", "time", "xattr", "cut", "write", "gone", "from"] {
            fs::write(home.join(name), "content").unwrap();
        }
        fs::create_dir_all(home.join("folder/below")).unwrap();
        fs::create_dir(home.join("mode")).unwrap();
    };
    let Some(bench) = Bench::new(fill) else {
        return;
    };
    let home = |path| bench.home(path);
    let attributes: &[(&str, Change)] = &[
        ("chmod", Change::Attributes),
        ("mode", Change::Attributes),
        ("time", Change::Attributes),
        ("xattr", Change::Attributes),
    ];
    fs::set_permissions(home("chmod"), fs::Permissions::from_mode(0o600)).unwrap();
    fs::set_permissions(home("mode"), fs::Permissions::from_mode(0o700)).unwrap();
    let time = filetime::FileTime::zero();
    filetime::set_file_times(home("time"), time, time).unwrap();
    xattr::set(home("xattr"), "user.x", b"y").unwrap();
    bench.assert_taken(attributes);

    fs::write(home("write"), "CONTENT").unwrap();
    File::options()
        .write(true)
        .open(home("cut"))
        .unwrap()
        .set_len(3)
        .unwrap();
    fs::write(home("new"), "").unwrap();
    bench.assert_taken(&[
        ("cut", Change::Content),
        ("new", Change::Content),
        ("write", Change::Content),
    ]);

    fs::remove_file(home("gone")).unwrap();
    fs::rename(home("from"), home("to")).unwrap();
    symlink("nowhere", home("symbolic")).unwrap();
    bench.assert_taken(&[
        ("from", Change::Content),
        ("gone", Change::Content),
        ("symbolic", Change::Content),
        ("to", Change::Content),
    ]);

    fs::rename(home("folder"), home("moved")).unwrap();
    fs::create_dir(home("made")).unwrap();
    bench.assert_taken(&[
        ("folder", Change::Content),
        ("made", Change::Subtree),
        ("moved", Change::Subtree),
    ]);
    fs::remove_dir_all(home("moved")).unwrap();
    let taken = bench.take();
    assert!(
        taken.contains(&("moved".into(), Change::Content)),
        "{taken:?}"
    );
    bench.assert_taken(&[]);
}

#[test]
fn names_of_any_bytes_are_told() {
    let Some(bench) = Bench::new(|_| {}) else {
        return;
    };
    let mut names = ["-rf", "a\nb", "\"'\\", " ", "x (deleted)"]
        .map(PathBuf::from)
        .to_vec();
    names.push(std::ffi::OsString::from_vec(b"\xff\xfe".to_vec()).into());
    for name in &names {
        fs::create_dir(bench.home("").join(name)).unwrap();
    }
    assert_eq!(bench.take().len(), names.len());
    for name in &names {
        fs::write(bench.home("").join(name).join(name), "x").unwrap();
    }
    let taken: Vec<PathBuf> = bench.take().into_iter().map(|(path, _)| path).collect();
    names.sort();
    let expected: Vec<PathBuf> = names.iter().map(|name| name.join(name)).collect();
    assert_eq!(taken, expected);
}

#[test]
fn changes_in_a_folder_are_told_by_its_new_name_after_it_or_what_is_above_it_moved() {
    let fill = |home: &Path| fs::create_dir_all(home.join("a/b/c")).unwrap();
    let Some(bench) = Bench::new(fill) else {
        return;
    };
    fs::write(bench.home("a/b/c/file"), "1").unwrap();
    bench.assert_taken(&[("a/b/c/file", Change::Content)]);
    fs::rename(bench.home("a"), bench.home("z")).unwrap();
    bench.take();
    fs::write(bench.home("z/b/c/file"), "2").unwrap();
    bench.assert_taken(&[("z/b/c/file", Change::Content)]);
    // Out of the folder, and back under another name.
    fs::rename(bench.home("z"), bench.root.path().join("away")).unwrap();
    fs::write(bench.root.path().join("away/b/c/file"), "3").unwrap();
    bench.assert_taken(&[("z", Change::Content)]);
    fs::write(bench.root.path().join("away/b/c/file"), "4").unwrap();
    bench.assert_taken(&[]);
    fs::rename(bench.root.path().join("away"), bench.home("y")).unwrap();
    bench.assert_taken(&[("y", Change::Subtree)]);
    fs::write(bench.home("y/b/c/file"), "5").unwrap();
    bench.assert_taken(&[("y/b/c/file", Change::Content)]);
}

#[test]
fn a_write_by_a_name_that_is_gone_is_told_by_one_that_is_left() {
    let fill = |home: &Path| fs::write(home.join("left"), "").unwrap();
    let Some(bench) = Bench::new(fill) else {
        return;
    };
    fs::hard_link(bench.home("left"), bench.home("gone")).unwrap();
    assert!(bench.take().contains(&("gone".into(), Change::Content)));
    fs::write(bench.home("gone"), "x").unwrap();
    fs::remove_file(bench.home("gone")).unwrap();
    bench.assert_taken(&[("gone", Change::Content), ("left", Change::Content)]);
    fs::hard_link(bench.home("left"), bench.home("brief")).unwrap();
    fs::write(bench.home("brief"), "y").unwrap();
    fs::remove_file(bench.home("brief")).unwrap();
    bench.assert_taken(&[("brief", Change::Content), ("left", Change::Content)]);
}

#[test]
fn what_is_left_out_or_lies_outside_is_not_told() {
    let fill = |home: &Path| fs::create_dir_all(home.join("out/deep")).unwrap();
    let Some(bench) = Bench::new(fill) else {
        return;
    };
    fs::write(bench.home("out/deep/file"), "x").unwrap();
    fs::create_dir(bench.home("out/more")).unwrap();
    fs::write(bench.root.path().join("file"), "x").unwrap();
    fs::remove_dir_all(bench.home("out")).unwrap();
    fs::create_dir(bench.home("out")).unwrap();
    // But for the time of the directory that it is in.
    bench.assert_taken(&[("", Change::Attributes)]);
    // What comes from there is told from then on.
    fs::create_dir(bench.home("out/born")).unwrap();
    fs::write(bench.home("out/born/file"), "x").unwrap();
    fs::rename(bench.home("out/born"), bench.home("in")).unwrap();
    bench.assert_taken(&[("in", Change::Subtree)]);
    fs::write(bench.home("in/file"), "y").unwrap();
    bench.assert_taken(&[("in/file", Change::Content)]);
}

#[test]
fn more_than_fits_loses_track_until_a_new_start() {
    let Some(bench) = Bench::new(|_| {}) else {
        return;
    };
    let mut full = Dirty::default();
    for number in 0.. {
        if full
            .mark(number.to_string().into(), Change::Content)
            .is_err()
        {
            break;
        }
    }
    bench.tracker.give_back(0, full);
    assert!(bench.tells_of("7"));
    fs::write(bench.home("one more"), "x").unwrap();
    bench.tracker.take().unwrap_err();
    bench.tracker.take().unwrap_err();
    bench.tracker.start_again();
    bench.assert_taken(&[]);
    fs::write(bench.home("file"), "x").unwrap();
    assert!(bench.tells_of("file"));
    assert!(!bench.tells_of("other"));
}

#[test]
fn a_folder_that_is_replaced_or_moves_with_what_is_above_loses_track() {
    let Some(bench) = Bench::new(|_| {}) else {
        return;
    };
    fs::rename(bench.home(""), bench.root.path().join("aside")).unwrap();
    fs::create_dir(bench.home("")).unwrap();
    bench.tracker.take().unwrap_err();
    fs::remove_dir(bench.home("")).unwrap();
    fs::rename(bench.root.path().join("aside"), bench.home("")).unwrap();
    bench.tracker.start_again();
    bench.assert_taken(&[]);

    let renamed = bench.root.path().with_extension("renamed");
    fs::rename(bench.root.path(), &renamed).unwrap();
    fs::rename(&renamed, bench.root.path()).unwrap();
    bench.tracker.take().unwrap_err();
}

#[test]
fn nothing_of_many_writers_is_lost() {
    const WRITERS: usize = 8;
    const FILES: usize = 500;
    let fill = |home: &Path| {
        (0..WRITERS).for_each(|writer| fs::create_dir(home.join(writer.to_string())).unwrap());
    };
    let Some(bench) = Bench::new(fill) else {
        return;
    };
    let mut told = std::thread::scope(|scope| {
        let writers: Vec<_> = (0..WRITERS)
            .map(|writer| {
                let folder = bench.home(&writer.to_string());
                scope.spawn(move || {
                    (0..FILES).for_each(|file| {
                        fs::write(folder.join(file.to_string()), "x").unwrap();
                    });
                })
            })
            .collect();
        let mut told = HashSet::new();
        while writers.iter().any(|writer| !writer.is_finished()) {
            told.extend(bench.take().into_iter().map(|(path, _)| path));
        }
        told
    });
    told.extend(bench.take().into_iter().map(|(path, _)| path));
    assert_eq!(told.len(), WRITERS * FILES);
}

#[test]
fn folders_that_cannot_be_watched_are_refused_with_the_reason() {
    let proc = Folder {
        role: Role::Home,
        layout: crate::layout::Layout::Whole,
        source: "/proc".into(),
        copy: "/nowhere".into(),
        exclusions: Exclusions::default(),
    };
    let unavailable = Tracker::start(&[proc]).unwrap_err();
    assert!(
        unavailable.reason.contains("type proc"),
        "{}",
        unavailable.reason
    );
    assert!(!unavailable.fix.is_empty());
}

#[test]
fn a_tracker_ends_while_a_child_process_goes_on() {
    let Some(bench) = Bench::new(|_| {}) else {
        return;
    };
    let mut child = std::process::Command::new("sleep")
        .arg("30")
        .spawn()
        .unwrap();
    drop(bench.tracker);
    let is_alive = child.try_wait().unwrap().is_none();
    child.kill().unwrap();
    child.wait().unwrap();
    assert!(is_alive, "the tracker waited for the child");
}

/// As the kernel's own file server writes, whose clients keep handles for as long as they like.
#[test]
fn a_write_by_a_handle_whose_name_the_kernel_has_forgotten_is_told_by_the_file() {
    use std::os::fd::AsFd;
    use std::os::unix::fs::MetadataExt;
    const DROP: &str = "/proc/sys/vm/drop_caches";
    let fill = |home: &Path| fs::write(home.join("file"), "content").unwrap();
    let Some(bench) = Bench::new(fill) else {
        return;
    };
    let path = bench.home("file");
    let handle = {
        let file = File::open(&path).unwrap();
        super::sys::handle_of(file.as_fd()).unwrap()
    };
    let inode = fs::metadata(&path).unwrap().ino();
    let mount = File::open(bench.home("")).unwrap();
    bench.take();
    // Names are forgotten one after the other, and one that is in use stays: more than one try may be needed.
    for _ in 0..20 {
        if let Err(error) = fs::write(DROP, "2") {
            return diy_backup_testkit::report_skipped(&format!("{DROP}: {error}"));
        }
        let write = libc::O_WRONLY;
        let opened = super::sys::open_by_handle_for(write, mount.as_fd(), &handle).unwrap();
        let link = format!("/proc/self/fd/{}", std::os::fd::AsRawFd::as_raw_fd(&opened));
        let is_nameless = fs::read_link(link).unwrap() == Path::new("/");
        std::io::Write::write_all(&mut File::from(opened), b"CONTENT").unwrap();
        let dirty = bench.tracker.take().unwrap().remove(0);
        if is_nameless {
            let by_file = dirty.files().any(|(_, file)| file == inode);
            assert!(by_file || dirty.tells_of(Path::new("file")), "{dirty:?}");
            return;
        }
        assert!(dirty.tells_of(Path::new("file")), "{dirty:?}");
    }
    diy_backup_testkit::report_skipped(&"the kernel forgets no name here");
}

#[test]
fn a_file_with_a_name_elsewhere_is_told_when_it_gets_that() {
    let fill = |home: &Path| fs::write(home.join("file"), "content").unwrap();
    let Some(bench) = Bench::new(fill) else {
        return;
    };
    let outside = bench.root.path().join("outside");
    fs::hard_link(bench.home("file"), &outside).unwrap();
    let dirty = bench.tracker.take().unwrap().remove(0);
    let id = crate::platform::Facts::of(&fs::metadata(&outside).unwrap()).id;
    assert!(dirty.has_file(id), "{dirty:?}");
}
