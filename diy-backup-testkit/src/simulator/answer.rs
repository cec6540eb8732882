//! Answers, in the forms that Bitbucket and the proxies before it give them.

use std::pin::Pin;
use std::task::{Context, Poll};

use hyper::Response;
use hyper::body::{Body, Bytes, Frame, SizeHint};
use hyper::header::{CONTENT_TYPE, HeaderValue, LOCATION};
use serde_json::{Value, json};

/// How long a promised body is at least when half of it is to be missing, in bytes.
const SHORTEST_HALVED: usize = 64;

#[derive(Debug, Clone)]
pub(super) struct Answer {
    pub(super) status: u16,
    content_type: Option<&'static str>,
    headers: Vec<(&'static str, String)>,
    body: Bytes,
}

impl Answer {
    pub(super) fn empty(status: u16) -> Self {
        Self {
            status,
            content_type: None,
            headers: Vec::new(),
            body: Bytes::new(),
        }
    }

    pub(super) fn json(status: u16, body: &Value) -> Self {
        Self::text(status, "application/json;charset=UTF-8", body.to_string())
    }

    pub(super) fn html(status: u16, text: &str) -> Self {
        let page = format!(
            "<!DOCTYPE html><html><head><title>{text}</title></head><body><h1>{text}</h1></body></html>"
        );
        Self::text(status, "text/html;charset=UTF-8", page)
    }

    /// The ordinary form of an error; the exception is named below `com.atlassian.bitbucket.`.
    pub(super) fn errors(status: u16, message: &str, exception: &str) -> Self {
        let error = json!({
            "context": null,
            "message": message,
            "exceptionName": format!("com.atlassian.bitbucket.{exception}"),
        });
        Self::json(status, &json!({ "errors": [error] }))
    }

    /// The form of the unlock call.
    pub(super) fn error_texts(status: u16, message: &str) -> Self {
        Self::json(status, &json!({ "errorTexts": [message] }))
    }

    pub(super) fn redirect_to_login(context_path: &str) -> Self {
        Self {
            headers: vec![(LOCATION.as_str(), format!("{context_path}/login"))],
            ..Self::empty(302)
        }
    }

    pub(super) fn xsrf() -> Self {
        Self::text(403, "text/html;charset=UTF-8", "XSRF check failed".into())
    }

    pub(super) fn malformed(status: u16) -> Self {
        Self::text(
            status,
            "application/json;charset=UTF-8",
            "{\"unlockToken\": \"0123".into(),
        )
    }

    pub(super) fn with_header(mut self, name: &'static str, value: impl Into<String>) -> Self {
        self.headers.push((name, value.into()));
        self
    }

    fn text(status: u16, content_type: &'static str, body: String) -> Self {
        Self {
            content_type: Some(content_type),
            body: body.into(),
            ..Self::empty(status)
        }
    }

    pub(super) fn whole(self) -> Response<AnswerBody> {
        let promised = self.body.len();
        self.respond(promised)
    }

    /// The same answer that breaks off in the middle of its body.
    pub(super) fn halved(mut self) -> Response<AnswerBody> {
        let promised = self.body.len().max(SHORTEST_HALVED);
        self.body.truncate(promised / 2);
        self.respond(promised)
    }

    fn respond(self, promised: usize) -> Response<AnswerBody> {
        let mut response = Response::new(AnswerBody {
            promised,
            left: Some(self.body),
            flushed: false,
        });
        if let Ok(status) = hyper::StatusCode::from_u16(self.status) {
            *response.status_mut() = status;
        }
        let headers = response.headers_mut();
        if let Some(content_type) = self.content_type {
            headers.insert(CONTENT_TYPE, HeaderValue::from_static(content_type));
        }
        for (name, value) in self.headers {
            if let Ok(value) = HeaderValue::from_str(&value) {
                headers.insert(name, value);
            }
        }
        response
    }
}

/// A body that can be shorter than its `Content-Length`.
#[derive(Debug)]
pub(super) struct AnswerBody {
    promised: usize,
    left: Option<Bytes>,
    flushed: bool,
}

impl AnswerBody {
    fn is_short(&self) -> bool {
        self.left
            .as_ref()
            .is_none_or(|left| left.len() < self.promised)
    }
}

/// The end of a connection in the middle of a body.
#[derive(Debug)]
pub(super) struct BrokenOff;

impl std::fmt::Display for BrokenOff {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("the answer is broken off")
    }
}

impl std::error::Error for BrokenOff {}

impl Body for AnswerBody {
    type Data = Bytes;
    type Error = BrokenOff;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, BrokenOff>>> {
        if !self.is_short() {
            let whole = self.left.take();
            self.promised = 0;
            self.left = Some(Bytes::new());
            return Poll::Ready(
                whole
                    .filter(|bytes| !bytes.is_empty())
                    .map(|b| Ok(Frame::data(b))),
            );
        }
        if let Some(half) = self.left.take() {
            return Poll::Ready(Some(Ok(Frame::data(half))));
        }
        if !self.flushed {
            // Pending once lets the connection write out what it has, before it ends.
            self.flushed = true;
            cx.waker().wake_by_ref();
            return Poll::Pending;
        }
        Poll::Ready(Some(Err(BrokenOff)))
    }

    fn is_end_stream(&self) -> bool {
        self.promised == 0
    }

    fn size_hint(&self) -> SizeHint {
        SizeHint::with_exact(self.promised as u64)
    }
}
