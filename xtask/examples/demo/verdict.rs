//! Whether what was restored is what there was.

use std::fmt;
use std::path::Path;
use std::process::Command;
use std::time::{Duration, Instant};

use diy_backup_testkit::simulator::Window;
use diy_backup_testkit::tree::{Aspect, Exclusions};
use diy_backup_testkit::{Comparison, TreeDiff, TreeSnapshot, home};

use crate::Result;
use crate::configuration::Configuration;
use crate::instance::Instance;

pub(crate) struct Verdict {
    pushes: Comparison,
    home: TreeDiff,
    data_store: TreeDiff,
    git: GitCheck,
    windows: Vec<Window>,
    is_unlocked: bool,
    failed_pushes: Vec<String>,
    took: Duration,
}

/// How many of the repositories that git made pass its check.
struct GitCheck {
    passed: usize,
    all: usize,
}

impl Verdict {
    pub(crate) fn of(
        instance: &Instance,
        restored: &Configuration,
        started: Instant,
    ) -> Result<Self> {
        let application = instance.application()?;
        let drained = application
            .drained_set()
            .ok_or("the instance was never drained")?;
        let rows = instance.postgres.pushes(&restored.database)?;
        Ok(Self {
            pushes: Comparison::against(&restored.home, &rows, &drained)?,
            home: difference(&instance.contents, &restored.home)?,
            data_store: difference(&instance.data_store_contents, &restored.data_store)?,
            git: check_git(instance, &restored.home)?,
            windows: instance.simulator.windows(),
            is_unlocked: !instance.simulator.is_locked(),
            failed_pushes: application.failures(),
            took: started.elapsed(),
        })
    }

    pub(crate) fn is_good(&self) -> bool {
        self.pushes.is_consistent()
            && self.pushes.pushes > 0
            && self.home.is_empty()
            && self.data_store.is_empty()
            && self.git.passed == self.git.all
            && self.is_unlocked
            && self.failed_pushes.is_empty()
    }
}

/// What people have not pushed has to be what it was before they began.
fn difference(original: &TreeSnapshot, restored: &Path) -> Result<TreeDiff> {
    let mut patterns = vec![
        "/shared/data/repositories/*/pushes/",
        "/shared/data/repositories/*/pushes.head",
    ];
    patterns.extend(home::EXCLUSIONS);
    patterns.extend(home::DATABASE_EXCLUSIONS);
    let restored = TreeSnapshot::of(restored, &Exclusions::new(&patterns))?;
    // The first push into a repository makes a folder there.
    Ok(original.diff(&restored).without(&[Aspect::FolderModified]))
}

fn check_git(instance: &Instance, restored: &Path) -> Result<GitCheck> {
    let repositories = &instance.home.real_repositories;
    let mut passed = 0;
    for repository in repositories {
        let relative = repository.strip_prefix(&instance.home.path)?;
        let output = Command::new("git")
            .args(["-c", "safe.directory=*", "-C"])
            .arg(restored.join(relative))
            .args(["fsck", "--full", "--strict", "--no-progress"])
            .output()?;
        passed += usize::from(output.status.success());
    }
    Ok(GitCheck {
        passed,
        all: repositories.len(),
    })
}

impl fmt::Display for Verdict {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        writeln!(f, "pushes      {}", self.pushes)?;
        if self.pushes.is_consistent() {
            writeln!(
                f,
                "            and these are exactly the pushes at the moment of DRAINED"
            )?;
        }
        writeln!(f, "home        {}", self.home)?;
        writeln!(f, "data store  {}", self.data_store)?;
        writeln!(
            f,
            "git fsck    {} of {} repositories pass",
            self.git.passed, self.git.all
        )?;
        for (number, window) in (1..).zip(&self.windows) {
            writeln!(f, "backup {number}    {}", in_words(window))?;
        }
        if !self.is_unlocked {
            writeln!(f, "lock        the instance is STILL LOCKED")?;
        }
        for failure in &self.failed_pushes {
            writeln!(f, "push        {failure}")?;
        }
        let verdict = if self.is_good() {
            "the restore is what there was at the moment of the backup"
        } else {
            "THE RESTORE DIFFERS FROM WHAT THERE WAS"
        };
        write!(f, "\n{verdict} ({:.1} s in all)", self.took.as_secs_f64())
    }
}

fn in_words(window: &Window) -> String {
    let (Some(locked), Some(beyond)) = (window.locked_for(), window.drained_to_unlocked()) else {
        return "locked, and never unlocked".to_owned();
    };
    format!(
        "locked for {:.2} s, {:.2} s of it after Bitbucket was drained",
        locked.as_secs_f64(),
        beyond.as_secs_f64()
    )
}
