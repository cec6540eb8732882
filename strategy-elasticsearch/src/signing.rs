//! AWS request signing (Signature Version 4) with the credentials that AWS's own tools find.

use std::fmt;
use std::time::{Duration, SystemTime};

use aws_config::{BehaviorVersion, Region};
use aws_credential_types::Credentials;
use aws_credential_types::provider::{ProvideCredentials as _, SharedCredentialsProvider};
use aws_sigv4::http_request::{SignableBody, SignableRequest, SigningSettings, sign};
use aws_sigv4::sign::v4::SigningParams;
use aws_smithy_http_client::tls::{Provider, rustls_provider::CryptoMode};
use diy_backup_core::{Error, ErrorKind, Result};
use secrecy::SecretString;
use tokio::sync::Mutex;

/// The service whose calls are signed.
const SERVICE: &str = "es";

/// Credentials that end within this time are asked for anew.
const LEFT: Duration = Duration::from_mins(5);

/// Signs requests to a domain of Amazon OpenSearch Service.
pub(crate) struct Signer {
    region: String,
    provider: SharedCredentialsProvider,
    known: Mutex<Option<Credentials>>,
}

impl fmt::Debug for Signer {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Signer")
            .field("region", &self.region)
            .finish_non_exhaustive()
    }
}

impl Signer {
    /// With the standard chain: environment, profiles, web identity, container, instance metadata.
    pub(crate) async fn from_environment(region: &str) -> Result<Self> {
        let http = aws_smithy_http_client::Builder::new()
            .tls_provider(Provider::Rustls(CryptoMode::Ring))
            .build_https();
        let loaded = aws_config::defaults(BehaviorVersion::latest())
            .region(Region::new(region.to_owned()))
            .http_client(http)
            .load()
            .await;
        let provider = loaded.credentials_provider().ok_or_else(|| {
            Error::new(ErrorKind::Config, "no AWS credentials are configured")
                .with_hint(CREDENTIALS_HINT)
        })?;
        Ok(Self {
            region: region.to_owned(),
            provider,
            known: Mutex::new(None),
        })
    }

    /// The headers that sign a request, to be sent with it.
    pub(crate) async fn headers(
        &self,
        method: &str,
        url: &str,
        headers: &[(&str, &str)],
        body: &[u8],
    ) -> Result<Vec<(String, SecretString)>> {
        let credentials = self.credentials().await?;
        let request = Request {
            method,
            url,
            headers,
            body,
        };
        let signed = request.sign(&credentials, &self.region, SERVICE, SystemTime::now())?;
        let secret = |(name, value)| (name, SecretString::from(value));
        Ok(signed.into_iter().map(secret).collect())
    }

    async fn credentials(&self) -> Result<Credentials> {
        let mut known = self.known.lock().await;
        let lasts = |credentials: &Credentials| {
            credentials
                .expiry()
                .is_none_or(|end| end > SystemTime::now() + LEFT)
        };
        if let Some(credentials) = known.as_ref().filter(|credentials| lasts(credentials)) {
            return Ok(credentials.clone());
        }
        let found = self.provider.provide_credentials().await.map_err(|error| {
            Error::new(ErrorKind::Config, "there are no AWS credentials")
                .with_source(diy_backup_core::printable(&error.to_string()))
                .with_hint(CREDENTIALS_HINT)
        })?;
        Ok(known.insert(found).clone())
    }
}

const CREDENTIALS_HINT: &str = "Set AWS_ACCESS_KEY_ID and AWS_SECRET_ACCESS_KEY, or AWS_PROFILE, for this process, or give the machine a role; \
     `aws sts get-caller-identity` shows what is found.";

struct Request<'a> {
    method: &'a str,
    url: &'a str,
    headers: &'a [(&'a str, &'a str)],
    body: &'a [u8],
}

impl Request<'_> {
    fn sign(
        &self,
        credentials: &Credentials,
        region: &str,
        service: &str,
        time: SystemTime,
    ) -> Result<Vec<(String, String)>> {
        let unusable = |error: Box<dyn std::error::Error + Send + Sync>| {
            Error::new(ErrorKind::Internal, "a request could not be signed").with_source(error)
        };
        let identity = credentials.clone().into();
        let params = SigningParams::builder()
            .identity(&identity)
            .region(region)
            .name(service)
            .time(time)
            .settings(SigningSettings::default())
            .build()
            .map_err(|error| unusable(error.into()))?;
        let signable = SignableRequest::new(
            self.method,
            self.url,
            self.headers.iter().copied(),
            SignableBody::Bytes(self.body),
        )
        .map_err(|error| unusable(error.into()))?;
        let output = sign(signable, &params.into()).map_err(|error| unusable(error.into()))?;
        let (instructions, _) = output.into_parts();
        Ok(instructions
            .headers()
            .map(|(name, value)| (name.to_owned(), value.to_owned()))
            .collect())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// One of the vectors that AWS has published for Signature Version 4: a request, and its signature.
    struct Vector {
        name: &'static str,
        method: &'static str,
        path: &'static str,
        headers: &'static [(&'static str, &'static str)],
        body: &'static str,
        signature: &'static str,
    }

    const VECTORS: &[Vector] = &[
        Vector {
            name: "get-vanilla",
            method: "GET",
            path: "/",
            headers: &[],
            body: "",
            signature: "5fa00fa31553b73ebf1942676e86291e8372ff2a2260956d9b8aae1d763fbf31",
        },
        Vector {
            name: "get-vanilla-query-order-key-case",
            method: "GET",
            path: "/?Param2=value2&Param1=value1",
            headers: &[],
            body: "",
            signature: "b97d918cfa904a5beff61c982a1b6f458b799221646efd99d3219ec94cdf2500",
        },
        Vector {
            name: "get-relative",
            method: "GET",
            path: "/example/..",
            headers: &[],
            body: "",
            signature: "5fa00fa31553b73ebf1942676e86291e8372ff2a2260956d9b8aae1d763fbf31",
        },
        Vector {
            name: "post-vanilla",
            method: "POST",
            path: "/",
            headers: &[],
            body: "",
            signature: "5da7c1a2acd57cee7505fc6676e4e544621c30862966e37dddb68e92efbe5d6b",
        },
        Vector {
            name: "post-header-key-sort",
            method: "POST",
            path: "/",
            headers: &[("My-Header1", "value1")],
            body: "",
            signature: "c5410059b04c1ee005303aed430f6e6645f61f4dc9e1461ec8f8916fdf18852c",
        },
        Vector {
            name: "post-x-www-form-urlencoded",
            method: "POST",
            path: "/",
            headers: &[("Content-Type", "application/x-www-form-urlencoded")],
            body: "Param1=value1",
            signature: "ff11897932ad3f4e8b18135d722051e5ac45fc38421b1da7b9d196a0fe09473a",
        },
    ];

    #[test]
    fn signatures_are_those_of_the_published_vectors() {
        let credentials = Credentials::new(
            "AKIDEXAMPLE",
            "wJalrXUtnFEMI/K7MDENG+bPxRfiCYEXAMPLEKEY",
            None,
            None,
            "vector",
        );
        // 2015-08-30T12:36:00Z
        let time = SystemTime::UNIX_EPOCH + Duration::from_mins(24_015_636);
        for vector in VECTORS {
            let url = format!("https://example.amazonaws.com{}", vector.path);
            let request = Request {
                method: vector.method,
                url: &url,
                headers: vector.headers,
                body: vector.body.as_bytes(),
            };
            let headers = request
                .sign(&credentials, "us-east-1", "service", time)
                .unwrap();
            let value = |name: &str| {
                let found = headers.iter().find(|(header, _)| header == name);
                found.map(|(_, value)| value.clone()).unwrap_or_default()
            };
            assert_eq!(value("x-amz-date"), "20150830T123600Z");
            let authorization = value("authorization");
            assert!(
                authorization.ends_with(&format!("Signature={}", vector.signature)),
                "{}: {authorization}",
                vector.name
            );
        }
    }
}
