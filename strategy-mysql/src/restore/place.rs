//! Where a restore is made, and how a later run finds what it has left.

use diy_backup_core::{Error, ErrorKind, Leftover, Result};
use serde::{Deserialize, Serialize};

use crate::sql;
use crate::strategy::NAME;

/// A database beside its target.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case", deny_unknown_fields)]
pub(super) struct Beside {
    /// Where the tables grow.
    pub(super) temporary: String,
    /// Where they go.
    pub(super) target: String,
    /// Whether the target was there, empty, when the restore began.
    pub(super) target_existed: bool,
}

const KIND: &str = "restore-database";
const MARK: &str = "_restore_";

impl Beside {
    /// A name that nobody has, for a target that is there and empty, or is not there.
    pub(super) fn new(target: &str, target_existed: bool) -> Self {
        let suffix = format!("{MARK}{:08x}", fastrand::u32(..));
        Self {
            temporary: sql::with_suffix(target, &suffix),
            target: target.to_owned(),
            target_existed,
        }
    }

    /// What is recorded before anything is made there.
    pub(super) fn leftover(&self) -> Result<Leftover> {
        let id = serde_json::to_string(self).map_err(|error| {
            Error::new(ErrorKind::Internal, "cannot write a leftover as JSON").with_source(error)
        })?;
        Ok(Leftover::new(NAME, KIND, id))
    }

    /// Reads what was recorded for the database `configured`. A name that this strategy would not have made for it is
    /// refused: it may be dropped.
    pub(super) fn of(leftover: &Leftover, configured: &str) -> Result<Self> {
        let unknown = || {
            let message = format!("{:?} is no leftover of a restore with {NAME}", leftover.id);
            Error::new(ErrorKind::Damaged, message)
        };
        if leftover.kind != KIND {
            return Err(unknown());
        }
        let beside: Self =
            serde_json::from_str(&leftover.id).map_err(|error| unknown().with_source(error))?;
        let is_ours = beside
            .temporary
            .rsplit_once(MARK)
            .is_some_and(|(_, number)| {
                number.len() == 8
                    && number.bytes().all(|byte| byte.is_ascii_hexdigit())
                    && beside.temporary
                        == sql::with_suffix(&beside.target, &format!("{MARK}{number}"))
            });
        if !is_ours {
            return Err(unknown());
        }
        ensure_for(&beside.target, configured)?;
        Ok(beside)
    }
}

/// Refuses what was made for another database than the one that is configured now.
fn ensure_for(target: &str, configured: &str) -> Result<()> {
    if target == configured {
        return Ok(());
    }
    let message = format!(
        "it was made for the database {target:?}, and the section [database] names {configured:?}"
    );
    Err(Error::new(ErrorKind::Config, message)
        .with_hint("Run `diy-backup recover` with the configuration of that restore."))
}

/// The names of all databases that a restore into `target` may make, as GRANT takes them.
pub(super) fn pattern(target: &str) -> String {
    let room = crate::config::MAX_NAME_CHARS - MARK.len() - 8;
    let short: String = target.chars().take(room).collect();
    let escaped = sql::grant_pattern(&format!("{short}{MARK}"));
    format!("{}%`", &escaped[..escaped.len() - 1])
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_leftover_leads_back_to_its_place() {
        for target in ["bitbucket", "Bit `bücket` \\"] {
            let beside = Beside::new(target, true);
            assert_eq!(
                Beside::of(&beside.leftover().unwrap(), target).unwrap(),
                beside
            );
        }
    }

    #[test]
    fn a_leftover_that_names_an_ordinary_database_is_refused() {
        let mut beside = Beside::new("bitbucket", false);
        beside.temporary = "bitbucket".to_owned();
        let error = Beside::of(&beside.leftover().unwrap(), "bitbucket").unwrap_err();
        assert_eq!(error.kind(), ErrorKind::Damaged);
        let other = Leftover::new(NAME, "something", "{}");
        assert_eq!(
            Beside::of(&other, "bitbucket").unwrap_err().kind(),
            ErrorKind::Damaged
        );
    }

    #[test]
    fn the_grant_for_temporary_databases_fits_their_names() {
        assert_eq!(pattern("bit_bucket"), "`bit\\_bucket\\_restore\\_%`");
    }

    #[test]
    fn a_leftover_of_another_database_is_refused() {
        let ours = Beside::new("bitbucket", true).leftover().unwrap();
        let error = Beside::of(&ours, "other").unwrap_err();
        assert_eq!(error.kind(), ErrorKind::Config);
        let mut forged = Beside::new("bitbucket", false);
        forged.temporary = "payroll_restore_00000000".to_owned();
        let leftover = forged.leftover().unwrap();
        let error = Beside::of(&leftover, "bitbucket").unwrap_err();
        assert_eq!(error.kind(), ErrorKind::Damaged);
    }
}
