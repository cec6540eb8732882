//! How a request proves who sends it.

use std::fmt;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use diy_backup_core::{Result, Secret};
use secrecy::{ExposeSecret as _, SecretString};

use crate::config::{RepositoryKind, SearchConfig};
use crate::signing::Signer;

const MASK: &str = "<redacted>";
/// Shorter ones would be found inside ordinary words.
const SHORTEST_MASKED: usize = 4;

/// A way to log in, with what it needs at hand.
pub(crate) enum Login {
    Anonymous,
    /// The whole value of the header `Authorization`, and the secrets in it.
    Header {
        value: SecretString,
        secrets: Vec<SecretString>,
    },
    Signed(Signer),
}

impl fmt::Debug for Login {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Anonymous => "Anonymous",
            Self::Header { .. } => "Header",
            Self::Signed(_) => "Signed",
        })
    }
}

impl Login {
    pub(crate) async fn of(kind: RepositoryKind, config: &SearchConfig) -> Result<Self> {
        if kind == RepositoryKind::AmazonEs {
            let region = config.region.as_deref().unwrap_or_default();
            return Signer::from_environment(region).await.map(Self::Signed);
        }
        if let Some(key) = &config.api_key {
            let key = key.reveal().await?;
            let value = format!("ApiKey {}", key.expose_secret());
            return Ok(Self::Header {
                value: value.into(),
                secrets: vec![key],
            });
        }
        match (&config.username, &config.password) {
            (Some(username), Some(password)) => Self::basic(username, password).await,
            _ => Ok(Self::Anonymous),
        }
    }

    async fn basic(username: &str, password: &Secret) -> Result<Self> {
        let password = password.reveal().await?;
        let pair = SecretString::from(format!("{username}:{}", password.expose_secret()));
        let encoded = SecretString::from(STANDARD.encode(pair.expose_secret()));
        Ok(Self::Header {
            value: format!("Basic {}", encoded.expose_secret()).into(),
            secrets: vec![password, encoded],
        })
    }

    /// `text` from the other side, without any of our secrets that it may have sent back.
    pub(crate) fn masked(&self, text: &str) -> String {
        let Self::Header { secrets, .. } = self else {
            return text.to_owned();
        };
        let secrets = secrets
            .iter()
            .map(SecretString::expose_secret)
            .filter(|secret| secret.len() >= SHORTEST_MASKED);
        secrets.fold(text.to_owned(), |text, secret| text.replace(secret, MASK))
    }
}
