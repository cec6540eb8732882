//! Names and texts as they must stand in SQL, with the empty `sql_mode` that every session of ours begins with.

use crate::config::MAX_NAME_CHARS;

/// An identifier, in backticks.
pub(crate) fn identifier(name: &str) -> String {
    format!("`{}`", name.replace('`', "``"))
}

/// A table in a database.
pub(crate) fn qualified(database: &str, name: &str) -> String {
    format!("{}.{}", identifier(database), identifier(name))
}

/// A text.
pub(crate) fn literal(text: &str) -> String {
    format!("'{}'", text.replace('\\', "\\\\").replace('\'', "''"))
}

/// A database as GRANT takes it, where `_` and `%` would stand for other characters.
pub(crate) fn grant_pattern(database: &str) -> String {
    let escaped = database
        .replace('\\', "\\\\")
        .replace('_', "\\_")
        .replace('%', "\\%");
    identifier(&escaped)
}

/// `name` with `suffix`, shortened at the end of the name so that it is no longer than a name may be.
pub(crate) fn with_suffix(name: &str, suffix: &str) -> String {
    let room = MAX_NAME_CHARS.saturating_sub(suffix.chars().count());
    let mut short: String = name.chars().take(room).collect();
    short.push_str(suffix);
    short
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn quotes_and_backslashes_lose_their_meaning() {
        assert_eq!(identifier("a`b"), "`a``b`");
        assert_eq!(qualified("d", "T b"), "`d`.`T b`");
        assert_eq!(literal("it's \\"), "'it''s \\\\'");
        assert_eq!(grant_pattern("bit_b%"), "`bit\\_b\\%`");
    }

    #[test]
    fn a_long_name_is_cut_between_letters() {
        let cut = with_suffix(&"ä".repeat(64), "_restore_01234567");
        assert_eq!(cut.chars().count(), 64);
        assert!(cut.ends_with("ä_restore_01234567"));
    }
}
