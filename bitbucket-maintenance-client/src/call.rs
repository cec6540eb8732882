//! The table of REST calls: where each one goes, what it needs and when it may be repeated.

use std::fmt;

/// A call of the maintenance API; names what an [`Error`](crate::Error) is about.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub enum Call {
    /// No request: the client was being built.
    Setup,
    /// `GET /status`
    ServerStatus,
    /// `GET /rest/api/latest/application-properties`
    ApplicationProperties,
    /// `GET /rest/api/latest/admin/cluster`
    Cluster,
    /// `POST /mvc/maintenance/lock`
    Lock,
    /// `GET /mvc/maintenance/lock`
    LockState,
    /// `POST /mvc/admin/backups?external=true`
    StartBackup,
    /// `GET /mvc/maintenance`
    Maintenance,
    /// `POST /mvc/admin/backups/progress/client`
    ReportProgress,
    /// `POST /mvc/maintenance`
    Cancel,
    /// `DELETE /mvc/maintenance/lock`
    Unlock,
}

/// Whether the account's name and password accompany a call.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Login {
    /// They do, if the client has them.
    Basic,
    /// They do not: a token is enough, and while the database is latched no password can be checked.
    None,
}

/// When a failed call may be sent again.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Repeat {
    /// After any transient failure.
    AfterTransient,
    /// Only if no connection came about: a second request would act a second time.
    IfUnsent,
}

impl Call {
    pub(crate) fn method(self) -> reqwest::Method {
        match self {
            Self::Lock | Self::StartBackup | Self::ReportProgress | Self::Cancel => {
                reqwest::Method::POST
            }
            Self::Unlock => reqwest::Method::DELETE,
            _ => reqwest::Method::GET,
        }
    }

    /// The path below the base URL.
    pub(crate) const fn path(self) -> &'static str {
        match self {
            Self::Setup => "",
            Self::ServerStatus => "/status",
            Self::ApplicationProperties => "/rest/api/latest/application-properties",
            Self::Cluster => "/rest/api/latest/admin/cluster",
            Self::Lock | Self::LockState | Self::Unlock => "/mvc/maintenance/lock",
            Self::StartBackup => "/mvc/admin/backups",
            Self::Maintenance | Self::Cancel => "/mvc/maintenance",
            Self::ReportProgress => "/mvc/admin/backups/progress/client",
        }
    }

    pub(crate) const fn login(self) -> Login {
        match self {
            Self::ApplicationProperties
            | Self::Cluster
            | Self::Lock
            | Self::StartBackup
            | Self::Maintenance => Login::Basic,
            _ => Login::None,
        }
    }

    pub(crate) const fn repeat(self) -> Repeat {
        match self {
            Self::Lock | Self::StartBackup => Repeat::IfUnsent,
            _ => Repeat::AfterTransient,
        }
    }

    /// Whether a successful answer has a token in its body.
    pub(crate) const fn answers_with_token(self) -> bool {
        matches!(self, Self::Lock | Self::StartBackup)
    }
}

impl fmt::Display for Call {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Setup => "set up the client",
            Self::ServerStatus => "read the server status",
            Self::ApplicationProperties => "read the application properties",
            Self::Cluster => "read the cluster's nodes",
            Self::Lock => "lock the instance",
            Self::LockState => "read whether the instance is locked",
            Self::StartBackup => "start the backup task",
            Self::Maintenance => "read the maintenance status",
            Self::ReportProgress => "report the progress",
            Self::Cancel => "cancel the backup task",
            Self::Unlock => "unlock the instance",
        })
    }
}
