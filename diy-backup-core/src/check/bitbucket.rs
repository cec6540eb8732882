//! The instance: is it there, does it know us, is it free?

use bitbucket_maintenance_client::{
    ApplicationProperties, Client, ErrorKind as ClientErrorKind, LockState, ServerState,
};

use crate::config::{Downtime, has_white_space_around};
use crate::error::{Error, Result};
use crate::findings::Findings;
use crate::site::Site;

const SUBJECT: &str = "bitbucket";

/// What the instance says about itself.
#[derive(Default)]
pub(super) struct Checked {
    pub(super) findings: Findings,
    pub(super) version: Option<String>,
}

pub(super) async fn check(site: &Site) -> Checked {
    let mut checked = Checked::default();
    let client = async {
        let Some(secret) = site.password()? else {
            return Ok(None);
        };
        let password = secret.reveal().await?;
        if has_white_space_around(&password) {
            checked.findings.warning(
                SUBJECT,
                "the password in [instance] has white space before or after it",
                "One newline at its end is cut off, anything else belongs to it. If it was not meant, take it away where the secret is kept.",
            );
        }
        site.client_with(password).map(Some)
    };
    let client: Result<Option<Client>> = client.await;
    match client {
        Ok(Some(client)) => look(site, &client, &mut checked).await,
        Ok(None) => {}
        Err(error) => checked.findings.failure(SUBJECT, &error),
    }
    checked
}

async fn look(site: &Site, client: &Client, checked: &mut Checked) {
    match client.server_status().await {
        // For maintenance, the lock state below says more.
        Ok(ServerState::Running | ServerState::Maintenance | ServerState::Unknown(_)) => {}
        Ok(state) => {
            checked.findings.error(
                SUBJECT,
                format!("the instance is not running, but {state}"),
                "Start it, set it up, and try again.",
            );
            return;
        }
        Err(error) => {
            checked.findings.failure(SUBJECT, &unreachable(error));
            return;
        }
    }
    match client.lock_state().await {
        Ok(LockState::Free) => {}
        Ok(LockState::Locked) => {
            checked.findings.error(
                SUBJECT,
                "the instance is locked for maintenance already",
                "If a run of diy-backup has left it locked, `diy-backup recover` unlocks it; else wait until that maintenance is over.",
            );
            return;
        }
        // A page in place of the short answer says nothing either way, and the lock itself will.
        Err(error) if error.kind() == ClientErrorKind::NotJson => {}
        Err(error) => checked.findings.failure(SUBJECT, &Error::from(error)),
    }
    match client.application_properties().await {
        Ok(properties) => judge(site, &properties, checked),
        Err(error) => checked.findings.failure(SUBJECT, &Error::from(error)),
    }
}

fn unreachable(error: bitbucket_maintenance_client::Error) -> Error {
    let has_hint = error.hint().is_some();
    let error = Error::from(error);
    if has_hint {
        error
    } else {
        error.with_hint("Is `url` in [instance] right, and is Bitbucket up?")
    }
}

fn judge(site: &Site, properties: &ApplicationProperties, checked: &mut Checked) {
    let findings = &mut checked.findings;
    match &properties.authenticated_user {
        Some(user) => findings.info(SUBJECT, format!("version {}, logged in as {user}", properties.version)),
        // A proxy may drop the header that tells: the lock call decides.
        None => findings.warning(
            SUBJECT,
            "the instance has not taken note of the user name and password: it answered as to an anonymous visitor",
            "Check `username` and `password` in [instance], and that basic authentication is enabled in Bitbucket's \
             administration (it is off by default from version 10). HTTP access tokens do not work for maintenance.",
        ),
    }
    if site.backup.downtime == Downtime::Zero && is_older(&properties.version, (4, 8)) {
        findings.error(
            SUBJECT,
            format!(
                "`downtime = \"zero\"` needs Bitbucket 4.8 or newer, and this is {}",
                properties.version
            ),
            "Set `downtime = \"locked\"`.",
        );
    }
    checked.version = Some(properties.version.clone());
}

/// Whether a version such as `4.14.3` is older than `than`. One that cannot be read is not.
fn is_older(version: &str, than: (u32, u32)) -> bool {
    let mut numbers = version.split('.').map(str::parse);
    match (numbers.next(), numbers.next()) {
        (Some(Ok(major)), Some(Ok(minor))) => (major, minor) < than,
        _ => false,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn versions_compare_by_number() {
        assert!(is_older("4.7.9", (4, 8)) && is_older("3.11.2", (4, 8)));
        assert!(
            !is_older("4.8.0", (4, 8)) && !is_older("8.19.4", (4, 8)) && !is_older("10.0", (4, 8))
        );
        assert!(!is_older("unknown", (4, 8)));
    }
}
