//! What has to be true, whatever happened.

use std::collections::BTreeSet;

use diy_backup_testkit::simulator::LatchState;
use diy_backup_testkit::tree::{Aspect, Exclusions};
use diy_backup_testkit::{Comparison, TreeSnapshot, home};
use serde_json::Value;

use super::Result;
use super::program::Ended;
use super::stage::{Archive, Config, Stage};

/// What is wrong, in words.
pub(crate) type Wrong = Vec<String>;

/// A backup as the program lists it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Listed {
    pub(crate) id: String,
    pub(crate) problem: Option<String>,
    pub(crate) state: String,
}

/// What a restore has done to its targets.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Targets {
    Untouched,
    Whole,
    Broken,
}

impl Stage<'_> {
    pub(crate) fn list(&self) -> Result<Vec<Listed>> {
        let ended = self.run(Config::Original, &["--json", "list"])?;
        let summary = ended
            .stdout
            .lines()
            .filter_map(|line| serde_json::from_str::<Value>(line).ok())
            .find(|line| line["message_type"] == "summary")
            .ok_or_else(|| format!("`list` said nothing; {}", ended.words()))?;
        let backups = summary["backups"].as_array().cloned().unwrap_or_default();
        let listed = backups.iter().map(|backup| Listed {
            id: backup["backup_id"].as_str().unwrap_or_default().to_owned(),
            problem: backup["problem"].as_str().map(str::to_owned),
            state: backup["state"].as_str().unwrap_or_default().to_owned(),
        });
        Ok(listed.collect())
    }

    pub(crate) fn ids(&self) -> Result<BTreeSet<String>> {
        Ok(self.list()?.into_iter().map(|listed| listed.id).collect())
    }

    /// Nobody is locked out, and nothing is left to put right.
    pub(crate) fn is_at_rest(&self, wrong: &mut Wrong) {
        if self.simulator.is_locked() {
            wrong.push("the instance is STILL LOCKED".to_owned());
        }
        let latches = self.simulator.latches();
        if [latches.database, latches.scm] != [LatchState::Available; 2] {
            wrong.push(format!("the latches are closed: {latches:?}"));
        }
        if self.journal().exists() {
            wrong.push("the journal is still there".to_owned());
        }
        wrong.extend(self.application().failures());
    }

    /// No folder holds anything but whole backups and the copy that the next one builds upon.
    pub(crate) fn has_no_debris(&self, wrong: &mut Wrong) -> Result {
        let ids = self.ids()?;
        for entry in std::fs::read_dir(&self.archives).into_iter().flatten() {
            let name = entry?.file_name().to_string_lossy().into_owned();
            if !ids.iter().any(|id| name.starts_with(id.as_str())) {
                wrong.push(format!("`{name}` was left in the folder of archives"));
            }
        }
        for entry in std::fs::read_dir(&self.state).into_iter().flatten() {
            let name = entry?.file_name().to_string_lossy().into_owned();
            if name.starts_with('.') {
                wrong.push(format!("`{name}` was left in the state folder"));
            }
        }
        let whole = self.staging.join("manifest.json").exists();
        if self.archive == Archive::Tar && whole {
            wrong.push("the staging folder says that it is whole".to_owned());
        }
        for entry in std::fs::read_dir(&self.staging).into_iter().flatten() {
            let name = entry?.file_name().to_string_lossy().into_owned();
            if name.starts_with(".restore") {
                wrong.push(format!("`{name}` was left in the staging folder"));
            }
        }
        for entry in std::fs::read_dir(self.root.join("target"))? {
            let name = entry?.file_name();
            if name != "home" {
                wrong.push(format!(
                    "`{}` was left beside the restored home",
                    name.display()
                ));
            }
        }
        let known = [
            "postgres".to_owned(),
            self.database.clone(),
            self.restored_database(),
        ];
        let databases = self.lab.postgres.psql(
            "postgres",
            "SELECT datname FROM pg_database WHERE NOT datistemplate",
        )?;
        // Databases of other stages begin with other names.
        let ours = databases
            .lines()
            .filter(|name| name.split('_').nth(1) == self.database.split('_').nth(1));
        for name in ours.filter(|name| !known.contains(&(*name).to_owned())) {
            wrong.push(format!("the database `{name}` was left"));
        }
        Ok(())
    }

    /// Every backup that is listed is whole.
    pub(crate) fn all_listed_verify(&self, wrong: &mut Wrong) -> Result {
        for listed in self.list()? {
            if let Some(problem) = listed.problem {
                wrong.push(format!("{} is listed, and {problem}", listed.id));
            }
        }
        let ended = self.run(Config::Original, &["verify", "--all"])?;
        if !ended.is(0) {
            let said = ended.stdout.replace('\n', " | ");
            wrong.push(format!(
                "a listed backup is damaged: {said} {}",
                ended.words()
            ));
        }
        Ok(())
    }

    /// Remembers what a new backup has to hold, after the run that made it.
    pub(crate) fn remember_new(&mut self, before: &BTreeSet<String>) -> Result<Option<String>> {
        let new = self.ids()?.difference(before).last().cloned();
        if let Some(id) = &new {
            let drained = self.last_drained()?;
            self.drained.insert(id.clone(), drained);
        }
        Ok(new)
    }

    /// Takes a backup that has to succeed.
    pub(crate) fn back_up(&mut self) -> Result<std::result::Result<String, Ended>> {
        let before = self.ids()?;
        let ended = self.run(Config::Original, &["backup"])?;
        match self.remember_new(&before)? {
            Some(id) if ended.is(0) => Ok(Ok(id)),
            _ => Ok(Err(ended)),
        }
    }

    /// Restores a backup into targets that are not there, compares, and removes them.
    pub(crate) fn restores(&self, id: &str, wrong: &mut Wrong) -> Result {
        self.clear_targets()?;
        let ended = self.run(Config::Restored, &["restore", id])?;
        if ended.is(0) {
            self.is_restored(id, wrong)?;
        } else {
            wrong.push(format!("{id} cannot be restored: {}", ended.words()));
        }
        self.clear_targets()
    }

    pub(crate) fn targets(&self, id: &str, wrong: &mut Wrong) -> Result<Targets> {
        let home = self.restored_home().exists();
        let exists = format!(
            "SELECT 1 FROM pg_database WHERE datname = '{}'",
            self.restored_database()
        );
        let database = !self.lab.postgres.psql("postgres", &exists)?.is_empty();
        match (home, database) {
            (false, false) => Ok(Targets::Untouched),
            (true, true) => {
                let found = wrong.len();
                self.is_restored(id, wrong)?;
                Ok(if wrong.len() == found {
                    Targets::Whole
                } else {
                    Targets::Broken
                })
            }
            _ => {
                wrong.push(format!("half restored: home {home}, database {database}"));
                Ok(Targets::Broken)
            }
        }
    }

    fn is_restored(&self, id: &str, wrong: &mut Wrong) -> Result {
        // The first push into a repository makes a folder there.
        self.is_restored_but_for(&[Aspect::FolderModified], id, wrong)
    }

    /// Compares home and database of a restore with what was drained, or with each other.
    pub(crate) fn is_restored_but_for(
        &self,
        aspects: &[Aspect],
        id: &str,
        wrong: &mut Wrong,
    ) -> Result {
        let rows = self.lab.postgres.pushes(&self.restored_database())?;
        let home = self.restored_home();
        let comparison = match self.drained.get(id) {
            Some(drained) => Comparison::against(&home, &rows, drained)?,
            None => Comparison::of(&home, &rows)?,
        };
        if !comparison.is_consistent() {
            wrong.push(format!("{id} came back different: {comparison}"));
        }
        let mut patterns = vec![
            "/shared/data/repositories/*/pushes/",
            "/shared/data/repositories/*/pushes.head",
            "/shared/data/repositories/*/*.head.lock",
        ];
        patterns.extend(home::EXCLUSIONS);
        patterns.extend(home::DATABASE_EXCLUSIONS);
        let restored = TreeSnapshot::of(&home, &Exclusions::new(&patterns))?;
        let difference = self.contents().diff(&restored);
        let difference = difference.without(aspects);
        if !difference.is_empty() {
            wrong.push(format!("{id} came back different: {difference}"));
        }
        Ok(())
    }
}
