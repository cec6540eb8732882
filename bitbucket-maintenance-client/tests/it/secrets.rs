//! No secret is shown, even if the server sends it back.

use std::error::Error as _;
use std::io::{self, Write};
use std::sync::{Arc, Mutex, PoisonError};

use bitbucket_maintenance_client::{Credentials, Error};
use tracing_subscriber::fmt::MakeWriter;

use crate::support::{
    CANCEL, Deed, PASSWORD, RawServer, UNLOCK, builder, cancel_token, client, eager, every_call,
    unlock_token,
};

const ENCODED: &str = "YmFja3VwOkhvcnNlICJzdGFwbGUiICsmPQ==";

fn assert_no_secret(text: &str) {
    let json = PASSWORD.replace('"', "\\\"");
    let debugged = json.replace('\\', "\\\\");
    for secret in [UNLOCK, CANCEL, PASSWORD, ENCODED, &json, &debugged] {
        assert!(!text.contains(secret), "{secret} is in {text}");
    }
}

fn everything_about(error: &Error) -> String {
    let mut parts = vec![format!("{error} {error:?} {error:#?} {:?}", error.hint())];
    let mut next = error.source();
    while let Some(cause) = next {
        parts.push(format!("{cause} {cause:?}"));
        next = cause.source();
    }
    parts.join(" ")
}

/// What a server could send back of what it got.
fn echo() -> String {
    let password = serde_json::Value::from(format!("password {PASSWORD}"));
    format!(
        r#"{{"errors":[{{"message":"token {UNLOCK} or {CANCEL}","exceptionName":"com.{UNLOCK}"}},{{"message":{password}}},{{"message":"Basic {ENCODED}"}}]}}"#
    )
}

#[test]
fn tokens_credentials_builder_and_client_are_redacted() {
    let builder = builder("https://bitbucket.example.com");
    let text = format!(
        "{:?} {:?} {:?} {builder:?} {:?}",
        unlock_token(),
        cancel_token(),
        Credentials::basic("backup", PASSWORD.into()),
        builder.clone().build().unwrap()
    );
    assert_no_secret(&text);
    assert!(text.contains("backup"));
}

#[tokio::test]
async fn errors_mask_what_the_server_sends_back() {
    let page = format!("<html><title>{UNLOCK}</title>{PASSWORD} {ENCODED} {CANCEL}</html>");
    let redirect = format!("302 Found\r\nLocation: https://x.example/{UNLOCK}?token={UNLOCK}");
    for deed in [
        Deed::answer("409 Conflict", echo()),
        Deed::answer("500 Oops", echo()),
        Deed::answer("503 Unavailable\r\nContent-Type: text/html", &page),
        Deed::answer("200 OK\r\nContent-Type: text/html", &page),
        Deed::answer("200 OK", echo()),
        Deed::answer(&redirect, ""),
        Deed::Send(format!("HTTP/1.1 {UNLOCK}\r\n\r\n").into_bytes()),
        Deed::Send(Vec::new()),
    ] {
        let server = RawServer::start(vec![deed]).await;
        for (_, result) in every_call(&client(&server.url())).await {
            match result {
                Ok(shown) => assert_no_secret(&shown),
                Err(error) => assert_no_secret(&everything_about(&error)),
            }
        }
    }
}

#[tokio::test]
async fn a_malformed_lock_does_not_show_its_token() {
    for body in [
        "{\"unlockToken\":'secretsecret'}",
        "{\"token\":\"secretsecret\"}",
    ] {
        let server = RawServer::start(vec![Deed::answer("202 Accepted", body)]).await;
        let error = client(&server.url()).lock().await.unwrap_err();
        assert!(
            !everything_about(&error).contains("secretsecret"),
            "{error:?}"
        );
    }
}

#[derive(Debug, Clone, Default)]
struct Captured(Arc<Mutex<Vec<u8>>>);

impl Write for Captured {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        let mut captured = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        captured.extend_from_slice(bytes);
        Ok(bytes.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

impl<'a> MakeWriter<'a> for Captured {
    type Writer = Self;

    fn make_writer(&'a self) -> Self {
        self.clone()
    }
}

#[test]
fn trace_events_have_method_path_and_status_but_no_secret() {
    let captured = Captured::default();
    let subscriber = tracing_subscriber::fmt()
        .with_max_level(tracing::Level::TRACE)
        .with_ansi(false)
        .with_writer(captured.clone())
        .finish();
    // One thread, so that the events of every task come here.
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build()
        .unwrap();
    tracing::subscriber::with_default(subscriber, || {
        // A test on another thread, which has no subscriber, may be the first to reach an event and
        // thereby switch it off for all threads. Once each is known, asking anew settles it.
        runtime.block_on(every_event());
        tracing::callsite::rebuild_interest_cache();
        runtime.block_on(every_event());
    });
    let bytes = captured.0.lock().unwrap().clone();
    let text = String::from_utf8(bytes).unwrap();
    assert_no_secret(&text);
    for part in [
        "method=DELETE",
        "path=\"/bitbucket/mvc/maintenance/lock\"",
        "status=503",
        "attempt=2",
        "elapsed=",
        "repeating",
    ] {
        assert!(text.contains(part), "{part} is missing in {text}");
    }
}

/// Calls that cause all events of the client, among them a repeated one.
async fn every_event() {
    let deeds = vec![
        Deed::answer("503 Unavailable", echo()),
        Deed::answer("200 OK", echo()),
    ];
    let server = RawServer::start(deeds).await;
    let client = client(&format!("{}/bitbucket", server.url()));
    client
        .with_retry(eager())
        .unlock(&unlock_token())
        .await
        .unwrap();
    every_call(&client).await;
}
