//! Archives that the shell scripts made, of every kind that sites keep.

use std::path::{Path, PathBuf};

use diy_backup_testkit::tree::{Aspect, Exclusions};
use diy_backup_testkit::{Generation, Packing, ShellArchive, Sources, TreeSnapshot};

use super::super::Result;
use super::super::audit::Wrong;
use super::super::lab::Lab;
use super::super::stage::{Config, Stage};
use super::sources::{Absent, Remains};
use super::{Cases, quiet_stage, run_with};

/// Lost by the format that `tar -czf` writes: it has whole seconds, no holes and no extended attributes.
const LOST: &[Aspect] = &[
    Aspect::Modified,
    Aspect::FolderModified,
    Aspect::Sparseness,
    Aspect::Attributes,
];

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
        let archive = scene.pack(&kind)?;
        // One that is called by the product, not by the instance, has to be named.
        let id = match kind.generation {
            Generation::Stash => id_of(&archive)?,
            _ => "latest".to_owned(),
        };
        comes_back(&scene, cases, kind.name, &id)?;
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
        let nothing = Exclusions::none();
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
}

impl<'a> Scene<'a> {
    fn set(stage: &'a Stage<'a>, stores: &'a Stores, name: &str) -> Result<Self> {
        let archives = stage.root.join(format!("archives-{name}"));
        std::fs::create_dir(&archives)?;
        let text = std::fs::read_to_string(stage.config(Config::Restored))?;
        let home = format!("path = {:?}\n", stage.restored_home().to_string_lossy());
        let stores_key = format!(
            "{home}data-stores = [{:?}, {:?}]\n",
            stores.originals[0].to_string_lossy(),
            stores.originals[1].to_string_lossy()
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
        })
    }

    /// Takes the data stores away: an archive of the scripts restores them to the paths that they had.
    fn stores_away(&self) -> Result<Vec<Absent>> {
        let originals = self.stores.originals.iter();
        originals
            .map(|store| Absent::new(store, Remains::Nothing))
            .collect()
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

fn comes_back(scene: &Scene<'_>, cases: &mut Cases, case: &str, backup: &str) -> Result {
    let stage = scene.stage;
    let mut wrong = Wrong::new();
    let away = scene.stores_away()?;
    let ended = run_with(stage, &scene.config, &["restore", backup])?;
    if ended.is(0) {
        stage.is_restored_but_for(LOST, backup, &mut wrong)?;
        for (target, content) in scene.stores.originals.iter().zip(&scene.stores.contents) {
            let restored = TreeSnapshot::of(target, &Exclusions::none())?;
            let difference = content.diff(&restored).without(LOST);
            if !difference.is_empty() {
                wrong.push(format!("{} differs: {difference}", target.display()));
            }
        }
    } else {
        wrong.push(ended.words());
    }
    cases.keep(&format!("an archive of the scripts {case}"), &ended, wrong);
    drop(away);
    stage.clear_targets()
}

/// The ID in the name of an archive: up to the time, without what older scripts put after it.
fn id_of(archive: &Path) -> Result<String> {
    let name = archive.file_name().and_then(|name| name.to_str());
    let mut words = name.unwrap_or_default().split(['-', '.']);
    match (words.next(), words.next(), words.next()) {
        (Some(name), Some(date), Some(time)) => Ok(format!("{name}-{date}-{time}")),
        _ => Err(format!("{} has no ID in its name", archive.display()).into()),
    }
}

/// Listed, refused with its targets untouched.
fn is_refused(scene: &Scene<'_>, cases: &mut Cases, case: &str) -> Result {
    let stage = scene.stage;
    let mut wrong = Wrong::new();
    let listed = run_with(stage, &scene.config, &["--json", "list"])?;
    if !listed.is(0) || !listed.stdout.contains("backup_id") {
        wrong.push(format!("it is not listed; {}", listed.words()));
    }
    let away = scene.stores_away()?;
    let ended = run_with(stage, &scene.config, &["restore", "latest"])?;
    if !ended.is(6) {
        wrong.push(format!("it must be exit 6; {}", ended.words()));
    }
    let stores = &scene.stores.originals;
    if stage.restored_home().exists() || stores.iter().any(|target| target.exists()) {
        wrong.push("a target was touched".to_owned());
    }
    cases.keep(case, &ended, wrong);
    drop(away);
    stage.clear_targets()
}

fn truncated(scene: &Scene<'_>, cases: &mut Cases) -> Result {
    let archive = scene.pack(&Kind::default())?;
    let length = archive.metadata()?.len();
    std::fs::File::options()
        .write(true)
        .open(&archive)?
        .set_len(length * 2 / 3)?;
    is_refused(scene, cases, "an archive of the scripts that was cut off")
}

fn encrypted(scene: &Scene<'_>, cases: &mut Cases) -> Result {
    let archive = scene.pack(&Kind::default())?;
    let mut name = archive.clone().into_os_string();
    name.push(".gpg");
    std::fs::rename(&archive, &name)?;
    is_refused(scene, cases, "an archive of the scripts that is encrypted")
}
