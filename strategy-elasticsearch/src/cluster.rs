//! Calls to the cluster: logged in, repeated while that can help, and never with a secret in an error.

use std::error::Error as _;
use std::sync::Arc;
use std::time::{Duration, Instant};

use diy_backup_core::{Control, Error, ErrorKind, Result, printable};
use reqwest::header::{self, HeaderName, HeaderValue};
use secrecy::ExposeSecret as _;
use serde_json::Value;
use tokio::sync::RwLock;
use url::Url;

use crate::config::{RepositoryKind, SearchConfig};
use crate::login::Login;
use crate::reply::Reply;
use crate::tls;

/// The longest answer that is read, in bytes.
const LONGEST_ANSWER: usize = 16 * 1024 * 1024;
const CONNECTING: Duration = Duration::from_secs(10);
/// Verifying a repository or deleting a snapshot takes its time.
const ANSWERING: Duration = Duration::from_mins(2);
const FIRST_PAUSE: Duration = Duration::from_millis(100);
const LONGEST_PAUSE: Duration = Duration::from_secs(5);
const JSON: &str = "application/json";

/// One call of the REST interface.
#[derive(Debug, Clone)]
pub(crate) struct Call {
    method: &'static str,
    path: Vec<String>,
    query: Vec<(&'static str, String)>,
    body: Option<Value>,
}

impl Call {
    fn new(method: &'static str, path: &[&str]) -> Self {
        Self {
            method,
            path: path.iter().map(|&part| part.to_owned()).collect(),
            query: Vec::new(),
            body: None,
        }
    }

    /// A call whose path has these parts.
    pub(crate) fn get(path: &[&str]) -> Self {
        Self::new("GET", path)
    }

    pub(crate) fn put(path: &[&str]) -> Self {
        Self::new("PUT", path)
    }

    pub(crate) fn post(path: &[&str]) -> Self {
        Self::new("POST", path)
    }

    pub(crate) fn delete(path: &[&str]) -> Self {
        Self::new("DELETE", path)
    }

    #[must_use]
    pub(crate) fn query(mut self, name: &'static str, value: impl Into<String>) -> Self {
        self.query.push((name, value.into()));
        self
    }

    #[must_use]
    pub(crate) fn json(mut self, body: Value) -> Self {
        self.body = Some(body);
        self
    }
}

/// Calls that change something and whose answer nobody waits for any more. Taking things back waits for them.
#[derive(Debug, Clone, Default)]
pub(crate) struct InFlight(Arc<RwLock<()>>);

impl InFlight {
    /// Waits until no call is under way; its request timeout bounds that.
    pub(crate) async fn settled(&self) {
        drop(self.0.write().await);
    }
}

/// A cluster that can be called. Clones are cheap.
#[derive(Debug, Clone)]
pub(crate) struct Cluster {
    inner: Arc<Inner>,
    in_flight: InFlight,
}

#[derive(Debug)]
struct Inner {
    http: reqwest::Client,
    base: Url,
    login: Login,
    retry_for: Duration,
}

impl Cluster {
    /// Gets ready to call the cluster; nothing is sent to it yet.
    pub(crate) async fn new(
        kind: RepositoryKind,
        config: &SearchConfig,
        in_flight: &InFlight,
    ) -> Result<Self> {
        let base = config.base_url().map_err(|problem| {
            Error::new(
                ErrorKind::Config,
                format!("[elasticsearch] `url` {problem}"),
            )
        })?;
        let ca_file = config.ca_file.as_ref().map(AsRef::as_ref);
        let mut http = reqwest::Client::builder()
            .tls_backend_preconfigured(tls::config(base.scheme(), ca_file)?)
            .http1_only()
            .redirect(reqwest::redirect::Policy::none())
            .retry(reqwest::retry::never())
            .timeout(ANSWERING)
            .connect_timeout(CONNECTING)
            .user_agent(concat!("diy-backup/", env!("CARGO_PKG_VERSION")));
        if config.is_local() {
            http = http.no_proxy();
        }
        let http = http.build().map_err(|error| {
            Error::new(ErrorKind::Config, "there is no HTTP client")
                .with_source(error.without_url())
        })?;
        let inner = Inner {
            http,
            base,
            login: Login::of(kind, config).await?,
            retry_for: config.retry_for.get(),
        };
        Ok(Self {
            inner: Arc::new(inner),
            in_flight: in_flight.clone(),
        })
    }

    /// Sends a call that changes nothing. Refusals are replies; only what cannot be reached is an error.
    pub(crate) async fn ask(&self, call: &Call, control: &Control) -> Result<Reply> {
        control.unless_cancelled(self.repeat(call, control)).await
    }

    /// Sends a call that changes something. When nobody waits for it any more, it is brought to its end all the same:
    /// what it has made is there when [`InFlight::settled`] returns, or will never be.
    pub(crate) async fn tell(&self, call: Call, control: &Control) -> Result<Reply> {
        control.ensure_running()?;
        let under_way = self.in_flight.0.clone().read_owned().await;
        let (cluster, pauses) = (self.clone(), control.clone());
        let task = tokio::spawn(async move {
            let reply = cluster.repeat(&call, &pauses).await;
            drop(under_way);
            reply
        });
        control
            .unless_cancelled(async {
                task.await.map_err(|error| {
                    Error::new(
                        ErrorKind::Internal,
                        "a call to the search cluster broke off",
                    )
                    .with_source(error)
                })?
            })
            .await
    }

    /// Waits for the calls that nobody waits for any more.
    pub(crate) async fn settled(&self) {
        self.in_flight.settled().await;
    }

    async fn repeat(&self, call: &Call, control: &Control) -> Result<Reply> {
        let started = Instant::now();
        let mut pause = FIRST_PAUSE;
        let mut repeated = false;
        loop {
            let error = match self.attempt(call, repeated).await {
                Ok(reply) if !reply.is_transient() => return Ok(reply),
                Ok(reply) => reply.refused("answer now"),
                Err(error) if error.is_transient() => error,
                Err(error) => return Err(error),
            };
            if started.elapsed() >= self.inner.retry_for {
                return Err(error);
            }
            tracing::debug!(method = call.method, path = ?call.path, %error, "repeating a call");
            repeated = true;
            let rest = pause.mul_f64(1.0 - fastrand::f64() / 2.0);
            control
                .unless_cancelled(async {
                    tokio::time::sleep(rest).await;
                    Ok(())
                })
                .await?;
            pause = (pause * 2).min(LONGEST_PAUSE);
        }
    }

    async fn attempt(&self, call: &Call, repeated: bool) -> Result<Reply> {
        let inner = &self.inner;
        let url = inner.url(call)?;
        let body = call.body.as_ref().map(Value::to_string).unwrap_or_default();
        let method = reqwest::Method::from_bytes(call.method.as_bytes())
            .map_err(|error| unusable("the method", error))?;
        let mut request = inner
            .http
            .request(method, url.clone())
            .header(header::ACCEPT, JSON);
        if call.body.is_some() {
            request = request.header(header::CONTENT_TYPE, JSON);
        }
        request = match &inner.login {
            Login::Anonymous => request,
            Login::Header { value, .. } => {
                request.header(header::AUTHORIZATION, secret(value.expose_secret())?)
            }
            Login::Signed(signer) => {
                let typed: &[_] = &[("content-type", JSON)];
                let signed = if call.body.is_some() { typed } else { &[] };
                let headers = signer
                    .headers(call.method, url.as_str(), signed, body.as_bytes())
                    .await?;
                headers.iter().try_fold(request, |request, (name, value)| {
                    let name = HeaderName::from_bytes(name.as_bytes())
                        .map_err(|error| unusable("the signature", error))?;
                    Ok::<_, Error>(request.header(name, secret(value.expose_secret())?))
                })?
            }
        };
        if call.body.is_some() {
            request = request.body(body);
        } else if call.method != "GET" {
            request = request.header(header::CONTENT_LENGTH, "0");
        }
        let response = request
            .send()
            .await
            .map_err(|error| inner.unreachable(error))?;
        inner.read(response, repeated).await
    }
}

impl Inner {
    fn url(&self, call: &Call) -> Result<Url> {
        let mut url = self.base.clone();
        url.path_segments_mut()
            .map_err(|()| {
                Error::new(
                    ErrorKind::Config,
                    "[elasticsearch] `url` cannot have a path",
                )
            })?
            .pop_if_empty()
            .extend(&call.path);
        if !call.query.is_empty() {
            url.query_pairs_mut().extend_pairs(&call.query);
        }
        Ok(url)
    }

    async fn read(&self, mut response: reqwest::Response, repeated: bool) -> Result<Reply> {
        let status = response.status().as_u16();
        let mut bytes = Vec::new();
        while let Some(chunk) = response
            .chunk()
            .await
            .map_err(|error| self.unreachable(error))?
        {
            if bytes.len() + chunk.len() > LONGEST_ANSWER {
                let message = "the search cluster's answer is too long";
                return Err(Error::new(ErrorKind::Search, message));
            }
            bytes.extend_from_slice(&chunk);
        }
        let text = self.login.masked(&String::from_utf8_lossy(&bytes));
        let body: Value = serde_json::from_str(&text).unwrap_or_default();
        let success = (200..300).contains(&status);
        if success && body.is_null() {
            let message = format!(
                "{} does not answer like a search cluster (HTTP {status}, no JSON)",
                self.address()
            );
            return Err(Error::new(ErrorKind::Search, message)
                .with_hint("Let `url` in [elasticsearch] lead to the cluster's REST interface."));
        }
        let text = if body.is_null() { text } else { String::new() };
        Ok(Reply {
            status,
            body,
            text,
            repeated,
        })
    }

    fn address(&self) -> String {
        printable(self.base.as_str().trim_end_matches('/'))
    }

    fn unreachable(&self, error: reqwest::Error) -> Error {
        let error = error.without_url();
        let is_tls = is_tls(&error);
        let message = if is_tls {
            format!("{} could not be trusted", self.address())
        } else if error.is_timeout() {
            format!("{} did not answer in time", self.address())
        } else {
            format!("{} cannot be reached", self.address())
        };
        let cause = error
            .source()
            .map_or_else(|| error.to_string(), diy_backup_core::error_chain);
        let this = Error::new(ErrorKind::Search, message)
            .with_source(printable(&self.login.masked(&cause)));
        if is_tls {
            this.with_hint("Name the authority of the cluster's certificate as `ca-file` in [elasticsearch], and use the host name that is in the certificate.")
        } else {
            this.with_hint("Is the cluster running, and does `url` in [elasticsearch] lead to it? Try `curl URL`.")
                .transient()
        }
    }
}

fn is_tls(error: &(dyn std::error::Error + 'static)) -> bool {
    let wrapped = error
        .downcast_ref::<std::io::Error>()
        .and_then(std::io::Error::get_ref);
    error.is::<rustls::Error>()
        || wrapped.is_some_and(|inner| is_tls(inner))
        || error.source().is_some_and(is_tls)
}

/// A header value that its own `Debug` does not show.
fn secret(text: &str) -> Result<HeaderValue> {
    let mut value = HeaderValue::from_str(text).map_err(|_| {
        Error::new(
            ErrorKind::Config,
            "the credentials of [elasticsearch] cannot be sent in a header",
        )
    })?;
    value.set_sensitive(true);
    Ok(value)
}

fn unusable(what: &str, source: impl Into<Box<dyn std::error::Error + Send + Sync>>) -> Error {
    Error::new(
        ErrorKind::Internal,
        format!("{what} of a request cannot be used"),
    )
    .with_source(source)
}
