//! The format of Java's properties files.

/// One property, and the line that it begins on.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Property {
    pub(super) key: String,
    pub(super) value: String,
    pub(super) line: usize,
}

/// Reads the properties of a file. A key that stands there twice has the value of the last line, as in Java.
pub(super) fn parse(bytes: &[u8]) -> Vec<Property> {
    // Java used to read ISO 8859-1, in which every byte is a character, and reads UTF-8 today.
    let text = std::str::from_utf8(bytes).map_or_else(
        |_| bytes.iter().copied().map(char::from).collect(),
        str::to_owned,
    );
    let mut properties: Vec<Property> = Vec::new();
    let mut lines = (1..).zip(split_lines(&text));
    while let Some((line, natural)) = lines.next() {
        let start = natural.trim_start_matches(BLANKS);
        if start.is_empty() || start.starts_with(['#', '!']) {
            continue;
        }
        let mut logical = start.to_owned();
        while is_continued(&logical) {
            logical.pop();
            let Some((_, more)) = lines.next() else { break };
            logical.push_str(more.trim_start_matches(BLANKS));
        }
        let (key, value) = split(&logical);
        let property = Property {
            key: unescape(key),
            value: unescape(value),
            line,
        };
        properties.retain(|known| known.key != property.key);
        properties.push(property);
    }
    properties
}

const BLANKS: [char; 3] = [' ', '\t', '\u{c}'];

fn split_lines(text: &str) -> impl Iterator<Item = &str> {
    let mut rest = Some(text);
    std::iter::from_fn(move || {
        let text = rest?;
        let Some(end) = text.find(['\n', '\r']) else {
            rest = None;
            return Some(text);
        };
        let (line, after) = text.split_at(end);
        let ending = if after.starts_with("\r\n") { 2 } else { 1 };
        rest = Some(&after[ending..]);
        Some(line)
    })
}

/// Whether an odd number of backslashes ends the line: each pair is a backslash that is meant.
fn is_continued(line: &str) -> bool {
    let content = line.trim_end_matches('\\');
    (line.len() - content.len()) % 2 == 1
}

/// Splits at the first `=`, `:` or blank that is not escaped; blanks around the sign are part of neither.
fn split(logical: &str) -> (&str, &str) {
    let mut escaped = false;
    let end = logical.find(|c: char| {
        let ends = !escaped && (c == '=' || c == ':' || BLANKS.contains(&c));
        escaped = c == '\\' && !escaped;
        ends
    });
    let (key, rest) = logical.split_at(end.unwrap_or(logical.len()));
    let rest = rest.trim_start_matches(BLANKS);
    let rest = rest.strip_prefix(['=', ':']).unwrap_or(rest);
    (key, rest.trim_start_matches(BLANKS))
}

fn unescape(text: &str) -> String {
    let mut plain = String::with_capacity(text.len());
    let mut rest = text.chars();
    while let Some(c) = rest.next() {
        if c != '\\' {
            plain.push(c);
            continue;
        }
        match rest.next() {
            Some('t') => plain.push('\t'),
            Some('n') => plain.push('\n'),
            Some('r') => plain.push('\r'),
            Some('f') => plain.push('\u{c}'),
            Some('u') => {
                let digits: String = rest.by_ref().take(4).collect();
                let code = u32::from_str_radix(&digits, 16).ok();
                plain.push(code.and_then(char::from_u32).unwrap_or('\u{fffd}'));
            }
            Some(other) => plain.push(other),
            None => {}
        }
    }
    plain
}

#[cfg(test)]
mod tests {
    use super::*;

    fn read(text: &str) -> Vec<(String, String, usize)> {
        let properties = parse(text.as_bytes());
        properties
            .into_iter()
            .map(|property| (property.key, property.value, property.line))
            .collect()
    }

    #[test]
    fn keys_and_values_are_parted_as_java_does() {
        for text in [
            "a.b=c d",
            "a.b = c d",
            "a.b:c d",
            "a.b c d",
            "  a.b\t=\tc d",
            "a.b=\\\n   c d",
            "a.b=c\\u0020d",
            "a\\.b=c d",
            "a.b=c \\\r\n  d",
        ] {
            assert_eq!(read(text), [("a.b".into(), "c d".into(), 1)], "{text:?}");
        }
        assert_eq!(read("a\\=b=c\\\\"), [("a=b".into(), "c\\".into(), 1)]);
        assert_eq!(read("alone"), [("alone".into(), String::new(), 1)]);
    }

    #[test]
    fn comments_and_continued_lines_count() {
        let text = "# jdbc.url=no\\\n! x=y\n\nb=1,\\\n  2,\\\n  3\nc=4\rb=5";
        assert_eq!(
            read(text),
            [("c".into(), "4".into(), 7), ("b".into(), "5".into(), 8)]
        );
    }

    #[test]
    fn any_bytes_are_read() {
        assert_eq!(parse(b"a=\xe4")[0].value, "\u{e4}");
        assert_eq!(parse("a=\u{e4}".as_bytes())[0].value, "\u{e4}");
        for broken in ["a=\\", "\\", "=", "a=\\u12", "a=\\uzzzz"] {
            read(broken);
        }
    }
}
