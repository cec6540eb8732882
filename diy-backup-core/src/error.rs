//! The one error type of this crate and of strategy crates.

use std::borrow::Cow;
use std::fmt;

use crate::phase::Phase;

/// The result of everything in this crate that can fail.
pub type Result<T, E = Error> = std::result::Result<T, E>;

/// What went wrong, coarse enough to decide what to do next.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub enum ErrorKind {
    /// The configuration cannot be used as it is written.
    Config,
    /// A check failed before anything was touched.
    Check,
    /// Bitbucket refused a call or could not be reached.
    Bitbucket,
    /// An external program is missing, failed, or was killed.
    Tool,
    /// A database refused or failed.
    Database,
    /// A search cluster refused or failed.
    Search,
    /// Reading or writing a file failed.
    Io,
    /// A file system has no room left.
    Space,
    /// A backup differs from what its manifest and checksums say.
    Damaged,
    /// The source lost most of what it held, or the place of the archives is not the one it was.
    Incomplete,
    /// There is no backup of that name.
    NotFound,
    /// The target of a restore exists and is not empty.
    TargetNotEmpty,
    /// Another run holds the run lock of this instance.
    Busy,
    /// The run was cancelled by its user. Cancelled in Bitbucket's page is [`Bitbucket`](Self::Bitbucket).
    Cancelled,
    /// The instance is locked and could not be unlocked.
    StillLocked,
    /// What was asked for does not fit this strategy or platform.
    Unsupported,
    /// A promise between the parts of this program was broken.
    Internal,
}

/// An error with its kind, the phase it happened in, and what to do about it.
///
/// `Display` prints one line and never repeats what [`source`](std::error::Error::source) says.
pub struct Error {
    inner: Box<Inner>,
}

struct Inner {
    kind: ErrorKind,
    phase: Option<Phase>,
    message: String,
    hint: Option<String>,
    transient: bool,
    /// Whether it says no more than that the run was told to stop.
    is_interruption: bool,
    source: Option<Box<dyn std::error::Error + Send + Sync>>,
}

impl Error {
    /// An error of `kind` that says `message`: lowercase, one line, no final stop.
    pub fn new(kind: ErrorKind, message: impl Into<String>) -> Self {
        Self {
            inner: Box::new(Inner {
                kind,
                phase: None,
                message: message.into(),
                hint: None,
                transient: false,
                is_interruption: false,
                source: None,
            }),
        }
    }

    /// An error of kind [`Io`](ErrorKind::Io), or [`Space`](ErrorKind::Space) when the disk or a quota is full.
    pub fn io(message: impl Into<String>, source: std::io::Error) -> Self {
        use std::io::ErrorKind as Io;
        let full = matches!(source.kind(), Io::StorageFull | Io::QuotaExceeded);
        let kind = if full {
            ErrorKind::Space
        } else {
            ErrorKind::Io
        };
        Self::new(kind, message).with_source(source)
    }

    /// Adds what caused this error.
    #[must_use]
    pub fn with_source(
        mut self,
        source: impl Into<Box<dyn std::error::Error + Send + Sync>>,
    ) -> Self {
        self.inner.source = Some(source.into());
        self
    }

    /// Adds what the reader should do: a full sentence, with the command to type where there is one.
    #[must_use]
    pub fn with_hint(mut self, hint: impl Into<Cow<'static, str>>) -> Self {
        self.inner.hint = Some(hint.into().into_owned());
        self
    }

    /// Says in which phase it happened, unless an inner layer has said so already.
    #[must_use]
    pub fn in_phase(mut self, phase: Phase) -> Self {
        self.inner.phase.get_or_insert(phase);
        self
    }

    /// Says that trying again later can help.
    #[must_use]
    pub fn transient(mut self) -> Self {
        self.inner.transient = true;
        self
    }

    /// Says that it is no more than the answer of a part that was told to stop.
    #[must_use]
    pub(crate) fn into_interruption(mut self) -> Self {
        self.inner.is_interruption = true;
        self
    }

    /// Replaces the kind and keeps the rest.
    #[must_use]
    pub fn with_kind(mut self, kind: ErrorKind) -> Self {
        self.inner.kind = kind;
        self
    }

    /// What went wrong.
    pub fn kind(&self) -> ErrorKind {
        self.inner.kind
    }

    /// The phase it happened in, where that is known.
    pub fn phase(&self) -> Option<Phase> {
        self.inner.phase
    }

    /// Whether trying again can help.
    pub fn is_transient(&self) -> bool {
        self.inner.transient
    }

    /// Whether it says no more than that the run was told to stop: the cause lies elsewhere. An error around such a one
    /// says no more either.
    pub(crate) fn is_interruption(&self) -> bool {
        let mut causes =
            std::iter::successors(Some(self as &dyn std::error::Error), |error| error.source());
        causes.any(|cause| {
            cause
                .downcast_ref::<Self>()
                .is_some_and(|error| error.inner.is_interruption)
        })
    }

    /// What to do about it.
    pub fn hint(&self) -> Option<&str> {
        self.inner.hint.as_deref()
    }
}

impl fmt::Display for Error {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.inner.message)
    }
}

impl fmt::Debug for Error {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Error")
            .field("kind", &self.inner.kind)
            .field("phase", &self.inner.phase)
            .field("message", &self.inner.message)
            .field("source", &self.inner.source)
            .finish_non_exhaustive()
    }
}

impl std::error::Error for Error {
    fn source(&self) -> Option<&(dyn std::error::Error + 'static)> {
        self.inner.source.as_deref().map(|source| source as _)
    }
}

impl From<bitbucket_maintenance_client::Error> for Error {
    fn from(error: bitbucket_maintenance_client::Error) -> Self {
        let hint = error.hint();
        let transient = error.is_transient();
        let mut this =
            Self::new(ErrorKind::Bitbucket, "a call to bitbucket failed").with_source(error);
        this.inner.hint = hint;
        this.inner.transient = transient;
        this
    }
}

/// Adds context to the errors of other crates on their way into [`Error`].
pub trait ResultExt<T> {
    /// Turns an I/O error into an [`Error`] that says what was being done: `"cannot read /x"`.
    fn io_context(self, message: impl FnOnce() -> String) -> Result<T>;
}

impl<T> ResultExt<T> for std::io::Result<T> {
    fn io_context(self, message: impl FnOnce() -> String) -> Result<T> {
        self.map_err(|source| Error::io(message(), source))
    }
}

/// Text from outside, for a message of one line: what a terminal or a log would obey is escaped.
pub fn printable(text: &str) -> String {
    let mut shown = String::with_capacity(text.len());
    for c in text.chars() {
        if c.is_control() {
            shown.extend(c.escape_default());
        } else {
            shown.push(c);
        }
    }
    shown
}

/// An error and its causes in one line, each said once.
pub fn chain(error: &(dyn std::error::Error + 'static)) -> String {
    std::iter::successors(Some(error), |error| error.source())
        .map(ToString::to_string)
        .collect::<Vec<_>>()
        .join(": ")
}
