//! Archives of the shell scripts, and of what sites made of them, restored by the command.

use std::path::{Path, PathBuf};

use diy_backup_testkit::home::GeneratedHome;
use diy_backup_testkit::tree::{Aspect, Exclusions};
use diy_backup_testkit::{
    Generation, HomeBuilder, Packing, ShellArchive, Sources, TreeSnapshot, skip_unless,
};

use crate::site::{Config, Finished, Folder, names};

/// A home and two data stores.
struct Instance {
    generated: GeneratedHome,
    folder: Folder,
}

impl Instance {
    /// The data stores lie at these paths.
    fn with_stores(stores: [&str; 2]) -> Self {
        let folder = Folder::new();
        let builder = HomeBuilder::new(folder.join("bitbucket")).files(40);
        let generated = stores
            .iter()
            .fold(builder, |builder, store| {
                builder.data_store(folder.join(store))
            })
            .build()
            .unwrap();
        std::fs::create_dir(folder.join("archives")).unwrap();
        Self { generated, folder }
    }

    fn new() -> Self {
        Self::with_stores(["media/ds1", "media/ds10"])
    }

    fn archive(&self) -> ShellArchive<'static> {
        let home = ShellArchive::new("bitbucket", &self.generated.path);
        let stores = self.generated.data_stores.iter();
        stores.fold(home, ShellArchive::data_store)
    }

    fn archives(&self) -> PathBuf {
        self.folder.join("archives")
    }

    /// Moves everything away, as if it was lost.
    fn lose(&self) {
        for path in self.paths() {
            std::fs::rename(path, lost(path)).unwrap();
        }
    }

    fn paths(&self) -> impl Iterator<Item = &PathBuf> {
        std::iter::once(&self.generated.path).chain(&self.generated.data_stores)
    }

    fn config(&self, stores: &[PathBuf], more: &str) -> Config {
        let text = format!(
            r#"[instance]
name = "bitbucket"
url = "http://127.0.0.1:9"
username = "backup"
password = {{ env = "BITBUCKET_PASSWORD" }}

[backup]
staging = {staging:?}
state = {state:?}

[home]
strategy = "rsync"
path = {home:?}
data-stores = {stores:?}
{more}

[database]
strategy = "none"

[archive]
strategy = "tar"
directory = {archives:?}
"#,
            staging = self.folder.join("staging"),
            state = self.folder.join("state"),
            home = self.generated.path,
            archives = self.archives(),
        );
        let path = self.folder.join("config.toml");
        std::fs::write(&path, text).unwrap();
        Config { path }
    }

    fn restore(&self) -> Finished {
        let config = self.config(&self.generated.data_stores, "");
        config.run(&["restore", "latest"])
    }

    /// Compares everything that a backup holds with what was lost.
    #[track_caller]
    fn assert_restored(&self) {
        for path in self.paths() {
            let is_home = *path == self.generated.path;
            let exclusions = if is_home {
                self.generated.exclusions()
            } else {
                Exclusions::none()
            };
            let original = TreeSnapshot::of(&lost(path), &exclusions).unwrap();
            let restored = TreeSnapshot::of(path, &Exclusions::none()).unwrap();
            // Tar keeps whole seconds, no holes and no extended attributes unless told otherwise.
            let difference = original.diff(&restored).without(&[
                Aspect::Modified,
                Aspect::FolderModified,
                Aspect::Sparseness,
                Aspect::Attributes,
            ]);
            assert!(difference.is_empty(), "{}: {difference}", path.display());
        }
    }

    #[track_caller]
    fn assert_untouched(&self) {
        for path in self.paths() {
            assert!(!path.exists(), "{}", path.display());
        }
        // The lock against the runs of other configurations stays where it is.
        let mut left = names(&self.folder.join("staging"));
        left.retain(|name| name != "run.lock");
        assert_eq!(left.len(), 0, "something is left in the staging directory");
    }
}

fn lost(path: &Path) -> PathBuf {
    path.with_extension("lost")
}

fn comes_back(make: impl FnOnce(ShellArchive<'static>) -> ShellArchive<'static>) {
    let instance = Instance::new();
    skip_unless!(make(instance.archive()).create(&instance.archives()));
    instance.lose();
    instance.restore().expect(0);
    instance.assert_restored();
}

#[test]
fn data_stores_come_back_from_under_their_whole_paths() {
    comes_back(|archive| archive);
}

#[test]
fn archives_come_back_however_they_were_packed() {
    for packing in [Packing::Names, Packing::Directory, Packing::Absolute] {
        comes_back(|archive| archive.packing(packing).suffix(".tar"));
    }
}

#[test]
fn data_stores_in_another_order_go_to_their_own_places() {
    let instance = Instance::with_stores(["b/ds", "a/ds"]);
    skip_unless!(instance.archive().create(&instance.archives()));
    instance.lose();
    let stores: Vec<_> = instance
        .generated
        .data_stores
        .iter()
        .rev()
        .cloned()
        .collect();
    let config = instance.config(&stores, "");
    config.run(&["restore", "latest"]).expect(0);
    instance.assert_restored();
}

#[test]
fn data_stores_that_do_not_fit_together_are_named_and_nothing_is_touched() {
    let instance = Instance::new();
    skip_unless!(instance.archive().create(&instance.archives()));
    instance.lose();
    let stores = &instance.generated.data_stores;
    for configured in [&stores[..1], &[]] {
        let refused = instance
            .config(configured, "")
            .run(&["restore", "latest"])
            .expect(4);
        let missing = stores[1].display().to_string();
        assert!(refused.stderr.contains(&missing), "{}", refused.stderr);
        instance.assert_untouched();
    }
    let moved = instance.folder.join("moved");
    let config = instance.config(&[moved.clone(), stores[0].clone()], "");
    let restored = config.run(&["restore", "latest"]).expect(0);
    assert!(
        restored.stderr.contains("of the backup is restored to"),
        "{restored:?}"
    );
    assert!(moved.join("repositories").is_dir());
}

#[test]
fn two_homes_in_one_archive_are_refused() {
    let instance = Instance::new();
    let archive = instance
        .archive()
        .file("stash-home/shared/data/x", "x")
        .create(&instance.archives());
    skip_unless!(archive);
    instance.lose();
    let refused = instance.restore().expect(6);
    assert!(refused.stderr.contains("stash-home"), "{}", refused.stderr);
    instance.assert_untouched();
    let verified = instance.config(&[], "").run(&["verify"]).expect(6);
    assert!(verified.stdout.contains("stash-home") || verified.stderr.contains("stash-home"));
}

#[test]
fn archives_named_by_older_scripts_come_back() {
    comes_back(|archive| archive.generation(Generation::WithEpoch).suffix(".tgz"));
}

#[test]
fn archives_of_stash_come_back_by_their_id() {
    let instance = Instance::new();
    skip_unless!(
        instance
            .archive()
            .generation(Generation::Stash)
            .create(&instance.archives())
    );
    instance.lose();
    let config = instance.config(&instance.generated.data_stores, "");
    let listed = config.run(&["--json", "list"]).expect(0).summary();
    let id = listed["backups"][0]["backup_id"].as_str().unwrap();
    config.run(&["restore", "latest"]).expect(6);
    instance.assert_untouched();
    config.run(&["restore", id]).expect(0);
    instance.assert_restored();
}

#[test]
fn excluded_repositories_stay_out_of_a_restore() {
    let instance = Instance::new();
    let repositories = instance.generated.path.join("shared/data/repositories");
    let excluded = names(&repositories).remove(0);
    skip_unless!(instance.archive().create(&instance.archives()));
    instance.lose();
    let more = format!("exclude-repositories = [{excluded:?}]");
    let config = instance.config(&instance.generated.data_stores, &more);
    config.run(&["restore", "latest"]).expect(0);
    let mut expected = names(&lost(&instance.generated.path).join("shared/data/repositories"));
    expected.retain(|name| *name != excluded);
    assert_eq!(names(&repositories), expected);
}

#[test]
fn home_and_data_stores_come_back_from_one_level_too_deep() {
    // No rule of the scripts fits then, so that everything is in the archive that a backup leaves out.
    comes_back(|archive| archive.sources(Sources::WithoutSlash));
}

#[test]
fn what_a_backup_leaves_out_is_left_out_of_what_the_scripts_have_kept() {
    let instance = Instance::new();
    skip_unless!(instance.archive().with_junk().create(&instance.archives()));
    instance.lose();
    let restored = instance.restore().expect(0);
    instance.assert_restored();
    assert!(
        restored.stderr.contains("Left out") || restored.stdout.contains("Left out"),
        "{restored:?}"
    );
}
