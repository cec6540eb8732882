//! Reads what a server says in the body of an error, whichever of its forms it chose.

use serde_json::Value;

use crate::redact::printable;

const MOST_MESSAGES: usize = 10;
const LONGEST_MESSAGE: usize = 500;

/// The words of an error answer.
#[derive(Debug, Default, PartialEq, Eq)]
pub(crate) struct ErrorBody {
    pub(crate) messages: Vec<String>,
    pub(crate) exception_name: Option<String>,
}

/// Reads `{"errors":[…]}`, `{"errorTexts":[…]}`, `{"message":…}`, a page, or plain text.
pub(crate) fn parse(body: &str) -> ErrorBody {
    let mut read = match serde_json::from_str::<Value>(body) {
        Ok(document @ (Value::Object(_) | Value::Array(_))) => of_json(&document),
        _ => ErrorBody {
            messages: vec![of_page(body).unwrap_or_else(|| body.to_owned())],
            exception_name: None,
        },
    };
    read.messages = read
        .messages
        .iter()
        .map(|message| printable(message, LONGEST_MESSAGE))
        .filter(|message| !message.is_empty())
        .take(MOST_MESSAGES)
        .collect();
    read.exception_name = read
        .exception_name
        .map(|name| printable(&name, LONGEST_MESSAGE));
    read
}

/// Whether the text is a page rather than data or plain words.
pub(crate) fn is_page(body: &str) -> bool {
    body.trim_start_matches('\u{feff}')
        .trim_start()
        .starts_with('<')
}

fn of_json(document: &Value) -> ErrorBody {
    let mut read = ErrorBody::default();
    for error in list(document, "errors") {
        match error {
            Value::String(message) => read.messages.push(message.clone()),
            _ => read.messages.extend(text(error, "message")),
        }
        if read.exception_name.is_none() {
            read.exception_name = text(error, "exceptionName");
        }
    }
    read.messages.extend(
        list(document, "errorTexts")
            .iter()
            .filter_map(Value::as_str)
            .map(str::to_owned),
    );
    if read.messages.is_empty() {
        read.messages.extend(text(document, "message"));
    }
    read
}

fn list<'a>(document: &'a Value, key: &str) -> &'a [Value] {
    document
        .get(key)
        .and_then(Value::as_array)
        .map_or(&[], Vec::as_slice)
}

fn text(document: &Value, key: &str) -> Option<String> {
    document.get(key).and_then(Value::as_str).map(str::to_owned)
}

/// The title of a page, or else its first heading, or else its text.
fn of_page(body: &str) -> Option<String> {
    if !is_page(body) {
        return None;
    }
    let lower = body.to_ascii_lowercase();
    ["title", "h1"]
        .iter()
        .find_map(|element| {
            let open = lower.find(&format!("<{element}"))?;
            let start = open + lower[open..].find('>')? + 1;
            let end = start + lower[start..].find("</")?;
            Some(unescape(&body[start..end]))
        })
        .filter(|words| !words.trim().is_empty())
        .or_else(|| Some(unescape(&without_elements(body))))
}

fn without_elements(body: &str) -> String {
    let mut out = String::new();
    let mut inside = false;
    for c in body.chars() {
        match c {
            '<' => inside = true,
            '>' => {
                inside = false;
                out.push(' ');
            }
            c if !inside => out.push(c),
            _ => {}
        }
        if out.len() > 4 * LONGEST_MESSAGE {
            break;
        }
    }
    out
}

fn unescape(text: &str) -> String {
    text.replace("&lt;", "<")
        .replace("&gt;", ">")
        .replace("&quot;", "\"")
        .replace("&#39;", "'")
        .replace("&nbsp;", " ")
        .replace("&amp;", "&")
}

#[cfg(test)]
mod tests {
    use super::*;

    fn messages(body: &str) -> Vec<String> {
        parse(body).messages
    }

    #[test]
    fn the_documented_form_gives_messages_and_the_exception() {
        let read = parse(
            r#"{"errors":[{"context":null,"message":"No.","exceptionName":"com.example.NoException"},
                {"context":null,"message":"And no.","exceptionName":null}]}"#,
        );
        assert_eq!(read.messages, ["No.", "And no."]);
        assert_eq!(
            read.exception_name.as_deref(),
            Some("com.example.NoException")
        );
    }

    #[test]
    fn the_other_form_gives_messages() {
        assert_eq!(
            messages(r#"{"errorTexts":["wrong token"]}"#),
            ["wrong token"]
        );
    }

    #[test]
    fn a_page_gives_its_title_or_heading_or_text() {
        assert_eq!(
            messages("<html><head><TITLE>502 Bad&amp;Gateway</TITLE></head></html>"),
            ["502 Bad&Gateway"]
        );
        assert_eq!(messages("<h1 class='x'>Sorry</h1>"), ["Sorry"]);
        assert_eq!(messages("<p>try <b>later</b></p>"), ["try later"]);
    }

    #[test]
    fn plain_text_is_bounded() {
        assert_eq!(messages("XSRF check failed"), ["XSRF check failed"]);
        assert!(messages(&"long ".repeat(1000))[0].len() <= LONGEST_MESSAGE);
    }

    #[test]
    fn an_empty_or_strange_body_gives_nothing() {
        for body in [
            "",
            "  ",
            "{}",
            "[]",
            r#"{"errors":3}"#,
            r#"{"errors":[{}]}"#,
        ] {
            assert_eq!(parse(body), ErrorBody::default(), "{body}");
        }
    }
}
