//! Who the client is to the server.

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use secrecy::{ExposeSecret, SecretString};

/// Name and password of an account with the system administrator permission.
///
/// An HTTP access token instead of the password does not work: the maintenance calls of current releases refuse it.
#[derive(Debug, Clone)]
pub struct Credentials {
    username: String,
    password: SecretString,
}

impl Credentials {
    /// Credentials for HTTP basic authentication.
    pub fn basic(username: impl Into<String>, password: SecretString) -> Self {
        Self {
            username: username.into(),
            password,
        }
    }

    pub(crate) fn password(&self) -> &SecretString {
        &self.password
    }

    /// The part of the `Authorization` header after `Basic `.
    pub(crate) fn encoded(&self) -> SecretString {
        let pair = SecretString::from(format!(
            "{}:{}",
            self.username,
            self.password.expose_secret()
        ));
        STANDARD.encode(pair.expose_secret()).into()
    }

    /// What makes these credentials impossible to send, if anything.
    pub(crate) fn defect(&self) -> Option<&'static str> {
        if self.username.is_empty() {
            Some("the user name is empty")
        } else if self.username.contains(':') {
            Some("the user name contains a colon, which basic authentication cannot express")
        } else {
            None
        }
    }
}
