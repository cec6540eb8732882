//! Changes of which nobody tells where they happened, and a second one after the unlock that hides them.

use std::fs::{self, File};
use std::io::{Read, Write};
use std::path::{Path, PathBuf};

use diy_backup_testkit::home::Names;

use crate::support::{Bench, is_root};
use crate::tracking::{Script, run, tracked_bench, write};

/// Overwrites in place, so that every name of the file changes.
fn overwrite(path: &Path, content: &str) {
    let mut file = File::options().write(true).open(path).unwrap();
    file.write_all(content.as_bytes()).unwrap();
}

#[tokio::test(flavor = "multi_thread")]
async fn a_write_by_a_name_outside_of_the_home_is_in_the_backup() {
    let Some(bench) = tracked_bench(0).await else {
        return;
    };
    let data = bench.home.path.join("shared/data");
    let outside = |name: &str| bench.path(&format!("outside-{name}"));
    for name in ["known", "new"] {
        write(&data.join(name), "one");
    }
    fs::hard_link(data.join("known"), outside("known")).unwrap();
    let script = Script {
        before_lock: || {
            fs::hard_link(data.join("new"), outside("new")).unwrap();
            overwrite(&outside("new"), "two");
            overwrite(&outside("known"), "two");
        },
        captured: || {},
        released: || {
            overwrite(&outside("new"), "three");
            overwrite(&outside("known"), "three");
        },
    };
    let (result, tracked) = run(&bench, script).await;
    result.unwrap();
    assert!(tracked, "a few files take no look at all of them");
    let copy = bench.staging().home().join("shared/data");
    for name in ["known", "new"] {
        assert_eq!(fs::read(copy.join(name)).unwrap(), b"two", "{name}");
    }
}

/// Stores to a mapping are not told before it is unmapped.
#[tokio::test(flavor = "multi_thread")]
async fn a_change_that_is_never_told_is_no_excuse_for_an_old_copy() {
    let Some(bench) = tracked_bench(0).await else {
        return;
    };
    let path = bench.home.path.join("shared/data/mapped");
    write(&path, &"one".repeat(5000));
    let Some(mapping) = Mapping::of(&path) else {
        return;
    };
    let script = Script {
        before_lock: || mapping.store("two"),
        captured: || {},
        released: || mapping.store("ten"),
    };
    let (result, tracked) = run(&bench, script).await;
    assert!(tracked);
    let error = result.unwrap_err().to_string();
    assert!(error.contains("shared/data/mapped"), "{error}");
}

/// A home on a file system that keeps whole seconds.
#[tokio::test(flavor = "multi_thread")]
async fn a_second_write_within_a_second_is_in_the_backup() {
    let Some(volume) = OldVolume::mount() else {
        return;
    };
    let home = volume.point.join("home");
    let Some(bench) = Bench::with(0, Names::Plain, home.to_str().unwrap()) else {
        return;
    };
    let path = bench.home.path.join("shared/data/file");
    write(&path, "zero");
    let strategy = bench.strategy("track-changes = 'never'");
    let cx = bench.context();
    // The last look of the live pass has to begin and the file to change within one second.
    for round in 0..10 {
        let (first, second) = (format!("a{round:03}"), format!("b{round:03}"));
        let mut session = diy_backup_core::HomeStrategy::prepare(&strategy, &cx)
            .await
            .unwrap();
        overwrite(&path, &first);
        let window = bench.lock(&cx).await;
        session.capture(&window).await.unwrap();
        let released = window.release(cx.control()).await.unwrap();
        overwrite(&path, &second);
        session.complete(&released).await.unwrap();
        let copy = bench.staging().home().join("shared/data/file");
        assert_eq!(fs::read_to_string(copy).unwrap(), first);
    }
}

/// A file that another process has mapped and stores to.
struct Mapping(std::cell::RefCell<std::process::Child>);

impl Mapping {
    const PROGRAM: &str = "
import mmap, sys
file = open(sys.argv[1], 'r+b')
mapped = mmap.mmap(file.fileno(), 0)
print('mapped', flush=True)
for line in sys.stdin:
    mapped[0:3] = line.strip().encode()
    mapped.flush()
    print('stored', flush=True)
";

    fn of(path: &Path) -> Option<Self> {
        let mut python = std::process::Command::new("python3");
        let child = python
            .args(["-c", Self::PROGRAM])
            .arg(path)
            .stdin(std::process::Stdio::piped())
            .stdout(std::process::Stdio::piped())
            .spawn();
        let Ok(child) = child else {
            diy_backup_testkit::report_skipped(&"python3 is not installed");
            return None;
        };
        let this = Self(child.into());
        this.expect("mapped");
        Some(this)
    }

    /// Stores, and has it written, so that the next store sets the times again.
    fn store(&self, text: &str) {
        let mut child = self.0.borrow_mut();
        let input = child.stdin.as_mut().unwrap();
        writeln!(input, "{text}").unwrap();
        drop(child);
        self.expect("stored");
    }

    fn expect(&self, line: &str) {
        let mut child = self.0.borrow_mut();
        let mut answer = vec![0; line.len() + 1];
        child
            .stdout
            .as_mut()
            .unwrap()
            .read_exact(&mut answer)
            .unwrap();
        assert_eq!(answer.strip_suffix(b"\n"), Some(line.as_bytes()));
    }
}

impl Drop for Mapping {
    fn drop(&mut self) {
        let child = self.0.get_mut();
        drop(child.stdin.take());
        let _ = child.wait();
    }
}

/// An ext4 with inodes too small for fractions of seconds, as ext3 has them.
struct OldVolume {
    folder: tempfile::TempDir,
    point: PathBuf,
}

impl OldVolume {
    fn mount() -> Option<Self> {
        if !is_root() {
            diy_backup_testkit::report_skipped(&"only root may mount");
            return None;
        }
        let folder = tempfile::tempdir().unwrap();
        let (image, point) = (folder.path().join("image"), folder.path().join("point"));
        File::create(&image).unwrap().set_len(64 << 20).unwrap();
        fs::create_dir(&point).unwrap();
        let succeeds = |program: &str, arguments: &[&str], path: &[&Path]| {
            let mut command = std::process::Command::new(program);
            let output = command.args(arguments).args(path).output();
            output.is_ok_and(|output| output.status.success())
        };
        let made = succeeds("mkfs.ext4", &["-q", "-F", "-I", "128"], &[&image])
            && succeeds("mount", &["-o", "loop"], &[&image, &point]);
        if !made {
            diy_backup_testkit::report_skipped(&"no old ext4 can be made and mounted");
            return None;
        }
        Some(Self { folder, point })
    }
}

impl Drop for OldVolume {
    fn drop(&mut self) {
        let mut unmount = std::process::Command::new("umount");
        let unmounted = unmount.arg("--lazy").arg(&self.point).status();
        assert!(unmounted.unwrap().success(), "{:?}", self.folder);
    }
}
