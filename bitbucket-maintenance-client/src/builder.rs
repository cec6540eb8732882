//! How a client is set up, and what is refused before the first request.

use std::path::PathBuf;
use std::time::Duration;

use reqwest::header::HeaderValue;
use url::{Host, Url};

use crate::client::{Client, Settings};
use crate::credentials::Credentials;
use crate::error::{Cause, Error, ErrorKind, Result};
use crate::retry::RetryPolicy;
use crate::tls::{self, Scheme};

/// Shorter than servers and proxies keep an idle connection, so that a call that must not be repeated does not go
/// out on a connection that is being closed.
const POOL_IDLE_TIMEOUT: Duration = Duration::from_secs(10);

/// Whether requests go through a proxy.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
#[non_exhaustive]
pub enum ProxyUse {
    /// The proxy that `HTTP_PROXY`, `HTTPS_PROXY` or `ALL_PROXY` name, unless `NO_PROXY` has the host; lower-case
    /// names count too. A loopback address never goes through a proxy: what listens there is on this machine.
    #[default]
    Environment,
    /// None, whatever the environment says.
    Direct,
}

/// Sets up a [`Client`].
#[derive(Debug, Clone)]
#[must_use = "a builder does nothing until it is built"]
pub struct ClientBuilder {
    base_url: UncheckedUrl,
    credentials: Option<Credentials>,
    ca_file: Option<PathBuf>,
    request_timeout: Duration,
    connect_timeout: Duration,
    retry: RetryPolicy,
    user_agent: String,
    proxy: ProxyUse,
}

/// A URL that may have a password in it, and so is not shown.
#[derive(Clone)]
struct UncheckedUrl(String);

impl std::fmt::Debug for UncheckedUrl {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match check_url(&self.0) {
            Ok(url) => f.write_str(url.as_str()),
            Err(_) => f.write_str("<invalid>"),
        }
    }
}

impl ClientBuilder {
    pub(crate) fn new(base_url: &str) -> Self {
        Self {
            base_url: UncheckedUrl(base_url.to_owned()),
            credentials: None,
            ca_file: None,
            request_timeout: Duration::from_secs(100),
            connect_timeout: Duration::from_secs(10),
            retry: RetryPolicy::default(),
            user_agent: concat!(env!("CARGO_PKG_NAME"), "/", env!("CARGO_PKG_VERSION")).to_owned(),
            proxy: ProxyUse::default(),
        }
    }

    /// The account to log in with. Without it only the calls that need no login can succeed.
    pub fn credentials(mut self, credentials: Credentials) -> Self {
        self.credentials = Some(credentials);
        self
    }

    /// A PEM file with certificates of authorities to trust beside those the platform trusts. Read by
    /// [`build`](Self::build).
    pub fn ca_file(mut self, path: impl Into<PathBuf>) -> Self {
        self.ca_file = Some(path.into());
        self
    }

    /// How long one attempt may take, from connecting to the end of the answer. 100 s unless told otherwise:
    /// locking and unlocking a cluster may each take 60 s.
    pub fn request_timeout(mut self, timeout: Duration) -> Self {
        self.request_timeout = timeout;
        self
    }

    /// How long connecting may take, TLS included. 10 s unless told otherwise.
    pub fn connect_timeout(mut self, timeout: Duration) -> Self {
        self.connect_timeout = timeout;
        self
    }

    /// How calls that fail for a transient reason are repeated. [`RetryPolicy::default`] unless told otherwise.
    pub fn retry(mut self, policy: RetryPolicy) -> Self {
        self.retry = policy;
        self
    }

    /// What the client calls itself in the server's access log. Name and version of this crate unless told otherwise.
    pub fn user_agent(mut self, user_agent: impl Into<String>) -> Self {
        self.user_agent = user_agent.into();
        self
    }

    /// Whether requests go through a proxy. [`ProxyUse::Environment`] unless told otherwise.
    pub fn proxy(mut self, proxy: ProxyUse) -> Self {
        self.proxy = proxy;
        self
    }

    /// The client. Nothing is sent yet.
    ///
    /// # Errors
    ///
    /// - [`ErrorKind::InvalidUrl`]: the base URL is no address, is neither `http` nor `https`, or has a user name, a
    ///   password, a query or a fragment in it.
    /// - [`ErrorKind::InvalidCa`]: the CA file cannot be read or has no usable certificate in it, or neither the
    ///   platform nor the file has any for an `https` address.
    /// - [`ErrorKind::InvalidConfiguration`]: the user name is empty or has a colon in it, or the user agent has
    ///   characters that a header cannot have.
    pub fn build(self) -> Result<Client> {
        let base = check_url(&self.base_url.0)?;
        if let Some(defect) = self.credentials.as_ref().and_then(Credentials::defect) {
            return Err(Error::setup(ErrorKind::InvalidConfiguration, defect));
        }
        let user_agent = HeaderValue::from_str(&self.user_agent).map_err(|_| {
            let detail = "the user agent has characters that a header cannot have";
            Error::setup(ErrorKind::InvalidConfiguration, detail)
        })?;
        let scheme = match base.scheme() {
            "https" => Scheme::Tls,
            _ => Scheme::Plain,
        };
        let mut http = reqwest::Client::builder()
            .tls_backend_preconfigured(tls::config(scheme, self.ca_file.as_deref())?)
            .http1_only()
            .redirect(reqwest::redirect::Policy::none())
            .retry(reqwest::retry::never())
            .timeout(self.request_timeout)
            .connect_timeout(self.connect_timeout)
            .pool_idle_timeout(POOL_IDLE_TIMEOUT)
            .user_agent(user_agent);
        if self.proxy == ProxyUse::Direct || is_loopback(&base) {
            http = http.no_proxy();
        }
        let http = http.build().map_err(|error| {
            Error::setup(
                ErrorKind::InvalidConfiguration,
                "the HTTP client is unusable",
            )
            .caused_by(Cause::of(&error.without_url()))
        })?;
        let settings = Settings {
            http,
            base,
            credentials: self.credentials,
            request_timeout: self.request_timeout,
        };
        Ok(Client::new(settings, self.retry))
    }
}

/// Whether the URL names this machine, so that a proxy elsewhere would look for Bitbucket on its own.
fn is_loopback(url: &Url) -> bool {
    match url.host() {
        Some(Host::Ipv4(address)) => address.is_loopback(),
        Some(Host::Ipv6(address)) => {
            address.is_loopback() || address.to_ipv4_mapped().is_some_and(|v4| v4.is_loopback())
        }
        Some(Host::Domain(name)) => {
            let name = name.trim_end_matches('.').to_ascii_lowercase();
            name == "localhost" || name.ends_with(".localhost")
        }
        None => false,
    }
}

/// The URL without slashes at its end. No error shows the URL itself: it may have a password in it.
fn check_url(text: &str) -> Result<Url> {
    let refuse = |detail: &str| Err(Error::setup(ErrorKind::InvalidUrl, detail));
    let mut url = Url::parse(text).map_err(|error| {
        Error::setup(ErrorKind::InvalidUrl, "the base URL is no address")
            .caused_by(Cause::of(&error))
    })?;
    if !matches!(url.scheme(), "http" | "https") {
        return refuse("the base URL must start with http:// or https://");
    }
    if !url.username().is_empty() || url.password().is_some() {
        return refuse("the base URL has a user name or a password in it");
    }
    if url.query().is_some() || url.fragment().is_some() {
        return refuse("the base URL has a query or a fragment");
    }
    let path = url.path().trim_end_matches('/').to_owned();
    url.set_path(&path);
    Ok(url)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_names_and_addresses_of_this_machine_are_loopback() {
        for url in [
            "http://localhost:7990",
            "http://LocalHost./bitbucket",
            "http://127.0.0.1",
            "http://127.8.9.10",
            "http://[::1]:7990",
            "http://[::ffff:127.0.0.1]",
        ] {
            assert!(is_loopback(&Url::parse(url).unwrap()), "{url}");
        }
        for url in [
            "http://localhost.example.com",
            "http://10.0.0.1",
            "http://[fe80::1]",
            "http://128.0.0.1",
        ] {
            assert!(!is_loopback(&Url::parse(url).unwrap()), "{url}");
        }
    }
}
