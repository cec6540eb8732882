//! Releases of servers and tools, compared as PostgreSQL means it.

use std::fmt;

/// A major release: 9.6, 15, 17. What differs after it is compatible.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) struct Release(u32);

impl Release {
    /// The first whose `psql` tells the SQLSTATE and message of a failed statement.
    pub(crate) const OLDEST_CLIENT: Self = Self(1100);

    /// The release with a number from 10 on.
    pub(crate) const fn major(number: u32) -> Self {
        Self(number * 100)
    }

    /// From `server_version_num`: 90624, 150018.
    pub(crate) fn from_number(number: u32) -> Self {
        let release = number / 100;
        Self(if release >= 1000 {
            release / 100 * 100
        } else {
            release
        })
    }

    /// From `pg_dump (PostgreSQL) 15.18 (Debian 15.18-0+deb12u1)`.
    pub(crate) fn from_version_line(line: &str) -> Option<Self> {
        let (_, version) = line.split_once("PostgreSQL)")?;
        Self::from_version(version.split_whitespace().next()?)
    }

    /// From `15.18`, `9.6.24`, `18beta1`.
    pub(crate) fn from_version(version: &str) -> Option<Self> {
        let mut parts = version.split('.').map(|part| {
            let end = part
                .find(|c: char| !c.is_ascii_digit())
                .unwrap_or(part.len());
            part[..end].parse::<u32>().ok()
        });
        let first = parts.next()??;
        if first >= 10 {
            Some(Self::major(first))
        } else {
            Some(Self(first * 100 + parts.next()??))
        }
    }
}

impl fmt::Display for Release {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.0 {
            release if release >= 1000 => write!(f, "{}", release / 100),
            release => write!(f, "{}.{}", release / 100, release % 100),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn releases_of_tools_and_servers_compare() {
        let line = "pg_dump (PostgreSQL) 15.18 (Debian 15.18-0+deb12u1)";
        assert_eq!(
            Release::from_version_line(line),
            Some(Release::from_number(150_003))
        );
        assert_eq!(
            Release::from_version("9.6.24"),
            Some(Release::from_number(90_601))
        );
        assert_eq!(Release::from_version("18beta1"), Some(Release::major(18)));
        assert!(Release::from_number(90_624) < Release::from_number(100_001));
        assert!(Release::major(9) < Release::OLDEST_CLIENT);
        assert_eq!(Release::from_version_line("psql: what?"), None);
        assert_eq!(Release::from_number(90_624).to_string(), "9.6");
        assert_eq!(Release::major(17).to_string(), "17");
    }
}
