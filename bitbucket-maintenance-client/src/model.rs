//! What the server answers, as types.

use std::fmt;

use crate::token::{CancelToken, UnlockToken};

macro_rules! words {
    ($(#[$doc:meta])* $name:ident { $($(#[$variant_doc:meta])* $variant:ident = $word:literal,)+ }) => {
        $(#[$doc])*
        #[derive(Debug, Clone, PartialEq, Eq, Hash)]
        #[non_exhaustive]
        pub enum $name {
            $($(#[$variant_doc])* $variant,)+
            /// A word this crate has no name for, as the server wrote it; empty if there was none.
            Unknown(String),
        }

        impl $name {
            /// The word as the server writes it.
            pub fn as_str(&self) -> &str {
                match self {
                    $(Self::$variant => $word,)+
                    Self::Unknown(word) => word,
                }
            }
        }

        impl From<&str> for $name {
            fn from(word: &str) -> Self {
                match word {
                    $($word => Self::$variant,)+
                    _ => Self::Unknown(word.to_owned()),
                }
            }
        }

        impl fmt::Display for $name {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.pad(self.as_str())
            }
        }
    };
}

words! {
    /// What the instance as a whole is doing.
    ServerState {
        /// Ready for everybody.
        Running = "RUNNING",
        /// Locked for maintenance.
        Maintenance = "MAINTENANCE",
        /// Not set up yet.
        FirstRun = "FIRST_RUN",
        /// Starting up.
        Starting = "STARTING",
    }
}

words! {
    /// How far a part of the application is cut off. A backup may be taken once both parts are drained.
    LatchState {
        /// In use.
        Available = "AVAILABLE",
        /// New use waits, present use goes on.
        Latched = "LATCHED",
        /// New use waits, present use has ended.
        Drained = "DRAINED",
    }
}

words! {
    /// What became of a maintenance task. An ended task may stay visible as the latest one.
    TaskState {
        /// At work.
        Running = "RUNNING",
        /// Ended well.
        Successful = "SUCCESSFUL",
        /// Ended badly; database and source control are available again, the lock remains.
        Failed = "FAILED",
        /// Was cancelled; database and source control are available again, the lock remains.
        Canceled = "CANCELED",
    }
}

words! {
    /// What a maintenance task is about.
    TaskKind {
        /// A backup.
        Backup = "BACKUP",
        /// A migration to another database.
        Migration = "MIGRATION",
    }
}

/// A whole number of percent from 0 to 100.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Percentage(u8);

impl Percentage {
    /// 0 %
    pub const ZERO: Self = Self(0);
    /// 100 %: reported, it ends the backup task.
    pub const COMPLETE: Self = Self(100);

    /// The percentage, or `None` above 100.
    pub const fn new(percent: u8) -> Option<Self> {
        if percent <= 100 {
            Some(Self(percent))
        } else {
            None
        }
    }

    /// The percentage as a number from 0 to 100.
    pub const fn get(self) -> u8 {
        self.0
    }
}

impl TryFrom<u8> for Percentage {
    type Error = InvalidPercentage;

    fn try_from(percent: u8) -> Result<Self, Self::Error> {
        Self::new(percent).ok_or(InvalidPercentage)
    }
}

impl fmt::Display for Percentage {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}%", self.0)
    }
}

/// A number above 100 is no [`Percentage`].
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct InvalidPercentage;

impl fmt::Display for InvalidPercentage {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("a percentage is a number from 0 to 100")
    }
}

impl std::error::Error for InvalidPercentage {}

/// What the instance is.
#[derive(Debug, Clone, PartialEq, Eq)]
#[non_exhaustive]
pub struct ApplicationProperties {
    /// The release, for example `8.19.4`.
    pub version: String,
    /// The build number, for example `8019004`; empty if the server does not say.
    pub build_number: String,
    /// The build date as the server writes it; empty if it does not say.
    pub build_date: String,
    /// The product's name, for example `Bitbucket`; empty if the server does not say.
    pub display_name: String,
    /// Who the server took us for. `None` means anonymous: the answer alone proves no login.
    pub authenticated_user: Option<String>,
}

/// The nodes of the instance.
#[derive(Debug, Clone, PartialEq, Eq)]
#[non_exhaustive]
pub struct Cluster {
    /// The node that answered.
    pub local_node: Option<ClusterNode>,
    /// All nodes, the local one included.
    pub nodes: Vec<ClusterNode>,
    /// Whether clustering is at work.
    pub running: bool,
}

/// A node of the cluster.
#[derive(Debug, Clone, PartialEq, Eq)]
#[non_exhaustive]
pub struct ClusterNode {
    /// The node's id.
    pub id: String,
    /// The node's name; empty if the server does not say.
    pub name: String,
    /// Host and port the nodes talk to each other by, for example `10.0.0.2:5701`.
    pub address: Option<String>,
    /// Whether this is the node that answered.
    pub local: bool,
}

/// The instance is locked, by us.
#[derive(Debug, Clone)]
#[non_exhaustive]
pub struct Lock {
    /// What unlocks it.
    pub unlock_token: UnlockToken,
    /// Who it is locked for, as users see it.
    pub owner: Option<LockOwner>,
}

/// Who an instance is locked for.
#[derive(Debug, Clone, PartialEq, Eq)]
#[non_exhaustive]
pub struct LockOwner {
    /// The account's name.
    pub name: String,
    /// The person's name; empty if the server does not say.
    pub display_name: String,
}

/// Whether the instance is locked, by whomever.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum LockState {
    /// It is locked.
    Locked,
    /// It is not locked.
    Free,
}

/// A backup task that was started.
#[derive(Debug, Clone)]
#[non_exhaustive]
pub struct BackupTask {
    /// The task's id; empty if the server does not say.
    pub id: String,
    /// What cancels the task.
    pub cancel_token: CancelToken,
    /// How far it is.
    pub progress: Progress,
    /// What it is doing.
    pub state: TaskState,
}

/// How far a task is.
#[derive(Debug, Clone, PartialEq, Eq)]
#[non_exhaustive]
pub struct Progress {
    /// The step at work, in words for users.
    pub message: String,
    /// How much is done: 10 % for the preparation, the rest in proportion to what was reported.
    pub percentage: Percentage,
}

/// What maintenance is going on.
#[derive(Debug, Clone, PartialEq, Eq)]
#[non_exhaustive]
pub struct MaintenanceStatus {
    /// The task at work or the latest one; `None` if the instance is only locked.
    pub task: Option<Task>,
    /// The latch of the database.
    pub database: LatchState,
    /// The latch of the source control.
    pub scm: LatchState,
}

/// A maintenance task.
#[derive(Debug, Clone, PartialEq, Eq)]
#[non_exhaustive]
pub struct Task {
    /// The task's id; empty if the server does not say.
    pub id: String,
    /// What it is about.
    pub kind: TaskKind,
    /// What became of it.
    pub state: TaskState,
    /// How far it is.
    pub progress: Progress,
}
