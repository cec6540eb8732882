//! The list of all requests.

use std::time::{Duration, Instant};

use super::fault::CallKind;

/// One request, in the order of arrival.
#[derive(Debug, Clone, PartialEq, Eq)]
#[non_exhaustive]
pub struct RecordedRequest {
    /// When its body had arrived.
    pub at: Instant,
    /// Which call it is.
    pub call: CallKind,
    /// `GET`, `POST` …
    pub method: String,
    /// The path with the context path, without the query.
    pub path: String,
    /// The query, still encoded; tokens included.
    pub query: Option<String>,
    /// Whether it brought an `Authorization` header.
    pub authorized: bool,
    /// The status of the answer; `None` while there is none, and for ever after a reset or a hang.
    pub status: Option<u16>,
    /// From arrival to answer.
    pub took: Option<Duration>,
}

#[derive(Debug, Default)]
pub(super) struct RequestLog {
    requests: Vec<RecordedRequest>,
}

impl RequestLog {
    /// Notes a request and returns its number.
    pub(super) fn note(&mut self, request: RecordedRequest) -> usize {
        self.requests.push(request);
        self.requests.len() - 1
    }

    pub(super) fn note_answer(&mut self, number: usize, status: u16) {
        if let Some(request) = self.requests.get_mut(number) {
            request.status = Some(status);
            request.took = Some(request.at.elapsed());
        }
    }

    pub(super) fn all(&self) -> Vec<RecordedRequest> {
        self.requests.clone()
    }
}
