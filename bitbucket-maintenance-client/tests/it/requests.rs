//! What each call sends.

use bitbucket_maintenance_client::{LockState, Percentage};
use mockito::{Matcher, Mock, Server, ServerGuard};

use crate::support::{CANCEL, UNLOCK, builder, cancel_token, client, unlock_token};

const BASIC: &str = "Basic YmFja3VwOkhvcnNlICJzdGFwbGUiICsmPQ==";

async fn server() -> ServerGuard {
    Server::new_async().await
}

fn with_login(mock: Mock) -> Mock {
    mock.match_header("authorization", BASIC)
}

fn without_login(mock: Mock) -> Mock {
    mock.match_header("authorization", Matcher::Missing)
}

fn mutating(mock: Mock) -> Mock {
    mock.match_header("content-type", "application/json")
        .match_header("x-atlassian-token", "no-check")
        .match_header("accept", "application/json")
        .match_body("")
}

fn reading(mock: Mock) -> Mock {
    mock.match_header("accept", "application/json")
        .match_header("x-atlassian-token", Matcher::Missing)
}

fn query(pairs: &[(&str, &str)]) -> Matcher {
    Matcher::AllOf(
        pairs
            .iter()
            .map(|(name, value)| Matcher::UrlEncoded((*name).into(), (*value).into()))
            .collect(),
    )
}

#[tokio::test]
async fn the_status_is_read_without_a_login() {
    let mut server = server().await;
    let mock = without_login(reading(server.mock("GET", "/status")))
        .with_body(r#"{"state":"RUNNING"}"#)
        .create_async()
        .await;
    client(&server.url()).server_status().await.unwrap();
    mock.assert_async().await;
}

#[tokio::test]
async fn the_application_properties_are_read_with_the_login() {
    let mut server = server().await;
    let path = "/rest/api/latest/application-properties";
    let mock = with_login(reading(server.mock("GET", path)))
        .with_body(r#"{"version":"8.19.4"}"#)
        .create_async()
        .await;
    let client = client(&server.url());
    client.application_properties().await.unwrap();
    mock.assert_async().await;
}

#[tokio::test]
async fn the_cluster_is_read_with_the_login() {
    let mut server = server().await;
    let mock = with_login(reading(
        server.mock("GET", "/rest/api/latest/admin/cluster"),
    ))
    .with_body(r#"{"nodes":[]}"#)
    .create_async()
    .await;
    client(&server.url()).cluster().await.unwrap();
    mock.assert_async().await;
}

#[tokio::test]
async fn a_lock_is_posted_with_the_login_and_an_empty_body() {
    let mut server = server().await;
    let mock = with_login(mutating(server.mock("POST", "/mvc/maintenance/lock")))
        .match_header("content-length", "0")
        .with_status(202)
        .with_body(format!(r#"{{"unlockToken":"{UNLOCK}"}}"#))
        .create_async()
        .await;
    client(&server.url()).lock().await.unwrap();
    mock.assert_async().await;
}

#[tokio::test]
async fn the_lock_is_read_without_a_login() {
    let mut server = server().await;
    let mock = without_login(reading(server.mock("GET", "/mvc/maintenance/lock")))
        .with_status(404)
        .create_async()
        .await;
    let state = client(&server.url()).lock_state().await.unwrap();
    assert_eq!(state, LockState::Free);
    mock.assert_async().await;
}

#[tokio::test]
async fn a_backup_is_started_with_login_and_token() {
    let mut server = server().await;
    let mock = with_login(mutating(server.mock("POST", "/mvc/admin/backups")))
        .match_query(Matcher::Exact("external=true".into()))
        .match_header("x-atlassian-maintenance-token", UNLOCK)
        .with_status(202)
        .with_body(format!(r#"{{"cancelToken":"{CANCEL}"}}"#))
        .create_async()
        .await;
    let client = client(&server.url());
    client.start_backup(&unlock_token()).await.unwrap();
    mock.assert_async().await;
}

#[tokio::test]
async fn the_maintenance_is_read_with_login_and_token() {
    let mut server = server().await;
    let mock = with_login(reading(server.mock("GET", "/mvc/maintenance")))
        .match_header("x-atlassian-maintenance-token", UNLOCK)
        .with_body("{}")
        .create_async()
        .await;
    let client = client(&server.url());
    client.maintenance(&unlock_token()).await.unwrap();
    mock.assert_async().await;
}

#[tokio::test]
async fn progress_is_reported_with_the_token_alone() {
    let mut server = server().await;
    let path = "/mvc/admin/backups/progress/client";
    let mock = without_login(mutating(server.mock("POST", path)))
        .match_query(query(&[("token", UNLOCK), ("percentage", "100")]))
        .with_status(202)
        .create_async()
        .await;
    client(&server.url())
        .report_progress(&unlock_token(), Percentage::COMPLETE)
        .await
        .unwrap();
    mock.assert_async().await;
}

#[tokio::test]
async fn a_task_is_cancelled_with_the_token_alone() {
    let mut server = server().await;
    let mock = without_login(mutating(server.mock("POST", "/mvc/maintenance")))
        .match_query(query(&[("token", CANCEL)]))
        .with_status(204)
        .create_async()
        .await;
    client(&server.url()).cancel(&cancel_token()).await.unwrap();
    mock.assert_async().await;
}

#[tokio::test]
async fn an_instance_is_unlocked_with_the_token_alone() {
    let mut server = server().await;
    let mock = without_login(mutating(server.mock("DELETE", "/mvc/maintenance/lock")))
        .match_query(query(&[("token", UNLOCK)]))
        .with_status(202)
        .create_async()
        .await;
    client(&server.url()).unlock(&unlock_token()).await.unwrap();
    mock.assert_async().await;
}

#[tokio::test]
async fn tokens_are_percent_encoded() {
    let mut server = server().await;
    let mock = server
        .mock("DELETE", "/mvc/maintenance/lock")
        .match_query(Matcher::Exact("token=a%26b%3D%2B%2F%23%25".into()))
        .with_status(202)
        .create_async()
        .await;
    let client = client(&server.url());
    client.unlock(&"a&b=+/#%".into()).await.unwrap();
    mock.assert_async().await;
}

#[tokio::test]
async fn the_context_path_is_kept_with_and_without_a_slash() {
    let mut server = server().await;
    let mock = server
        .mock("GET", "/deep/bitbucket/status")
        .with_body(r#"{"state":"RUNNING"}"#)
        .expect(2)
        .create_async()
        .await;
    for end in ["", "/"] {
        let url = format!("{}/deep/bitbucket{end}", server.url());
        client(&url).server_status().await.unwrap();
    }
    mock.assert_async().await;
}

#[tokio::test]
async fn the_client_says_its_name() {
    let mut server = server().await;
    let mock = server
        .mock("GET", "/status")
        .match_header("user-agent", "acme-backup/7")
        .with_body(r#"{"state":"RUNNING"}"#)
        .create_async()
        .await;
    let client = builder(&server.url()).user_agent("acme-backup/7").build();
    client.unwrap().server_status().await.unwrap();
    mock.assert_async().await;
}
