//! Unlocking and cancelling by hand.

use std::sync::Arc;

use bitbucket_maintenance_client::{CancelToken, UnlockToken};
use secrecy::{ExposeSecret, SecretString};

use crate::control::Control;
use crate::error::{Error, ErrorKind, Result};
use crate::event::{Events, Observer};
use crate::id::BackupId;
use crate::journal::{Journal, JournalRecord, Operation};
use crate::maintenance;
use crate::site::Site;

/// Unlocks the instance with `token`, or with the one in the journal, and proves it.
///
/// # Errors
/// [`ErrorKind::NotFound`] when there is no token; [`ErrorKind::StillLocked`] when it does not unlock.
pub async fn unlock(
    site: &Site,
    token: Option<SecretString>,
    control: &Control,
    observer: Arc<dyn Observer>,
) -> Result<()> {
    let client = site.required_client().await?;
    let events = Events::new(observer);
    let (record, journal) = journal(site)?;
    let given = token.map(|token| UnlockToken::from(token.expose_secret().to_owned()));
    let recorded = record.as_ref().and_then(JournalRecord::unlock_token);
    let Some(token) = given.or(recorded) else {
        if maintenance::is_free(&client).await? {
            events.message("The instance is not locked");
            return Ok(());
        }
        return Err(no_token("unlock"));
    };
    let cancel = record.as_ref().and_then(JournalRecord::cancel_token);
    let patience = &site.patience;
    maintenance::free_instance(
        &client, patience, &token, cancel, &journal, &events, control,
    )
    .await?;
    events.message("The instance is unlocked");
    Ok(())
}

/// Cancels the backup task with `token`, or with the one in the journal. The instance stays locked.
///
/// # Errors
/// [`ErrorKind::NotFound`] when there is no token; [`ErrorKind::Bitbucket`] when it is refused.
pub async fn cancel(
    site: &Site,
    token: Option<SecretString>,
    observer: Arc<dyn Observer>,
) -> Result<()> {
    let client = site.required_client().await?;
    let given = token.map(|token| CancelToken::from(token.expose_secret().to_owned()));
    let recorded = journal(site)?
        .0
        .as_ref()
        .and_then(JournalRecord::cancel_token);
    let token = given.or(recorded).ok_or_else(|| no_token("cancel"))?;
    client.cancel(&token).await?;
    Events::new(observer)
        .message("The backup task is cancelled; the instance stays locked until it is unlocked");
    Ok(())
}

/// The journal of a run, dead or alive. The tokens of a live one are taken from under it on purpose, so its own
/// journal must not be changed: it notices by itself.
fn journal(site: &Site) -> Result<(Option<JournalRecord>, Journal)> {
    let record = Journal::read(site.backup.state.as_path())?;
    let scratch = record.clone().unwrap_or_else(|| {
        JournalRecord::new(Operation::Backup, BackupId::now(&site.instance.name), None)
    });
    Ok((record, Journal::in_memory(scratch)))
}

fn no_token(command: &str) -> Error {
    Error::new(ErrorKind::NotFound, "there is no token in the journal").with_hint(format!(
        "Give it: `diy-backup {command} --token TOKEN`. Bitbucket's application log names it where it was locked by somebody else."
    ))
}
