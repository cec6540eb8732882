//! The two tokens of a maintenance: secrets that end it.

use secrecy::{ExposeSecret, SecretString};

/// Proves that the lock is ours: needed to start the backup task, to follow it, to report progress and to unlock.
///
/// Whoever has it can unlock the instance, so `Debug` does not show it.
#[derive(Debug, Clone)]
pub struct UnlockToken(SecretString);

/// Cancels the backup task. The lock remains.
///
/// `Debug` does not show it.
#[derive(Debug, Clone)]
pub struct CancelToken(SecretString);

impl UnlockToken {
    /// The token itself, to be kept where only the backup's own user can read it.
    pub fn expose(&self) -> &str {
        self.0.expose_secret()
    }
}

impl CancelToken {
    /// The token itself, to be kept where only the backup's own user can read it.
    pub fn expose(&self) -> &str {
        self.0.expose_secret()
    }
}

impl From<String> for UnlockToken {
    fn from(token: String) -> Self {
        Self(token.into())
    }
}

impl From<String> for CancelToken {
    fn from(token: String) -> Self {
        Self(token.into())
    }
}

impl From<&str> for UnlockToken {
    fn from(token: &str) -> Self {
        Self(token.into())
    }
}

impl From<&str> for CancelToken {
    fn from(token: &str) -> Self {
        Self(token.into())
    }
}
