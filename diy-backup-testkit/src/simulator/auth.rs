//! Who calls.

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use hyper::HeaderMap;
use hyper::header::AUTHORIZATION;

use super::answer::Answer;
use super::builder::{BasicAuthentication, Login};
use super::core::{Core, locked};
use super::maintenance::LatchState;

/// Who sent a request.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Caller {
    Anonymous,
    Administrator(String),
    User(String),
}

impl Caller {
    pub(super) fn name(&self) -> Option<&str> {
        match self {
            Self::Anonymous => None,
            Self::Administrator(name) | Self::User(name) => Some(name),
        }
    }
}

/// Finds out who calls, or gives the answer that ends the matter.
///
/// Access tokens are nobody here, as on the maintenance pages of every patched release. While the database is latched
/// a wrong password cannot be told from a right one, so it is neither refused nor counted, and counts for nobody.
pub(super) fn identify(core: &Core, headers: &HeaderMap) -> Result<Caller, Answer> {
    let Some(encoded) = basic_credentials(headers) else {
        return Ok(Caller::Anonymous);
    };
    let settings = &core.settings;
    if settings.basic == BasicAuthentication::Disabled {
        return Err(Answer::errors(
            403,
            "Basic Authentication has been disabled on this instance.",
            "auth.BasicAuthenticationDisabledException",
        ));
    }
    let login = decode(encoded);
    let name = login.as_ref().map_or("", |login| login.name.as_str());
    let mut failures = locked(&core.failures);
    let failed = failures.get(name).copied().unwrap_or(0);
    if failed >= settings.captcha_after {
        return Err(Answer::errors(
            401,
            "CAPTCHA required. Your Bitbucket account has been marked as requiring a CAPTCHA to be solved.",
            "auth.CaptchaRequiredAuthenticationException",
        )
        .with_header("X-Authentication-Denied-Reason", "CAPTCHA_CHALLENGE"));
    }
    let caller = login.as_ref().and_then(|login| known(core, login));
    if let Some(caller) = caller {
        failures.remove(name);
        return Ok(caller);
    }
    if core.look(|maintenance| maintenance.latches.database) != LatchState::Available {
        return Ok(Caller::Anonymous);
    }
    failures.insert(name.to_owned(), failed + 1);
    Err(Answer::errors(
        401,
        "Authentication failed. Please check your credentials and try again.",
        "auth.IncorrectPasswordAuthenticationException",
    ))
}

fn known(core: &Core, login: &Login) -> Option<Caller> {
    if *login == core.settings.administrator {
        return Some(Caller::Administrator(login.name.clone()));
    }
    (Some(login) == core.settings.user.as_ref()).then(|| Caller::User(login.name.clone()))
}

fn basic_credentials(headers: &HeaderMap) -> Option<&str> {
    let value = headers.get(AUTHORIZATION)?.to_str().ok()?;
    let (scheme, credentials) = value.split_once(' ')?;
    scheme
        .eq_ignore_ascii_case("basic")
        .then_some(credentials.trim())
}

fn decode(encoded: &str) -> Option<Login> {
    let text = String::from_utf8(STANDARD.decode(encoded).ok()?).ok()?;
    let (name, password) = text.split_once(':')?;
    Some(Login {
        name: name.to_owned(),
        password: password.to_owned(),
    })
}
