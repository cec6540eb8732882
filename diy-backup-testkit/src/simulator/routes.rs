//! What each call answers.

use std::sync::Arc;

use hyper::HeaderMap;
use hyper::header::CONTENT_TYPE;
use serde_json::{Value, json};
use url::form_urlencoded;

use super::answer::Answer;
use super::auth::{Caller, identify};
use super::builder::ServerState;
use super::core::Core;
use super::fault::CallKind;
use super::maintenance::Maintenance;
use super::operations::Refusal;

const TOKEN_HEADER: &str = "X-Atlassian-Maintenance-Token";

/// A request, read to its end.
#[derive(Debug)]
pub(super) struct Call {
    pub(super) kind: CallKind,
    pub(super) method: String,
    /// Without the context path; `None` when the request was not below it.
    pub(super) path: Option<String>,
    pub(super) query: Option<String>,
    pub(super) headers: HeaderMap,
}

impl Call {
    fn parameter(&self, name: &str) -> Option<String> {
        let query = self.query.as_deref()?;
        form_urlencoded::parse(query.as_bytes())
            .find(|(key, _)| key == name)
            .map(|(_, value)| value.into_owned())
    }

    fn header(&self, name: &str) -> Option<&str> {
        self.headers.get(name)?.to_str().ok()
    }

    /// Whether a browser on a foreign page could have sent this.
    fn fails_xsrf_check(&self) -> bool {
        if matches!(self.method.as_str(), "GET" | "HEAD" | "OPTIONS") {
            return false;
        }
        let excused = self
            .header("X-Atlassian-Token")
            .is_some_and(|value| value.eq_ignore_ascii_case("no-check"));
        let is_json = self.header(CONTENT_TYPE.as_str()).is_some_and(|value| {
            let media_type = value.split(';').next().unwrap_or_default();
            media_type.trim().eq_ignore_ascii_case("application/json")
        });
        !excused && !is_json
    }
}

/// Answers a call, with all of its effects.
pub(super) async fn answer(core: Arc<Core>, call: Call) -> Answer {
    let Some(path) = call.path.as_deref() else {
        return Answer::html(404, "Not Found");
    };
    if call.kind == CallKind::Status {
        return status(&core);
    }
    if core.server_state() == ServerState::Starting {
        return Answer::html(503, "Bitbucket is starting");
    }
    let caller = match identify(&core, &call.headers) {
        Ok(caller) => caller,
        Err(refused) => return refused,
    };
    if call.fails_xsrf_check() {
        return Answer::xsrf();
    }
    match call.kind {
        CallKind::Lock => lock(&core, &caller).await,
        CallKind::LockState => lock_state(&core),
        CallKind::Unlock => unlock(&core, &call).await,
        CallKind::StartBackup => start_backup(&core, &call, &caller),
        CallKind::MaintenanceState => maintenance_state(&core, &call, &caller),
        CallKind::Progress => progress(&core, &call, &caller),
        CallKind::Cancel => cancel(&core, &call, &caller),
        CallKind::Status | CallKind::ApplicationProperties | CallKind::Cluster | CallKind::Any => {
            ordinary(&core, call.kind, path, &caller)
        }
    }
}

fn status(core: &Core) -> Answer {
    let (code, state) = match core.server_state() {
        ServerState::Starting => (503, "STARTING"),
        _ if is_in_maintenance(core) => (200, "MAINTENANCE"),
        ServerState::Running => (200, "RUNNING"),
        ServerState::FirstRun => (200, "FIRST_RUN"),
    };
    Answer::json(code, &json!({ "state": state }))
}

fn is_in_maintenance(core: &Core) -> bool {
    core.look(Maintenance::is_going_on)
}

/// Lets administrators pass.
fn require_administrator<'a>(core: &Core, caller: &'a Caller) -> Result<&'a str, Answer> {
    match caller {
        Caller::Administrator(name) => Ok(name),
        Caller::User(_) => Err(Answer::errors(
            403,
            "You are not permitted to access this resource",
            "AuthorisationException",
        )),
        Caller::Anonymous => Err(Answer::redirect_to_login(&core.settings.context_path)),
    }
}

async fn lock(core: &Core, caller: &Caller) -> Answer {
    let name = match require_administrator(core, caller) {
        Ok(name) => name,
        Err(refused) => return refused,
    };
    match core.lock(name).await {
        Ok(lock) => Answer::json(
            202,
            &json!({ "unlockToken": lock.token, "owner": owner(&lock.owner) }),
        ),
        Err(refusal) => refused(refusal),
    }
}

fn owner(name: &str) -> Value {
    json!({ "displayName": name, "name": name })
}

fn lock_state(core: &Core) -> Answer {
    let holder = core.look(|maintenance| maintenance.lock.as_ref().map(|lock| lock.owner.clone()));
    match holder {
        Some(name) => Answer::json(200, &json!({ "owner": owner(&name) })),
        None => refused(Refusal::NotLocked),
    }
}

async fn unlock(core: &Core, call: &Call) -> Answer {
    let token = call.parameter("token").unwrap_or_default();
    match core.unlock(&token).await {
        Ok(()) => Answer::empty(202),
        Err(Refusal::WrongToken) => {
            Answer::error_texts(409, "The supplied token does not match the lock's token.")
        }
        Err(Refusal::TaskRunning) => {
            Answer::error_texts(409, "A maintenance task is running; cancel it first.")
        }
        Err(refusal) => refused(refusal),
    }
}

fn start_backup(core: &Arc<Core>, call: &Call, caller: &Caller) -> Answer {
    if let Err(refused) = require_administrator(core, caller) {
        return refused;
    }
    if call.parameter("external").as_deref() != Some("true") {
        return Answer::errors(
            400,
            "Only external backups are supported.",
            "ArgumentValidationException",
        );
    }
    match core.start_backup(call.header(TOKEN_HEADER)) {
        Ok(task) => {
            let mut body = task.to_json();
            body["cancelToken"] = json!(task.cancel_token);
            Answer::json(202, &body)
        }
        // Without a lock the token cannot be right either.
        Err(Refusal::NotLocked) => refused(Refusal::WrongToken),
        Err(refusal) => refused(refusal),
    }
}

fn maintenance_state(core: &Core, call: &Call, caller: &Caller) -> Answer {
    core.look(|maintenance| {
        if maintenance.lock.is_some() && !maintenance.holds(call.header(TOKEN_HEADER)) {
            return match caller {
                Caller::Anonymous => Answer::redirect_to_login(&core.settings.context_path),
                Caller::Administrator(_) | Caller::User(_) => refused(Refusal::WrongToken),
            };
        }
        if maintenance.lock.is_none() && maintenance.task.is_none() {
            return Answer::errors(
                404,
                "No maintenance is in progress.",
                "NoSuchEntityException",
            );
        }
        let mut body = json!({
            "db-state": maintenance.latches.database.to_string(),
            "scm-state": maintenance.latches.scm.to_string(),
        });
        if let Some(task) = &maintenance.task {
            body["task"] = task.to_json();
        }
        Answer::json(200, &body)
    })
}

fn progress(core: &Arc<Core>, call: &Call, caller: &Caller) -> Answer {
    let Some(token) = call.parameter("token") else {
        return without_token(core, caller);
    };
    let percentage = call.parameter("percentage").unwrap_or_default();
    match core.report_progress(&token, &percentage) {
        Ok(()) => Answer::empty(202),
        Err(refusal) => refused(refusal),
    }
}

fn cancel(core: &Core, call: &Call, caller: &Caller) -> Answer {
    let Some(token) = call.parameter("token") else {
        return without_token(core, caller);
    };
    match core.cancel(&token) {
        Ok(()) => Answer::empty(202),
        Err(refusal) => refused(refusal),
    }
}

fn without_token(core: &Core, caller: &Caller) -> Answer {
    match caller {
        Caller::Anonymous => Answer::redirect_to_login(&core.settings.context_path),
        Caller::Administrator(_) | Caller::User(_) => Answer::errors(
            400,
            "The token parameter is missing.",
            "ArgumentValidationException",
        ),
    }
}

/// The pages and calls that maintenance puts out of reach.
fn ordinary(core: &Core, kind: CallKind, path: &str, caller: &Caller) -> Answer {
    if is_in_maintenance(core) {
        return Answer::html(503, "Bitbucket is undergoing maintenance");
    }
    let answer = match kind {
        CallKind::ApplicationProperties => application_properties(core),
        CallKind::Cluster => match require_administrator(core, caller) {
            Ok(_) => cluster(core),
            Err(refused) if refused.status == 302 => {
                Answer::errors(401, "You must be logged in.", "AuthorisationException")
            }
            Err(refused) => refused,
        },
        _ if path == "/login" => Answer::html(200, "Log in - Bitbucket"),
        _ if path.starts_with("/mvc/") && *caller == Caller::Anonymous => {
            Answer::redirect_to_login(&core.settings.context_path)
        }
        _ if path.starts_with("/rest/") => {
            Answer::errors(404, "There is no such resource.", "NoSuchEntityException")
        }
        _ => Answer::html(404, "Not Found"),
    };
    match caller.name() {
        Some(name) => answer.with_header("X-AUSERNAME", name),
        None => answer,
    }
}

fn application_properties(core: &Core) -> Answer {
    let version = &core.settings.version;
    let build = version
        .split('.')
        .fold(String::new(), |build, part| format!("{build}{part:0>3}"));
    Answer::json(
        200,
        &json!({
            "version": version,
            "buildNumber": build.trim_start_matches('0'),
            "buildDate": "1700000000000",
            "displayName": "Bitbucket",
        }),
    )
}

fn cluster(core: &Core) -> Answer {
    let node = |number: usize| {
        json!({
            "id": format!("00000000-0000-4000-8000-{number:012}"),
            "name": format!("node-{number}"),
            "address": {"hostName": format!("node-{number}.example.com"), "port": 5701},
            "local": number == 1,
        })
    };
    let nodes: Vec<Value> = (1..=core.settings.nodes).map(node).collect();
    Answer::json(
        200,
        &json!({ "localNode": node(1), "nodes": nodes, "running": true }),
    )
}

fn refused(refusal: Refusal) -> Answer {
    let (status, message, exception) = match refusal {
        Refusal::AlreadyLocked => (
            409,
            "The system is already locked for maintenance.",
            "maintenance.LockedException",
        ),
        Refusal::NotLocked => (404, "The system is not locked.", "NoSuchEntityException"),
        Refusal::WrongToken => (
            409,
            "The maintenance token is not valid.",
            "maintenance.IncorrectTokenException",
        ),
        Refusal::OtherMaintenance => (
            409,
            "Another maintenance task is running.",
            "maintenance.MaintenanceRunningException",
        ),
        Refusal::NoBackup => (
            404,
            "No maintenance task is running.",
            "NoSuchEntityException",
        ),
        Refusal::NotDrained => (
            409,
            "Repositories and database are not drained yet.",
            "maintenance.NotDrainedException",
        ),
        Refusal::BadPercentage => (
            400,
            "The percentage is not a number from 0 to 100, or lower than before.",
            "ArgumentValidationException",
        ),
        Refusal::TaskRunning => (
            409,
            "A maintenance task is running.",
            "maintenance.MaintenanceRunningException",
        ),
        Refusal::NotReady => (
            409,
            "The system is not locked on all nodes yet.",
            "maintenance.NotLockedException",
        ),
    };
    Answer::errors(status, message, exception)
}
