//! What can go wrong with a call.

use std::fmt;
use std::time::Duration;

use crate::call::Call;
use crate::hint;

/// A result with this crate's [`Error`].
pub type Result<T, E = Error> = std::result::Result<T, E>;

/// A call that failed.
///
/// `Display` is one line that names the call, the kind, the HTTP status and what the server said first. It does not
/// repeat [`source`](std::error::Error::source), and neither of them ever shows a password or a token.
pub struct Error(Box<Inner>);

#[derive(Debug)]
struct Inner {
    kind: ErrorKind,
    call: Call,
    detail: Option<String>,
    status: Option<u16>,
    server_messages: Vec<String>,
    exception_name: Option<String>,
    body_excerpt: Option<String>,
    location: Option<String>,
    retry_after: Option<Duration>,
    outcome: Outcome,
    attempts: u32,
    source: Option<Cause>,
}

/// What happened, as far as a program may want to tell cases apart.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub enum ErrorKind {
    /// No connection came about: refused, unreachable, or the name is unknown.
    Connect,
    /// No complete answer within the request timeout or the connect timeout, or the server says so (408).
    Timeout,
    /// The secure connection failed, most often because the certificate is not trusted.
    Tls,
    /// The connection broke before the answer was complete: reset, closed, half a body.
    Transport,
    /// 401: the user name or the password is wrong, or the password is an HTTP access token.
    Unauthorized,
    /// 401: the account is locked until somebody solves a CAPTCHA in the browser.
    CaptchaRequired,
    /// 403: the account lacks the permission.
    Forbidden,
    /// 403: the instance accepts no basic authentication.
    BasicAuthDisabled,
    /// 403: the XSRF protection refused the request, as a proxy removed its headers.
    XsrfRejected,
    /// A redirect instead of an answer, most often to the login page.
    LoginRedirect,
    /// A redirect to the same path elsewhere: the base URL is not the right one, for example `http` for `https`.
    Moved,
    /// 404 of Bitbucket itself: what the call is about does not exist.
    NotFound,
    /// 409: already locked, other maintenance is running, or the token is wrong.
    Conflict,
    /// 400
    BadRequest,
    /// 429
    RateLimited,
    /// 5xx
    ServerError,
    /// Any other status.
    UnexpectedStatus,
    /// A page where JSON was due: something in front of Bitbucket answered, or the base URL is wrong.
    NotJson,
    /// An answer that lacks what it must have, is not valid JSON or is longer than 1 MiB.
    Malformed,
    /// The base URL cannot be used.
    InvalidUrl,
    /// The CA file cannot be used, or there is no trusted certificate at all.
    InvalidCa,
    /// Credentials, user agent or another setting cannot be used.
    InvalidConfiguration,
}

/// Whether the request may have been carried out.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Outcome {
    /// It did not reach the server, or the server refused it.
    NotDone,
    /// It was sent, and no answer tells.
    Unknown,
}

impl Error {
    pub(crate) fn new(call: Call, kind: ErrorKind, outcome: Outcome) -> Self {
        Self(Box::new(Inner {
            kind,
            call,
            detail: None,
            status: None,
            server_messages: Vec::new(),
            exception_name: None,
            body_excerpt: None,
            location: None,
            retry_after: None,
            outcome,
            attempts: 0,
            source: None,
        }))
    }

    pub(crate) fn setup(kind: ErrorKind, detail: impl Into<String>) -> Self {
        Self::new(Call::Setup, kind, Outcome::NotDone).with_detail(detail)
    }

    pub(crate) fn with_detail(mut self, detail: impl Into<String>) -> Self {
        self.0.detail = Some(detail.into());
        self
    }

    pub(crate) fn with_status(mut self, status: u16) -> Self {
        self.0.status = Some(status);
        self
    }

    pub(crate) fn with_server_messages(mut self, messages: Vec<String>) -> Self {
        self.0.server_messages = messages;
        self
    }

    pub(crate) fn with_exception_name(mut self, name: Option<String>) -> Self {
        self.0.exception_name = name;
        self
    }

    pub(crate) fn with_body_excerpt(mut self, excerpt: String) -> Self {
        self.0.body_excerpt = (!excerpt.is_empty()).then_some(excerpt);
        self
    }

    pub(crate) fn with_location(mut self, location: Option<String>) -> Self {
        self.0.location = location;
        self
    }

    pub(crate) fn with_retry_after(mut self, pause: Option<Duration>) -> Self {
        self.0.retry_after = pause;
        self
    }

    pub(crate) fn caused_by(mut self, cause: Cause) -> Self {
        self.0.source = Some(cause);
        self
    }

    pub(crate) fn after_attempts(mut self, attempts: u32) -> Self {
        self.0.attempts = attempts;
        self
    }

    /// What happened.
    pub fn kind(&self) -> ErrorKind {
        self.0.kind
    }

    /// The call that failed.
    pub fn call(&self) -> Call {
        self.0.call
    }

    /// The HTTP status of the answer, if there was one.
    pub fn status(&self) -> Option<u16> {
        self.0.status
    }

    /// What the server says about it, whichever of its forms it chose; for a page its title or its first words.
    /// At most ten messages of at most 500 bytes.
    pub fn server_messages(&self) -> &[String] {
        &self.0.server_messages
    }

    /// The Java class of the server's exception, for example
    /// `com.atlassian.bitbucket.AuthorisationException`.
    pub fn exception_name(&self) -> Option<&str> {
        self.0.exception_name.as_deref()
    }

    /// The beginning of the answer as one printable line of at most 2 KiB, tokens and password masked. Absent for
    /// successful answers that carry a token.
    pub fn body_excerpt(&self) -> Option<&str> {
        self.0.body_excerpt.as_deref()
    }

    /// Where a redirect leads, without query and fragment.
    pub fn location(&self) -> Option<&str> {
        self.0.location.as_deref()
    }

    /// Whether the same call may succeed a little later.
    ///
    /// True for connections that fail, break or time out, for the statuses 429, 500, 502, 503 and 504, and for
    /// answers that are not Bitbucket's or not complete. That a retry can succeed does not make it harmless: see
    /// [`may_have_reached_server`](Self::may_have_reached_server).
    pub fn is_transient(&self) -> bool {
        match self.0.kind {
            ErrorKind::Connect
            | ErrorKind::Timeout
            | ErrorKind::Transport
            | ErrorKind::RateLimited
            | ErrorKind::NotJson
            | ErrorKind::Malformed => true,
            ErrorKind::ServerError => matches!(self.0.status, Some(500 | 502 | 503 | 504)),
            _ => false,
        }
    }

    /// Whether the request may have been carried out although it looks as if it failed.
    ///
    /// False if no connection came about, and if the server refused the request (any 4xx, a redirect). True if the
    /// answer was lost, is unreadable or is a 5xx: after a [`lock`](crate::Client::lock) the instance may be locked
    /// with a token that nobody here knows.
    pub fn may_have_reached_server(&self) -> bool {
        self.0.outcome == Outcome::Unknown
    }

    /// The pause that the server asks for before the next attempt (`Retry-After`), whether it gave seconds or a date.
    pub fn retry_after(&self) -> Option<Duration> {
        self.0.retry_after
    }

    /// How often the request was sent, or tried to be sent. 0 if the client could not be built.
    pub fn attempts(&self) -> u32 {
        self.0.attempts
    }

    /// What to do about it: a sentence or two for the person who runs the program.
    pub fn hint(&self) -> Option<String> {
        hint::of(self)
    }
}

impl fmt::Debug for Error {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Debug::fmt(&self.0, f)
    }
}

impl fmt::Display for Error {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "could not {}: ", self.0.call)?;
        match &self.0.detail {
            Some(detail) => f.write_str(detail)?,
            None => write!(f, "{}", self.0.kind)?,
        }
        if let Some(status) = self.0.status {
            write!(f, " (HTTP {status})")?;
        }
        if let Some(location) = &self.0.location {
            write!(f, ", to {location}")?;
        }
        if let Some(message) = self.0.server_messages.first() {
            write!(f, ": {message}")?;
        }
        if self.0.attempts > 1 {
            write!(f, " [{} attempts]", self.0.attempts)?;
        }
        Ok(())
    }
}

impl std::error::Error for Error {
    fn source(&self) -> Option<&(dyn std::error::Error + 'static)> {
        self.0.source.as_ref().map(|cause| cause as _)
    }
}

impl fmt::Display for ErrorKind {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Connect => "no connection",
            Self::Timeout => "no answer in time",
            Self::Tls => "no secure connection",
            Self::Transport => "the connection broke",
            Self::Unauthorized => "the login was refused",
            Self::CaptchaRequired => "the account needs a CAPTCHA",
            Self::Forbidden => "permission denied",
            Self::BasicAuthDisabled => "basic authentication is disabled",
            Self::XsrfRejected => "refused by the XSRF protection",
            Self::LoginRedirect => "redirected instead of answered",
            Self::Moved => "the server has another address",
            Self::NotFound => "not found",
            Self::Conflict => "conflict",
            Self::BadRequest => "bad request",
            Self::RateLimited => "too many requests",
            Self::ServerError => "server error",
            Self::UnexpectedStatus => "unexpected status",
            Self::NotJson => "a page was answered instead of JSON",
            Self::Malformed => "the answer is malformed",
            Self::InvalidUrl => "invalid base URL",
            Self::InvalidCa => "invalid CA file",
            Self::InvalidConfiguration => "invalid configuration",
        })
    }
}

/// A foreign error reduced to its words, so that neither its type nor a URL in it gets out.
#[derive(Debug, Clone)]
pub(crate) struct Cause {
    message: String,
    source: Option<Box<Cause>>,
}

impl Cause {
    /// The error and its sources, outermost first.
    pub(crate) fn of(error: &dyn std::error::Error) -> Self {
        Self {
            message: error.to_string(),
            source: error.source().map(|source| Box::new(Self::of(source))),
        }
    }

    pub(crate) fn map(self, clean: &dyn Fn(&str) -> String) -> Self {
        Self {
            message: clean(&self.message),
            source: self.source.map(|source| Box::new(source.map(clean))),
        }
    }
}

impl fmt::Display for Cause {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.message)
    }
}

impl std::error::Error for Cause {
    fn source(&self) -> Option<&(dyn std::error::Error + 'static)> {
        self.source.as_deref().map(|cause| cause as _)
    }
}
