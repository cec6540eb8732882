//! The strategy `rsync`, held to the promises of a home strategy.

use std::fs;
use std::os::unix::fs::symlink;
use std::path::PathBuf;
use std::sync::Arc;

use diy_backup_core::{HomeStrategy, async_trait};
use diy_backup_testkit::TreeSnapshot;
use diy_backup_testkit::contract::{self, Harness, HomeHarness, Target};
use diy_backup_testkit::tree::{Exclusions, make_removable};
use tempfile::TempDir;

use crate::support::strategy_for;

struct Environment {
    folder: TempDir,
    track_changes: &'static str,
}

impl Environment {
    fn new(track_changes: &'static str) -> Self {
        let environment = Self {
            folder: tempfile::tempdir().unwrap(),
            track_changes,
        };
        let repository = environment.home().join("shared/data/repositories/1");
        fs::create_dir_all(repository.join("refs/empty")).unwrap();
        fs::write(repository.join("HEAD"), "ref: refs/heads/master\n").unwrap();
        fs::write(repository.join("a name\nwith ä"), "x").unwrap();
        fs::hard_link(repository.join("HEAD"), repository.join("HEAD too")).unwrap();
        symlink("nowhere", repository.join("dangling")).unwrap();
        environment
    }

    fn home(&self) -> PathBuf {
        self.folder.path().join("home")
    }
}

impl Drop for Environment {
    fn drop(&mut self) {
        let _ = make_removable(self.folder.path());
    }
}

#[async_trait]
impl Harness for Environment {
    type State = Option<TreeSnapshot>;

    async fn change(&self, round: u32) {
        if !self.home().exists() {
            return;
        }
        let data = self.home().join("shared/data");
        let pushes = data.join(format!("repositories/1/pushes/{round}"));
        fs::create_dir_all(&pushes).unwrap();
        for number in 0..20 {
            fs::write(pushes.join(number.to_string()), format!("{round}-{number}")).unwrap();
        }
        fs::write(data.join("changing"), round.to_string()).unwrap();
        if round % 100 == 3 {
            // Much goes at once, and not so much that the source is taken for lost.
            for pushes in (0..round).filter(|pushes| pushes % 3 == 0) {
                let gone = data.join(format!("repositories/1/pushes/{pushes}"));
                let _ = fs::remove_dir_all(gone);
            }
            let _ = fs::remove_file(data.join("repositories/1/HEAD"));
            fs::create_dir_all(data.join("repositories/2")).unwrap();
            fs::write(data.join("repositories/2/HEAD"), "ref: refs/heads/x\n").unwrap();
        }
    }

    async fn state(&self) -> Self::State {
        let home = self.home();
        home.exists()
            .then(|| TreeSnapshot::of(&home, &Exclusions::none()).unwrap())
    }

    fn difference(&self, wanted: &Self::State, found: &Self::State) -> Option<String> {
        match (wanted, found) {
            (Some(wanted), Some(found)) => {
                let difference = wanted.diff(found);
                (!difference.is_empty()).then(|| difference.to_string())
            }
            (None, None) => None,
            (wanted, _) => Some(format!(
                "there was {}a home",
                wanted.as_ref().map_or("not ", |_| "")
            )),
        }
    }

    async fn lose(&self, target: Target) {
        let home = self.home();
        if home.exists() {
            make_removable(&home).unwrap();
            fs::remove_dir_all(&home).unwrap();
        }
        if target == Target::Empty {
            fs::create_dir(&home).unwrap();
        }
    }

    async fn target_is(&self, target: Target) -> bool {
        let entries = fs::read_dir(self.home());
        match target {
            Target::Absent => entries.is_err(),
            Target::Empty => entries.is_ok_and(|mut entries| entries.next().is_none()),
        }
    }

    async fn remains(&self) -> Vec<String> {
        let entries = fs::read_dir(self.folder.path()).unwrap();
        let names = entries.map(|entry| entry.unwrap().file_name().into_string().unwrap());
        names.filter(|name| name != "home").collect()
    }
}

impl HomeHarness for Environment {
    fn strategy(&self) -> Arc<dyn HomeStrategy> {
        let track_changes = format!("track-changes = {:?}", self.track_changes);
        Arc::new(strategy_for(&self.home(), &[], &track_changes))
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn it_keeps_its_promises_with_changes_tracked_where_they_can_be() {
    contract::home(async || Environment::new("auto"))
        .await
        .unwrap();
}

#[tokio::test(flavor = "multi_thread")]
async fn it_keeps_its_promises_without_tracking() {
    contract::home(async || Environment::new("never"))
        .await
        .unwrap();
}
