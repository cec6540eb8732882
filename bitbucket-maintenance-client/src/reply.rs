//! What an answer means: success, or which error.

use std::time::Duration;

use serde_json::Value;
use url::Url;

use crate::call::Call;
use crate::error::{Cause, Error, ErrorKind, Outcome};
use crate::error_body::{self, ErrorBody};
use crate::redact::{Redactor, printable};

const LONGEST_EXCERPT: usize = 2 * 1024;
const LONGEST_LOCATION: usize = 500;

/// An answer, whatever its status. May have a token in it, so there is no `Debug`.
pub(crate) struct Reply {
    pub(crate) call: Call,
    pub(crate) status: u16,
    /// The path of the request.
    pub(crate) path: String,
    pub(crate) headers: Headers,
    pub(crate) body: Body,
    pub(crate) redactor: Redactor,
}

/// What matters of the headers of an answer.
#[derive(Default)]
pub(crate) struct Headers {
    pub(crate) content_type: Option<String>,
    pub(crate) location: Option<String>,
    pub(crate) user_name: Option<String>,
    pub(crate) retry_after: Option<Duration>,
    /// Whether Bitbucket itself answered, as far as a header tells.
    pub(crate) of_bitbucket: bool,
    pub(crate) captcha: bool,
}

/// The beginning of the body of an answer.
#[derive(Default)]
pub(crate) struct Body {
    pub(crate) text: String,
    /// Why there is no more of it, if there should be.
    pub(crate) cut: Option<Cut>,
}

/// Why a body ends early.
pub(crate) enum Cut {
    TooLong,
    Broken(ErrorKind, Cause),
}

impl Headers {
    /// Whether the status says everything, so that the body need not be read and may break.
    pub(crate) fn settles(&self, call: Call, status: u16) -> bool {
        match call {
            Call::Cancel => is_success(status) || is_redirect(status),
            Call::Unlock | Call::ReportProgress => {
                is_success(status) && self.content_type.is_some() && !self.is_page()
            }
            _ => false,
        }
    }

    fn is_page(&self) -> bool {
        self.content_type.as_deref().is_some_and(|content_type| {
            let content_type = content_type.to_ascii_lowercase();
            content_type.contains("html") || content_type.contains("xml")
        })
    }
}

fn is_success(status: u16) -> bool {
    (200..300).contains(&status)
}

fn is_redirect(status: u16) -> bool {
    (300..400).contains(&status)
}

impl Reply {
    pub(crate) fn is_success(&self) -> bool {
        is_success(self.status)
    }

    pub(crate) fn is_redirect(&self) -> bool {
        is_redirect(self.status)
    }

    /// Whether Bitbucket, and nothing in front of it, says that there is no such thing.
    pub(crate) fn is_absence(&self) -> bool {
        self.status == 404 && (self.headers.of_bitbucket || !self.has_foreign_body())
    }

    /// Whether this is a success that Bitbucket, and nothing in front of it, reports.
    pub(crate) fn is_own_success(&self) -> bool {
        self.is_success() && self.headers.of_bitbucket
    }

    /// Whether the body is one that Bitbucket does not write: neither empty nor JSON.
    fn has_foreign_body(&self) -> bool {
        let text = self.body.text.trim();
        !text.is_empty() && serde_json::from_str::<Value>(text).is_err()
    }

    /// The JSON document of a successful answer.
    pub(crate) fn json(&self) -> Result<Value, Error> {
        if self.is_success() {
            self.document()
        } else {
            Err(self.error())
        }
    }

    /// The JSON document, whatever the status.
    pub(crate) fn document(&self) -> Result<Value, Error> {
        match &self.body.cut {
            Some(Cut::TooLong) => Err(self
                .unreadable(ErrorKind::Malformed)
                .with_detail("the answer is longer than 1 MiB")),
            Some(Cut::Broken(kind, cause)) => Err(self.unreadable(*kind).caused_by(cause.clone())),
            None => serde_json::from_str(self.body.text.trim_start_matches('\u{feff}'))
                .map_err(|error| self.not_json(&error)),
        }
    }

    fn not_json(&self, error: &serde_json::Error) -> Error {
        if self.is_page() {
            return self.unreadable(ErrorKind::NotJson);
        }
        // The words of the parser may quote a token; the position cannot.
        let detail = format!(
            "the answer is not valid JSON at line {} column {}",
            error.line(),
            error.column()
        );
        self.unreadable(ErrorKind::Malformed).with_detail(detail)
    }

    /// Nothing, if the status says success and no page of a proxy came with it.
    pub(crate) fn done(&self) -> Result<(), Error> {
        if !self.is_success() {
            Err(self.error())
        } else if self.is_page() && !self.is_empty() {
            Err(self.unreadable(ErrorKind::NotJson))
        } else {
            Ok(())
        }
    }

    fn is_page(&self) -> bool {
        self.headers.is_page() || error_body::is_page(&self.body.text)
    }

    fn is_empty(&self) -> bool {
        self.body.text.trim().is_empty() && self.body.cut.is_none()
    }

    /// The error of an answer that lacks what it must have.
    pub(crate) fn lacks(&self, what: &str) -> Error {
        self.unreadable(ErrorKind::Malformed)
            .with_detail(format!("the answer has no {what}"))
    }

    /// A successful status with a body that tells nothing: the request may have been carried out.
    fn unreadable(&self, kind: ErrorKind) -> Error {
        let error = Error::new(self.call, kind, Outcome::Unknown).with_status(self.status);
        if self.call.answers_with_token() && kind != ErrorKind::NotJson {
            return error;
        }
        let error = error.with_body_excerpt(self.excerpt());
        if kind == ErrorKind::NotJson {
            error.with_server_messages(self.words().messages)
        } else {
            error
        }
    }

    /// The error of an answer whose status is no success.
    pub(crate) fn error(&self) -> Error {
        let words = self.words();
        let kind = self.kind(&words);
        let outcome = match self.status {
            408 | 500.. => Outcome::Unknown,
            _ => Outcome::NotDone,
        };
        Error::new(self.call, kind, outcome)
            .with_status(self.status)
            .with_server_messages(words.messages)
            .with_exception_name(words.exception_name)
            .with_body_excerpt(self.excerpt())
            .with_location(self.location())
            .with_retry_after(self.headers.retry_after)
    }

    fn kind(&self, words: &ErrorBody) -> ErrorKind {
        match self.status {
            304 => ErrorKind::UnexpectedStatus,
            300..400 if self.leads_to_same_path() => ErrorKind::Moved,
            300..400 => ErrorKind::LoginRedirect,
            400 => ErrorKind::BadRequest,
            401 if self.headers.captcha || words.is_captcha() => ErrorKind::CaptchaRequired,
            401 => ErrorKind::Unauthorized,
            403 if words.say("basic authentication has been disabled") => {
                ErrorKind::BasicAuthDisabled
            }
            403 if words.say("xsrf check failed") => ErrorKind::XsrfRejected,
            403 => ErrorKind::Forbidden,
            404 if self.is_absence() => ErrorKind::NotFound,
            404 => ErrorKind::NotJson,
            408 => ErrorKind::Timeout,
            409 => ErrorKind::Conflict,
            429 => ErrorKind::RateLimited,
            500.. => ErrorKind::ServerError,
            _ => ErrorKind::UnexpectedStatus,
        }
    }

    fn leads_to_same_path(&self) -> bool {
        self.headers
            .location
            .as_deref()
            .and_then(|location| Url::parse(location).ok())
            .is_some_and(|location| location.path() == self.path)
    }

    fn location(&self) -> Option<String> {
        let location = self.headers.location.as_deref()?;
        let end = location.find(['?', '#']).unwrap_or(location.len());
        let mut location = location[..end].to_owned();
        if let Ok(mut url) = Url::parse(&location) {
            // Fails only for URLs that cannot have a user name.
            let _ = url.set_username("");
            let _ = url.set_password(None);
            location = url.into();
        }
        Some(printable(&self.redactor.clean(&location), LONGEST_LOCATION))
    }

    fn words(&self) -> ErrorBody {
        let words = error_body::parse(&self.body.text);
        ErrorBody {
            messages: words
                .messages
                .iter()
                .map(|message| self.redactor.clean(message))
                .collect(),
            exception_name: words.exception_name.map(|name| self.redactor.clean(&name)),
        }
    }

    fn excerpt(&self) -> String {
        printable(&self.redactor.clean(&self.body.text), LONGEST_EXCERPT)
    }
}

impl ErrorBody {
    fn say(&self, words: &str) -> bool {
        self.messages
            .iter()
            .any(|message| message.to_ascii_lowercase().contains(words))
    }

    fn is_captcha(&self) -> bool {
        self.exception_name
            .as_deref()
            .is_some_and(|name| name.ends_with("CaptchaRequiredAuthenticationException"))
    }
}
