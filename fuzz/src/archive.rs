use std::fs;
use std::path::{Path, PathBuf};
use std::time::Duration;

use diy_backup_core::{
    AbsolutePath, ArchiveSeal, ArchiveStrategy, BackupEntry, BackupId, Destinations, ErrorKind,
    Manifest, RestoreContext,
};
use strategy_tar::{TarArchive, TarConfig};
use tempfile::TempDir;
use tokio::runtime::Runtime;

use super::{check_line, check_message, repair, scratch::scratch};

const CANARY: &str = "nobody touches this";

/// How long one reading may take. A few bytes can say that a file has holes of many terabytes, and their checksum takes
/// its time; that such a reading can be stopped is all that is asked then.
const PATIENCE: Duration = Duration::from_secs(2);

/// The most that a sealed archive may hold here, in bytes.
const SEALED_BYTES: u64 = 64 * 1024;

/// An archive, as it lies in the folder of archives: as it is, and with the checksums of its headers made right.
pub fn archive(data: &[u8]) {
    thread_local! {
        static RUNTIME: Runtime = tokio::runtime::Builder::new_current_thread()
            .enable_all()
            .build()
            .unwrap_or_else(|error| panic!("{error}"));
    }
    let repaired = repair::with_checksums(data);
    RUNTIME.with(|runtime| {
        runtime.block_on(read(data));
        if repaired != data {
            runtime.block_on(read(&repaired));
        }
    });
}

async fn read(data: &[u8]) {
    let bench = Bench::new(data);
    let entries = bench.archives().list().await;
    let entries = entries.unwrap_or_else(|error| panic!("{error:?}"));
    assert_eq!(entries.len(), 1);
    for entry in entries {
        entry.problem().into_iter().for_each(check_line);
        let verified = bench.verify(&entry).await;
        let fetched = bench.fetch(&entry).await;
        assert!(
            verified == fetched || Verdict::Open == verified || Verdict::Open == fetched,
            "verify says {verified:?}, and a restore {fetched:?}"
        );
    }
    // The same with a seal that it breaks: what it holds is bounded then, and it is never good.
    let sealed = bench.sealed(data.len() as u64);
    assert_ne!(bench.verify(&sealed).await, Verdict::Good);
    assert_ne!(bench.fetch(&sealed).await, Verdict::Good);
    assert!(bytes_below(&bench.path("sealed")) <= SEALED_BYTES);
}

#[derive(Debug, PartialEq, Eq)]
enum Verdict {
    Good,
    Damaged,
    /// It could not be found out.
    Open,
}

struct Bench {
    folder: TempDir,
}

impl Bench {
    fn new(data: &[u8]) -> Self {
        let bench = Self { folder: scratch() };
        for folder in ["archives", "outside", "work"] {
            let made = fs::create_dir(bench.path(folder));
            made.unwrap_or_else(|error| panic!("{error}"));
        }
        for (path, content) in [
            (bench.archive_path(), data),
            (bench.path("outside/canary"), CANARY.as_bytes()),
        ] {
            let written = fs::write(path, content);
            written.unwrap_or_else(|error| panic!("{error}"));
        }
        bench
    }

    fn path(&self, name: &str) -> PathBuf {
        self.folder.path().join(name)
    }

    fn archive_path(&self) -> PathBuf {
        self.path("archives").join(format!("{}.tar.gz", id()))
    }

    fn archives(&self) -> TarArchive {
        let directory = AbsolutePath::new(self.path("archives"));
        let directory = directory.unwrap_or_else(|| panic!("the folder has no absolute path"));
        TarArchive::new(id().name().clone(), TarConfig::new(directory))
    }

    /// The archive with a manifest beside it that does not fit.
    fn sealed(&self, bytes: u64) -> BackupEntry {
        let file = format!("{}.tar.gz", id());
        let seal = ArchiveSeal::new(file, bytes, "0".repeat(64), 40, SEALED_BYTES);
        let manifest = Manifest::new(id()).sealed(seal);
        BackupEntry::ours(self.archive_path().display().to_string(), bytes, manifest)
    }

    async fn verify(&self, entry: &BackupEntry) -> Verdict {
        let cx = RestoreContext::new(id(), self.path("work"));
        let archives = self.archives();
        let reading = tokio::time::timeout(PATIENCE, archives.verify(&cx, entry));
        match reading.await {
            Err(_) => Verdict::Open,
            Ok(Err(error)) => check(&error),
            Ok(Ok(verdict)) => {
                for damage in &verdict.damage {
                    check_line(&damage.problem);
                    damage.path.iter().for_each(|path| check_line(path));
                }
                if verdict.is_good() {
                    Verdict::Good
                } else {
                    Verdict::Damaged
                }
            }
        }
    }

    async fn fetch(&self, entry: &BackupEntry) -> Verdict {
        let to = match entry
            .manifest
            .as_ref()
            .and_then(|manifest| manifest.archive.as_ref())
        {
            Some(_) => "sealed",
            None => "unsealed",
        };
        let to = self.path(to);
        let destinations = Destinations::new(to.join("database"))
            .with_home(to.join("home"))
            .with_data_store(Path::new("/mnt/one"), to.join("one"))
            .with_data_store(Path::new("/mnt/two"), to.join("two"))
            .with_unnamed_stores(to.join("unnamed"));
        let cx = RestoreContext::new(id(), self.path("work"));
        let archives = self.archives();
        let reading = tokio::time::timeout(PATIENCE, archives.fetch(&cx, entry, &destinations));
        let verdict = match reading.await {
            Err(_) => Verdict::Open,
            Ok(Err(error)) => check(&error),
            Ok(Ok(_)) => Verdict::Good,
        };
        self.check_outside();
        verdict
    }

    /// Fails if anything is there that does not belong there, or is not there any more.
    fn check_outside(&self) {
        let known = ["archives", "outside", "sealed", "unsealed", "work"];
        let parts = ["database", "home", "one", "two", "unnamed"];
        for (folder, allowed) in [
            ("", &known[..]),
            ("outside", &["canary"]),
            ("work", &[]),
            ("sealed", &parts),
            ("unsealed", &parts),
        ] {
            let names = names_in(&self.path(folder));
            let stranger = names.iter().find(|name| !allowed.contains(&name.as_str()));
            assert_eq!(stranger, None, "in {folder:?}");
        }
        let canary = fs::read_to_string(self.path("outside/canary"));
        assert_eq!(canary.ok().as_deref(), Some(CANARY));
    }
}

impl Drop for Bench {
    fn drop(&mut self) {
        make_removable(self.folder.path());
    }
}

fn check(error: &diy_backup_core::Error) -> Verdict {
    check_message(error);
    match error.kind() {
        ErrorKind::Damaged => Verdict::Damaged,
        ErrorKind::Internal => panic!("{error:?}"),
        _ => Verdict::Open,
    }
}

fn id() -> BackupId {
    let id = "bitbucket-20260131-235959".parse();
    id.unwrap_or_else(|error| panic!("{error:?}"))
}

fn names_in(folder: &Path) -> Vec<String> {
    let entries = fs::read_dir(folder).into_iter().flatten().flatten();
    entries
        .map(|entry| entry.file_name().to_string_lossy().into_owned())
        .collect()
}

/// What the files below a folder take up, in bytes.
fn bytes_below(folder: &Path) -> u64 {
    let entries = fs::read_dir(folder).into_iter().flatten().flatten();
    entries
        .filter_map(|entry| Some((entry.path(), entry.path().symlink_metadata().ok()?)))
        .map(|(path, metadata)| match metadata.file_type() {
            kind if kind.is_dir() => bytes_below(&path),
            kind if kind.is_file() => metadata.len(),
            _ => 0,
        })
        .sum()
}

/// Opens folders that an archive has closed to their owner.
fn make_removable(folder: &Path) {
    #[cfg(unix)]
    {
        use std::os::unix::fs::PermissionsExt;
        let _ = fs::set_permissions(folder, fs::Permissions::from_mode(0o700));
    }
    for entry in fs::read_dir(folder).into_iter().flatten().flatten() {
        if entry.file_type().is_ok_and(|kind| kind.is_dir()) {
            make_removable(&entry.path());
        }
    }
}
