//! Who owns what a restore writes.

use diy_backup_core::{Error, ErrorKind, Result};

use crate::platform;

/// `user:group` or `user`, by name or by number, as it stands in the configuration.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct OwnerName {
    user: String,
    group: Option<String>,
}

/// An owner as files have it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Owner {
    pub(crate) user: u32,
    pub(crate) group: u32,
}

impl OwnerName {
    /// Reads `user:group` or `user`; `None` when a part is empty or there is a third.
    pub fn parse(text: &str) -> Option<Self> {
        let (user, group) = match text.split_once(':') {
            Some((user, group)) => (user, Some(group)),
            None => (text, None),
        };
        let usable = |part: &str| !part.is_empty() && !part.contains([':', '\0', '\n', '/']);
        let all_usable = usable(user) && group.is_none_or(usable);
        all_usable.then(|| Self {
            user: user.to_owned(),
            group: group.map(str::to_owned),
        })
    }

    /// The user's name or number.
    pub fn user(&self) -> &str {
        &self.user
    }

    /// The group's name or number; without it, the user's own group is meant.
    pub fn group(&self) -> Option<&str> {
        self.group.as_deref()
    }

    /// Looks the owner up on this machine.
    pub(crate) fn resolve(&self) -> Result<Owner> {
        platform::find_owner(self).ok_or_else(|| {
            let message = format!("there is no owner `{self}` on this machine");
            Error::new(ErrorKind::Check, message).with_hint(
                "Create the user and the group, or correct `owner` in the section [home].",
            )
        })
    }

    /// Looks the owner up and makes sure that files can be given to it.
    pub(crate) fn resolve_for_giving(&self) -> Result<Owner> {
        let owner = self.resolve()?;
        if platform::may_give_to(owner) {
            return Ok(owner);
        }
        let message = format!("only root may give files to `{self}`");
        Err(Error::new(ErrorKind::Check, message)
            .with_hint(format!("Run the restore as root, or as `{}`.", self.user)))
    }
}

impl std::fmt::Display for OwnerName {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(&self.user)?;
        match &self.group {
            Some(group) => write!(f, ":{group}"),
            None => Ok(()),
        }
    }
}

#[cfg(unix)]
#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_owner_is_a_user_with_or_without_a_group() {
        for good in ["root", "root:root", "0:0", "12:adm"] {
            assert_eq!(OwnerName::parse(good).unwrap().to_string(), good);
        }
        for bad in ["", ":", "a:", ":b", "a:b:c", "a\nb"] {
            assert_eq!(OwnerName::parse(bad), None, "{bad:?}");
        }
    }

    #[test]
    fn names_and_numbers_are_looked_up() {
        let root = Owner { user: 0, group: 0 };
        for name in ["root", "root:0", "0", "0:0"] {
            assert_eq!(OwnerName::parse(name).unwrap().resolve().unwrap(), root);
        }
        let both = OwnerName::parse("54321:54322").unwrap().resolve().unwrap();
        assert_eq!((both.user, both.group), (54321, 54322));
        // Nobody knows the group of a number that belongs to no user.
        for missing in ["no-such-user", "root:no-such-group", "54321"] {
            let error = OwnerName::parse(missing).unwrap().resolve().unwrap_err();
            assert_eq!(error.kind(), ErrorKind::Check, "{missing}");
        }
    }
}
