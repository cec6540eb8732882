//! The table of contents of a dump, as `pg_restore --list` prints it.

use std::collections::BTreeSet;

/// The contents of a dump.
#[derive(Debug, Clone, Default)]
pub(crate) struct Toc {
    lines: Vec<String>,
}

impl Toc {
    pub(crate) fn parse(list: &str) -> Self {
        let is_entry = |line: &&str| !line.starts_with(';') && !line.trim().is_empty();
        Self {
            lines: list.lines().filter(is_entry).map(str::to_owned).collect(),
        }
    }

    /// What each entry says after its numbers: kind, schema, name and owner, parted by blanks and not told apart.
    pub(crate) fn entries(&self) -> impl Iterator<Item = &str> {
        self.lines.iter().map(|line| without_numbers(line))
    }

    /// How many entries are of one kind: `ACL`, `EXTENSION`.
    pub(crate) fn count_of(&self, kind: &str) -> usize {
        let begins = |entry: &&str| {
            entry
                .strip_prefix(kind)
                .is_some_and(|rest| rest.starts_with(' '))
        };
        self.entries().filter(begins).count()
    }

    /// Which of these `schema name owner` have no data in the dump.
    pub(crate) fn without_data<'a>(
        &self,
        tables: impl IntoIterator<Item = &'a str>,
    ) -> Vec<&'a str> {
        let dumped: BTreeSet<&str> = self
            .entries()
            .filter_map(|entry| entry.strip_prefix("TABLE DATA "))
            .collect();
        tables
            .into_iter()
            .filter(|table| !dumped.contains(one_line(table).as_str()))
            .collect()
    }

    /// The tables, as `schema name owner`.
    pub(crate) fn tables(&self) -> impl Iterator<Item = &str> {
        self.entries().filter_map(|entry| {
            let table = entry.strip_prefix("TABLE ")?;
            let other = table.starts_with("DATA ") || table.starts_with("ATTACH ");
            (!other).then_some(table)
        })
    }

    /// The list for `pg_restore --use-list` of what a restore must have: tables, their data, and all that hangs on them.
    pub(crate) fn content(&self) -> String {
        self.list(|entry| !is_left_out(entry) && !is_extra(entry))
    }

    /// The list of what a restore has as far as the login may make it: grants, publications, labels, the public schema.
    pub(crate) fn extras(&self) -> String {
        self.list(|entry| !is_left_out(entry) && is_extra(entry))
    }

    /// Returns `true` if one of the entries ends with this owner.
    pub(crate) fn names_owner(&self, owner: &str) -> bool {
        self.entries().any(|entry| {
            entry
                .strip_suffix(owner)
                .is_some_and(|rest| rest.ends_with(' '))
        })
    }

    fn list(&self, wanted: impl Fn(&str) -> bool) -> String {
        let mut list = String::new();
        for line in &self.lines {
            if wanted(without_numbers(line)) {
                list.push_str(line);
                list.push('\n');
            }
        }
        list
    }
}

/// `schema name owner` as it stands in the list, where every entry is one line.
pub(crate) fn one_line(text: &str) -> String {
    text.replace(['\n', '\r'], " ")
}

fn without_numbers(line: &str) -> &str {
    // `4103; 1262 16385 TABLE …`
    let Some((_, rest)) = line.split_once("; ") else {
        return line;
    };
    rest.splitn(3, ' ').nth(2).unwrap_or(rest)
}

/// What every database has from the start, what is the creator's affair, and what would follow another server.
fn is_left_out(entry: &str) -> bool {
    const LEFT_OUT: [&str; 8] = [
        "EXTENSION - plpgsql",
        "COMMENT - EXTENSION plpgsql",
        "DATABASE ",
        "ACL - DATABASE ",
        "COMMENT - DATABASE ",
        "SECURITY LABEL - DATABASE ",
        "SUBSCRIPTION ",
        "COMMENT - SUBSCRIPTION ",
    ];
    LEFT_OUT.iter().any(|kind| entry.starts_with(kind))
}

/// What an ordinary role may not make, and what a database can do its work without.
fn is_extra(entry: &str) -> bool {
    const EXTRAS: [&str; 11] = [
        "SCHEMA - public ",
        "COMMENT - SCHEMA public ",
        "COMMENT - EXTENSION ",
        "COMMENT - EVENT TRIGGER ",
        "COMMENT - PUBLICATION ",
        "ACL ",
        "DEFAULT ACL ",
        "PUBLICATION ",
        "SECURITY LABEL ",
        "EVENT TRIGGER ",
        "POLICY ",
    ];
    let of_policy = entry.starts_with("COMMENT ") && entry.contains(" POLICY ");
    of_policy || EXTRAS.iter().any(|kind| entry.starts_with(kind))
}

#[cfg(test)]
mod tests {
    use super::*;

    const LIST: &str = ";\n; Archive created at 2026-01-01 00:00:00 UTC\n;     dbname: bit bucket\n\
        ;     Dumped from database version: 15.18\n;\n;\n; Selected TOC Entries:\n;\n\
        3400; 1262 16385 DATABASE - bit bucket owner\n\
        2; 3079 16386 EXTENSION - pg_trgm \n3401; 0 0 COMMENT - EXTENSION pg_trgm \n\
        215; 1259 16400 TABLE public push owner\n216; 1259 16401 TABLE public my table owner\n\
        3390; 0 16400 TABLE DATA public push owner\n3391; 0 0 ACL - SCHEMA public owner\n";

    #[test]
    fn a_table_without_data_is_found() {
        let toc = Toc::parse(LIST);
        let missing = toc.without_data(["public push owner", "public my table owner"]);
        assert_eq!(missing, ["public my table owner"]);
        assert_eq!(toc.tables().count(), 2);
        assert_eq!((toc.count_of("ACL"), toc.count_of("TABLE DATA")), (1, 1));
    }

    #[test]
    fn what_must_be_restored_is_told_from_what_may() {
        let toc = Toc::parse(LIST);
        let (content, extras) = (toc.content(), toc.extras());
        assert!(content.contains("EXTENSION - pg_trgm") && content.contains("TABLE DATA"));
        assert!(!content.contains("COMMENT") && !content.contains("ACL"));
        assert!(extras.contains("COMMENT - EXTENSION pg_trgm") && extras.contains("ACL - SCHEMA"));
        assert!(!content.contains("DATABASE") && !extras.contains("DATABASE"));
        assert!(toc.names_owner("owner") && !toc.names_owner("wner"));
    }
}
