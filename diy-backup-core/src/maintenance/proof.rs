//! Proof that an instance is not locked.
//!
//! A 404 for the lock proves nothing by itself: a gateway that has taken the node out answers the same, with a page, with
//! JSON or with nothing. Bitbucket proves it by accepting the unlock, or by saying that it is at work: while it is locked,
//! `/status` says `MAINTENANCE`.

use bitbucket_maintenance_client::{Client, LockState, ServerState};

use super::answered;
use crate::error::{Error, ErrorKind, Result};
use crate::patience::Patience;

/// How many looks in a row have to agree: behind a load balancer two calls may reach two servers.
pub(super) const LOOKS: u32 = 2;

/// Whether the instance is locked, by whomever.
///
/// # Errors
/// [`ErrorKind::Bitbucket`] when nothing proves either.
pub(crate) async fn is_free(client: &Client, patience: &Patience) -> Result<bool> {
    for look in 1..=LOOKS {
        if look_once(client, patience).await? == LockState::Locked {
            return Ok(false);
        }
        if look < LOOKS {
            tokio::time::sleep(patience.pause).await;
        }
    }
    Ok(true)
}

/// One look: `Free` only beside a sign that Bitbucket itself is at work.
pub(crate) async fn look_once(client: &Client, patience: &Patience) -> Result<LockState> {
    let state = answered(patience, client.lock_state()).await?;
    if state == LockState::Free {
        ensure_at_work(client, patience).await?;
    }
    Ok(state)
}

/// Makes sure that it is Bitbucket which answers, and that it is not in maintenance.
pub(super) async fn ensure_at_work(client: &Client, patience: &Patience) -> Result<()> {
    // Asked often, and by whoever unlocks: a password that is wrong by now must not lock the account.
    let client = client.anonymous();
    let error = match answered(patience, client.server_status()).await {
        Ok(ServerState::Running | ServerState::FirstRun) => return Ok(()),
        Ok(state) => {
            return Err(Error::new(
                ErrorKind::Bitbucket,
                format!(
                    "bitbucket answers as if it was not locked, but says that its state is {state}"
                ),
            )
            .transient());
        }
        Err(error) => error,
    };
    // A proxy may let nobody see `/status`. The properties are out of reach during maintenance.
    match answered(patience, client.application_properties()).await {
        Ok(_) => Ok(()),
        Err(_) => Err(Error::new(
            ErrorKind::Bitbucket,
            "the lock is answered 404, and nothing shows that this is Bitbucket's own answer",
        )
        .with_source(error)
        .with_hint("A gateway answers so when it has taken the node out. Use a `url` that leads to Bitbucket directly, or let the gateway probe /status.")
        .transient()),
    }
}
