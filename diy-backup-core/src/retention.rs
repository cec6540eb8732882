//! Which old backups go.

use std::fmt;

use serde::Serialize;

use crate::config::RetentionSettings;
use crate::id::BackupId;
use crate::strategy::{BackupEntry, Origin, Owner};

/// Which backups go, and which stay.
#[derive(Debug, Clone, Default, Serialize)]
#[non_exhaustive]
pub struct PrunePlan {
    /// To be deleted, oldest first.
    pub delete: Vec<BackupEntry>,
    /// To be kept, oldest first.
    pub keep: Vec<KeptBackup>,
    /// Why nothing is deleted at all, where there is a reason.
    pub held: Option<String>,
}

/// A backup that retention keeps.
#[derive(Debug, Clone, Serialize)]
#[non_exhaustive]
pub struct KeptBackup {
    /// The backup.
    pub entry: BackupEntry,
    /// Why it stays.
    pub reason: KeepReason,
}

/// Why retention keeps a backup.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
#[serde(rename_all = "kebab-case")]
#[non_exhaustive]
pub enum KeepReason {
    /// It is one of those that the policy keeps.
    Policy,
    /// The run that asks has just made it.
    OwnRun,
    /// It is another instance's, in the words of its manifest.
    OtherInstance(String),
    /// It does not say whose it is, and there are backups of another instance.
    Unmarked,
    /// It is not proven: somebody has to look at it.
    Unproven(String),
    /// The shell scripts made it, which delete their own.
    ShellScripts,
    /// Nothing is deleted at all.
    Held,
}

impl fmt::Display for KeepReason {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Policy => f.write_str("one of the newest"),
            Self::OwnRun => f.write_str("made by this run"),
            Self::OtherInstance(instance) => write!(f, "of another instance: {instance}"),
            Self::Unmarked => f.write_str(
                "does not say of which instance it is, and there are backups of another one",
            ),
            Self::Unproven(problem) => f.write_str(problem),
            Self::ShellScripts => f.write_str("made by the shell scripts"),
            Self::Held => f.write_str("nothing is deleted"),
        }
    }
}

impl KeptBackup {
    /// Returns `entry` with why it stays.
    pub fn new(entry: BackupEntry, reason: KeepReason) -> Self {
        Self { entry, reason }
    }
}

/// Plans which of `entries` go under `policy`: the oldest proven backups of this instance, and never the newest.
///
/// What is not proven neither counts as one of those kept nor goes: somebody has to look at it. What the shell scripts
/// have made is theirs to delete, and what another instance has made is that one's. While the newest proven backup is
/// [doubtful](crate::Manifest::doubts), nothing goes.
pub fn plan(mut entries: Vec<BackupEntry>, policy: &RetentionSettings) -> PrunePlan {
    entries.sort_by(|a, b| (a.created_unix, &a.id).cmp(&(b.created_unix, &b.id)));
    let shared = entries
        .iter()
        .any(|entry| matches!(entry.owner, Owner::Other(_)));
    let reasons: Vec<_> = entries
        .iter()
        .map(|entry| reason_to_keep(entry, shared))
        .collect();
    let counted = reasons.iter().filter(|reason| reason.is_none()).count();
    let mut surplus = counted.saturating_sub(policy.keep_last.get());
    let newest = entries
        .iter()
        .zip(&reasons)
        .rev()
        .find(|(_, reason)| reason.is_none());
    let held = newest.and_then(|(entry, _)| why_held(entry));
    let mut plan = PrunePlan::default();
    for (entry, reason) in entries.into_iter().zip(reasons) {
        let reason = match reason {
            Some(reason) => reason,
            None if surplus == 0 => KeepReason::Policy,
            None => {
                surplus -= 1;
                if held.is_none() {
                    plan.delete.push(entry);
                    continue;
                }
                KeepReason::Held
            }
        };
        plan.keep.push(KeptBackup::new(entry, reason));
    }
    plan.held = held;
    plan
}

/// Why a backup neither counts nor goes.
fn reason_to_keep(entry: &BackupEntry, shared: bool) -> Option<KeepReason> {
    match &entry.owner {
        Owner::Other(instance) => return Some(KeepReason::OtherInstance(instance.clone())),
        Owner::Unmarked if entry.origin == Origin::ShellScripts => {
            return Some(KeepReason::ShellScripts);
        }
        Owner::Unmarked if shared => return Some(KeepReason::Unmarked),
        Owner::Unmarked | Owner::Own => {}
    }
    if entry.is_proven() {
        return None;
    }
    let problem = entry.problem().unwrap_or("nothing proves that it is whole");
    Some(KeepReason::Unproven(problem.to_owned()))
}

fn why_held(newest: &BackupEntry) -> Option<String> {
    let doubts = &newest.manifest.as_ref()?.doubts;
    if doubts.is_empty() {
        return None;
    }
    Some(format!(
        "the newest backup {} is doubtful: {}",
        newest.id,
        doubts.join("; ")
    ))
}

impl PrunePlan {
    /// Keeps what no strategy may plan to delete: the backup of the run that asks, what is not proven to be this
    /// instance's, and the last proven one.
    pub(crate) fn guarded(mut self, own_run: Option<&BackupId>) -> Self {
        let spared = |entry: &BackupEntry| match &entry.owner {
            _ if own_run == Some(&entry.id) => Some(KeepReason::OwnRun),
            Owner::Other(instance) => Some(KeepReason::OtherInstance(instance.clone())),
            _ => None,
        };
        let mut delete = Vec::new();
        for entry in std::mem::take(&mut self.delete) {
            match spared(&entry) {
                Some(reason) => self.keep.push(KeptBackup::new(entry, reason)),
                None => delete.push(entry),
            }
        }
        let stays = |kept: &KeptBackup| kept.entry.may_be_own() && kept.entry.is_proven();
        if !self.keep.iter().any(stays)
            && let Some(newest) = delete.iter().rposition(BackupEntry::is_proven)
        {
            let newest = delete.remove(newest);
            self.keep.push(KeptBackup::new(newest, KeepReason::Policy));
        }
        self.delete = delete;
        self.keep.sort_by(|a, b| a.entry.id.cmp(&b.entry.id));
        self
    }

    /// Keeps everything, for the reason `why`.
    pub(crate) fn hold(mut self, why: impl Into<String>) -> Self {
        let delete = std::mem::take(&mut self.delete).into_iter();
        self.keep
            .extend(delete.map(|entry| KeptBackup::new(entry, KeepReason::Held)));
        self.keep.sort_by(|a, b| a.entry.id.cmp(&b.entry.id));
        self.held = Some(why.into());
        self
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::Manifest;

    fn id(second: i64) -> BackupId {
        BackupId::at_unix(&"b".parse().unwrap(), second)
    }

    fn entry(second: i64) -> BackupEntry {
        BackupEntry::ours("x", 1, Manifest::new(id(second)))
    }

    fn others(second: i64) -> BackupEntry {
        let mut entry = entry(second);
        entry.owner = Owner::Other("https://other".to_owned());
        entry
    }

    fn own(second: i64) -> BackupEntry {
        let mut entry = entry(second);
        entry.owner = Owner::Own;
        entry
    }

    fn keep(count: usize) -> RetentionSettings {
        RetentionSettings::keep_last(count.try_into().unwrap())
    }

    fn parts(plan: &PrunePlan) -> (Vec<i64>, Vec<i64>) {
        let second = |entry: &BackupEntry| entry.id.created_unix();
        let kept = plan.keep.iter().map(|kept| second(&kept.entry));
        (plan.delete.iter().map(second).collect(), kept.collect())
    }

    #[test]
    fn the_newest_stay_whatever_the_order() {
        let plan = plan(vec![entry(3), entry(1), entry(2)], &keep(2));
        assert_eq!(parts(&plan), (vec![1], vec![2, 3]));
    }

    #[test]
    fn what_is_not_proven_does_not_push_a_proven_one_out() {
        let damaged = entry(2).with_problem("no archive");
        let bare = entry(3).unproven("no manifest");
        let plan = plan(vec![entry(1), damaged, bare], &keep(1));
        assert_eq!(parts(&plan), (vec![], vec![1, 2, 3]));
    }

    #[test]
    fn what_the_scripts_made_is_left_alone() {
        let scripts = BackupEntry::from_scripts(id(1), "x", 1);
        let plan = plan(vec![scripts, entry(2), entry(3)], &keep(1));
        assert_eq!(parts(&plan), (vec![2], vec![1, 3]));
    }

    #[test]
    fn another_instance_neither_loses_its_backups_nor_pushes_ours_out() {
        let entries = vec![others(1), own(2), others(3), own(4), others(5)];
        let plan = plan(entries, &keep(1));
        assert_eq!(parts(&plan), (vec![2], vec![1, 3, 4, 5]));
        assert!(plan.keep[0].reason.to_string().contains("https://other"));
    }

    #[test]
    fn what_says_not_whose_it_is_stays_where_another_instance_is() {
        let plan = plan(vec![entry(1), others(2), own(3), own(4)], &keep(1));
        assert_eq!(parts(&plan), (vec![3], vec![1, 2, 4]));
    }

    #[test]
    fn nothing_goes_while_the_newest_is_doubtful() {
        let mut doubtful = entry(3);
        let manifest = doubtful.manifest.as_mut().unwrap();
        manifest.doubts.push("it shrank".to_owned());
        let before = plan(vec![entry(1), entry(2), doubtful.clone()], &keep(1));
        assert_eq!(parts(&before), (vec![], vec![1, 2, 3]));
        assert!(before.held.unwrap().contains("it shrank"));
        let after = plan(vec![entry(1), entry(2), doubtful, entry(4)], &keep(1));
        assert_eq!(parts(&after), (vec![1, 2, 3], vec![4]));
    }

    #[test]
    fn a_plan_is_guarded_whatever_a_strategy_planned() {
        let plan = PrunePlan {
            delete: vec![own(1), others(2), own(3), own(4)],
            ..PrunePlan::default()
        };
        let guarded = plan.clone().guarded(Some(&id(3)));
        assert_eq!(parts(&guarded), (vec![1, 4], vec![2, 3]));
        let guarded = plan.guarded(None);
        assert_eq!(parts(&guarded), (vec![1, 3], vec![2, 4]));
    }
}
