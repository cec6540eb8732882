use std::fmt::Debug;
use std::io;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use bitbucket_maintenance_client::{
    CancelToken, Client, Credentials, Error, LockState, Percentage, ProxyUse, RetryPolicy,
    UnlockToken,
};
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::{TcpListener, TcpStream};
use tokio::runtime::Runtime;

use super::check_line;

const UNLOCK: &str = "0123456789abcdef0123456789abcdef01234567";
const CANCEL: &str = "fedcba9876543210fedcba9876543210fedcba98";
const PASSWORD: &str = "correct horse &= battery";

/// The longest part of an answer that an error may keep, in bytes.
const LONGEST_EXCERPT: usize = 2048;

/// What a server answers to every call, from behind `HTTP/1.1 ` on: status, headers, body.
pub fn answers(data: &[u8]) {
    thread_local! {
        static BENCH: Bench = Bench::start().unwrap_or_else(|error| panic!("{error}"));
    }
    BENCH.with(|bench| bench.run(data));
}

/// A client and a server for it, on one thread.
struct Bench {
    runtime: Runtime,
    client: Client,
    answer: Arc<Mutex<Vec<u8>>>,
}

impl Bench {
    fn start() -> io::Result<Self> {
        let runtime = tokio::runtime::Builder::new_current_thread()
            .enable_all()
            .build()?;
        let listener = runtime.block_on(TcpListener::bind("127.0.0.1:0"))?;
        let client = Client::builder(&format!("http://{}/bitbucket", listener.local_addr()?))
            .proxy(ProxyUse::Direct)
            .credentials(Credentials::basic("backup", PASSWORD.into()))
            .retry(RetryPolicy::none())
            .request_timeout(Duration::from_secs(10))
            .build()
            .map_err(io::Error::other)?;
        let answer = Arc::new(Mutex::new(Vec::new()));
        runtime.spawn(serve(listener, Arc::clone(&answer)));
        Ok(Self {
            runtime,
            client,
            answer,
        })
    }

    fn run(&self, data: &[u8]) {
        let answer = [b"HTTP/1.1 ", data].concat();
        *self.answer.lock().unwrap_or_else(PoisonError::into_inner) = answer;
        self.runtime.block_on(call_all(&self.client, data));
    }
}

/// Gives the answer to every request.
async fn serve(listener: TcpListener, answer: Arc<Mutex<Vec<u8>>>) {
    while let Ok((mut stream, _)) = listener.accept().await {
        if read_request(&mut stream).await.is_err() {
            continue;
        }
        let bytes = answer
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
            .clone();
        // A client that has read enough hangs up.
        let _ = stream.write_all(&bytes).await;
        let _ = stream.shutdown().await;
    }
}

async fn read_request(stream: &mut TcpStream) -> io::Result<()> {
    let mut request = Vec::new();
    let mut chunk = [0; 1024];
    while !request.ends_with(b"\r\n\r\n") {
        match stream.read(&mut chunk).await? {
            0 => return Err(io::ErrorKind::UnexpectedEof.into()),
            length => request.extend_from_slice(&chunk[..length]),
        }
    }
    Ok(())
}

async fn call_all(client: &Client, data: &[u8]) {
    let (unlock, cancel) = (UnlockToken::from(UNLOCK), CancelToken::from(CANCEL));
    check(client.server_status().await);
    check(client.application_properties().await);
    check(client.cluster().await);
    if let Some(lock) = check(client.lock().await) {
        assert!(!lock.unlock_token.expose().is_empty());
    }
    if let Some(LockState::Free) = check(client.lock_state().await) {
        assert!(contains(data, b"404"), "taken for free without a 404");
    }
    if let Some(task) = check(client.start_backup(&unlock).await) {
        assert!(!task.cancel_token.expose().is_empty());
    }
    if let Some(None) = check(client.maintenance(&unlock).await) {
        assert!(contains(data, b"404"), "taken for idle without a 404");
    }
    check(client.report_progress(&unlock, Percentage::COMPLETE).await);
    check(client.cancel(&cancel).await);
    check(client.unlock(&unlock).await);
}

/// Fails when a result shows a secret of ours, or more of the answer than it may.
fn check<T: Debug>(result: Result<T, Error>) -> Option<T> {
    match result {
        Ok(answer) => {
            check_silence(&format!("{answer:?}"));
            Some(answer)
        }
        Err(error) => {
            let hint = error.hint();
            let chain = diy_backup_core::error_chain(&error);
            check_line(&chain);
            check_silence(&format!("{chain} {error:?} {hint:?}"));
            let excerpt = error.body_excerpt().unwrap_or_default();
            assert!(excerpt.len() <= LONGEST_EXCERPT);
            assert!(!excerpt.contains(char::is_control));
            None
        }
    }
}

fn check_silence(text: &str) {
    for secret in [UNLOCK, CANCEL, PASSWORD] {
        assert!(!text.contains(secret), "a secret is shown: {text}");
    }
}

fn contains(data: &[u8], word: &[u8]) -> bool {
    data.windows(word.len()).any(|window| window == word)
}
