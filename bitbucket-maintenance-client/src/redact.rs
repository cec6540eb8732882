//! Keeps secrets out of what is shown, even if the server or a proxy sends them back.

use secrecy::{ExposeSecret, SecretString};

const MASK: &str = "<redacted>";
/// Shorter secrets would be found inside ordinary words, and masking those words would give the secret away.
const SHORTEST_SECRET: usize = 4;
/// Maintenance tokens have 40 hexadecimal digits.
const TOKEN_LIKE_DIGITS: usize = 32;

/// The secrets that went out with a request.
#[derive(Debug, Clone, Default)]
pub(crate) struct Redactor(Vec<SecretString>);

impl Redactor {
    /// Remembers a secret, also in the forms it has in a query and in a JSON document.
    pub(crate) fn add(&mut self, secret: &str) {
        if secret.len() < SHORTEST_SECRET {
            return;
        }
        let query: String = url::form_urlencoded::byte_serialize(secret.as_bytes()).collect();
        let json = serde_json::Value::from(secret).to_string();
        for form in [secret, query.as_str(), json.trim_matches('"')] {
            self.0.push(form.into());
        }
    }

    /// The text without any of the secrets, and without anything that looks like a token.
    pub(crate) fn clean(&self, text: &str) -> String {
        let mut text = text.to_owned();
        for secret in &self.0 {
            if text.contains(secret.expose_secret()) {
                text = text.replace(secret.expose_secret(), MASK);
            }
        }
        mask_token_like(&text)
    }
}

fn mask_token_like(text: &str) -> String {
    let mut out = String::with_capacity(text.len());
    let mut rest = text;
    while let Some(start) = rest.find(|c: char| c.is_ascii_hexdigit()) {
        out.push_str(&rest[..start]);
        rest = &rest[start..];
        let end = rest
            .find(|c: char| !c.is_ascii_hexdigit())
            .unwrap_or(rest.len());
        out.push_str(if end >= TOKEN_LIKE_DIGITS {
            MASK
        } else {
            &rest[..end]
        });
        rest = &rest[end..];
    }
    out.push_str(rest);
    out
}

/// One line of printable text of at most `limit` bytes: control characters would act on the reader's terminal.
pub(crate) fn printable(text: &str, limit: usize) -> String {
    let mut out = String::new();
    for word in text.split(|c: char| c.is_whitespace() || c.is_control()) {
        if word.is_empty() {
            continue;
        }
        if !out.is_empty() {
            out.push(' ');
        }
        out.push_str(word);
        if out.len() > limit {
            break;
        }
    }
    if out.len() > limit {
        let mut end = limit.saturating_sub('…'.len_utf8());
        while !out.is_char_boundary(end) {
            end -= 1;
        }
        out.truncate(end);
        out.push('…');
    }
    out
}

#[cfg(test)]
mod tests {
    use super::*;

    const TOKEN: &str = "0123456789abcdef0123456789abcdef01234567";

    #[test]
    fn secrets_are_masked_in_every_form() {
        let mut redactor = Redactor::default();
        redactor.add("p@ss \"word\"");
        let text = r#"plain p@ss "word", query p%40ss+%22word%22, json "p@ss \"word\"""#;
        let clean = redactor.clean(text);
        assert_eq!(clean.matches(MASK).count(), 3, "{clean}");
    }

    #[test]
    fn anything_that_looks_like_a_token_is_masked() {
        let clean = Redactor::default().clean(&format!("token '{TOKEN}' is not cafe"));
        assert_eq!(clean, "token '<redacted>' is not cafe");
    }

    #[test]
    fn printable_text_is_one_bounded_line() {
        assert_eq!(printable(" a\u{1b}[31m\r\nb ", 100), "a [31m b");
        let cut = printable(&"é".repeat(100), 20);
        assert!(cut.len() <= 20 && cut.ends_with('…'), "{cut}");
    }
}
