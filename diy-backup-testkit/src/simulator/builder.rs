//! Choosing how a simulator is to behave.

use std::fmt;
use std::net::TcpListener;
use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use super::core::Core;
use super::handle::Simulator;
use super::http;
use crate::RowSink;
use crate::application::Application;
use crate::error::{Error, ErrorKind, Result};

/// How a drain ends.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[non_exhaustive]
pub enum DrainOutcome {
    /// SCM and database are DRAINED after these durations, or later when a push takes longer.
    Drains {
        /// From LATCHED to DRAINED of the repositories.
        scm: Duration,
        /// From LATCHED to DRAINED of the database.
        database: Duration,
    },
    /// The task ends FAILED after this duration and unlatches.
    Fails(Duration),
    /// LATCHED for ever.
    Never,
}

/// How long an ended task is shown as the latest one.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[non_exhaustive]
pub enum EndedTask {
    /// It is gone as soon as it ends.
    Gone,
    /// It is shown until the instance is unlocked.
    UntilUnlock,
    /// It is shown until another task begins.
    Stays,
}

/// What an unlock does while a task runs.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[non_exhaustive]
pub enum UnlockWhileRunning {
    /// It cancels the task and unlocks.
    Cancels,
    /// It is refused with 409.
    Refused,
}

/// Whether basic authentication is allowed on this instance.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[non_exhaustive]
pub enum BasicAuthentication {
    /// As in every release before 10.
    Enabled,
    /// Every request with it is answered 403.
    Disabled,
}

/// What `GET /status` says while the instance is not locked.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[non_exhaustive]
pub enum ServerState {
    /// At work.
    Running,
    /// Starting: every call is answered 503.
    Starting,
    /// Waiting for its set-up.
    FirstRun,
}

/// A name and its password.
#[derive(Clone, PartialEq, Eq)]
pub(super) struct Login {
    pub(super) name: String,
    pub(super) password: String,
}

/// What does not change while the simulator runs.
pub(super) struct Settings {
    pub(super) context_path: String,
    pub(super) administrator: Login,
    pub(super) user: Option<Login>,
    pub(super) basic: BasicAuthentication,
    pub(super) captcha_after: u32,
    pub(super) lock_delay: Duration,
    pub(super) unlock_delay: Duration,
    pub(super) latch_delay: Duration,
    pub(super) start_delay: Duration,
    pub(super) end_delay: Duration,
    pub(super) ended_task: EndedTask,
    pub(super) unlock_while_running: UnlockWhileRunning,
    pub(super) version: String,
    pub(super) nodes: usize,
}

/// The settings of a [`Simulator`].
pub struct SimulatorBuilder {
    settings: Settings,
    drain: DrainOutcome,
    port: u16,
    home: Option<PathBuf>,
    database: Option<Arc<dyn RowSink>>,
    writers: usize,
    pause: Duration,
}

impl fmt::Debug for SimulatorBuilder {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("SimulatorBuilder")
            .field("context_path", &self.settings.context_path)
            .field("drain", &self.drain)
            .field("home", &self.home)
            .field("database", &self.database)
            .finish_non_exhaustive()
    }
}

impl Default for SimulatorBuilder {
    fn default() -> Self {
        Self {
            settings: Settings {
                context_path: String::new(),
                administrator: Login {
                    name: "backup".to_owned(),
                    password: "pass wörd \"'%&$\\:".to_owned(),
                },
                user: None,
                basic: BasicAuthentication::Enabled,
                captcha_after: 5,
                lock_delay: Duration::ZERO,
                unlock_delay: Duration::ZERO,
                latch_delay: Duration::ZERO,
                start_delay: Duration::ZERO,
                end_delay: Duration::ZERO,
                ended_task: EndedTask::UntilUnlock,
                unlock_while_running: UnlockWhileRunning::Cancels,
                version: "8.19.12".to_owned(),
                nodes: 1,
            },
            drain: DrainOutcome::Drains {
                scm: Duration::ZERO,
                database: Duration::ZERO,
            },
            port: 0,
            home: None,
            database: None,
            writers: 4,
            pause: Duration::from_millis(2),
        }
    }
}

impl SimulatorBuilder {
    /// The path all calls are below, such as `/bitbucket`; none unless set.
    #[must_use]
    pub fn context_path(mut self, path: &str) -> Self {
        let path = path.trim_matches('/');
        self.settings.context_path = if path.is_empty() {
            String::new()
        } else {
            format!("/{path}")
        };
        self
    }

    /// The TCP port on the loopback interface; a free one unless set.
    #[must_use]
    pub fn port(mut self, port: u16) -> Self {
        self.port = port;
        self
    }

    /// The system administrator's name and password.
    #[must_use]
    pub fn credentials(mut self, name: &str, password: &str) -> Self {
        self.settings.administrator = Login {
            name: name.to_owned(),
            password: password.to_owned(),
        };
        self
    }

    /// Somebody who may log in and is no administrator.
    #[must_use]
    pub fn ordinary_user(mut self, name: &str, password: &str) -> Self {
        self.settings.user = Some(Login {
            name: name.to_owned(),
            password: password.to_owned(),
        });
        self
    }

    /// Whether basic authentication is allowed; enabled unless set.
    #[must_use]
    pub fn basic_authentication(mut self, allowed: BasicAuthentication) -> Self {
        self.settings.basic = allowed;
        self
    }

    /// After how many wrong passwords a CAPTCHA is asked for; 5 unless set.
    #[must_use]
    pub fn captcha_after(mut self, failures: u32) -> Self {
        self.settings.captcha_after = failures;
        self
    }

    /// How long locking takes. The instance counts as locked when that time is over, and not before; a client that
    /// goes away, or a program that is killed, does not stop it: the lock arrives late.
    #[must_use]
    pub fn lock_delay(mut self, delay: Duration) -> Self {
        self.settings.lock_delay = delay;
        self
    }

    /// How long unlocking takes; the instance stays locked until then.
    #[must_use]
    pub fn unlock_delay(mut self, delay: Duration) -> Self {
        self.settings.unlock_delay = delay;
        self
    }

    /// How long the states stay AVAILABLE after the task began.
    #[must_use]
    pub fn latch_delay(mut self, delay: Duration) -> Self {
        self.settings.latch_delay = delay;
        self
    }

    /// For how long after the lock a backup task is refused with 409, as the lock has not reached every node yet.
    ///
    /// That sites had to wait between the two is seen; the status is assumed.
    #[must_use]
    pub fn start_delay(mut self, delay: Duration) -> Self {
        self.settings.start_delay = delay;
        self
    }

    /// For how long a task stays RUNNING, its latches closed, after 100 % was reported. A cancellation is accepted
    /// meanwhile and changes nothing. Together with [`UnlockWhileRunning::Refused`] the unlock is answered 409 for as
    /// long.
    ///
    /// That sites had to wait between the two is seen; the status is assumed.
    #[must_use]
    pub fn end_delay(mut self, delay: Duration) -> Self {
        self.settings.end_delay = delay;
        self
    }

    /// How long the drain takes: the database all of it, the repositories half of it.
    #[must_use]
    pub fn drain(self, duration: Duration) -> Self {
        self.drain_outcome(DrainOutcome::Drains {
            scm: duration / 2,
            database: duration,
        })
    }

    /// How drains end; [`Simulator::set_drain`] changes it later.
    #[must_use]
    pub fn drain_outcome(mut self, outcome: DrainOutcome) -> Self {
        self.drain = outcome;
        self
    }

    /// How long an ended task is shown; until the unlock unless set.
    #[must_use]
    pub fn ended_task(mut self, shown: EndedTask) -> Self {
        self.settings.ended_task = shown;
        self
    }

    /// What an unlock does while a task runs; cancels it unless set.
    #[must_use]
    pub fn unlock_while_running(mut self, policy: UnlockWhileRunning) -> Self {
        self.settings.unlock_while_running = policy;
        self
    }

    /// The release that `application-properties` names; `8.19.12` unless set.
    #[must_use]
    pub fn version(mut self, version: &str) -> Self {
        version.clone_into(&mut self.settings.version);
        self
    }

    /// How many nodes the cluster has; 1 unless set.
    #[must_use]
    pub fn nodes(mut self, number: usize) -> Self {
        self.settings.nodes = number;
        self
    }

    /// The home in which the live application writes. It lives only with [`SimulatorBuilder::database`] too.
    #[must_use]
    pub fn home(mut self, path: impl Into<PathBuf>) -> Self {
        self.home = Some(path.into());
        self
    }

    /// The database in which the live application writes.
    #[must_use]
    pub fn database(mut self, rows: Arc<dyn RowSink>) -> Self {
        self.database = Some(rows);
        self
    }

    /// How many people push at the same time; 4 unless set.
    #[must_use]
    pub fn writers(mut self, number: usize) -> Self {
        self.writers = number;
        self
    }

    /// How long each of them rests between two pushes; 2 ms unless set.
    #[must_use]
    pub fn pause(mut self, pause: Duration) -> Self {
        self.pause = pause;
        self
    }

    /// Starts to listen; returns when calls are answered.
    ///
    /// # Errors
    /// As [`SimulatorBuilder::start_blocking`].
    pub fn start(self) -> impl Future<Output = Result<Simulator>> {
        std::future::ready(self.start_blocking())
    }

    /// The same for callers that are not asynchronous.
    ///
    /// # Errors
    /// [`ErrorKind::Io`] when the port cannot be had or the home cannot be written, [`ErrorKind::Invalid`] when only one
    /// of home and database is set.
    pub fn start_blocking(self) -> Result<Simulator> {
        let failed =
            |source| Error::new(ErrorKind::Io, "the simulator cannot listen").with_source(source);
        let runtime = tokio::runtime::Builder::new_multi_thread()
            .worker_threads(2)
            .thread_name("bitbucket-simulator")
            .enable_all()
            .build()
            .map_err(failed)?;
        let listener = TcpListener::bind(("127.0.0.1", self.port)).map_err(failed)?;
        listener.set_nonblocking(true).map_err(failed)?;
        let address = listener.local_addr().map_err(failed)?;
        let core = Arc::new(Core::new(self.settings, self.drain));
        let entered = runtime.enter();
        match (self.home, self.database) {
            (Some(home), Some(rows)) => {
                let application = Application::builder(home, rows)
                    .latch(Arc::clone(&core.latch))
                    .writers(self.writers)
                    .pause(self.pause)
                    .start()?;
                core.set_application(application);
            }
            (None, None) => {}
            (Some(_), None) | (None, Some(_)) => {
                return Err(Error::new(
                    ErrorKind::Invalid,
                    "a live application needs a home and a database",
                ));
            }
        }
        let listener = tokio::net::TcpListener::from_std(listener).map_err(failed)?;
        tokio::spawn(http::listen(listener, Arc::clone(&core)));
        drop(entered);
        Ok(Simulator::new(core, runtime, address))
    }
}
