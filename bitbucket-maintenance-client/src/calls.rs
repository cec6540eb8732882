//! The calls of the maintenance API.

use crate::call::Call;
use crate::client::Client;
use crate::error::Result;
use crate::model::{
    ApplicationProperties, BackupTask, Cluster, Lock, LockState, MaintenanceStatus, Percentage,
    ServerState,
};
use crate::reply::Reply;
use crate::token::{CancelToken, UnlockToken};
use crate::transport::Request;
use crate::wire;

/// Every call fails with the kinds of [`ErrorKind`](crate::ErrorKind) that its answer, or the lack of one, amounts
/// to; below are those with a meaning of their own.
impl Client {
    /// What the instance is doing. Needs no login, and works during maintenance and start-up.
    pub async fn server_status(&self) -> Result<ServerState> {
        self.run(Request::new(Call::ServerStatus), |reply| {
            // An instance that starts up says so with status 503.
            if reply.status != 503 && !reply.is_success() {
                return Err(reply.error());
            }
            let state = reply.document().map(|json| wire::server_state(&json));
            match state {
                Ok(Some(state)) => Ok(state),
                _ if !reply.is_success() => Err(reply.error()),
                Ok(None) => Err(reply.lacks("state")),
                Err(error) => Err(error),
            }
        })
        .await
    }

    /// The release of the instance, and who the server takes us for.
    ///
    /// The cheap way to check a password: success alone proves nothing, as anonymous calls are answered too, but
    /// [`authenticated_user`](ApplicationProperties::authenticated_user) does. Blocked during maintenance: read it
    /// before locking.
    ///
    /// # Errors
    ///
    /// `Unauthorized` and `CaptchaRequired` if the login is refused, `BasicAuthDisabled` if there can be none.
    pub async fn application_properties(&self) -> Result<ApplicationProperties> {
        self.run(Request::new(Call::ApplicationProperties), |reply| {
            let user = reply.headers.user_name.clone();
            wire::application_properties(&reply.json()?, user).ok_or_else(|| reply.lacks("version"))
        })
        .await
    }

    /// The nodes of the instance. Needs the system administrator permission.
    ///
    /// # Errors
    ///
    /// `Unauthorized` or `Forbidden` without the permission.
    pub async fn cluster(&self) -> Result<Cluster> {
        self.run(Request::new(Call::Cluster), |reply| {
            wire::cluster(&reply.json()?).ok_or_else(|| reply.lacks("list of nodes"))
        })
        .await
    }

    /// Locks the instance: from now on users see a maintenance page.
    ///
    /// Repeated only if no connection came about. Keep the token where a crash cannot lose it before doing anything
    /// else. An answer that breaks off after the token counts as a success, without an owner.
    ///
    /// # Errors
    ///
    /// `Conflict` if the instance is locked already. If
    /// [`may_have_reached_server`](crate::Error::may_have_reached_server) is true, the instance may be locked
    /// nevertheless: [`lock_state`](Self::lock_state) tells, and the token is in the application log of Bitbucket.
    pub async fn lock(&self) -> Result<Lock> {
        self.run(Request::new(Call::Lock), |reply| match reply.json() {
            Ok(json) => wire::lock(&json).ok_or_else(|| reply.lacks("unlock token")),
            Err(error) => saved(reply, wire::lock_of_fragment).ok_or(error),
        })
        .await
    }

    /// Whether the instance is locked, by whomever. Needs no login.
    ///
    /// A 404 is taken for `Free` only if it is Bitbucket's: a page of a proxy, or of a server without this context
    /// path, is an error of kind `NotJson`.
    pub async fn lock_state(&self) -> Result<LockState> {
        self.run(Request::new(Call::LockState), |reply| {
            if reply.is_absence() {
                return Ok(LockState::Free);
            }
            if reply.is_own_success() {
                return Ok(LockState::Locked);
            }
            reply.done().map(|()| LockState::Locked)
        })
        .await
    }

    /// Starts the backup task, which latches and drains the database and the source control.
    ///
    /// Repeated only if no connection came about.
    ///
    /// # Errors
    ///
    /// `Conflict` if other maintenance is running. If
    /// [`may_have_reached_server`](crate::Error::may_have_reached_server) is true, the task may be running
    /// nevertheless: [`maintenance`](Self::maintenance) tells.
    pub async fn start_backup(&self, token: &UnlockToken) -> Result<BackupTask> {
        let request = Request::new(Call::StartBackup)
            .query("external", "true")
            .maintenance_token(token);
        self.run(request, |reply| match reply.json() {
            Ok(json) => wire::backup_task(&json).ok_or_else(|| reply.lacks("cancel token")),
            Err(error) => saved(reply, wire::backup_task_of_fragment).ok_or(error),
        })
        .await
    }

    /// What maintenance is going on, or `None` if there is none.
    pub async fn maintenance(&self, token: &UnlockToken) -> Result<Option<MaintenanceStatus>> {
        let request = Request::new(Call::Maintenance).maintenance_token(token);
        self.run(request, |reply| {
            if reply.is_absence() {
                return Ok(None);
            }
            wire::maintenance(&reply.json()?)
                .map(Some)
                .ok_or_else(|| reply.lacks("maintenance status"))
        })
        .await
    }

    /// Tells users how far the backup is. [`Percentage::COMPLETE`] ends the backup task and unlatches the database
    /// and the source control; the lock remains.
    ///
    /// Needs no login, only the token.
    ///
    /// # Errors
    ///
    /// `BadRequest` if it is less than before. `NotFound` if no backup is running: if [`Percentage::COMPLETE`] was
    /// sent more than once ([`attempts`](crate::Error::attempts)), an earlier attempt may have ended the task.
    pub async fn report_progress(&self, token: &UnlockToken, done: Percentage) -> Result<()> {
        let percentage = done.get().to_string();
        let request = Request::new(Call::ReportProgress)
            .token(token.expose())
            .query("percentage", &percentage);
        self.run(request, Reply::done).await
    }

    /// Cancels the backup task, which unlatches the database and the source control. The lock remains.
    ///
    /// Needs no login, only the token. Any redirect counts as success, as the call is the target of a form.
    ///
    /// # Errors
    ///
    /// `Conflict` if the token is not the task's.
    pub async fn cancel(&self, token: &CancelToken) -> Result<()> {
        let request = Request::new(Call::Cancel).token(token.expose());
        self.run(request, |reply| {
            if reply.is_success() || reply.is_redirect() {
                Ok(())
            } else {
                Err(reply.error())
            }
        })
        .await
    }

    /// Unlocks the instance. Needs no login, only the token, and works while the database is unavailable.
    ///
    /// [`lock_state`](Self::lock_state) proves that it worked.
    ///
    /// # Errors
    ///
    /// `Conflict` if the token is not the lock's. `NotFound` if the instance is not locked: after more than one
    /// attempt ([`attempts`](crate::Error::attempts)) an earlier one may have unlocked it.
    pub async fn unlock(&self, token: &UnlockToken) -> Result<()> {
        let request = Request::new(Call::Unlock).token(token.expose());
        self.run(request, Reply::done).await
    }
}

/// What a broken but successful answer still tells.
fn saved<T>(reply: &Reply, read: impl Fn(&str) -> Option<T>) -> Option<T> {
    reply.is_success().then(|| read(&reply.body.text)).flatten()
}
