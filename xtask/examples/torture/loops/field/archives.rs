//! Archives that the shell scripts made, of every kind that sites keep.

use std::path::{Path, PathBuf};

use diy_backup_testkit::shell_archive::{Generation, Packing, Sources};
use diy_backup_testkit::tree::Exclusions;
use diy_backup_testkit::{ShellArchive, TreeSnapshot, tree};

use super::super::Result;
use super::super::audit::Wrong;
use super::super::lab::Lab;
use super::super::stage::{Config, Stage};
use super::{Cases, quiet_stage, run_with};

/// One kind of archive.
struct Kind {
    name: &'static str,
    sources: Sources,
    generation: Generation,
    packing: Packing,
    suffix: &'static str,
    junk: bool,
}

impl Default for Kind {
    fn default() -> Self {
        Self {
            name: "as the example configuration makes it",
            sources: Sources::WithSlash,
            generation: Generation::Current,
            packing: Packing::Content,
            suffix: ".tar.gz",
            junk: false,
        }
    }
}

fn kinds() -> Vec<Kind> {
    let kind = |name| Kind {
        name,
        ..Kind::default()
    };
    vec![
        Kind::default(),
        Kind {
            sources: Sources::WithoutSlash,
            ..kind("without slashes: all one level deeper")
        },
        Kind {
            junk: true,
            ..kind("with junk that an exclude list missed")
        },
        Kind {
            generation: Generation::Stash,
            ..kind("of 2014, for Stash")
        },
        Kind {
            generation: Generation::WithEpoch,
            ..kind("of 2016, with three digits more")
        },
        Kind {
            packing: Packing::Names,
            ..kind("names without `./`")
        },
        Kind {
            packing: Packing::Directory,
            ..kind("in one directory more")
        },
        Kind {
            packing: Packing::Absolute,
            ..kind("with absolute names")
        },
        Kind {
            suffix: ".tar",
            ..kind("not compressed")
        },
        Kind {
            suffix: ".tgz",
            ..kind("called .tgz")
        },
    ]
}

pub(super) fn play(lab: &Lab, seed: u64, cases: &mut Cases) -> Result {
    let stage = quiet_stage(lab, seed)?;
    let stores = Stores::make(&stage.root)?;
    for (number, kind) in kinds().into_iter().enumerate() {
        let scene = Scene::set(&stage, &stores, &format!("kind-{number}"))?;
        scene.pack(&kind)?;
        comes_back(&scene, cases, kind.name)?;
    }
    truncated(&Scene::set(&stage, &stores, "truncated")?, cases)?;
    encrypted(&Scene::set(&stage, &stores, "encrypted")?, cases)
}

/// Two data stores under one parent, one of whose names begins like the other's.
struct Stores {
    originals: [PathBuf; 2],
    contents: [TreeSnapshot; 2],
}

impl Stores {
    fn make(root: &Path) -> Result<Self> {
        let originals = ["media/ds1", "media/ds10"].map(|path| root.join(path));
        for (number, store) in originals.iter().enumerate() {
            let repository = store.join(format!("repositories/ab/c{number}/70{number}"));
            std::fs::create_dir_all(repository.join("refs/heads"))?;
            std::fs::create_dir_all(repository.join("objects"))?;
            std::fs::write(repository.join("HEAD"), "ref: refs/heads/master\n")?;
            std::fs::write(repository.join("repository-config"), "[bitbucket]\n")?;
            std::fs::write(repository.join("objects/pack"), number.to_string())?;
        }
        let nothing = Exclusions::new(&[]);
        let contents = [
            TreeSnapshot::of(&originals[0], &nothing)?,
            TreeSnapshot::of(&originals[1], &nothing)?,
        ];
        Ok(Self {
            originals,
            contents,
        })
    }
}

/// A directory of archives, and a configuration that restores from it.
struct Scene<'a> {
    stage: &'a Stage<'a>,
    stores: &'a Stores,
    archives: PathBuf,
    config: PathBuf,
    targets: [PathBuf; 2],
}

impl<'a> Scene<'a> {
    fn set(stage: &'a Stage<'a>, stores: &'a Stores, name: &str) -> Result<Self> {
        let archives = stage.root.join(format!("archives-{name}"));
        std::fs::create_dir(&archives)?;
        // The same names as the originals', elsewhere: a restore must not touch those.
        let elsewhere = stage.root.join(format!("elsewhere-{name}"));
        let targets = ["media/ds1", "media/ds10"].map(|path| elsewhere.join(path));
        std::fs::create_dir_all(elsewhere.join("media"))?;
        let text = std::fs::read_to_string(stage.config(Config::Restored))?;
        let home = format!("path = {:?}\n", stage.restored_home().to_string_lossy());
        let stores_key = format!(
            "{home}data-stores = [{:?}, {:?}]\n",
            targets[0].to_string_lossy(),
            targets[1].to_string_lossy()
        );
        let text = text.replace(&home, &stores_key).replace(
            &format!("directory = {:?}", stage.archives.to_string_lossy()),
            &format!("directory = {:?}", archives.to_string_lossy()),
        );
        let config = stage.root.join(format!("{name}.toml"));
        std::fs::write(&config, text)?;
        Ok(Self {
            stage,
            stores,
            archives,
            config,
            targets,
        })
    }

    fn pack(&self, kind: &Kind) -> Result<PathBuf> {
        let stage = self.stage;
        let mut archive = ShellArchive::new("torture", stage.home())
            .database(&stage.lab.postgres, &stage.database)
            .sources(kind.sources)
            .generation(kind.generation)
            .packing(kind.packing)
            .suffix(kind.suffix);
        for store in &self.stores.originals {
            archive = archive.data_store(store);
        }
        if kind.junk {
            archive = archive.with_junk();
        }
        Ok(archive.create(&self.archives)?)
    }
}

fn comes_back(scene: &Scene<'_>, cases: &mut Cases, case: &str) -> Result {
    let stage = scene.stage;
    let mut wrong = Wrong::new();
    let ended = run_with(stage, &scene.config, &["restore", "latest"])?;
    if ended.is(0) {
        stage.is_restored("latest", &mut wrong)?;
        for (target, content) in scene.targets.iter().zip(&scene.stores.contents) {
            let restored = TreeSnapshot::of(target, &Exclusions::new(&[]))?;
            let difference = content.diff(&restored);
            if !difference.is_empty() {
                wrong.push(format!("{} differs: {difference}", target.display()));
            }
        }
    } else {
        wrong.push(ended.words());
    }
    cases.keep(&format!("an archive of the scripts {case}"), &ended, wrong);
    stage.clear_targets()?;
    for target in &scene.targets {
        if target.exists() {
            tree::make_removable(target)?;
            std::fs::remove_dir_all(target)?;
        }
    }
    Ok(())
}

/// Listed, refused with its targets untouched.
fn is_refused(scene: &Scene<'_>, cases: &mut Cases, case: &str, code: i32) -> Result {
    let stage = scene.stage;
    let mut wrong = Wrong::new();
    let listed = run_with(stage, &scene.config, &["--json", "list"])?;
    if !listed.is(0) || !listed.stdout.contains("backup_id") {
        wrong.push(format!("it is not listed; {}", listed.words()));
    }
    let ended = run_with(stage, &scene.config, &["restore", "latest"])?;
    if !ended.is(code) {
        wrong.push(format!("it must be exit {code}; {}", ended.words()));
    }
    if stage.restored_home().exists() || scene.targets.iter().any(|target| target.exists()) {
        wrong.push("a target was touched".to_owned());
    }
    cases.keep(case, &ended, wrong);
    stage.clear_targets()
}

fn truncated(scene: &Scene<'_>, cases: &mut Cases) -> Result {
    let archive = scene.pack(&Kind::default())?;
    let length = archive.metadata()?.len();
    std::fs::File::options()
        .write(true)
        .open(&archive)?
        .set_len(length * 2 / 3)?;
    is_refused(scene, cases, "an archive of the scripts that was cut off", 6)
}

fn encrypted(scene: &Scene<'_>, cases: &mut Cases) -> Result {
    let archive = scene.pack(&Kind::default())?;
    let mut name = archive.clone().into_os_string();
    name.push(".gpg");
    std::fs::rename(&archive, &name)?;
    is_refused(scene, cases, "an archive of the scripts that is encrypted", 1)
}
