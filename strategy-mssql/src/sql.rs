//! Names and texts as they must stand in Transact-SQL.

use crate::config::MAX_NAME_UNITS;

/// An identifier: `[my ]]database]`.
pub(crate) fn identifier(name: &str) -> String {
    format!("[{}]", name.replace(']', "]]"))
}

/// A Unicode text.
pub(crate) fn literal(text: &str) -> String {
    format!("N'{}'", text.replace('\'', "''"))
}

/// An expression of text as hexadecimal digits of its UTF-16: no code page and no separator can spoil those.
pub(crate) fn hex(expression: &str) -> String {
    format!(
        "CONVERT(varchar(4000), CONVERT(varbinary(2000), CONVERT(nvarchar(1000), {expression})), 2)"
    )
}

/// `name` with `suffix`, shortened at the end of the name so that SQL Server keeps all of it.
pub(crate) fn with_suffix(name: &str, suffix: &str) -> String {
    let mut room = MAX_NAME_UNITS.saturating_sub(suffix.encode_utf16().count());
    let kept: String = name
        .chars()
        .take_while(|letter| {
            let fits = letter.len_utf16() <= room;
            room = room.saturating_sub(letter.len_utf16());
            fits
        })
        .collect();
    kept + suffix
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn quotes_and_brackets_lose_their_meaning() {
        assert_eq!(identifier("a]b[c"), "[a]]b[c]");
        assert_eq!(literal("it's $(x)"), "N'it''s $(x)'");
    }

    #[test]
    fn a_long_name_is_cut_between_letters() {
        let cut = with_suffix(&"😀".repeat(64), "_x");
        assert_eq!(cut.encode_utf16().count(), 128);
        assert!(cut.ends_with("😀_x"));
        assert_eq!(with_suffix("b", "_x"), "b_x");
    }
}
