//! Random changes between the live pass and the capture, during the live pass and after the unlock: the copy is what
//! the home was in between.

use std::fs::{self, File};
use std::io::Write;
use std::os::unix::ffi::OsStringExt;
use std::os::unix::fs::{PermissionsExt, symlink};
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use diy_backup_core::{Events, HomeStrategy, Observer};
use diy_backup_testkit::TreeSnapshot;
use diy_backup_testkit::tree::Exclusions;
use filetime::FileTime;

use crate::support::Bench;
use crate::tracking::{Recorder, tracked_bench};

const ROUNDS: u64 = 12;
const CHANGES: usize = 150;
const PACE: Duration = Duration::from_millis(2);

/// Changes whatever is below a folder.
struct Gremlin {
    random: fastrand::Rng,
    root: PathBuf,
    may_link: bool,
}

impl Gremlin {
    fn new(root: &Path, seed: u64) -> Self {
        Self {
            random: fastrand::Rng::with_seed(seed),
            root: root.to_owned(),
            may_link: false,
        }
    }

    /// Few names, so that they are used again and again, and some awkward ones.
    fn name(&mut self) -> PathBuf {
        let names: [&[u8]; 9] = [
            b"a", b"b", b"c", b"d", b"e", b"-f", b"g\nh", b"\xff", b"i j",
        ];
        let name = self.random.choice(names).unwrap_or(b"a").to_vec();
        std::ffi::OsString::from_vec(name).into()
    }

    /// A path below the root that may be there, up to four levels deep.
    fn path(&mut self) -> PathBuf {
        let depth = self.random.usize(1..=4);
        (0..depth).fold(self.root.clone(), |path, _| path.join(self.name()))
    }

    /// One change. Most of those that are impossible are tried in vain, which is no matter.
    fn change(&mut self) {
        let (path, other) = (self.path(), self.path());
        let _ = match self.random.u32(0..16) {
            0..=2 => fs::create_dir_all(&path),
            3..=5 => fs::write(&path, self.content()),
            6 => self.rewrite_unnoticed(&path),
            7 => File::options()
                .append(true)
                .open(&path)
                .and_then(|mut file| file.write_all(b"more")),
            8 => File::options()
                .write(true)
                .open(&path)
                .and_then(|file| file.set_len(self.random.u64(0..9))),
            9 => fs::remove_file(&path),
            10 => fs::remove_dir_all(&path),
            11 | 12 => fs::rename(&path, &other),
            13 => self.change_attributes(&path),
            14 => symlink(other.file_name().unwrap_or_default(), &path),
            _ if self.may_link => fs::hard_link(&path, &other),
            _ => Ok(()),
        };
    }

    /// Few lengths and few times, so that files look the same.
    fn content(&mut self) -> String {
        let letter = self.random.alphabetic().to_string();
        letter.repeat(self.random.usize(1..4))
    }

    fn rewrite_unnoticed(&mut self, path: &Path) -> std::io::Result<()> {
        let metadata = fs::symlink_metadata(path)?;
        if !metadata.is_file() {
            return Ok(());
        }
        let length = usize::try_from(metadata.len()).unwrap_or(0);
        fs::write(path, self.random.alphabetic().to_string().repeat(length))?;
        filetime::set_file_mtime(path, FileTime::from_last_modification_time(&metadata))
    }

    fn change_attributes(&mut self, path: &Path) -> std::io::Result<()> {
        if fs::symlink_metadata(path)?.is_symlink() {
            return Ok(());
        }
        let time = FileTime::from_unix_time(self.random.i64(0..3), 5);
        match self.random.u32(0..3) {
            0 => fs::set_permissions(
                path,
                fs::Permissions::from_mode(0o700 + self.random.u32(0..0o100)),
            ),
            1 => filetime::set_file_times(path, time, time),
            _ => xattr::set(path, "user.x", self.content().as_bytes()),
        }
    }
}

/// Ends a gremlin, also when what it disturbs has failed.
struct Ending<'a>(&'a AtomicBool);

impl Drop for Ending<'_> {
    fn drop(&mut self) {
        self.0.store(true, Ordering::Relaxed);
    }
}

/// Keeps changing something while `work` goes on, at a pace at which a live pass gets through.
fn meanwhile<R>(mut gremlin: Gremlin, work: impl FnOnce() -> R) -> R {
    let stop = AtomicBool::new(false);
    std::thread::scope(|scope| {
        scope.spawn(|| {
            while !stop.load(Ordering::Relaxed) {
                gremlin.change();
                std::thread::sleep(PACE);
            }
        });
        let _ending = Ending(&stop);
        work()
    })
}

async fn one_backup(bench: &Bench, data: &Path, track: &str, seed: u64) -> bool {
    let recorder = Arc::new(Recorder::default());
    let cx = bench
        .context()
        .with_events(Events::new(recorder.clone() as Arc<dyn Observer>));
    let strategy = bench.strategy(&format!("track-changes = '{track}'"));
    let runtime = tokio::runtime::Handle::current();
    let run = |seed: u64, work: &mut dyn FnMut()| {
        tokio::task::block_in_place(|| meanwhile(Gremlin::new(data, seed), work));
    };
    let mut session = None;
    run(seed, &mut || {
        // A live pass may give up while things turn into others under its hands.
        session = (0..5).find_map(|_| runtime.block_on(strategy.prepare(&cx)).ok());
    });
    let mut session = session.unwrap();
    let mut gremlin = Gremlin::new(data, !seed);
    // Without links, nothing but the changes themselves has to be looked at.
    gremlin.may_link = seed % 2 == 1;
    (0..CHANGES).for_each(|_| gremlin.change());

    let window = bench.lock(&cx).await;
    let original = TreeSnapshot::of(&bench.home.path, &bench.home.exclusions()).unwrap();
    session.capture(&window).await.unwrap();
    let released = window.release(cx.control()).await.unwrap();
    run(seed + 1000, &mut || {
        let completed = runtime.block_on(session.complete(&released));
        assert!(completed.is_ok(), "seed {seed}: {completed:?}");
    });
    let copy = TreeSnapshot::of(&bench.staging().home(), &Exclusions::none()).unwrap();
    let diff = original.diff(&copy);
    assert!(diff.is_empty(), "seed {seed}: {diff}");
    recorder.saw_tracking()
}

/// How many of so many backups went by what the kernel tells.
async fn backups(bench: &Bench, track: &str) -> (u64, u64) {
    let data = bench.home.path.join("shared/data/random");
    fs::create_dir_all(&data).unwrap();
    let rounds = std::env::var("DIY_BACKUP_ROUNDS").ok();
    let rounds = rounds
        .and_then(|rounds| rounds.parse().ok())
        .unwrap_or(ROUNDS);
    let mut tracked = 0;
    for seed in 0..rounds {
        tracked += u64::from(one_backup(bench, &data, track, seed).await);
    }
    (tracked, rounds)
}

#[tokio::test(flavor = "multi_thread")]
async fn whatever_changes_when_the_copy_is_what_was_captured() {
    let Some(bench) = tracked_bench(0).await else {
        return;
    };
    let (tracked, rounds) = backups(&bench, "always").await;
    println!("{tracked} of {rounds} captures went by changed paths alone");
    assert!(tracked >= rounds / 2);
}

#[tokio::test(flavor = "multi_thread")]
async fn whatever_changes_untracked_the_copy_is_what_was_captured() {
    let Some(bench) = Bench::new(0) else {
        return;
    };
    let (followed, rounds) = backups(&bench, "never").await;
    println!("{followed} of {rounds} captures went by change times alone");
    assert!(followed >= rounds / 2);
}
