//! What each call makes of a connection that fails.

use std::error::Error as _;
use std::time::Duration;

use bitbucket_maintenance_client::ErrorKind;
use tokio::net::TcpListener;

use crate::support::{Deed, RawServer, builder, client, eager, every_call};

#[tokio::test]
async fn a_refused_connection_cannot_have_reached_the_server() {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let url = format!("http://{}", listener.local_addr().unwrap());
    drop(listener);
    for (name, result) in every_call(&client(&url)).await {
        let error = result.unwrap_err();
        assert_eq!(error.kind(), ErrorKind::Connect, "{name}");
        assert!(error.is_transient() && !error.may_have_reached_server());
        assert!(error.source().is_some());
        assert_eq!(error.attempts(), 1);
        assert!(error.hint().unwrap().contains("port"));
    }
}

#[tokio::test]
async fn a_connection_that_breaks_before_the_answer_may_have_reached_the_server() {
    for deed in [Deed::Send(Vec::new()), Deed::SendAndReset(Vec::new())] {
        let server = RawServer::start(vec![deed]).await;
        for (name, result) in every_call(&client(&server.url())).await {
            let error = result.unwrap_err();
            assert_eq!(error.kind(), ErrorKind::Transport, "{name}");
            assert!(error.is_transient() && error.may_have_reached_server());
        }
    }
}

#[tokio::test]
async fn half_an_answer_is_transient() {
    let half = b"HTTP/1.1 200 OK\r\nContent-Length: 99\r\n\r\n{\"version\":".to_vec();
    let whole = Deed::answer("200 OK", r#"{"version":"9.4.1"}"#);
    let server = RawServer::start(vec![Deed::Send(half), whole]).await;
    let client = client(&server.url());
    let properties = client.with_retry(eager()).application_properties().await;
    assert_eq!(properties.unwrap().version, "9.4.1");
    assert_eq!(server.requests(), 2);
}

#[tokio::test]
async fn half_an_error_keeps_its_status() {
    let half = b"HTTP/1.1 409 Conflict\r\nContent-Length: 99\r\n\r\n{\"err".to_vec();
    let server = RawServer::start(vec![Deed::SendAndReset(half)]).await;
    let error = client(&server.url()).lock().await.unwrap_err();
    assert_eq!(error.kind(), ErrorKind::Conflict);
}

#[tokio::test]
async fn an_answer_that_does_not_come_times_out() {
    for begun in ["", "HTTP/1.1 200 OK\r\nContent-Length: 9\r\n\r\n{"] {
        let server = RawServer::start(vec![Deed::SendAndHang(begun.into())]).await;
        let client = builder(&server.url())
            .request_timeout(Duration::from_millis(300))
            .build()
            .unwrap();
        let error = client.lock().await.unwrap_err();
        assert_eq!(error.kind(), ErrorKind::Timeout, "{begun}");
        assert!(error.is_transient() && error.may_have_reached_server());
        assert!(error.hint().unwrap().contains("application log"));
    }
}

#[tokio::test]
async fn what_is_not_http_is_a_broken_connection() {
    let server = RawServer::start(vec![Deed::Send(b"SSH-2.0-x\r\n".to_vec())]).await;
    let error = client(&server.url()).server_status().await.unwrap_err();
    assert_eq!(error.kind(), ErrorKind::Transport);
}
