//! Copies in the staging directory that go bad between two backups.

use std::fs;
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};
use std::time::SystemTime;

use diy_backup_core::HomeStrategy;
use diy_backup_testkit::home::Names;

use crate::support::Bench;
use crate::tracking::{rewrite_unnoticed, write};

/// A backup, and what it warned of.
async fn back_up(bench: &Bench, more: &str) -> Vec<String> {
    let cx = bench.context();
    let taken = bench.try_back_up(&bench.strategy(more), &cx, || {}).await;
    taken.unwrap();
    bench.assert_staged();
    cx.events().warnings()
}

fn record(bench: &Bench) -> (PathBuf, serde_json::Value) {
    let path = bench.staging().root().join(".rsync-proven.json");
    let content = serde_json::from_slice(&fs::read(&path).unwrap()).unwrap();
    (path, content)
}

/// Makes all originals old by the record of the copies, the record later than every write to them, and a slice the next.
fn age(bench: &Bench, slice: u32) {
    let (path, mut content) = record(bench);
    let now = SystemTime::now().duration_since(SystemTime::UNIX_EPOCH);
    content["copies"]["home"]["proven_until"] = serde_json::to_value(now.unwrap()).unwrap();
    content["slice"] = slice.into();
    let changed = |path: &Path| {
        let found = fs::metadata(path).unwrap();
        (found.ctime(), found.ctime_nsec())
    };
    let copies = changed(&bench.staging().home().join("shared/data/file"));
    // The clock that stamps files ticks slowly.
    while {
        fs::write(&path, content.to_string()).unwrap();
        changed(&path) <= copies
    } {}
}

#[tokio::test(flavor = "multi_thread")]
async fn a_copy_that_somebody_touched_is_made_anew_with_a_warning() {
    for more in ["track-changes = 'auto'", "track-changes = 'never'"] {
        let Some(bench) = Bench::with(0, Names::Plain, "home") else {
            return;
        };
        let data = bench.home.path.join("shared/data");
        for name in ["file", "linked"] {
            write(&data.join(name), "good");
        }
        fs::hard_link(data.join("linked"), data.join("linked too")).unwrap();
        assert_eq!(back_up(&bench, more).await, [""; 0]);
        assert_eq!(back_up(&bench, more).await, [""; 0], "nothing was touched");
        let copy = bench.staging().home().join("shared/data");
        rewrite_unnoticed(&copy.join("file"), "evil");
        rewrite_unnoticed(&copy.join("linked too"), "evil");
        let warnings = back_up(&bench, more).await;
        let text = warnings.join("\n");
        assert!(
            text.contains("somebody") && text.contains("data/file"),
            "{text}"
        );
        assert!(text.contains("data/linked"), "{text}");
        assert_eq!(back_up(&bench, more).await, [""; 0]);
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_copy_that_rots_is_made_anew_with_a_warning_when_its_slice_is_read() {
    const SLICES: u32 = 30;
    let Some(bench) = Bench::with(0, Names::Plain, "home") else {
        return;
    };
    write(&bench.home.path.join("shared/data/file"), "good");
    for expected in [1, 2] {
        back_up(&bench, "").await;
        assert_eq!(record(&bench).1["slice"], expected, "each backup reads one");
    }
    // A disk does it without setting any time.
    rewrite_unnoticed(&bench.staging().home().join("shared/data/file"), "evil");
    let mut found = Vec::new();
    for slice in 0..SLICES {
        age(&bench, slice);
        let cx = bench.context();
        let session = bench.strategy("").prepare(&cx).await.unwrap();
        session.abort().await.unwrap();
        found.extend(cx.events().warnings());
        assert_eq!(
            record(&bench).1["slice"],
            slice,
            "only a good backup goes on"
        );
    }
    assert_eq!(found.len(), 1, "{found:?}");
    assert!(found[0].contains("disk") && found[0].contains("data/file"));
    back_up(&bench, "").await;
}
