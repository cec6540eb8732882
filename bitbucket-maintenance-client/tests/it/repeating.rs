//! Which calls are repeated, and how often.

use std::time::Duration;

use bitbucket_maintenance_client::{ErrorKind, Percentage, RetryPolicy};
use tokio::net::TcpListener;

use crate::support::{CANCEL, Deed, RawServer, UNLOCK, cancel_token, client, eager, unlock_token};

/// A deadline that a first attempt meets even on a busy machine.
const LONG_ENOUGH: Duration = Duration::from_millis(1500);

/// One failure of each transient sort.
fn failures() -> Vec<Deed> {
    vec![
        Deed::Send(Vec::new()),
        Deed::SendAndReset(Vec::new()),
        Deed::answer("500 Oops", ""),
        Deed::answer("502 Bad Gateway", "<html></html>"),
        Deed::answer("503 Unavailable", ""),
        Deed::answer("504 Timeout", ""),
        Deed::answer("429 Too Many\r\nRetry-After: 0", ""),
        Deed::answer("404 Not Found", "<html>proxy</html>"),
    ]
}

async fn failing_then(last: Deed) -> RawServer {
    let mut deeds = failures();
    deeds.push(last);
    RawServer::start(deeds).await
}

#[tokio::test]
async fn an_unlock_outlasts_every_transient_failure() {
    let server = failing_then(Deed::answer("202 Accepted", "")).await;
    let client = client(&server.url()).with_retry(eager());
    client.unlock(&unlock_token()).await.unwrap();
    assert_eq!(server.requests(), failures().len() + 1);
}

#[tokio::test]
async fn progress_and_cancel_outlast_every_transient_failure() {
    let server = failing_then(Deed::answer("202 Accepted", "")).await;
    let repeating = client(&server.url()).with_retry(eager());
    let done = Percentage::COMPLETE;
    repeating
        .report_progress(&unlock_token(), done)
        .await
        .unwrap();
    assert_eq!(server.requests(), failures().len() + 1);

    let server = failing_then(Deed::answer("302 Found\r\nLocation: /", "")).await;
    let repeating = client(&server.url()).with_retry(eager());
    repeating.cancel(&cancel_token()).await.unwrap();
    assert_eq!(server.requests(), failures().len() + 1);
}

#[tokio::test]
async fn polling_outlasts_every_transient_failure() {
    let server = failing_then(Deed::answer("200 OK", r#"{"db-state":"DRAINED"}"#)).await;
    let client = client(&server.url()).with_retry(eager());
    client.maintenance(&unlock_token()).await.unwrap().unwrap();
    assert_eq!(server.requests(), failures().len() + 1);
}

#[tokio::test]
async fn lock_and_backup_are_sent_once_whatever_fails() {
    let locked = format!(r#"{{"unlockToken":"{UNLOCK}","cancelToken":"{CANCEL}"}}"#);
    for failure in failures() {
        let second = Deed::answer("202 Accepted", &locked);
        let server = RawServer::start(vec![failure.clone(), second.clone()]).await;
        let error = client(&server.url()).with_retry(eager()).lock().await;
        assert_eq!(error.unwrap_err().attempts(), 1, "{failure:?}");
        assert_eq!(server.requests(), 1);

        let server = RawServer::start(vec![failure.clone(), second]).await;
        let client = client(&server.url()).with_retry(eager());
        let error = client.start_backup(&unlock_token()).await;
        assert_eq!(error.unwrap_err().attempts(), 1, "{failure:?}");
        assert_eq!(server.requests(), 1);
    }
}

#[tokio::test]
async fn a_refused_connection_is_repeated_even_by_lock_and_backup() {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let url = format!("http://{}", listener.local_addr().unwrap());
    drop(listener);
    let policy = RetryPolicy::patient(LONG_ENOUGH)
        .with_backoff(Duration::from_millis(1), Duration::from_millis(20));
    let (client, token) = (client(&url).with_retry(policy), unlock_token());
    let (lock, backup, unlock) = tokio::join!(
        client.lock(),
        client.start_backup(&token),
        client.unlock(&token)
    );
    for error in [lock.unwrap_err(), backup.unwrap_err(), unlock.unwrap_err()] {
        assert!(error.attempts() > 1, "{error:?}");
        assert!(error.to_string().contains("attempts]"), "{error}");
    }
}

#[tokio::test]
async fn other_server_errors_are_not_repeated() {
    let server = RawServer::start(vec![Deed::answer("501 Not Implemented", "")]).await;
    let client = client(&server.url()).with_retry(eager());
    let error = client.unlock(&unlock_token()).await.unwrap_err();
    assert_eq!(error.kind(), ErrorKind::ServerError);
    assert_eq!(server.requests(), 1);
}

async fn unlock_after_a_requested_pause(pause: &str) {
    let busy = Deed::answer(&format!("503 Busy\r\nRetry-After: {pause}"), "");
    let server = RawServer::start(vec![busy, Deed::answer("202 Accepted", "")]).await;
    let client = client(&server.url()).with_retry(RetryPolicy::patient(LONG_ENOUGH));
    client.unlock(&unlock_token()).await.unwrap();
    assert_eq!(server.requests(), 2);
}

#[tokio::test]
async fn a_requested_pause_is_cut_by_the_deadline() {
    tokio::join!(
        unlock_after_a_requested_pause("3600"),
        unlock_after_a_requested_pause("Fri, 31 Dec 9999 23:59:59 GMT")
    );
}
