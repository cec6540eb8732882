//! Which old backups go.

use crate::config::RetentionSettings;
use crate::strategy::{BackupEntry, Origin, PrunePlan};

/// Plans which of `entries` go under `policy`: all good backups of this program but the newest.
///
/// A backup that cannot be restored counts neither as one of those kept nor goes: somebody has to look at it. What the
/// shell scripts have made is theirs to delete.
pub fn plan(mut entries: Vec<BackupEntry>, policy: &RetentionSettings) -> PrunePlan {
    entries.sort_by(|a, b| a.id.cmp(&b.id));
    let ours = |entry: &BackupEntry| entry.is_good() && entry.origin == Origin::DiyBackup;
    let good = entries.iter().filter(|entry| ours(entry)).count();
    let mut surplus = good.saturating_sub(policy.keep_last.get());
    let mut plan = PrunePlan::default();
    for entry in entries {
        if surplus > 0 && ours(&entry) {
            surplus -= 1;
            plan.delete.push(entry);
        } else {
            plan.keep.push(entry);
        }
    }
    plan
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{BackupId, Manifest};

    fn entry(second: i64) -> BackupEntry {
        let id = BackupId::at_unix(&"b".parse().unwrap(), second);
        BackupEntry::ours("x", 1, Manifest::new(id))
    }

    fn seconds(entries: &[BackupEntry]) -> Vec<i64> {
        entries
            .iter()
            .map(|entry| entry.id.created_unix())
            .collect()
    }

    fn keep(count: usize) -> RetentionSettings {
        RetentionSettings::keep_last(count.try_into().unwrap())
    }

    #[test]
    fn the_newest_stay_whatever_the_order() {
        let plan = plan(vec![entry(3), entry(1), entry(2)], &keep(2));
        assert_eq!(
            (seconds(&plan.delete), seconds(&plan.keep)),
            (vec![1], vec![2, 3])
        );
    }

    #[test]
    fn a_damaged_backup_does_not_push_a_good_one_out() {
        let plan = plan(
            vec![entry(1), entry(2).with_problem("no archive")],
            &keep(1),
        );
        assert_eq!(
            (seconds(&plan.delete), seconds(&plan.keep)),
            (vec![], vec![1, 2])
        );
    }

    #[test]
    fn what_the_scripts_made_is_left_alone() {
        let id = BackupId::at_unix(&"b".parse().unwrap(), 1);
        let plan = plan(
            vec![BackupEntry::from_scripts(id, "x", 1), entry(2), entry(3)],
            &keep(1),
        );
        assert_eq!(
            (seconds(&plan.delete), seconds(&plan.keep)),
            (vec![2], vec![1, 3])
        );
    }
}
