//! What an account may do, as `SHOW GRANTS` tells it.

use std::collections::BTreeSet;

use crate::client::Client;
use crate::failure::Failure;
use crate::sql;
use crate::tools::Flavour;

/// The privileges of the account that is logged in, roles included.
#[derive(Debug, Clone, Default)]
pub(crate) struct Grants {
    /// Privileges, and the pattern of the databases that they are for.
    given: Vec<(BTreeSet<String>, String)>,
    /// What MySQL takes away from a global privilege again.
    revoked: Vec<(BTreeSet<String>, String)>,
}

impl Grants {
    pub(crate) async fn of(client: &Client, flavour: Flavour) -> Result<Self, Failure> {
        let sql = match flavour {
            Flavour::MariaDb => "SHOW GRANTS;".to_owned(),
            Flavour::MySql => {
                let roles = client.lines("SELECT CURRENT_ROLE();").await?;
                match roles.first().map(String::as_str) {
                    None | Some("" | "NONE") => "SHOW GRANTS;".to_owned(),
                    Some(roles) => format!("SHOW GRANTS FOR CURRENT_USER() USING {roles};"),
                }
            }
        };
        let lines = client.lines(&sql).await?;
        Ok(Self::parse(lines.iter().map(String::as_str)))
    }

    fn parse<'a>(lines: impl IntoIterator<Item = &'a str>) -> Self {
        let mut grants = Self::default();
        for line in lines {
            if let Some(entry) = line.strip_prefix("GRANT ").and_then(entry) {
                grants.given.push(entry);
            } else if let Some(entry) = line.strip_prefix("REVOKE ").and_then(entry) {
                grants.revoked.push(entry);
            }
        }
        grants
    }

    /// Those of `needed` that the account does not have for a whole database.
    pub(crate) fn missing<'n>(&self, database: &str, needed: &[&'n str]) -> Vec<&'n str> {
        let covers = |entries: &[(BTreeSet<String>, String)], name: &str| {
            entries.iter().any(|(privileges, pattern)| {
                (privileges.contains(name) || privileges.contains("ALL PRIVILEGES"))
                    && matches(pattern, database)
            })
        };
        let has = |name: &str| covers(&self.given, name) && !covers(&self.revoked, name);
        needed.iter().copied().filter(|name| !has(name)).collect()
    }
}

/// Reads `SELECT, INSERT ON ` + "`db`.* TO …". Grants for single tables, routines and roles are none for a database.
fn entry(text: &str) -> Option<(BTreeSet<String>, String)> {
    let (privileges, rest) = text.split_once(" ON ")?;
    let pattern = if rest.starts_with("*.* ") {
        "%".to_owned()
    } else {
        let (name, rest) = quoted_name(rest)?;
        rest.starts_with(".* ").then_some(name)?
    };
    let privileges = privileges.split(", ").map(str::to_owned).collect();
    Some((privileges, pattern))
}

/// A name in backticks, and what follows.
fn quoted_name(text: &str) -> Option<(String, &str)> {
    let mut name = String::new();
    let mut rest = text.strip_prefix('`')?;
    loop {
        let (part, after) = rest.split_once('`')?;
        name.push_str(part);
        match after.strip_prefix('`') {
            Some(more) => {
                name.push('`');
                rest = more;
            }
            None => return Some((name, after)),
        }
    }
}

/// Whether a pattern with `%` and `_` stands for `name`.
fn matches(pattern: &str, name: &str) -> bool {
    let mut pattern_chars = pattern.chars();
    let Some(first) = pattern_chars.next() else {
        return name.is_empty();
    };
    let rest = pattern_chars.as_str();
    let mut name_chars = name.chars();
    match first {
        '%' => {
            matches(rest, name)
                || name_chars.next().is_some() && matches(pattern, name_chars.as_str())
        }
        '_' => name_chars.next().is_some() && matches(rest, name_chars.as_str()),
        '\\' if rest.starts_with(['%', '_', '\\']) => {
            let escaped = rest.chars().next();
            name_chars.next() == escaped && matches(&rest[1..], name_chars.as_str())
        }
        exact => name_chars.next() == Some(exact) && matches(rest, name_chars.as_str()),
    }
}

/// The statement that gives what is missing.
pub(crate) fn statement(privileges: &[&str], pattern: &str, account: &str) -> String {
    format!(
        "GRANT {} ON {pattern}.* TO {account};",
        privileges.join(", ")
    )
}

/// The account that is logged in, as GRANT takes it.
pub(crate) async fn account(client: &Client) -> Result<String, Failure> {
    let lines = client.lines("SELECT CURRENT_USER();").await?;
    let account = lines.first().map_or("", String::as_str);
    let (user, host) = account.rsplit_once('@').unwrap_or((account, "%"));
    Ok(format!("{}@{}", sql::literal(user), sql::literal(host)))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn grants_for_a_database_a_pattern_and_all_of_them_count() {
        let lines = [
            "GRANT RELOAD, SHOW VIEW ON *.* TO `u`@`%` IDENTIFIED BY PASSWORD '*X'",
            "GRANT SELECT, TRIGGER ON `bit\\_b%`.* TO `u`@`%`",
            "GRANT EVENT ON `bit_b`.`one` TO `u`@`%`",
            "GRANT EXECUTE ON PROCEDURE `bit_b`.`p` TO `u`@`%`",
            "GRANT `role` TO `u`@`%`",
        ];
        let grants = Grants::parse(lines);
        let needed = ["SELECT", "SHOW VIEW", "TRIGGER", "EVENT"];
        assert_eq!(grants.missing("bit_bucket", &needed), ["EVENT"]);
        assert_eq!(grants.missing("bitXb", &["SELECT"]), ["SELECT"]);
    }

    #[test]
    fn all_privileges_are_all_but_what_is_revoked_for_one_database() {
        let all = "GRANT ALL PRIVILEGES ON `a``b`.* TO `u`@`localhost` WITH GRANT OPTION";
        let grants = Grants::parse([all]);
        assert!(grants.missing("a`b", &["SELECT", "DROP"]).is_empty());
        let partial = [
            "GRANT SELECT ON *.* TO `u`@`%`",
            "REVOKE SELECT ON `b`.* FROM `u`@`%`",
        ];
        let grants = Grants::parse(partial);
        assert_eq!(grants.missing("b", &["SELECT"]), ["SELECT"]);
        assert!(grants.missing("c", &["SELECT"]).is_empty());
    }
}
