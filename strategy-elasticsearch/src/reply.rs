//! What a cluster answers, and what its refusals mean.

use diy_backup_core::{Error, ErrorKind, Result, printable};
use serde::de::DeserializeOwned;
use serde_json::Value;

use crate::hint;

/// How much of a refusal an error repeats, in characters.
const SHOWN: usize = 600;

/// One answer, whatever it says.
#[derive(Debug)]
pub(crate) struct Reply {
    pub(crate) status: u16,
    /// The JSON document; null for anything else.
    pub(crate) body: Value,
    /// What is not JSON, such as the page of a proxy.
    pub(crate) text: String,
    /// Whether the same call was sent before and its answer was lost: it may have been done then.
    pub(crate) repeated: bool,
}

impl Reply {
    pub(crate) fn is_success(&self) -> bool {
        (200..300).contains(&self.status)
    }

    pub(crate) fn is_missing(&self) -> bool {
        self.status == 404
    }

    pub(crate) fn is_forbidden(&self) -> bool {
        matches!(self.status, 401 | 403)
    }

    /// Whether the same call may succeed in a while.
    pub(crate) fn is_transient(&self) -> bool {
        matches!(self.status, 429 | 502..=504)
    }

    /// Whether the refusal, or what is at its root, is of this kind, in the cluster's words.
    pub(crate) fn is_of_type(&self, kind: &str) -> bool {
        let error = &self.body["error"];
        error["type"] == kind || error["root_cause"][0]["type"] == kind
    }

    /// Why the cluster refuses: the first cause and the deepest, as one bounded line without any secret.
    pub(crate) fn reason(&self) -> String {
        let error = &self.body["error"];
        let own = error["root_cause"][0]["reason"]
            .as_str()
            .or(error["reason"].as_str())
            .or(error.as_str())
            .or(self.body["message"].as_str())
            .or(self.body["Message"].as_str());
        let mut words = own.unwrap_or(&self.text).trim().to_owned();
        if let Some(deepest) = deepest_cause(error).filter(|reason| !words.contains(reason)) {
            words = format!("{words}: {deepest}");
        }
        if words.is_empty() {
            words.push_str("it does not say why");
        }
        let line = words.split_whitespace().collect::<Vec<_>>().join(" ");
        let mut shown: String = line.chars().take(SHOWN).collect();
        if shown.len() < line.len() {
            shown.push('…');
        }
        printable(&shown)
    }

    /// The document, unless the cluster refused to do what `doing` says.
    pub(crate) fn accepted(self, doing: &str) -> Result<Value> {
        if self.is_success() {
            Ok(self.body)
        } else {
            Err(self.refused(doing))
        }
    }

    /// The error that the cluster refused to do what `doing` says.
    pub(crate) fn refused(&self, doing: &str) -> Error {
        let message = format!(
            "the search cluster would not {doing} (HTTP {}): {}",
            self.status,
            self.reason()
        );
        let mut error = Error::new(ErrorKind::Search, message);
        if let Some(hint) = hint::for_refusal(self) {
            error = error.with_hint(hint);
        }
        if self.is_transient() {
            error = error.transient();
        }
        error
    }
}

fn deepest_cause(error: &Value) -> Option<&str> {
    let mut causes = std::iter::successors(error.get("caused_by"), |cause| cause.get("caused_by"));
    causes.by_ref().last()?.get("reason")?.as_str()
}

/// Reads a document of an answer as `T`.
pub(crate) fn read<T: DeserializeOwned>(document: Value, what: &str) -> Result<T> {
    serde_json::from_value(document).map_err(|error| {
        let message = format!("the search cluster's answer about {what} cannot be understood");
        Error::new(ErrorKind::Search, message).with_source(printable(&error.to_string()))
    })
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    fn reply(status: u16, body: Value) -> Reply {
        Reply {
            status,
            body,
            text: String::new(),
            repeated: false,
        }
    }

    #[test]
    fn first_and_deepest_cause_are_told_in_one_line() {
        let body = json!({"error": {
            "root_cause": [{"type": "repository_verification_exception", "reason": "[r] path is not\naccessible"}],
            "caused_by": {"reason": "middle", "caused_by": {"reason": "/mnt/x: Read-only file system"}},
        }, "status": 500});
        let error = reply(500, body).refused("verify the repository");
        assert_eq!(
            error.to_string(),
            "the search cluster would not verify the repository (HTTP 500): [r] path is not accessible: /mnt/x: Read-only file system"
        );
        assert!(!error.is_transient());
    }

    #[test]
    fn answers_of_other_shapes_are_told_too() {
        let of_aws = json!({"Message": "User: x is not authorized to perform: es:ESHttpPut"});
        assert!(reply(403, of_aws).reason().contains("es:ESHttpPut"));
        let of_rest =
            json!({"error": "no handler found for uri [/x] and method [PUT]", "status": 400});
        assert!(reply(400, of_rest).reason().contains("no handler"));
        let mut page = reply(502, Value::Null);
        page.text = format!("<h1>Bad\u{1b}[31m Gateway</h1>{}", "x".repeat(5000));
        let error = page.refused("count");
        assert!(error.is_transient() && error.to_string().len() < 2 * SHOWN);
        assert!(!error.to_string().contains('\u{1b}'));
    }
}
