//! The unprivileged account a server runs under when the tests run as root, which servers refuse to do.

use std::os::unix::process::CommandExt;
use std::path::Path;
use std::process::Command;

use crate::error::{Error, ErrorKind, IoContext, Result};

/// The accounts tried, in this order.
const UNPRIVILEGED: [&str; 2] = ["postgres", "nobody"];

/// Who the server runs as.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Account {
    /// The user who runs the tests.
    Ours,
    /// Somebody else, because we are root.
    Other { uid: u32, gid: u32 },
}

impl Account {
    pub(crate) fn choose() -> Result<Self> {
        if !rustix::process::geteuid().is_root() {
            return Ok(Self::Ours);
        }
        let path = Path::new("/etc/passwd");
        let passwd = std::fs::read_to_string(path).doing("read", path)?;
        UNPRIVILEGED
            .iter()
            .find_map(|name| find(&passwd, name))
            .ok_or_else(|| {
                Error::new(
                    ErrorKind::Missing,
                    "there is no account `postgres` or `nobody` to run a server under",
                )
            })
    }

    /// Makes a program run under this account.
    pub(crate) fn apply_to(self, command: &mut Command) {
        if let Self::Other { uid, gid } = self {
            command.uid(uid).gid(gid);
        }
    }

    /// Gives a file or folder to this account.
    pub(crate) fn give(self, path: &Path) -> Result<()> {
        match self {
            Self::Ours => Ok(()),
            Self::Other { uid, gid } => {
                std::os::unix::fs::chown(path, Some(uid), Some(gid)).doing("give away", path)
            }
        }
    }
}

fn find(passwd: &str, name: &str) -> Option<Account> {
    passwd.lines().find_map(|line| {
        let mut fields = line.split(':');
        if fields.next()? != name {
            return None;
        }
        let uid = fields.nth(1)?.parse().ok()?;
        let gid = fields.next()?.parse().ok()?;
        Some(Account::Other { uid, gid })
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_account_is_found_by_its_whole_name() {
        let passwd = "root:x:0:0::/root:/bin/sh\nnobody2:x:7:8::/:/bin/sh\nnobody:x:65534:65533::/:/bin/sh\n";
        assert_eq!(
            find(passwd, "nobody"),
            Some(Account::Other {
                uid: 65534,
                gid: 65533
            })
        );
        assert_eq!(find(passwd, "postgres"), None);
    }
}
