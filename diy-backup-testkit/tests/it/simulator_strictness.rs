use std::time::Duration;

use diy_backup_testkit::Simulator;
use diy_backup_testkit::simulator::{
    BasicAuthentication, CallKind, EndedTask, ServerState, TaskState, UnlockWhileRunning,
};

use crate::http::{cancel, lock, progress, request, start_backup, state, unlock};

fn simulator() -> Simulator {
    Simulator::builder().start_blocking().expect("it starts")
}

#[test]
fn a_lock_is_answered_with_a_fresh_token_of_40_hex_digits() {
    let simulator = simulator();
    let reply = lock(&simulator);
    assert_eq!(reply.status, 202);
    assert_eq!(reply.json()["owner"]["name"], simulator.username());
    let first = reply.text("unlockToken");
    assert_eq!(first.len(), 40);
    assert!(first.bytes().all(|byte| byte.is_ascii_hexdigit()));
    assert_eq!(unlock(&simulator, &first).status, 202);
    assert_ne!(lock(&simulator).text("unlockToken"), first);
    assert_eq!(simulator.lock_count(), 2);
}

#[test]
fn a_lock_without_credentials_is_sent_to_the_login_page() {
    let simulator = Simulator::builder()
        .context_path("/bitbucket")
        .start_blocking()
        .unwrap();
    let reply = request(&simulator, "POST", "/mvc/maintenance/lock")
        .json()
        .send();
    assert_eq!(reply.status, 302);
    assert!(reply.head.contains("location: /bitbucket/login"));
    let bearer = request(&simulator, "POST", "/mvc/maintenance/lock")
        .json()
        .header("Authorization", "Bearer BBDC-token")
        .send();
    assert_eq!(bearer.status, 302);
    assert_eq!(request(&simulator, "GET", "/login").send().status, 200);
    assert!(!simulator.is_locked());
}

#[test]
fn paths_outside_the_context_path_are_not_found() {
    let simulator = Simulator::builder()
        .context_path("bitbucket/")
        .start_blocking()
        .unwrap();
    assert!(simulator.base_url().ends_with("/bitbucket"));
    assert_eq!(request(&simulator, "GET", "/status").send().status, 200);
    let outside = request(&simulator, "GET", "x/status").send();
    assert_eq!(outside.status, 404);
}

#[test]
fn wrong_passwords_end_at_a_captcha_that_the_right_one_does_not_pass() {
    let simulator = Simulator::builder()
        .credentials("backup", "right: \"pass' wörd")
        .captcha_after(2)
        .start_blocking()
        .unwrap();
    let attempt = |password: &str| {
        request(&simulator, "POST", "/mvc/maintenance/lock")
            .basic("backup", password)
            .json()
            .send()
    };
    for _ in 0..2 {
        let reply = attempt("wrong");
        assert_eq!(reply.status, 401);
        assert!(reply.exception().starts_with("com.atlassian.bitbucket."));
        assert!(!reply.exception().contains("Captcha"));
    }
    let reply = attempt("right: \"pass' wörd");
    assert_eq!(reply.status, 401);
    assert!(
        reply
            .exception()
            .ends_with("CaptchaRequiredAuthenticationException")
    );
    simulator.clear_captcha();
    assert_eq!(attempt("right: \"pass' wörd").status, 202);
}

#[test]
fn basic_authentication_can_be_disabled() {
    let simulator = Simulator::builder()
        .basic_authentication(BasicAuthentication::Disabled)
        .start_blocking()
        .unwrap();
    let reply = lock(&simulator);
    assert_eq!(reply.status, 403);
    assert!(
        reply
            .body
            .contains("Basic Authentication has been disabled")
    );
}

#[test]
fn an_ordinary_user_may_not_lock() {
    let simulator = Simulator::builder()
        .ordinary_user("jane", "doe")
        .start_blocking()
        .unwrap();
    let reply = request(&simulator, "POST", "/mvc/maintenance/lock")
        .basic("jane", "doe")
        .json()
        .send();
    assert_eq!(reply.status, 403);
    assert!(!simulator.is_locked());
}

#[test]
fn a_changing_call_needs_a_json_content_type_or_the_no_check_header() {
    let simulator = simulator();
    let bare = || request(&simulator, "POST", "/mvc/maintenance/lock").administrator();
    for refused in [
        bare().send(),
        bare().header("Content-Type", "text/plain").send(),
    ] {
        assert_eq!(refused.status, 403);
        assert_eq!(refused.body, "XSRF check failed");
        assert!(refused.head.contains("content-type: text/html"));
    }
    let excused = bare().header("X-Atlassian-Token", "no-check").send();
    assert_eq!(excused.status, 202);
}

#[test]
fn a_second_lock_is_refused() {
    let simulator = simulator();
    simulator.lock_as("somebody else").unwrap();
    let reply = lock(&simulator);
    assert_eq!(reply.status, 409);
    assert!(reply.exception().contains("LockedException"));
    assert_eq!(simulator.lock_owner().as_deref(), Some("somebody else"));
}

#[test]
fn the_lock_is_visible_without_its_token() {
    let simulator = simulator();
    let look = || request(&simulator, "GET", "/mvc/maintenance/lock").send();
    assert_eq!(look().status, 404);
    let token = lock(&simulator).text("unlockToken");
    assert_eq!(look().status, 200);
    assert!(!look().body.contains(&token));
}

#[test]
fn an_unlock_needs_the_token_of_this_lock() {
    let simulator = simulator();
    assert_eq!(unlock(&simulator, "0000").status, 404);
    let token = lock(&simulator).text("unlockToken");
    let wrong = unlock(&simulator, "0000");
    assert_eq!(wrong.status, 409);
    assert!(wrong.json()["errorTexts"][0].is_string());
    assert_eq!(unlock(&simulator, &token).status, 202);
    assert_eq!(unlock(&simulator, &token).status, 404);
    assert!(simulator.window().unwrap().unlocked.is_some());
}

#[test]
fn ordinary_calls_are_out_of_reach_during_maintenance() {
    let simulator = Simulator::builder()
        .version("9.4.1")
        .nodes(3)
        .start_blocking()
        .unwrap();
    let properties = || {
        request(&simulator, "GET", "/rest/api/latest/application-properties")
            .administrator()
            .send()
    };
    let cluster = || {
        request(&simulator, "GET", "/rest/api/latest/admin/cluster")
            .administrator()
            .send()
    };
    let status = || request(&simulator, "GET", "/status").send().text("state");
    assert_eq!(properties().text("version"), "9.4.1");
    assert_eq!(properties().text("buildNumber"), "9004001");
    assert!(properties().head.contains("x-ausername: backup"));
    assert_eq!(cluster().json()["nodes"].as_array().unwrap().len(), 3);
    assert_eq!(status(), "RUNNING");
    lock(&simulator);
    for blocked in [properties(), cluster()] {
        assert_eq!(blocked.status, 503);
        assert!(blocked.head.contains("content-type: text/html"));
    }
    assert_eq!(status(), "MAINTENANCE");
}

#[test]
fn credentials_are_checked_on_calls_that_need_none() {
    let simulator = simulator();
    let path = "/rest/api/latest/application-properties";
    let anonymous = request(&simulator, "GET", path).send();
    assert_eq!(anonymous.status, 200);
    assert!(!anonymous.head.contains("x-ausername"));
    let wrong = request(&simulator, "GET", path).basic("backup", "wrong");
    assert_eq!(wrong.send().status, 401);
    let cluster = request(&simulator, "GET", "/rest/api/latest/admin/cluster");
    assert_eq!(cluster.send().status, 401);
}

#[test]
fn a_starting_instance_answers_503() {
    let simulator = simulator();
    simulator.set_server_state(ServerState::Starting);
    let reply = request(&simulator, "GET", "/status").send();
    assert_eq!(
        (reply.status, reply.text("state").as_str()),
        (503, "STARTING")
    );
    assert_eq!(lock(&simulator).status, 503);
    simulator.set_server_state(ServerState::FirstRun);
    let reply = request(&simulator, "GET", "/status").send();
    assert_eq!(
        (reply.status, reply.text("state").as_str()),
        (200, "FIRST_RUN")
    );
}

#[test]
fn a_backup_needs_the_lock_and_its_token() {
    let simulator = simulator();
    assert_eq!(start_backup(&simulator, "0000").status, 409);
    let token = lock(&simulator).text("unlockToken");
    assert_eq!(start_backup(&simulator, "0000").status, 409);
    let missing = request(&simulator, "POST", "/mvc/admin/backups?external=true")
        .administrator()
        .json()
        .send();
    assert_eq!(missing.status, 409);
    let internal = request(&simulator, "POST", "/mvc/admin/backups")
        .administrator()
        .json()
        .token_header(&token)
        .send();
    assert_eq!(internal.status, 400);
    let anonymous = request(&simulator, "POST", "/mvc/admin/backups?external=true")
        .json()
        .token_header(&token)
        .send();
    assert_eq!(anonymous.status, 302);
    let begun = start_backup(&simulator, &token);
    assert_eq!(begun.status, 202);
    assert_eq!(begun.text("cancelToken").len(), 40);
    assert_eq!(begun.json()["type"], "BACKUP");
    assert_eq!(start_backup(&simulator, &token).status, 409);
}

#[test]
fn another_maintenance_task_keeps_a_backup_out() {
    let simulator = simulator();
    simulator.start_migration().unwrap();
    assert_eq!(lock(&simulator).status, 409);
    simulator.cancel_from_page().unwrap();
    let token = lock(&simulator).text("unlockToken");
    simulator.start_migration().unwrap();
    assert_eq!(start_backup(&simulator, &token).status, 409);
    assert_eq!(
        state(&simulator, &token).json()["task"]["type"],
        "MIGRATION"
    );
}

#[test]
fn the_state_is_shown_to_the_holder_of_the_token_only() {
    let simulator = simulator();
    assert_eq!(state(&simulator, "0000").status, 404);
    let token = lock(&simulator).text("unlockToken");
    assert_eq!(state(&simulator, "0000").status, 302);
    let administrator = request(&simulator, "GET", "/mvc/maintenance")
        .administrator()
        .send();
    assert_eq!(administrator.status, 409);
    let shown = state(&simulator, &token).json();
    assert_eq!(shown["db-state"], "AVAILABLE");
    assert!(shown.get("task").is_none());
}

#[tokio::test]
async fn progress_goes_up_to_100_and_ends_the_task() {
    let simulator = simulator();
    let token = lock(&simulator).text("unlockToken");
    assert_eq!(progress(&simulator, &token, "0").status, 404);
    start_backup(&simulator, &token);
    simulator
        .wait_until(|simulator| simulator.latches().are_drained())
        .await
        .unwrap();
    assert_eq!(progress(&simulator, "0000", "10").status, 409);
    assert_eq!(progress(&simulator, &token, "50").status, 202);
    let task = state(&simulator, &token).json()["task"].clone();
    assert_eq!(task["progress"]["percentage"], 55);
    for refused in ["49", "101", "-1", "half", ""] {
        assert_eq!(
            progress(&simulator, &token, refused).status,
            400,
            "{refused}"
        );
    }
    assert_eq!(progress(&simulator, &token, "100").status, 202);
    let shown = state(&simulator, &token).json();
    assert_eq!(shown["task"]["state"], "SUCCESSFUL");
    assert_eq!(shown["db-state"], "AVAILABLE");
    assert_eq!(shown["scm-state"], "AVAILABLE");
    assert!(simulator.is_locked());
    assert_eq!(progress(&simulator, &token, "100").status, 404);
}

#[test]
fn a_cancelled_task_unlatches_and_the_lock_remains() {
    let simulator = Simulator::builder()
        .drain(Duration::from_hours(1))
        .start_blocking()
        .unwrap();
    let token = lock(&simulator).text("unlockToken");
    let cancel_token = start_backup(&simulator, &token).text("cancelToken");
    assert_eq!(cancel(&simulator, &token).status, 409);
    assert_eq!(progress(&simulator, &token, "100").status, 409);
    assert_eq!(cancel(&simulator, &cancel_token).status, 202);
    let shown = state(&simulator, &token).json();
    assert_eq!(shown["task"]["state"], "CANCELED");
    assert_eq!(shown["db-state"], "AVAILABLE");
    assert!(simulator.is_locked());
    assert_eq!(cancel(&simulator, &cancel_token).status, 404);
}

#[test]
fn an_ended_task_is_shown_as_long_as_configured() {
    for (shown, after_cancel, after_unlock) in [
        (EndedTask::Gone, false, 404),
        (EndedTask::UntilUnlock, true, 404),
        (EndedTask::Stays, true, 200),
    ] {
        let simulator = Simulator::builder()
            .ended_task(shown)
            .start_blocking()
            .unwrap();
        let token = lock(&simulator).text("unlockToken");
        start_backup(&simulator, &token);
        simulator.cancel_from_page().unwrap();
        let task_shown = state(&simulator, &token).json().get("task").is_some();
        assert_eq!(task_shown, after_cancel, "{shown:?}");
        unlock(&simulator, &token);
        assert_eq!(state(&simulator, &token).status, after_unlock, "{shown:?}");
    }
}

#[test]
fn an_unlock_while_a_task_runs_does_what_is_configured() {
    for (policy, status) in [
        (UnlockWhileRunning::Cancels, 202),
        (UnlockWhileRunning::Refused, 409),
    ] {
        let simulator = Simulator::builder()
            .unlock_while_running(policy)
            .start_blocking()
            .unwrap();
        let token = lock(&simulator).text("unlockToken");
        start_backup(&simulator, &token);
        assert_eq!(unlock(&simulator, &token).status, status);
        assert_eq!(simulator.is_locked(), status == 409);
    }
}

#[test]
fn every_request_is_recorded() {
    let simulator = simulator();
    let token = lock(&simulator).text("unlockToken");
    unlock(&simulator, &token);
    let requests = simulator.requests();
    assert_eq!(requests.len(), 2);
    assert_eq!(simulator.count(CallKind::Lock), 1);
    assert!(requests[0].authorized && !requests[1].authorized);
    assert_eq!(requests[1].method, "DELETE");
    assert_eq!(requests[1].path, "/mvc/maintenance/lock");
    assert_eq!(requests[1].query, Some(format!("token={token}")));
    assert_eq!(requests[1].status, Some(202));
}

#[tokio::test]
async fn a_dropped_simulator_no_longer_listens() {
    let simulator = simulator();
    let address = simulator.base_url().replace("http://", "");
    simulator.shutdown().await;
    let gone = (0..1000).any(|_| {
        std::thread::yield_now();
        std::net::TcpStream::connect(&address).is_err()
    });
    assert!(gone);
}

#[test]
fn a_slow_instance_refuses_a_backup_too_soon_after_the_lock() {
    let simulator = Simulator::builder()
        .start_delay(Duration::from_hours(1))
        .start_blocking()
        .unwrap();
    let token = lock(&simulator).text("unlockToken");
    let early = start_backup(&simulator, &token);
    assert_eq!(early.status, 409);
    assert!(early.exception().ends_with("NotLockedException"));
    assert_eq!(unlock(&simulator, &token).status, 202);
}

#[test]
fn a_slow_instance_refuses_the_unlock_until_the_task_has_ended() {
    let simulator = Simulator::builder()
        .end_delay(Duration::from_hours(1))
        .unlock_while_running(UnlockWhileRunning::Refused)
        .start_blocking()
        .unwrap();
    let token = lock(&simulator).text("unlockToken");
    let task = start_backup(&simulator, &token).text("cancelToken");
    while state(&simulator, &token).json()["db-state"] != "DRAINED" {}
    assert_eq!(progress(&simulator, &token, "100").status, 202);
    assert_eq!(cancel(&simulator, &task).status, 202);
    assert_eq!(unlock(&simulator, &token).status, 409);
    assert_eq!(simulator.task().unwrap().state, TaskState::Running);
}
