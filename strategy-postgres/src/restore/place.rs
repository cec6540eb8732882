//! Where a restore is made, and how a later run finds what it has left.

use diy_backup_core::{Error, ErrorKind, Leftover, Result};
use serde::{Deserialize, Serialize};

use crate::sql;
use crate::strategy::NAME;

/// Where the new content grows before it is committed.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Place {
    /// In a database of its own, which is then renamed.
    Beside(Beside),
    /// In the empty target, in one transaction: for a role that may not create databases.
    Inside { target: String },
}

/// A database beside its target.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub(super) struct Beside {
    /// Where it grows.
    pub(super) temporary: String,
    /// What it becomes.
    pub(super) target: String,
    /// What the empty database that has the target's name now is called, from the commit until it is dropped.
    pub(super) replaced: Option<String>,
}

/// What the id of a leftover says.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
enum Recorded {
    Beside(Beside),
    Inside { target: String },
}

const KIND: &str = "restore-database";
const TEMPORARY: &str = "_restore_";
const REPLACED: &str = "_replaced_";

impl Beside {
    /// Names that nobody has, for a target that is there and empty, or is not there.
    pub(super) fn new(target: &str, target_exists: bool) -> Self {
        let number = fastrand::u32(..);
        let suffixed = |mark: &str| sql::with_suffix(target, &format!("{mark}{number:08x}"));
        Self {
            temporary: suffixed(TEMPORARY),
            target: target.to_owned(),
            replaced: target_exists.then(|| suffixed(REPLACED)),
        }
    }
}

impl Place {
    /// What is recorded before anything is made there.
    pub(super) fn leftover(&self) -> Result<Leftover> {
        let recorded = match self {
            Self::Beside(beside) => Recorded::Beside(beside.clone()),
            Self::Inside { target } => Recorded::Inside {
                target: target.clone(),
            },
        };
        let id = serde_json::to_string(&recorded).map_err(|error| {
            Error::new(ErrorKind::Internal, "cannot write a leftover as JSON").with_source(error)
        })?;
        Ok(Leftover::new(NAME, KIND, id))
    }

    /// Reads what was recorded for the database `configured`. Names that this strategy would not have made for it are
    /// refused: they may be dropped.
    pub(super) fn of(leftover: &Leftover, configured: &str) -> Result<Self> {
        let unknown = || {
            let message = format!("{:?} is no leftover of a restore with {NAME}", leftover.id);
            Error::new(ErrorKind::Damaged, message)
        };
        if leftover.kind != KIND {
            return Err(unknown());
        }
        let recorded: Recorded =
            serde_json::from_str(&leftover.id).map_err(|error| unknown().with_source(error))?;
        match recorded {
            Recorded::Inside { target } => {
                ensure_for(&target, configured)?;
                Ok(Self::Inside { target })
            }
            Recorded::Beside(beside) => {
                let Beside {
                    temporary,
                    target,
                    replaced,
                } = &beside;
                let replaced = replaced.as_deref();
                let ours = is_marked(temporary, target, TEMPORARY)
                    && replaced.is_none_or(|name| is_marked(name, target, REPLACED));
                if !ours {
                    return Err(unknown());
                }
                ensure_for(target, configured)?;
                Ok(Self::Beside(beside))
            }
        }
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

/// Whether a restore into `target` would have made `name`.
fn is_marked(name: &str, target: &str, mark: &str) -> bool {
    name.rsplit_once(mark).is_some_and(|(_, number)| {
        number.len() == 8
            && number.bytes().all(|byte| byte.is_ascii_hexdigit())
            && name == sql::with_suffix(target, &format!("{mark}{number}"))
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_leftover_leads_back_to_its_place() {
        for target in ["bitbucket", "Bit \"bücket\" \\"] {
            for place in [
                Place::Beside(Beside::new(target, true)),
                Place::Beside(Beside::new(target, false)),
                Place::Inside {
                    target: target.to_owned(),
                },
            ] {
                assert_eq!(
                    Place::of(&place.leftover().unwrap(), target).unwrap(),
                    place
                );
            }
        }
    }

    #[test]
    fn a_leftover_that_names_an_ordinary_database_is_refused() {
        let beside = Beside {
            temporary: "bitbucket".to_owned(),
            target: "bitbucket".to_owned(),
            replaced: None,
        };
        let leftover = Place::Beside(beside).leftover().unwrap();
        assert_eq!(
            Place::of(&leftover, "bitbucket").unwrap_err().kind(),
            ErrorKind::Damaged
        );
        let other = Leftover::new(NAME, "something", "{}");
        assert_eq!(
            Place::of(&other, "bitbucket").unwrap_err().kind(),
            ErrorKind::Damaged
        );
    }

    #[test]
    fn a_leftover_of_another_database_is_refused() {
        let ours = Place::Beside(Beside::new("bitbucket", true));
        let error = Place::of(&ours.leftover().unwrap(), "other").unwrap_err();
        assert_eq!(error.kind(), ErrorKind::Config);
        let mut forged = Beside::new("bitbucket", false);
        forged.temporary = "payroll_restore_00000000".to_owned();
        let leftover = Place::Beside(forged).leftover().unwrap();
        let error = Place::of(&leftover, "bitbucket").unwrap_err();
        assert_eq!(error.kind(), ErrorKind::Damaged);
    }
}
