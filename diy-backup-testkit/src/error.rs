//! The one error type of the testkit.

use std::fmt;
use std::io;
use std::path::Path;

/// The result of everything in this crate that can fail.
pub type Result<T, E = Error> = std::result::Result<T, E>;

/// What sort of thing went wrong.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub enum ErrorKind {
    /// A program or server that this machine lacks: the test is to be skipped, not failed.
    Missing,
    /// A file or socket operation failed.
    Io,
    /// A program ran and reported a failure.
    Command,
    /// A database refused a connection or a statement.
    Database,
    /// The caller asked for something contradictory.
    Invalid,
    /// Something did not happen within its deadline.
    Deadline,
}

/// A failure of a test part, as one lowercase line with an optional hint.
#[derive(Debug)]
pub struct Error {
    kind: ErrorKind,
    message: String,
    hint: Option<String>,
    source: Option<Box<dyn std::error::Error + Send + Sync>>,
}

impl Error {
    /// Makes an error of a kind with a lowercase one-line message; for implementors of [`RowSink`](crate::RowSink).
    pub fn new(kind: ErrorKind, message: impl Into<String>) -> Self {
        Self {
            kind,
            message: message.into(),
            hint: None,
            source: None,
        }
    }

    /// Adds what to do about it.
    #[must_use]
    pub fn with_hint(mut self, hint: impl Into<String>) -> Self {
        self.hint = Some(hint.into());
        self
    }

    /// Adds the cause.
    #[must_use]
    pub fn with_source(
        mut self,
        source: impl Into<Box<dyn std::error::Error + Send + Sync>>,
    ) -> Self {
        self.source = Some(source.into());
        self
    }

    /// What sort of failure this is.
    pub fn kind(&self) -> ErrorKind {
        self.kind
    }

    /// What to do about it, where that is known.
    pub fn hint(&self) -> Option<&str> {
        self.hint.as_deref()
    }

    /// True if the machine lacks a program, so that the test is to be skipped.
    pub fn is_missing(&self) -> bool {
        self.kind == ErrorKind::Missing
    }

    pub(crate) fn io(action: &str, path: &Path, source: io::Error) -> Self {
        Self::new(ErrorKind::Io, format!("cannot {action} {}", path.display())).with_source(source)
    }

    pub(crate) fn missing(what: &str, package: &str) -> Self {
        Self::new(
            ErrorKind::Missing,
            format!("{what} is not installed (Debian package: {package})"),
        )
        .with_hint(format!("apt-get install {package}"))
    }
}

impl fmt::Display for Error {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.message)
    }
}

impl std::error::Error for Error {
    fn source(&self) -> Option<&(dyn std::error::Error + 'static)> {
        self.source
            .as_deref()
            .map(|source| source as &(dyn std::error::Error + 'static))
    }
}

/// Adds what was being done, and to which file, to an I/O error.
pub(crate) trait IoContext<T> {
    fn doing(self, action: &str, path: &Path) -> Result<T>;
}

impl<T> IoContext<T> for io::Result<T> {
    fn doing(self, action: &str, path: &Path) -> Result<T> {
        self.map_err(|source| Error::io(action, path, source))
    }
}
