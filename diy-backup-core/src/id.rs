//! Names of instances and backups.

use std::fmt;
use std::str::FromStr;

use chrono::{DateTime, NaiveDateTime, Utc};
use serde::{Deserialize, Serialize};

use crate::error::{Error, ErrorKind, Result};

const STAMP: &str = "%Y%m%d-%H%M%S";
const STAMP_LENGTH: usize = "YYYYMMDD-HHMMSS".len();
const MAX_NAME_LENGTH: usize = 99;

/// The name of an instance, as it stands in archive names and snapshot tags.
///
/// 1 to 99 characters out of `A-Z a-z 0-9 . _ -`, beginning with a letter or a digit.
#[derive(Debug, Clone, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(try_from = "String", into = "String")]
pub struct InstanceName(String);

impl InstanceName {
    /// The name as text.
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

impl FromStr for InstanceName {
    type Err = Error;

    fn from_str(text: &str) -> Result<Self> {
        let allowed = |c: char| c.is_ascii_alphanumeric() || matches!(c, '.' | '_' | '-');
        let problem = if text.is_empty() {
            "is empty"
        } else if text.len() > MAX_NAME_LENGTH {
            "is 100 characters or longer"
        } else if !text.chars().all(allowed) {
            "holds something other than letters, digits, `.`, `_` and `-`"
        } else if !text.starts_with(|c: char| c.is_ascii_alphanumeric()) {
            "does not begin with a letter or a digit"
        } else {
            return Ok(Self(text.to_owned()));
        };
        Err(Error::new(
            ErrorKind::Config,
            format!("the instance name {text:?} {problem}"),
        )
        .with_hint(
            "The name becomes part of file names and snapshot tags: use one such as `bitbucket`.",
        ))
    }
}

impl TryFrom<String> for InstanceName {
    type Error = Error;

    fn try_from(text: String) -> Result<Self> {
        text.parse()
    }
}

impl From<InstanceName> for String {
    fn from(name: InstanceName) -> Self {
        name.0
    }
}

impl fmt::Display for InstanceName {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

/// The name of one backup: `<instance>-YYYYMMDD-HHMMSS`, in UTC.
///
/// Backups of one instance sort by age.
#[derive(Debug, Clone, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(try_from = "String", into = "String")]
pub struct BackupId {
    name: InstanceName,
    created: DateTime<Utc>,
}

impl BackupId {
    /// The ID of a backup of `name` that begins now.
    pub fn now(name: &InstanceName) -> Self {
        Self::at_unix(name, Utc::now().timestamp())
    }

    /// The ID of a backup of `name` that began `seconds` after the Unix epoch.
    pub fn at_unix(name: &InstanceName, seconds: i64) -> Self {
        let created = DateTime::from_timestamp(seconds, 0).unwrap_or(DateTime::UNIX_EPOCH);
        Self {
            name: name.clone(),
            created,
        }
    }

    /// The instance it is a backup of.
    pub fn name(&self) -> &InstanceName {
        &self.name
    }

    /// When the backup began, in seconds since the Unix epoch.
    pub fn created_unix(&self) -> i64 {
        self.created.timestamp()
    }

    /// When the backup began, as RFC 3339 in UTC.
    pub fn created_rfc3339(&self) -> String {
        self.created
            .to_rfc3339_opts(chrono::SecondsFormat::Secs, true)
    }

    /// The same instance, one second later; for two backups within one second.
    #[must_use]
    pub fn next_second(&self) -> Self {
        Self::at_unix(&self.name, self.created_unix() + 1)
    }
}

impl FromStr for BackupId {
    type Err = Error;

    fn from_str(text: &str) -> Result<Self> {
        let parse = || {
            let split = text.len().checked_sub(STAMP_LENGTH + 1)?;
            let (name, stamp) = text.split_at_checked(split)?;
            let stamp = stamp.strip_prefix('-')?;
            let created = NaiveDateTime::parse_from_str(stamp, STAMP).ok()?.and_utc();
            // Drops a leap second, which no clock of a backup shows: one instant has one ID.
            let id = Self::at_unix(&name.parse().ok()?, created.timestamp());
            (id.to_string() == text).then_some(id)
        };
        parse().ok_or_else(|| {
            Error::new(ErrorKind::NotFound, format!("{text:?} is not the ID of a backup"))
                .with_hint("An ID looks like `bitbucket-20260131-235959`; `diy-backup list` shows those there are.")
        })
    }
}

impl TryFrom<String> for BackupId {
    type Error = Error;

    fn try_from(text: String) -> Result<Self> {
        text.parse()
    }
}

impl From<BackupId> for String {
    fn from(id: BackupId) -> Self {
        id.to_string()
    }
}

impl fmt::Display for BackupId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}-{}", self.name, self.created.format(STAMP))
    }
}

impl PartialOrd for BackupId {
    fn partial_cmp(&self, other: &Self) -> Option<std::cmp::Ordering> {
        Some(self.cmp(other))
    }
}

impl Ord for BackupId {
    fn cmp(&self, other: &Self) -> std::cmp::Ordering {
        (self.created, &self.name).cmp(&(other.created, &other.name))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_id_survives_being_printed_and_parsed() {
        let name: InstanceName = "bit-bucket.1".parse().unwrap();
        let id = BackupId::at_unix(&name, 1_769_903_999);
        assert_eq!(id.to_string(), "bit-bucket.1-20260131-235959");
        assert_eq!(id.to_string().parse::<BackupId>().unwrap(), id);
    }

    #[test]
    fn what_is_no_id_is_refused() {
        for text in [
            "",
            "x",
            "-20260131-235959",
            "b-20260231-235959",
            "b-20161231-235960",
            "b-2026013-1235959",
            "b 20260131-235959",
            "../b-20260131-235959",
            "ä-20260131-235959",
            "b-20260131-23595ä",
        ] {
            assert!(text.parse::<BackupId>().is_err(), "{text}");
        }
    }

    #[test]
    fn names_that_would_break_file_names_are_refused() {
        for name in ["", "a b", "a/b", ".hidden", "-x", "ä", &"x".repeat(100)] {
            assert_eq!(
                name.parse::<InstanceName>().unwrap_err().kind(),
                ErrorKind::Config,
                "{name}"
            );
        }
    }
}
