//! What `sqlcmd` prints of a result set.

use diy_backup_core::{Error, ErrorKind, Result};

/// Between two columns: a character that stands in no name and no path.
pub(crate) const SEPARATOR: char = '\u{1f}';

/// One row, by the names of its columns.
#[derive(Debug, Clone)]
pub(crate) struct Row {
    names: std::sync::Arc<[String]>,
    values: Vec<String>,
}

/// Reads the first result set of an output: its header, a line of dashes, and the rows. What the server says in
/// between, such as which database is in use now, comes before the header.
pub(crate) fn parse(output: &str) -> Result<Vec<Row>> {
    let lines: Vec<&str> = output
        .lines()
        .filter(|line| !line.trim().is_empty())
        .collect();
    let Some(dashes) = lines
        .iter()
        .position(|line| is_ruler(line))
        .filter(|&at| at > 0)
    else {
        return Err(odd("it has no header"));
    };
    let names: std::sync::Arc<[String]> = split(lines[dashes - 1]).collect();
    lines[dashes + 1..]
        .iter()
        .map(|line| {
            let values: Vec<String> = split(line).collect();
            if values.len() != names.len() {
                return Err(odd("a row has another number of columns than the header"));
            }
            Ok(Row {
                names: names.clone(),
                values,
            })
        })
        .collect()
}

fn split(line: &str) -> impl Iterator<Item = String> {
    line.split(SEPARATOR).map(|cell| cell.trim_end().to_owned())
}

fn is_ruler(line: &str) -> bool {
    line.contains('-') && line.chars().all(|c| matches!(c, '-' | ' ' | SEPARATOR))
}

fn odd(what: &str) -> Error {
    let message = format!("sqlcmd has answered something else than what was asked for: {what}");
    Error::new(ErrorKind::Database, message)
}

impl Row {
    /// The text of a column as it was printed; `None` for NULL.
    pub(crate) fn text(&self, column: &str) -> Result<Option<&str>> {
        let at = self.names.iter().position(|name| name == column);
        let at = at.ok_or_else(|| odd(&format!("there is no column {column}")))?;
        Ok(Some(self.values[at].as_str()).filter(|value| *value != "NULL"))
    }

    /// A number; `None` for NULL.
    pub(crate) fn number(&self, column: &str) -> Result<Option<u64>> {
        match self.text(column)? {
            None => Ok(None),
            Some(text) => text
                .parse()
                .map(Some)
                .map_err(|error| odd(&format!("{column} is {text:?}")).with_source(error)),
        }
    }

    /// Whether a column is 1.
    pub(crate) fn is_one(&self, column: &str) -> Result<bool> {
        Ok(self.text(column)? == Some("1"))
    }

    /// A text that was asked for as [`hex`](crate::sql::hex); `None` for NULL.
    pub(crate) fn hex(&self, column: &str) -> Result<Option<String>> {
        match self.text(column)? {
            None => Ok(None),
            Some(digits) => decode(digits)
                .map(Some)
                .ok_or_else(|| odd(&format!("{column} is not in hexadecimal digits"))),
        }
    }
}

fn decode(digits: &str) -> Option<String> {
    if !digits.is_ascii() || !digits.len().is_multiple_of(4) {
        return None;
    }
    let units: Option<Vec<u16>> = (0..digits.len())
        .step_by(4)
        .map(|at| {
            u16::from_str_radix(&digits[at..at + 4], 16)
                .ok()
                .map(u16::swap_bytes)
        })
        .collect();
    String::from_utf16(&units?).ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn rows_come_by_name_whatever_was_said_before() {
        let output = "Changed database context to 'b'.\na\u{1f}name\n-\u{1f}----\n1\u{1f}6100E400\nNULL\u{1f}NULL\n\n";
        let rows = parse(output).unwrap();
        assert_eq!(rows[0].number("a").unwrap(), Some(1));
        assert_eq!(rows[0].hex("name").unwrap().as_deref(), Some("aä"));
        assert_eq!(rows[1].hex("name").unwrap(), None);
        assert!(rows[0].text("b").is_err());
        assert!(parse("a\n-\n").unwrap().is_empty());
    }

    #[test]
    fn what_is_no_result_set_is_an_error() {
        assert!(parse("").is_err());
        assert!(parse("a\u{1f}b\n-\u{1f}-\n1\n").is_err());
        assert!(parse("a\n-\nx").unwrap()[0].hex("a").is_err());
    }
}
