//! What to do about an error, in words for the person who runs the program.

use crate::call::Call;
use crate::error::{Error, ErrorKind};

pub(crate) fn of(error: &Error) -> Option<String> {
    let lost = lost_answer(error);
    let kind = by_kind(error);
    match (lost, kind) {
        (Some(lost), Some(kind)) => Some(format!("{lost} {kind}")),
        (Some(hint), None) | (None, Some(hint)) => Some(hint.to_owned()),
        (None, None) => None,
    }
}

fn lost_answer(error: &Error) -> Option<&'static str> {
    if !error.may_have_reached_server() {
        return None;
    }
    match error.call() {
        Call::Lock => Some(
            "The instance may be locked although the answer did not arrive: look at its web page. If it is locked, \
             the unlock token is in the application log of Bitbucket (log/atlassian-bitbucket.log in the home \
             directory of the node that answered).",
        ),
        Call::StartBackup => Some(
            "The backup task may be running although the answer did not arrive; its cancel token is lost. Read the \
             maintenance status before doing anything else, and unlock the instance.",
        ),
        _ => None,
    }
}

fn by_kind(error: &Error) -> Option<&'static str> {
    match error.kind() {
        ErrorKind::Connect => Some(
            "Check the host and the port of the URL, that Bitbucket or the proxy in front of it runs, and that no \
             firewall is between.",
        ),
        ErrorKind::Timeout => Some(
            "Locking and unlocking a cluster may each take a minute: keep the request timeout, and that of a proxy, \
             above 90 seconds.",
        ),
        ErrorKind::Tls => Some(
            "If the certificate comes from an internal certificate authority, give the authority's certificate as \
             CA file (ca-file, in PEM). Check also that the URL has the name the certificate was issued for, that \
             the certificate has not expired, and that the port speaks HTTPS.",
        ),
        ErrorKind::Unauthorized => Some(
            "Check the user name and the password before trying again: after a few failures Bitbucket demands a \
             CAPTCHA. The password must be the account's own: the maintenance calls do not accept an HTTP access \
             token in its place.",
        ),
        ErrorKind::CaptchaRequired => Some(
            "Log in as this user in a browser and solve the CAPTCHA, or have an administrator clear it on the \
             user's page, then correct the password before trying again.",
        ),
        ErrorKind::Forbidden => Some("The account needs the system administrator permission."),
        ErrorKind::BasicAuthDisabled => Some(
            "Have an administrator allow basic authentication for REST calls (Administration, Authentication \
             methods), for this account at least; from Bitbucket 10 it is off by default.",
        ),
        ErrorKind::XsrfRejected => Some(
            "A proxy seems to remove request headers: have it pass Content-Type and X-Atlassian-Token, or use a \
             URL that leads to Bitbucket directly.",
        ),
        ErrorKind::LoginRedirect => Some(
            "The login was not accepted, or a single sign-on in front of Bitbucket wants a browser. The maintenance \
             calls need user name and password of an account: they do not accept HTTP access tokens. Use a URL that \
             leads to Bitbucket directly if a proxy demands the sign-on.",
        ),
        ErrorKind::Moved => Some(
            "Configure the URL that the redirect leads to; credentials are never sent on to another address.",
        ),
        ErrorKind::NotJson => Some(
            "Something in front of Bitbucket answered, or the URL lacks the context path (or has one too many). A \
             load balancer takes an instance in maintenance out if it probes ordinary pages: let it probe /status, \
             or use a URL that leads to Bitbucket directly.",
        ),
        ErrorKind::InvalidUrl => Some(
            "Give an address such as https://bitbucket.example.com or https://host.example.com/bitbucket.",
        ),
        ErrorKind::InvalidCa => Some(
            "Give the path of a PEM file with the certificate of the authority that issued the server's.",
        ),
        ErrorKind::Conflict => by_conflict(error.call()),
        ErrorKind::NotFound => Some(by_absence(error.call())),
        _ => None,
    }
}

fn by_conflict(call: Call) -> Option<&'static str> {
    match call {
        Call::Lock => Some(
            "The instance is locked already, by another backup or by an earlier one that did not unlock: wait for \
             it, or unlock with its token.",
        ),
        Call::StartBackup => {
            Some("Other maintenance is running on the instance: wait until it has ended.")
        }
        Call::Unlock | Call::Cancel | Call::ReportProgress => Some(
            "The token is not the one of the present lock or task: somebody else may have unlocked and locked since. \
             The present token is in the application log of Bitbucket.",
        ),
        _ => None,
    }
}

fn by_absence(call: Call) -> &'static str {
    match call {
        Call::Unlock => "The instance does not seem to be locked; read the lock to be sure.",
        Call::Cancel | Call::ReportProgress => {
            "No backup task seems to be running; read the maintenance status to be sure."
        }
        _ => "Check the URL: it must have the context path, if Bitbucket has one.",
    }
}
