//! From JSON to the model: liberal in what it accepts, as releases differ in what they leave out.

use serde_json::Value;

use crate::model::{
    ApplicationProperties, BackupTask, Cluster, ClusterNode, LatchState, Lock, LockOwner,
    MaintenanceStatus, Percentage, Progress, ServerState, Task, TaskKind, TaskState,
};

pub(crate) fn server_state(json: &Value) -> Option<ServerState> {
    json.get("state")?.as_str().map(ServerState::from)
}

pub(crate) fn application_properties(
    json: &Value,
    authenticated_user: Option<String>,
) -> Option<ApplicationProperties> {
    Some(ApplicationProperties {
        version: present(json, "version")?,
        build_number: text(json, "buildNumber"),
        build_date: text(json, "buildDate"),
        display_name: text(json, "displayName"),
        authenticated_user,
    })
}

pub(crate) fn cluster(json: &Value) -> Option<Cluster> {
    let nodes = json.get("nodes")?.as_array()?;
    Some(Cluster {
        local_node: json.get("localNode").and_then(node),
        nodes: nodes.iter().filter_map(node).collect(),
        running: truth(json, "running"),
    })
}

fn node(json: &Value) -> Option<ClusterNode> {
    Some(ClusterNode {
        id: present(json, "id")?,
        name: text(json, "name"),
        address: json.get("address").and_then(address),
        local: truth(json, "local"),
    })
}

fn address(json: &Value) -> Option<String> {
    if let Some(address) = json.as_str() {
        return Some(address.to_owned());
    }
    let host = present(json, "hostName")?;
    Some(match json.get("port").and_then(Value::as_u64) {
        Some(port) => format!("{host}:{port}"),
        None => host,
    })
}

pub(crate) fn lock(json: &Value) -> Option<Lock> {
    Some(Lock {
        unlock_token: present(json, "unlockToken")?.into(),
        owner: json.get("owner").and_then(owner),
    })
}

/// The lock of a broken answer whose token arrived whole: an instance whose token is unknown stays locked.
pub(crate) fn lock_of_fragment(fragment: &str) -> Option<Lock> {
    Some(Lock {
        unlock_token: field_of_fragment(fragment, "unlockToken")?.into(),
        owner: None,
    })
}

fn owner(json: &Value) -> Option<LockOwner> {
    Some(LockOwner {
        name: present(json, "name")?,
        display_name: text(json, "displayName"),
    })
}

pub(crate) fn backup_task(json: &Value) -> Option<BackupTask> {
    Some(BackupTask {
        id: text(json, "id"),
        cancel_token: present(json, "cancelToken")?.into(),
        progress: progress(json.get("progress")),
        state: TaskState::from(text(json, "state").as_str()),
    })
}

/// The task of a broken answer whose token arrived whole.
pub(crate) fn backup_task_of_fragment(fragment: &str) -> Option<BackupTask> {
    Some(BackupTask {
        id: field_of_fragment(fragment, "id")
            .unwrap_or_default()
            .to_owned(),
        cancel_token: field_of_fragment(fragment, "cancelToken")?.into(),
        progress: progress(None),
        state: TaskState::Unknown(String::new()),
    })
}

pub(crate) fn maintenance(json: &Value) -> Option<MaintenanceStatus> {
    json.as_object()?;
    Some(MaintenanceStatus {
        task: json.get("task").filter(|task| task.is_object()).map(task),
        database: LatchState::from(text(json, "db-state").as_str()),
        scm: LatchState::from(text(json, "scm-state").as_str()),
    })
}

fn task(json: &Value) -> Task {
    Task {
        id: text(json, "id"),
        kind: TaskKind::from(text(json, "type").as_str()),
        state: TaskState::from(text(json, "state").as_str()),
        progress: progress(json.get("progress")),
    }
}

fn progress(json: Option<&Value>) -> Progress {
    let json = json.unwrap_or(&Value::Null);
    Progress {
        message: text(json, "message"),
        percentage: json
            .get("percentage")
            .and_then(Value::as_f64)
            .map_or(Percentage::ZERO, percentage),
    }
}

#[expect(
    clippy::cast_possible_truncation,
    clippy::cast_sign_loss,
    reason = "clamped to 0..=100 before"
)]
fn percentage(number: f64) -> Percentage {
    Percentage::new(number.clamp(0.0, 100.0) as u8).unwrap_or(Percentage::COMPLETE)
}

/// A string or a number as text, empty if there is neither.
fn text(json: &Value, key: &str) -> String {
    match json.get(key) {
        Some(Value::String(text)) => text.clone(),
        Some(Value::Number(number)) => number.to_string(),
        _ => String::new(),
    }
}

fn present(json: &Value, key: &str) -> Option<String> {
    Some(text(json, key)).filter(|text| !text.is_empty())
}

fn truth(json: &Value, key: &str) -> bool {
    json.get(key).and_then(Value::as_bool).unwrap_or_default()
}

/// The value of a string field in a document that may have been cut off, if its end is there.
fn field_of_fragment<'a>(fragment: &'a str, key: &str) -> Option<&'a str> {
    let quoted = format!("\"{key}\"");
    let rest = &fragment[fragment.find(&quoted)? + quoted.len()..];
    let rest = rest.trim_start().strip_prefix(':')?.trim_start();
    let value = rest.strip_prefix('"')?;
    let value = &value[..value.find('"')?];
    (!value.is_empty() && !value.contains('\\')).then_some(value)
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    #[test]
    fn a_token_is_saved_from_half_an_answer() {
        let lock = lock_of_fragment(r#"{"unlockToken": "abc123","owner":{"displ"#).unwrap();
        assert_eq!(lock.unlock_token.expose(), "abc123");
        let task = backup_task_of_fragment(r#"{"id":"7","cancelToken":"c1","pro"#).unwrap();
        assert_eq!((task.id.as_str(), task.cancel_token.expose()), ("7", "c1"));
    }

    #[test]
    fn half_a_token_is_no_token() {
        for fragment in [
            "",
            r#"{"unlockTok"#,
            r#"{"unlockToken":"abc1"#,
            r#"{"unlockToken":"""#,
        ] {
            assert!(lock_of_fragment(fragment).is_none(), "{fragment}");
        }
    }

    #[test]
    fn strange_percentages_are_clamped() {
        for (number, percent) in [(json!(-5), 0), (json!(42.9), 42), (json!(1e300), 100)] {
            let progress = progress(Some(&json!({ "percentage": number })));
            assert_eq!(progress.percentage.get(), percent);
        }
    }

    #[test]
    fn numbers_are_accepted_where_text_is_documented() {
        let json = json!({"version": "9.4", "buildNumber": 9_004_000});
        let properties = application_properties(&json, None).unwrap();
        assert_eq!(properties.build_number, "9004000");
    }
}
