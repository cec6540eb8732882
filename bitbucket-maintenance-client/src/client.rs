//! The client: shared settings, a retry policy, and the loop that applies it.

use std::fmt;
use std::sync::Arc;
use std::time::Duration;

use tokio::time::Instant;
use tracing::debug;
use url::Url;

use crate::builder::ClientBuilder;
use crate::call::Repeat;
use crate::credentials::Credentials;
use crate::error::{Error, Result};
use crate::reply::Reply;
use crate::retry::{RetryPolicy, Schedule};
use crate::transport::{self, Request};

/// A client of one Bitbucket instance.
///
/// Cloning is cheap, and the clones share their connections. `Debug` shows no secret.
///
/// Dropping the future of a call gives up waiting for its answer; the request may still be carried out.
#[derive(Clone)]
pub struct Client {
    settings: Arc<Settings>,
    retry: RetryPolicy,
}

/// What all clones of a client share.
pub(crate) struct Settings {
    pub(crate) http: reqwest::Client,
    pub(crate) base: Url,
    pub(crate) credentials: Option<Credentials>,
    pub(crate) request_timeout: Duration,
}

impl Client {
    /// Starts a client of the instance at this address, such as `https://bitbucket.example.com` or, with a context
    /// path, `https://host.example.com/bitbucket`. The address is checked by [`ClientBuilder::build`].
    pub fn builder(base_url: &str) -> ClientBuilder {
        ClientBuilder::new(base_url)
    }

    pub(crate) fn new(settings: Settings, retry: RetryPolicy) -> Self {
        Self {
            settings: Arc::new(settings),
            retry,
        }
    }

    /// The same client with another retry policy; both share their connections.
    #[must_use]
    pub fn with_retry(&self, policy: RetryPolicy) -> Client {
        Self {
            settings: Arc::clone(&self.settings),
            retry: policy,
        }
    }

    /// The same client without credentials, for what may be asked often: no login can fail, and no account be locked.
    #[must_use]
    pub fn anonymous(&self) -> Client {
        let settings = Settings {
            http: self.settings.http.clone(),
            base: self.settings.base.clone(),
            credentials: None,
            request_timeout: self.settings.request_timeout,
        };
        Self::new(settings, self.retry)
    }

    /// The address of the instance, without a slash at its end.
    pub fn base_url(&self) -> &str {
        self.settings.base.as_str().trim_end_matches('/')
    }

    /// Sends a request, and reads its answer, until it succeeds, fails for good, or the policy ends it.
    pub(crate) async fn run<T>(
        &self,
        request: Request<'_>,
        read: impl Fn(&Reply) -> Result<T>,
    ) -> Result<T> {
        let mut schedule = Schedule::start(self.retry);
        let mut attempt = 1;
        loop {
            let reply = self.attempt(&request, attempt).await;
            let error = match reply.and_then(|reply| read(&reply)) {
                Ok(answer) => return Ok(answer),
                Err(error) => error.after_attempts(attempt),
            };
            if !may_repeat(&error) {
                return Err(error);
            }
            let Some(pause) = schedule.next_pause(error.retry_after()) else {
                return Err(error);
            };
            debug!(call = ?request.call, attempt, ?pause, %error, "repeating after a pause");
            tokio::time::sleep(pause).await;
            attempt += 1;
        }
    }

    async fn attempt(&self, request: &Request<'_>, attempt: u32) -> Result<Reply> {
        let started = Instant::now();
        let result = transport::send(&self.settings, request).await;
        let elapsed = started.elapsed();
        let method = request.call.method();
        let path = request.path(&self.settings.base);
        match &result {
            Ok(reply) => {
                debug!(%method, path, status = reply.status, ?elapsed, attempt, "answered");
            }
            Err(error) => {
                debug!(%method, path, kind = ?error.kind(), ?elapsed, attempt, "not answered");
            }
        }
        result
    }
}

fn may_repeat(error: &Error) -> bool {
    let harmless = match error.call().repeat() {
        Repeat::AfterTransient => true,
        Repeat::IfUnsent => error.status().is_none() && !error.may_have_reached_server(),
    };
    harmless && error.is_transient()
}

impl fmt::Debug for Client {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Client")
            .field("base_url", &self.base_url())
            .field("credentials", &self.settings.credentials)
            .field("request_timeout", &self.settings.request_timeout)
            .field("retry", &self.retry)
            .finish_non_exhaustive()
    }
}
