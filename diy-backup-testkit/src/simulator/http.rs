//! Connections: read a request, let a fault strike or the instance answer.

use std::convert::Infallible;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Instant;

use http_body_util::BodyExt;
use hyper::body::Incoming;
use hyper::header::AUTHORIZATION;
use hyper::server::conn::http1;
use hyper::service::service_fn;
use hyper::{Request, Response};
use hyper_util::rt::TokioIo;
use serde_json::json;
use tokio::net::{TcpListener, TcpStream};

use super::answer::{Answer, AnswerBody, BrokenOff};
use super::core::{Core, locked};
use super::fault::{CallKind, Fault, FaultBody, FaultKind, When};
use super::record::RecordedRequest;
use super::routes::{self, Call};

/// Accepts connections until the runtime ends.
pub(super) async fn listen(listener: TcpListener, core: Arc<Core>) {
    loop {
        // A connection that was gone before it was accepted is nobody's business.
        if let Ok((stream, _)) = listener.accept().await {
            tokio::spawn(serve(stream, Arc::clone(&core)));
        }
    }
}

/// Serves one connection. A second handle to the socket outlives the server's own, because only the last one to be
/// closed can make the close a reset.
async fn serve(stream: TcpStream, core: Arc<Core>) {
    let Ok((stream, twin)) = twins(stream) else {
        return;
    };
    let reset = Arc::new(AtomicBool::new(false));
    let service = service_fn(|request| handle(request, Arc::clone(&core), Arc::clone(&reset)));
    let connection = http1::Builder::new().serve_connection(TokioIo::new(stream), service);
    // What breaks a connection is a fault on purpose, or the client's business.
    let _ = connection.await;
    if reset.load(Ordering::SeqCst) {
        // Were the socket gone already, there would be nothing to reset.
        let _ = twin.set_zero_linger();
    }
}

fn twins(stream: TcpStream) -> std::io::Result<(TcpStream, TcpStream)> {
    let stream = stream.into_std()?;
    let twin = stream.try_clone()?;
    Ok((TcpStream::from_std(stream)?, TcpStream::from_std(twin)?))
}

async fn handle(
    request: Request<Incoming>,
    core: Arc<Core>,
    reset: Arc<AtomicBool>,
) -> Result<Response<AnswerBody>, BrokenOff> {
    let (head, body) = request.into_parts();
    let full_path = head.uri.path().to_owned();
    if body.collect().await.is_err() {
        return Err(BrokenOff);
    }
    let path = full_path
        .strip_prefix(core.settings.context_path.as_str())
        .filter(|path| path.starts_with('/'))
        .map(str::to_owned);
    let kind = path.as_deref().map_or(CallKind::Any, |path| {
        CallKind::of(head.method.as_str(), path)
    });
    let call = Call {
        kind,
        method: head.method.as_str().to_owned(),
        path,
        query: head.uri.query().map(str::to_owned),
        headers: head.headers,
    };
    let number = locked(&core.requests).note(RecordedRequest {
        at: Instant::now(),
        call: kind,
        method: call.method.clone(),
        path: full_path,
        query: call.query.clone(),
        authorized: call.headers.contains_key(AUTHORIZATION),
        status: None,
        took: None,
    });
    core.announce();
    let fault = locked(&core.faults).strike(kind);
    let answered = match fault {
        None => Ok(process(&core, call).await.whole()),
        Some(fault) => strike(&core, call, fault, &reset).await,
    };
    if let Ok(response) = &answered {
        locked(&core.requests).note_answer(number, response.status().as_u16());
    }
    core.announce();
    answered
}

/// Lets the instance work in a task of its own: it goes on when the client goes away.
async fn process(core: &Arc<Core>, call: Call) -> Answer {
    let working = tokio::spawn(routes::answer(Arc::clone(core), call));
    working
        .await
        .unwrap_or_else(|_| Answer::html(500, "Internal Server Error"))
}

async fn strike(
    core: &Arc<Core>,
    call: Call,
    fault: Fault,
    reset: &AtomicBool,
) -> Result<Response<AnswerBody>, BrokenOff> {
    let true_answer = match fault.when {
        When::Before => None,
        When::After => Some(process(core, call).await),
    };
    let true_status = true_answer.as_ref().map_or(200, |answer| answer.status);
    let answer = match fault.kind {
        FaultKind::Status { status, body } => match body {
            FaultBody::Json => Answer::errors(status, "A fault on purpose.", "FaultException"),
            FaultBody::Html => Answer::html(status, "A fault on purpose"),
            FaultBody::GatewayJson => Answer::json(
                status,
                &json!({ "message": "no Route matched with those values" }),
            ),
            FaultBody::Empty => Answer::empty(status),
        },
        FaultKind::RetryAfter { status, pause } => {
            Answer::html(status, "Too many requests").with_header("Retry-After", pause.value())
        }
        FaultKind::LoginRedirect => Answer::redirect_to_login(&core.settings.context_path),
        FaultKind::MalformedJson => Answer::malformed(true_status),
        FaultKind::HtmlOk => Answer::html(200, "A page of the proxy"),
        FaultKind::HalfBody => {
            let whole = true_answer.unwrap_or_else(|| Answer::json(200, &json!({})));
            return Ok(whole.halved());
        }
        FaultKind::Hang => never().await,
        FaultKind::Stall(duration) => {
            tokio::time::sleep(duration).await;
            return Err(BrokenOff);
        }
        FaultKind::Reset => {
            reset.store(true, Ordering::SeqCst);
            return Err(BrokenOff);
        }
    };
    Ok(answer.whole())
}

async fn never() -> Answer {
    let nothing: Infallible = std::future::pending().await;
    match nothing {}
}
