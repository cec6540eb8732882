//! Typed client of the maintenance REST API of Atlassian Bitbucket Server and Data Center.
//!
//! The API locks an instance, latches and drains its database and source control, and unlocks it again. Each
//! request has one method of [`Client`], its answer has a type of its own, and a failure is an [`Error`] that says
//! what happened ([`Error::kind`]), whether the request may have taken effect nevertheless
//! ([`Error::may_have_reached_server`]) and what to do about it ([`Error::hint`]).
//!
//! ```no_run
//! use bitbucket_maintenance_client::{Client, Credentials, LatchState, Percentage};
//!
//! # async fn example() -> Result<(), bitbucket_maintenance_client::Error> {
//! let client = Client::builder("https://bitbucket.example.com")
//!     .credentials(Credentials::basic("backup", "a password".into()))
//!     .build()?;
//!
//! let lock = client.lock().await?;
//! let task = client.start_backup(&lock.unlock_token).await?;
//! println!("backup task {} was started", task.id);
//! while let Some(status) = client.maintenance(&lock.unlock_token).await? {
//!     if status.database == LatchState::Drained && status.scm == LatchState::Drained {
//!         break;
//!     }
//!     # break;
//! }
//! client.report_progress(&lock.unlock_token, Percentage::COMPLETE).await?;
//! client.unlock(&lock.unlock_token).await?;
//! # Ok(())
//! # }
//! ```
//!
//! # What the client promises
//!
//! - **Redirects are never followed.** An unauthenticated call is answered by a redirect to the login page; followed
//!   it would look like a success. Nothing, credentials least of all, is sent to any host but the configured one
//!   (and the proxy in the environment, see [`ProxyUse`]).
//! - **A login is never repeated.** 401 and 403 end a call at once, whatever the [`RetryPolicy`]: repeated failures
//!   lock the account behind a CAPTCHA.
//! - **Nothing is locked or started twice.** [`Client::lock`] and [`Client::start_backup`] are repeated only if no
//!   connection came about, so that the request cannot have reached the server.
//! - **No secret is shown.** Passwords and tokens stand in no `Debug`, `Display`, error source or trace event, even
//!   if the server sends them back.
//! - **Answers are bounded.** At most 1 MiB of an answer is read, at most 2 KiB is kept in an error.
//! - **Unknown words are kept.** A state this crate has no name for arrives as its `Unknown` variant.

mod builder;
mod call;
mod calls;
mod client;
mod credentials;
mod error;
mod error_body;
mod hint;
mod model;
mod redact;
mod reply;
mod retry;
mod tls;
mod token;
mod transport;
mod wire;

pub use builder::{ClientBuilder, ProxyUse};
pub use call::Call;
pub use client::Client;
pub use credentials::Credentials;
pub use error::{Error, ErrorKind, Result};
pub use model::{
    ApplicationProperties, BackupTask, Cluster, ClusterNode, InvalidPercentage, LatchState, Lock,
    LockOwner, LockState, MaintenanceStatus, Percentage, Progress, ServerState, Task, TaskKind,
    TaskState,
};
pub use retry::RetryPolicy;
pub use token::{CancelToken, UnlockToken};

#[cfg(doctest)]
#[doc = include_str!("../README.md")]
struct Readme;
