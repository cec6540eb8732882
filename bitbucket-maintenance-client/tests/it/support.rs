//! Clients for tests, and a server that answers with any bytes.

use std::net::SocketAddr;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

use bitbucket_maintenance_client::{
    CancelToken, Client, ClientBuilder, Credentials, Error, Percentage, ProxyUse, RetryPolicy,
    UnlockToken,
};
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::{TcpListener, TcpStream};
use tokio::task::JoinHandle;

pub(crate) const UNLOCK: &str = "0123456789abcdef0123456789abcdef01234567";
pub(crate) const CANCEL: &str = "fedcba9876543210fedcba9876543210fedcba98";
pub(crate) const PASSWORD: &str = "Horse \"staple\" +&=";

pub(crate) fn builder(url: &str) -> ClientBuilder {
    Client::builder(url)
        .proxy(ProxyUse::Direct)
        .credentials(Credentials::basic("backup", PASSWORD.into()))
        .retry(RetryPolicy::none())
}

pub(crate) fn client(url: &str) -> Client {
    builder(url).build().unwrap()
}

/// Repeats at once, for as long as a test may take.
pub(crate) fn eager() -> RetryPolicy {
    RetryPolicy::patient(Duration::from_mins(1)).with_backoff(Duration::ZERO, Duration::ZERO)
}

pub(crate) fn unlock_token() -> UnlockToken {
    UNLOCK.into()
}

pub(crate) fn cancel_token() -> CancelToken {
    CANCEL.into()
}

/// The result of every call, by the name of its method.
pub(crate) async fn every_call(client: &Client) -> Vec<(&'static str, Result<String, Error>)> {
    fn shown<T: std::fmt::Debug>(result: Result<T, Error>) -> Result<String, Error> {
        result.map(|answer| format!("{answer:?}"))
    }
    let (unlock, cancel) = (unlock_token(), cancel_token());
    let half = Percentage::new(50).unwrap();
    vec![
        ("server_status", shown(client.server_status().await)),
        (
            "application_properties",
            shown(client.application_properties().await),
        ),
        ("cluster", shown(client.cluster().await)),
        ("lock", shown(client.lock().await)),
        ("lock_state", shown(client.lock_state().await)),
        ("start_backup", shown(client.start_backup(&unlock).await)),
        ("maintenance", shown(client.maintenance(&unlock).await)),
        (
            "report_progress",
            shown(client.report_progress(&unlock, half).await),
        ),
        ("cancel", shown(client.cancel(&cancel).await)),
        ("unlock", shown(client.unlock(&unlock).await)),
    ]
}

/// What the server does with a connection after it has read the request.
#[derive(Debug, Clone)]
pub(crate) enum Deed {
    /// Sends these bytes and closes.
    Send(Vec<u8>),
    /// Sends these bytes and closes with a reset.
    SendAndReset(Vec<u8>),
    /// Sends these bytes and keeps the connection open.
    SendAndHang(Vec<u8>),
}

impl Deed {
    pub(crate) fn answer(head: &str, body: impl AsRef<[u8]>) -> Self {
        let body = body.as_ref();
        let length = body.len();
        let mut bytes =
            format!("HTTP/1.1 {head}\r\nContent-Length: {length}\r\nConnection: close\r\n\r\n")
                .into_bytes();
        bytes.extend_from_slice(body);
        Self::Send(bytes)
    }
}

/// A server that does one deed for each connection, and repeats the last one.
#[derive(Debug)]
pub(crate) struct RawServer {
    address: SocketAddr,
    requests: Arc<AtomicUsize>,
    task: JoinHandle<()>,
}

impl RawServer {
    pub(crate) async fn start(deeds: Vec<Deed>) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let address = listener.local_addr().unwrap();
        let requests = Arc::new(AtomicUsize::new(0));
        let counter = Arc::clone(&requests);
        let task = tokio::spawn(async move {
            let mut open = Vec::new();
            loop {
                let Ok((mut stream, _)) = listener.accept().await else {
                    return;
                };
                read_request(&mut stream).await;
                let served = counter.fetch_add(1, Ordering::SeqCst);
                match deeds[served.min(deeds.len() - 1)].clone() {
                    Deed::Send(bytes) => {
                        stream.write_all(&bytes).await.unwrap_or_default();
                        stream.shutdown().await.unwrap_or_default();
                    }
                    Deed::SendAndReset(bytes) => {
                        stream.write_all(&bytes).await.unwrap_or_default();
                        stream.set_zero_linger().unwrap();
                    }
                    Deed::SendAndHang(bytes) => {
                        stream.write_all(&bytes).await.unwrap_or_default();
                        open.push(stream);
                    }
                }
            }
        });
        Self {
            address,
            requests,
            task,
        }
    }

    pub(crate) fn url(&self) -> String {
        format!("http://{}", self.address)
    }

    pub(crate) fn requests(&self) -> usize {
        self.requests.load(Ordering::SeqCst)
    }
}

impl Drop for RawServer {
    fn drop(&mut self) {
        self.task.abort();
    }
}

async fn read_request(stream: &mut TcpStream) {
    let mut request = Vec::new();
    let mut chunk = [0; 1024];
    while !request.ends_with(b"\r\n\r\n") {
        match stream.read(&mut chunk).await {
            Ok(0) | Err(_) => return,
            Ok(length) => request.extend_from_slice(&chunk[..length]),
        }
    }
}
