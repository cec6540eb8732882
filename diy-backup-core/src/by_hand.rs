//! Unlocking and cancelling by hand.

use std::sync::Arc;

use bitbucket_maintenance_client::{CancelToken, UnlockToken};
use secrecy::{ExposeSecret, SecretString};

use crate::control::Control;
use crate::error::{Error, ErrorKind, Result};
use crate::event::{Events, Observer};
use crate::id::BackupId;
use crate::journal::{Found, Journal, JournalRecord, Operation};
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
    let client = control.unless_cancelled(site.required_client()).await?;
    let events = Events::new(observer);
    let recorded = Recorded::read(site, Need::of(token.as_ref()), &events)?;
    let given = token.map(|token| UnlockToken::from(token.expose_secret().to_owned()));
    let tokens = given.map_or_else(|| recorded.record.unlock_tokens(), |token| vec![token]);
    if tokens.is_empty() {
        if maintenance::is_free(&client, &site.patience).await? {
            events.message("The instance is not locked");
            return Ok(());
        }
        return Err(no_token("unlock"));
    }
    let mut last = Ok(());
    for token in tokens {
        // The tokens of a run that is alive are taken from under it on purpose, so its own journal must not be
        // changed: it notices by itself.
        let journal = Journal::in_memory(recorded.record.clone());
        let cancel = recorded.record.cancel_token();
        let patience = &site.patience;
        last = maintenance::free_instance(
            &client, patience, &token, cancel, &journal, &events, control,
        )
        .await;
        if last.is_ok() {
            break;
        }
    }
    last?;
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
    let events = Events::new(observer);
    let recorded = Recorded::read(site, Need::of(token.as_ref()), &events)?;
    let given = token.map(|token| CancelToken::from(token.expose_secret().to_owned()));
    let token = given
        .or_else(|| recorded.record.cancel_token())
        .ok_or_else(|| no_token("cancel"))?;
    client.cancel(&token).await?;
    events.message("The backup task is cancelled; the instance stays locked until it is unlocked");
    Ok(())
}

/// Whether the journal has to give the token.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Need {
    Journal,
    Nothing,
}

impl Need {
    fn of(given: Option<&SecretString>) -> Self {
        given.map_or(Self::Journal, |_| Self::Nothing)
    }
}

/// What the journal of a run knows, dead or alive.
struct Recorded {
    record: JournalRecord,
}

impl Recorded {
    /// Reads the journal. With a token that was given by hand, one that is damaged or about another instance is no
    /// obstacle, and stays as it is.
    fn read(site: &Site, need: Need, events: &Events) -> Result<Self> {
        let scratch =
            || JournalRecord::new(Operation::Backup, BackupId::now(&site.instance.name), None);
        let usable = Found::in_directory(site.backup.state.as_path()).and_then(|found| {
            let tokens = found.tokens_of_damaged();
            match found.record() {
                Ok(Some(record)) => record.ensure_about(&site.instance).map(|()| record.clone()),
                Ok(None) => Ok(scratch()),
                Err(_) if !tokens.is_empty() => Ok(JournalRecord {
                    other_tokens: tokens,
                    ..scratch()
                }),
                Err(damaged) => Err(damaged),
            }
        });
        match usable {
            Ok(record) => Ok(Self { record }),
            Err(error) if need == Need::Journal => Err(error),
            Err(error) => {
                events.warning(format!(
                    "the journal is left as it is: {}",
                    crate::error::chain(&error)
                ));
                Ok(Self { record: scratch() })
            }
        }
    }
}

fn no_token(command: &str) -> Error {
    Error::new(ErrorKind::NotFound, "there is no token in the journal").with_hint(format!(
        "Give it: `diy-backup {command} --token TOKEN`. Bitbucket's application log names it where it was locked by somebody else."
    ))
}
