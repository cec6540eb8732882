//! Directories that nobody but us and root can put things into: what a later run reads there is obeyed, and what it
//! writes there may be written as root.

use std::fs;
use std::path::Path;

use crate::error::{Error, ErrorKind, Result, ResultExt};
use crate::platform::{self, Distrust};

/// A directory of ours.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Directory {
    /// `[backup] state`. Its files say whose they are, so a mode that is too wide is mended.
    State,
    /// `[backup] staging`. What others could write to must be empty.
    Staging,
}

impl Directory {
    fn name(self) -> &'static str {
        match self {
            Self::State => "state",
            Self::Staging => "staging",
        }
    }

    /// Makes sure that nobody else can put anything into the directory at `path`, or another directory in its place. What
    /// is not there yet is no offence.
    ///
    /// # Errors
    /// [`ErrorKind::Check`], with what is wrong and what to do.
    pub(crate) fn ensure_trusted(self, path: &Path) -> Result<()> {
        let name = self.name();
        let found = platform::distrust(path)
            .io_context(|| format!("cannot inspect the {name} directory {}", path.display()))?;
        if let Some(distrust) = found {
            return Err(self.refused(path, &distrust));
        }
        if self == Self::Staging && is_open_to_others(path) && !is_empty(path) {
            let path = path.display();
            let message = format!(
                "the {name} directory {path} may be written to by other users, and is not empty"
            );
            return Err(Error::new(ErrorKind::Check, message).with_hint(format!(
                "See that nobody has put anything there, then `chmod 700 {path}`."
            )));
        }
        Ok(())
    }

    fn refused(self, path: &Path, distrust: &Distrust) -> Error {
        let name = self.name();
        let message = format!(
            "the {name} directory {} cannot be trusted: {distrust}",
            path.display()
        );
        Error::new(ErrorKind::Check, message).with_hint(format!(
            "It and the directories above it must belong to root or to the user who runs this, and nobody else may write there. Run \
             this as the owner, set another `{name}` in the section [backup], or correct owner and mode after a look at what lies there.",
        ))
    }
}

/// What speaks against the archive directory at `path`; backups are read from it, and nothing in it is obeyed.
pub(crate) fn doubt_about_archives(path: &Path) -> Option<String> {
    let doubt = match platform::distrust(path) {
        Ok(Some(distrust)) => distrust.to_string(),
        _ if is_open_to_others(path) => "other users may write to it".to_owned(),
        _ => return None,
    };
    Some(format!(
        "the archives in {} can be replaced by somebody else: {doubt}",
        path.display()
    ))
}

fn is_open_to_others(path: &Path) -> bool {
    fs::metadata(path).is_ok_and(|metadata| platform::others_permissions(&metadata) & 0o022 != 0)
}

/// Whether there is nothing but what a new file system has of its own.
fn is_empty(path: &Path) -> bool {
    fs::read_dir(path).is_ok_and(|entries| {
        entries
            .flatten()
            .all(|entry| entry.file_name() == "lost+found")
    })
}
