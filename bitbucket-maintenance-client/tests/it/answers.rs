//! What each call makes of a good answer.

use bitbucket_maintenance_client::{
    ErrorKind, LatchState, LockState, Percentage, ServerState, TaskKind, TaskState,
};

use crate::support::{CANCEL, Deed, RawServer, UNLOCK, cancel_token, client, eager, unlock_token};

async fn answering(head: &str, body: &str) -> RawServer {
    RawServer::start(vec![Deed::answer(head, body)]).await
}

#[tokio::test]
async fn every_server_state_is_read_and_unknown_ones_are_kept() {
    for (head, word, state) in [
        ("200 OK", "RUNNING", ServerState::Running),
        ("200 OK", "MAINTENANCE", ServerState::Maintenance),
        ("200 OK", "FIRST_RUN", ServerState::FirstRun),
        ("503 Unavailable", "STARTING", ServerState::Starting),
        ("200 OK", "NEW", ServerState::Unknown("NEW".to_owned())),
    ] {
        let server = answering(head, &format!(r#"{{"state":"{word}"}}"#)).await;
        assert_eq!(client(&server.url()).server_status().await.unwrap(), state);
    }
}

#[tokio::test]
async fn a_503_that_is_not_a_state_is_an_error() {
    for body in ["<html></html>", "{}", ""] {
        let server = answering("503 Unavailable", body).await;
        let error = client(&server.url()).server_status().await.unwrap_err();
        assert_eq!(error.kind(), ErrorKind::ServerError, "{body}");
        assert!(error.is_transient());
    }
}

#[tokio::test]
async fn application_properties_name_the_user_the_server_took_us_for() {
    let body = r#"{"version":"8.19.4","buildNumber":"8019004","buildDate":"1717","displayName":"Bitbucket"}"#;
    let server = answering("200 OK\r\nX-AUSERNAME: j%C3%B6rg", body).await;
    let properties = client(&server.url())
        .application_properties()
        .await
        .unwrap();
    assert_eq!(properties.version, "8.19.4");
    assert_eq!(properties.build_number, "8019004");
    assert_eq!(properties.build_date, "1717");
    assert_eq!(properties.display_name, "Bitbucket");
    assert_eq!(properties.authenticated_user.as_deref(), Some("jörg"));
}

#[tokio::test]
async fn an_anonymous_answer_names_nobody() {
    let server = answering("200 OK", r#"{"version":"8.19.4"}"#).await;
    let properties = client(&server.url())
        .application_properties()
        .await
        .unwrap();
    assert_eq!(properties.authenticated_user, None);
}

#[tokio::test]
async fn a_cluster_has_its_nodes() {
    let node =
        r#"{"id":"a","name":"n1","address":{"hostName":"10.0.0.2","port":5701},"local":true}"#;
    let body = format!(r#"{{"localNode":{node},"nodes":[{node},{{"id":"b"}}],"running":true}}"#);
    let server = answering("200 OK", &body).await;
    let cluster = client(&server.url()).cluster().await.unwrap();
    assert!(cluster.running);
    assert_eq!(cluster.nodes.len(), 2);
    let local = cluster.local_node.unwrap();
    assert_eq!(local, cluster.nodes[0]);
    assert_eq!(local.address.as_deref(), Some("10.0.0.2:5701"));
}

#[tokio::test]
async fn a_lock_has_its_token_and_owner() {
    let body = format!(
        r#"{{"unlockToken":"{UNLOCK}","owner":{{"displayName":"Back Up","name":"backup"}}}}"#
    );
    let server = answering("202 Accepted", &body).await;
    let lock = client(&server.url()).lock().await.unwrap();
    assert_eq!(lock.unlock_token.expose(), UNLOCK);
    let owner = lock.owner.unwrap();
    assert_eq!(
        (owner.name.as_str(), owner.display_name.as_str()),
        ("backup", "Back Up")
    );
}

#[tokio::test]
async fn a_started_backup_has_its_token_and_progress() {
    let body = format!(
        r#"{{"id":"t1","progress":{{"message":"Preparing","percentage":3}},"state":"RUNNING","type":"BACKUP","cancelToken":"{CANCEL}"}}"#
    );
    let server = answering("202 Accepted", &body).await;
    let task = client(&server.url())
        .start_backup(&unlock_token())
        .await
        .unwrap();
    assert_eq!(task.id, "t1");
    assert_eq!(task.cancel_token.expose(), CANCEL);
    assert_eq!(task.progress.message, "Preparing");
    assert_eq!(task.progress.percentage.get(), 3);
    assert_eq!(task.state, TaskState::Running);
}

#[tokio::test]
async fn maintenance_has_its_task_and_latches() {
    let body = r#"{"task":{"id":"t1","progress":{"message":"m","percentage":40},"state":"FAILED","type":"BACKUP"},"db-state":"DRAINED","scm-state":"LATCHED"}"#;
    let server = answering("200 OK", body).await;
    let client = client(&server.url());
    let status = client.maintenance(&unlock_token()).await.unwrap().unwrap();
    let task = status.task.unwrap();
    assert_eq!(
        (task.kind, task.state),
        (TaskKind::Backup, TaskState::Failed)
    );
    assert_eq!(task.progress.percentage.get(), 40);
    assert_eq!(status.database, LatchState::Drained);
    assert_eq!(status.scm, LatchState::Latched);
}

#[tokio::test]
async fn a_locked_instance_may_have_no_task_and_unknown_states() {
    let body = r#"{"db-state":"AVAILABLE","scm-state":"MELTED"}"#;
    let server = answering("200 OK", body).await;
    let client = client(&server.url());
    let status = client.maintenance(&unlock_token()).await.unwrap().unwrap();
    assert_eq!(status.task, None);
    assert_eq!(status.database, LatchState::Available);
    assert_eq!(status.scm, LatchState::Unknown("MELTED".to_owned()));
    assert_eq!(status.scm.to_string(), "MELTED");
}

#[tokio::test]
async fn bitbuckets_404_means_no_maintenance_and_no_lock() {
    let json = r#"{"errors":[{"context":null,"message":"none","exceptionName":null}]}"#;
    for (head, body) in [
        ("404 Not Found", ""),
        ("404 Not Found", json),
        ("404 Not Found\r\nX-AREQUESTID: @1x2", "<html>oops</html>"),
    ] {
        let server = answering(head, body).await;
        let client = client(&server.url());
        assert_eq!(client.maintenance(&unlock_token()).await.unwrap(), None);
        assert_eq!(client.lock_state().await.unwrap(), LockState::Free);
    }
}

#[tokio::test]
async fn a_404_of_something_else_never_means_free() {
    for body in ["<html><title>404</title></html>", "default backend - 404"] {
        let server = answering("404 Not Found", body).await;
        let client = client(&server.url());
        let error = client.lock_state().await.unwrap_err();
        assert_eq!(error.kind(), ErrorKind::NotJson);
        assert!(error.is_transient());
        assert!(client.maintenance(&unlock_token()).await.is_err());
        assert!(client.unlock(&unlock_token()).await.is_err());
    }
}

#[tokio::test]
async fn a_locked_instance_is_locked_whatever_the_body_says() {
    for (head, body) in [
        ("200 OK", ""),
        ("200 OK", "{}"),
        ("200 OK", r#"{"owner":{"name":"x"}}"#),
        ("200 OK\r\nX-AREQUESTID: @1x2", "<html>locked</html>"),
    ] {
        let server = answering(head, body).await;
        let state = client(&server.url()).lock_state().await.unwrap();
        assert_eq!(state, LockState::Locked, "{head} {body}");
    }
}

#[tokio::test]
async fn a_2xx_is_enough_to_unlock_and_to_report_even_if_the_body_breaks() {
    let half = |kind: &str| {
        let head = format!("HTTP/1.1 200 OK\r\n{kind}Content-Length: 50\r\n\r\n{{\"hal");
        Deed::SendAndReset(head.into_bytes())
    };
    for kind in ["Content-Type: application/json\r\n", ""] {
        let server = RawServer::start(vec![half(kind)]).await;
        let client = client(&server.url());
        client.unlock(&unlock_token()).await.unwrap();
        let done = Percentage::COMPLETE;
        client.report_progress(&unlock_token(), done).await.unwrap();
        client.cancel(&cancel_token()).await.unwrap();
    }
}

#[tokio::test]
async fn a_page_of_a_proxy_is_not_an_unlock() {
    let page = Deed::answer("200 OK\r\nContent-Type: text/html", "<html>Sorry</html>");
    let server = RawServer::start(vec![page, Deed::answer("202 Accepted", "")]).await;
    let once = client(&server.url());
    once.with_retry(eager())
        .unlock(&unlock_token())
        .await
        .unwrap();
    assert_eq!(server.requests(), 2);
}

#[tokio::test]
async fn a_cancel_succeeds_with_a_redirect_or_a_page() {
    for head in [
        "302 Found\r\nLocation: /maintenance",
        "303 See Other\r\nLocation: http://elsewhere.example/",
        "200 OK\r\nContent-Type: text/html",
        "204 No Content",
    ] {
        let server = answering(head, "").await;
        let client = client(&server.url());
        client.cancel(&cancel_token()).await.unwrap();
        assert_eq!(server.requests(), 1, "no redirect is followed");
    }
}

#[tokio::test]
async fn a_lock_whose_answer_breaks_after_the_token_is_not_lost() {
    let text = format!(
        "HTTP/1.1 202 Accepted\r\nContent-Length: 500\r\n\r\n{{\"unlockToken\":\"{UNLOCK}\",\"own"
    );
    let server = RawServer::start(vec![Deed::Send(text.into_bytes())]).await;
    let lock = client(&server.url()).lock().await.unwrap();
    assert_eq!(lock.unlock_token.expose(), UNLOCK);
    assert!(lock.owner.is_none());
}
