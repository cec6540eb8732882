//! One request over the wire and its bounded answer.

use std::time::{Duration, SystemTime};
use std::{error::Error as _, io};

use percent_encoding::percent_decode_str;
use reqwest::header::{self, HeaderMap, HeaderValue};
use secrecy::{ExposeSecret, SecretString};
use url::Url;

use crate::call::{Call, Login};
use crate::client::Settings;
use crate::error::{Cause, Error, ErrorKind, Outcome};
use crate::redact::Redactor;
use crate::reply::{Body, Cut, Headers, Reply};
use crate::token::UnlockToken;

const LONGEST_BODY: usize = 1024 * 1024;
const MAINTENANCE_TOKEN: &str = "X-Atlassian-Maintenance-Token";
const XSRF_TOKEN: &str = "X-Atlassian-Token";
const REQUEST_ID: &str = "X-AREQUESTID";
const USER_NAME: &str = "X-AUSERNAME";
const DENIED_REASON: &str = "X-Authentication-Denied-Reason";

/// What distinguishes one request of a call from another. Has tokens in it, so there is no `Debug`.
pub(crate) struct Request<'a> {
    pub(crate) call: Call,
    query: Vec<(&'static str, &'a str)>,
    maintenance_token: Option<&'a UnlockToken>,
    redactor: Redactor,
}

impl<'a> Request<'a> {
    pub(crate) fn new(call: Call) -> Self {
        Self {
            call,
            query: Vec::new(),
            maintenance_token: None,
            redactor: Redactor::default(),
        }
    }

    pub(crate) fn query(mut self, name: &'static str, value: &'a str) -> Self {
        self.query.push((name, value));
        self
    }

    /// The token in the query.
    pub(crate) fn token(mut self, token: &'a str) -> Self {
        self.redactor.add(token);
        self.query("token", token)
    }

    /// The token in a header.
    pub(crate) fn maintenance_token(mut self, token: &'a UnlockToken) -> Self {
        self.redactor.add(token.expose());
        self.maintenance_token = Some(token);
        self
    }

    fn url(&self, base: &Url) -> Url {
        let mut url = base.clone();
        url.set_path(&self.path(base));
        if !self.query.is_empty() {
            url.query_pairs_mut().extend_pairs(&self.query);
        }
        url
    }

    /// The path with the context path and without the query.
    pub(crate) fn path(&self, base: &Url) -> String {
        format!("{}{}", base.path().trim_end_matches('/'), self.call.path())
    }

    fn headers(&self) -> Result<HeaderMap, Error> {
        let mut headers = HeaderMap::new();
        headers.insert(header::ACCEPT, HeaderValue::from_static("application/json"));
        if self.call.method() != reqwest::Method::GET {
            let json = HeaderValue::from_static("application/json");
            headers.insert(header::CONTENT_TYPE, json);
            headers.insert(XSRF_TOKEN, HeaderValue::from_static("no-check"));
        }
        if let Some(token) = self.maintenance_token {
            let value = secret_header(token.expose()).ok_or_else(|| {
                unusable(self.call, "the unlock token has characters no token has")
            })?;
            headers.insert(MAINTENANCE_TOKEN, value);
        }
        Ok(headers)
    }
}

/// Sends the request once.
pub(crate) async fn send(settings: &Settings, request: &Request<'_>) -> Result<Reply, Error> {
    let call = request.call;
    let mut redactor = request.redactor.clone();
    let mut outgoing = settings
        .http
        .request(call.method(), request.url(&settings.base))
        .headers(request.headers()?);
    if let Some(credentials) = &settings.credentials {
        let encoded = credentials.encoded();
        redactor.add(credentials.password().expose_secret());
        redactor.add(encoded.expose_secret());
        if call.login() == Login::Basic {
            outgoing = outgoing.header(header::AUTHORIZATION, basic(call, &encoded)?);
        }
    }
    if call.method() == reqwest::Method::POST {
        outgoing = outgoing.header(header::CONTENT_LENGTH, "0");
    }
    let response = outgoing
        .send()
        .await
        .map_err(|error| failure(call, error, &redactor))?;
    let status = response.status().as_u16();
    let headers = read_headers(response.headers());
    let body = if headers.settles(call, status) {
        Body::default()
    } else {
        read_body(response, &redactor).await
    };
    Ok(Reply {
        call,
        status,
        path: request.path(&settings.base),
        headers,
        body,
        redactor,
    })
}

fn basic(call: Call, encoded: &SecretString) -> Result<HeaderValue, Error> {
    let text = SecretString::from(format!("Basic {}", encoded.expose_secret()));
    secret_header(text.expose_secret())
        .ok_or_else(|| unusable(call, "the credentials cannot be sent in a header"))
}

/// A header value that its own `Debug` does not show.
fn secret_header(text: &str) -> Option<HeaderValue> {
    let mut value = HeaderValue::from_str(text).ok()?;
    value.set_sensitive(true);
    Some(value)
}

fn unusable(call: Call, detail: &str) -> Error {
    Error::new(call, ErrorKind::InvalidConfiguration, Outcome::NotDone).with_detail(detail)
}

async fn read_body(mut response: reqwest::Response, redactor: &Redactor) -> Body {
    let mut bytes = Vec::new();
    let cut = loop {
        match response.chunk().await {
            Ok(Some(chunk)) => {
                let room = LONGEST_BODY - bytes.len();
                bytes.extend_from_slice(&chunk[..chunk.len().min(room)]);
                if chunk.len() > room {
                    break Some(Cut::TooLong);
                }
            }
            Ok(None) => break None,
            Err(error) => {
                let kind = if error.is_timeout() {
                    ErrorKind::Timeout
                } else {
                    ErrorKind::Transport
                };
                break Some(Cut::Broken(kind, cause(error, redactor)));
            }
        }
    };
    Body {
        text: String::from_utf8_lossy(&bytes).into_owned(),
        cut,
    }
}

fn read_headers(headers: &HeaderMap) -> Headers {
    let text = |name: &str| {
        headers
            .get(name)
            .map(|value| String::from_utf8_lossy(value.as_bytes()).into_owned())
    };
    Headers {
        content_type: text(header::CONTENT_TYPE.as_str()),
        location: text(header::LOCATION.as_str()),
        user_name: text(USER_NAME)
            .map(|name| percent_decode_str(&name).decode_utf8_lossy().into_owned())
            .filter(|name| !name.is_empty()),
        retry_after: text(header::RETRY_AFTER.as_str()).and_then(|value| pause(&value)),
        of_bitbucket: headers.contains_key(REQUEST_ID),
        captcha: text(DENIED_REASON).is_some_and(|reason| reason.contains("CAPTCHA")),
    }
}

/// The pause a `Retry-After` header asks for, in seconds or up to a date.
fn pause(value: &str) -> Option<Duration> {
    if let Ok(seconds) = value.trim().parse() {
        return Some(Duration::from_secs(seconds));
    }
    let date = httpdate::parse_http_date(value).ok()?;
    Some(date.duration_since(SystemTime::now()).unwrap_or_default())
}

fn failure(call: Call, error: reqwest::Error, redactor: &Redactor) -> Error {
    let (kind, outcome) = if error.is_builder() {
        (ErrorKind::InvalidConfiguration, Outcome::NotDone)
    } else if error.is_timeout() && error.is_connect() {
        (ErrorKind::Timeout, Outcome::NotDone)
    } else if error.is_timeout() {
        (ErrorKind::Timeout, Outcome::Unknown)
    } else if is_tls(&error) {
        let connected = !error.is_connect();
        let outcome = if connected {
            Outcome::Unknown
        } else {
            Outcome::NotDone
        };
        (ErrorKind::Tls, outcome)
    } else if error.is_connect() {
        (ErrorKind::Connect, Outcome::NotDone)
    } else {
        (ErrorKind::Transport, Outcome::Unknown)
    };
    Error::new(call, kind, outcome).caused_by(cause(error, redactor))
}

/// Looks into I/O errors: each hands on the source of what it wraps, so what it wraps is never a source.
fn is_tls(error: &(dyn std::error::Error + 'static)) -> bool {
    let wrapped = error
        .downcast_ref::<io::Error>()
        .and_then(io::Error::get_ref);
    error.is::<rustls::Error>()
        || wrapped.is_some_and(|inner| is_tls(inner))
        || error.source().is_some_and(is_tls)
}

/// The error without its outermost layer, which says no more than that a request failed.
fn cause(error: reqwest::Error, redactor: &Redactor) -> Cause {
    let error = error.without_url();
    let cause = match error.source() {
        Some(source) => Cause::of(source),
        None => Cause::of(&error),
    };
    cause.map(&|message| redactor.clean(message))
}
