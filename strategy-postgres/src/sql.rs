//! Names and texts as they must stand in SQL and in connection strings.

/// An identifier: `"my ""table"""`.
pub(crate) fn identifier(name: &str) -> String {
    format!("\"{}\"", name.replace('"', "\"\""))
}

/// A table or another thing in a schema.
pub(crate) fn qualified(schema: &str, name: &str) -> String {
    format!("{}.{}", identifier(schema), identifier(name))
}

/// A text. Backslashes need the `E` form, which means the same whatever `standard_conforming_strings` says.
pub(crate) fn literal(text: &str) -> String {
    let quoted = text.replace('\'', "''");
    if quoted.contains('\\') {
        format!("E'{}'", quoted.replace('\\', "\\\\"))
    } else {
        format!("'{quoted}'")
    }
}

/// Signs of life for connections on which nothing else happens: a pinned transaction may wait for hours while firewalls
/// forget connections after a few minutes, and the kernel's own first one comes after two hours.
const KEEPALIVES: &str =
    "keepalives=1 keepalives_idle=60 keepalives_interval=20 keepalives_count=9";

/// A libpq connection string for tools that take one in place of a database's name. The environment has the rest.
pub(crate) fn connection_to(database: &str) -> String {
    let quoted = database.replace('\\', "\\\\").replace('\'', "\\'");
    format!("dbname='{quoted}' {KEEPALIVES}")
}

/// `name` with `suffix`, shortened at the end of the name so that PostgreSQL keeps all of it.
pub(crate) fn with_suffix(name: &str, suffix: &str) -> String {
    let mut end = crate::config::MAX_NAME_BYTES
        .saturating_sub(suffix.len())
        .min(name.len());
    while !name.is_char_boundary(end) {
        end -= 1;
    }
    format!("{}{suffix}", &name[..end])
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn quotes_and_backslashes_lose_their_meaning() {
        assert_eq!(identifier("a\"b"), "\"a\"\"b\"");
        assert_eq!(qualified("s", "T b"), "\"s\".\"T b\"");
        assert_eq!(literal("it's"), "'it''s'");
        assert_eq!(literal("a\\'b"), "E'a\\\\''b'");
        assert!(connection_to("a=b 'c\\").starts_with("dbname='a=b \\'c\\\\' keepalives=1"));
    }

    #[test]
    fn a_long_name_is_cut_between_letters() {
        let name = "ä".repeat(31);
        let cut = with_suffix(&name, "_restore_01234567");
        assert!(
            cut.len() <= 63 && cut.ends_with("ä_restore_01234567"),
            "{cut}"
        );
        assert_eq!(with_suffix("b", "_x"), "b_x");
    }
}
