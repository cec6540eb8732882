//! Statements as `pg_restore` writes them, taken apart as far as it takes to name roles and to rename a database.

use crate::sql;

/// A piece of a statement.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Word {
    /// A name in quotes, without them.
    Name(String),
    /// A text in quotes, without them; backslashes as they stand.
    Text(String),
    /// Anything else: keywords, plain names, numbers, punctuation.
    Plain(String),
}

impl Word {
    /// Keywords are in capitals, and names without quotes in small letters.
    fn is(&self, keyword: &str) -> bool {
        matches!(self, Self::Plain(word) if word == keyword)
    }

    fn as_name(&self) -> Option<&str> {
        match self {
            Self::Name(name) | Self::Plain(name) => Some(name),
            Self::Text(_) => None,
        }
    }
}

/// What a statement about a database changes.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Subject {
    /// A setting, for everybody or for one role; or the number of connections.
    Setting,
    /// Who may do what.
    Privilege,
    /// A comment or label.
    Description,
}

/// A statement about a database, with the database's name taken out.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct DatabaseStatement {
    pub(crate) subject: Subject,
    before: String,
    after: String,
}

impl DatabaseStatement {
    /// Returns `None` for statements that are about nothing which a restored database should have.
    pub(crate) fn of(text: &str) -> Option<Self> {
        let words = spans(text);
        let first = words.first().map(|(word, _, _)| word)?;
        let subject = if first.is("GRANT") || first.is("REVOKE") {
            Subject::Privilege
        } else if first.is("COMMENT") || first.is("SECURITY") {
            Subject::Description
        } else if first.is("ALTER") {
            Subject::Setting
        } else {
            return None;
        };
        let at = words.iter().position(|(word, _, _)| word.is("DATABASE"))?;
        let (name, start, end) = words.get(at + 1)?;
        name.as_name()?;
        let next = words.get(at + 2).map(|(word, _, _)| word)?;
        // A template cannot be dropped, not even by who has to take a restore back; the owner is the creator's affair.
        if next.is("IS_TEMPLATE") || next.is("OWNER") {
            return None;
        }
        Some(Self {
            subject,
            before: text[..*start].to_owned(),
            after: text[*end..].to_owned(),
        })
    }

    /// The statement about a database of this name.
    pub(crate) fn for_database(&self, name: &str) -> String {
        format!("{}{}{}", self.before, sql::identifier(name), self.after)
    }
}

/// The statements of a script, without comments, commands of `psql` and what ends each.
pub(crate) fn split(script: &str) -> Vec<String> {
    let mut statements = Vec::new();
    let mut current = String::new();
    let mut rest = script;
    while let Some(c) = rest.chars().next() {
        let at_start = current.trim().is_empty();
        if rest.starts_with("--") || (c == '\\' && at_start) {
            rest = rest.split_once('\n').map_or("", |(_, rest)| rest);
            current.push('\n');
            continue;
        }
        let length = match c {
            '\'' | '"' => quoted_length(rest, c),
            _ => c.len_utf8(),
        };
        if c == ';' {
            statements.push(std::mem::take(&mut current));
        } else {
            current.push_str(&rest[..length]);
        }
        rest = &rest[length..];
    }
    statements.push(current);
    statements
        .into_iter()
        .map(|statement| statement.trim().to_owned())
        .filter(|statement| !statement.is_empty())
        .collect()
}

/// The roles that a statement names: whom it grants to or revokes from, whose default privileges or settings it changes.
pub(crate) fn roles(statement: &str) -> Vec<String> {
    let words = words(statement);
    let mut roles = Vec::new();
    let mut add = |word: Option<&Word>| {
        let name = word.filter(|word| !word.is("PUBLIC") && !word.is("CURRENT_USER"));
        roles.extend(name.and_then(Word::as_name).map(str::to_owned));
    };
    let is_policy = words.get(1).is_some_and(|word| word.is("POLICY"));
    for (at, word) in words.iter().enumerate() {
        let next = words.get(at + 1);
        if word.is("ROLE") || word.is("AUTHORIZATION") {
            add(next);
        } else if is_policy && (word.is("USING") || word.is("WITH")) {
            // An expression follows, which may hold any word.
            break;
        } else if is_policy && word.is("TO") {
            add(next);
            let list = words[at + 1..].iter().skip(1);
            let mut list = list.take_while(|word| !word.is("USING") && !word.is("WITH"));
            while list.next().is_some_and(|word| word.is(",")) {
                add(list.next());
            }
        } else if word.is("TO") || word.is("FROM") {
            let is_grant = words
                .iter()
                .any(|word| word.is("GRANT") || word.is("REVOKE"));
            let group = next.is_some_and(|next| next.is("GROUP"));
            if is_grant {
                add(words.get(at + 1 + usize::from(group)));
            }
        }
    }
    roles
}

/// The pieces of a statement.
pub(crate) fn words(text: &str) -> Vec<Word> {
    spans(text).into_iter().map(|(word, _, _)| word).collect()
}

/// The pieces of a statement with where each begins and ends.
fn spans(text: &str) -> Vec<(Word, usize, usize)> {
    let mut words = Vec::new();
    let mut at = 0;
    while let Some(c) = text[at..].chars().next() {
        let rest = &text[at..];
        let length = match c {
            '\'' | '"' => quoted_length(rest, c),
            c if is_of_word(c) => rest.find(|c| !is_of_word(c)).unwrap_or(rest.len()),
            c => c.len_utf8(),
        };
        let piece = &rest[..length];
        let inner = |quote: char| {
            let inner = piece.get(1..piece.len().saturating_sub(1)).unwrap_or("");
            inner.replace(&format!("{quote}{quote}"), &quote.to_string())
        };
        let word = match c {
            '\'' => Some(Word::Text(inner('\''))),
            '"' => Some(Word::Name(inner('"'))),
            c if c.is_whitespace() => None,
            _ => Some(Word::Plain(piece.to_owned())),
        };
        words.extend(word.map(|word| (word, at, at + length)));
        at += length;
    }
    words
}

fn is_of_word(c: char) -> bool {
    c.is_alphanumeric() || c == '_' || c == '$'
}

/// The length of what stands in quotes, with them; a quote that is doubled stands for itself.
fn quoted_length(text: &str, quote: char) -> usize {
    let mut at = 1;
    while let Some(found) = text[at..].find(quote) {
        at += found + 1;
        if !text[at..].starts_with(quote) {
            return at;
        }
        at += 1;
    }
    text.len()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_statement_ends_outside_of_quotes_alone() {
        let script = "\\connect x\n-- y;\nCOMMENT ON DATABASE \"a;\"\"b\" IS 'it''s;\n\\connect y\n--';\nSET x = 1;\n";
        assert_eq!(
            split(script),
            [
                "COMMENT ON DATABASE \"a;\"\"b\" IS 'it''s;\n\\connect y\n--'",
                "SET x = 1"
            ]
        );
        assert_eq!(split("a 'b"), ["a 'b"]);
    }

    #[test]
    fn the_database_of_a_statement_is_renamed_and_nothing_else() {
        let cases = [
            (
                "ALTER ROLE \"x IN DATABASE y\" IN DATABASE y SET z TO 'DATABASE y'",
                Subject::Setting,
                "ALTER ROLE \"x IN DATABASE y\" IN DATABASE \"n\" SET z TO 'DATABASE y'",
            ),
            (
                "ALTER DATABASE \"a \"\"b\" CONNECTION LIMIT = 5",
                Subject::Setting,
                "ALTER DATABASE \"n\" CONNECTION LIMIT = 5",
            ),
            (
                "GRANT CONNECT,TEMPORARY ON DATABASE y TO y",
                Subject::Privilege,
                "GRANT CONNECT,TEMPORARY ON DATABASE \"n\" TO y",
            ),
            (
                "SECURITY LABEL FOR s ON DATABASE y IS 'l'",
                Subject::Description,
                "SECURITY LABEL FOR s ON DATABASE \"n\" IS 'l'",
            ),
        ];
        for (statement, subject, renamed) in cases {
            let parsed = DatabaseStatement::of(statement).unwrap();
            assert_eq!(parsed.subject, subject);
            assert_eq!(parsed.for_database("n"), renamed);
        }
        for other in [
            "ALTER DATABASE y OWNER TO z",
            "ALTER DATABASE y IS_TEMPLATE = true",
            "SET x = 1",
            "ALTER TABLE t",
        ] {
            assert_eq!(DatabaseStatement::of(other), None);
        }
    }

    #[test]
    fn roles_are_found_where_statements_name_them() {
        let cases: [(&str, &[&str]); 8] = [
            (
                "GRANT SELECT(a),UPDATE(b) ON TABLE x TO \"r \"\" 1\"",
                &["r \" 1"],
            ),
            ("REVOKE ALL ON SCHEMA public FROM PUBLIC", &[]),
            ("GRANT ALL ON FUNCTION f(x text) TO GROUP g", &["g"]),
            (
                "ALTER DEFAULT PRIVILEGES FOR ROLE a IN SCHEMA s REVOKE ALL ON TABLES  FROM b",
                &["a", "b"],
            ),
            (
                "CREATE POLICY p ON t FOR SELECT TO a, b USING ((x = 'TO c'))",
                &["a", "b"],
            ),
            ("GRANT SELECT ON TABLE public.role TO a", &["a"]),
            ("SET SESSION AUTHORIZATION a", &["a"]),
            ("ALTER DATABASE x SET search_path TO 'a'", &[]),
        ];
        for (statement, named) in cases {
            assert_eq!(roles(statement), named, "{statement}");
        }
    }
}
