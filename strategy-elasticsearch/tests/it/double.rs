//! A server that answers as it is told, and keeps what it was asked: for other products, releases and faults.

use std::io::{BufRead, BufReader, Read, Write};
use std::net::{SocketAddr, TcpListener, TcpStream};
use std::sync::{Arc, Mutex};

use rcgen::{BasicConstraints, CertificateParams, CertifiedIssuer, IsCa, KeyPair};
use rustls::pki_types::{PrivateKeyDer, PrivatePkcs8KeyDer};
use rustls::{ServerConfig, ServerConnection, StreamOwned};
use serde_json::{Value, json};
use tempfile::NamedTempFile;

/// What was asked.
#[derive(Debug, Clone)]
pub(crate) struct Asked {
    pub(crate) method: String,
    /// Path and query, as they were sent.
    pub(crate) target: String,
    /// Names in lower case.
    pub(crate) headers: Vec<(String, String)>,
    pub(crate) body: String,
}

impl Asked {
    pub(crate) fn header(&self, name: &str) -> Option<&str> {
        let found = self.headers.iter().find(|(header, _)| header == name);
        found.map(|(_, value)| value.as_str())
    }

    pub(crate) fn path(&self) -> &str {
        self.target.split('?').next().unwrap()
    }

    /// Method and path, as the tables of a test name them.
    pub(crate) fn call(&self) -> String {
        format!("{} {}", self.method, self.path())
    }
}

/// What it answers.
#[derive(Debug, Clone)]
pub(crate) enum Answer {
    Json(u16, Value),
    Text(u16, &'static str),
    /// The connection ends without an answer.
    Reset,
}

type Script = dyn Fn(&Asked) -> Answer + Send + Sync;

/// A server on the loopback interface; its threads end with the process.
pub(crate) struct Double {
    address: SocketAddr,
    scheme: &'static str,
    ca_file: Option<NamedTempFile>,
    asked: Arc<Mutex<Vec<Asked>>>,
}

impl Double {
    pub(crate) fn start(script: impl Fn(&Asked) -> Answer + Send + Sync + 'static) -> Self {
        Self::with_tls(None, Arc::new(script))
    }

    /// HTTPS, with a certificate for `name` of an authority of its own.
    pub(crate) fn secure(
        name: &str,
        script: impl Fn(&Asked) -> Answer + Send + Sync + 'static,
    ) -> Self {
        Self::with_tls(Some(name), Arc::new(script))
    }

    fn with_tls(name: Option<&str>, script: Arc<Script>) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let address = listener.local_addr().unwrap();
        let asked = Arc::new(Mutex::new(Vec::new()));
        let (tls, ca_file) = name.map(certificate).unzip();
        let seen = asked.clone();
        std::thread::spawn(move || {
            while let Ok((socket, _)) = listener.accept() {
                let (script, seen, tls) = (script.clone(), seen.clone(), tls.clone());
                std::thread::spawn(move || match tls {
                    Some(tls) => {
                        let connection = ServerConnection::new(tls).unwrap();
                        serve(StreamOwned::new(connection, socket), &*script, &seen);
                    }
                    None => serve(socket, &*script, &seen),
                });
            }
        });
        Self {
            address,
            scheme: if name.is_some() { "https" } else { "http" },
            ca_file,
            asked,
        }
    }

    pub(crate) fn url(&self) -> String {
        format!("{}://{}", self.scheme, self.address)
    }

    pub(crate) fn ca_file(&self) -> &std::path::Path {
        self.ca_file.as_ref().unwrap().path()
    }

    pub(crate) fn asked(&self) -> Vec<Asked> {
        self.asked.lock().unwrap().clone()
    }

    pub(crate) fn count(&self, call: &str) -> usize {
        self.asked()
            .iter()
            .filter(|asked| asked.call() == call)
            .count()
    }

    /// The section `[elasticsearch]` of the strategy `fs`, without its header.
    pub(crate) fn section(&self) -> String {
        format!(
            "url = '{}'\nlocation = '/mnt/snapshots'\nretry-for = '2s'\n",
            self.url()
        )
    }
}

fn certificate(name: &str) -> (Arc<ServerConfig>, NamedTempFile) {
    let mut authority = CertificateParams::new(Vec::new()).unwrap();
    authority.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
    let authority = CertifiedIssuer::self_signed(authority, KeyPair::generate().unwrap()).unwrap();
    let key = KeyPair::generate().unwrap();
    let certificate = CertificateParams::new(vec![name.to_owned()])
        .unwrap()
        .signed_by(&key, &authority)
        .unwrap();
    let ca_file = NamedTempFile::new().unwrap();
    std::fs::write(ca_file.path(), authority.pem()).unwrap();
    let key = PrivateKeyDer::from(PrivatePkcs8KeyDer::from(key.serialize_der()));
    let provider = Arc::new(rustls::crypto::ring::default_provider());
    let config = ServerConfig::builder_with_provider(provider)
        .with_safe_default_protocol_versions()
        .unwrap()
        .with_no_client_auth()
        .with_single_cert(vec![certificate.der().clone()], key)
        .unwrap();
    (Arc::new(config), ca_file)
}

/// One request on each connection. A client that does not trust us ends it before there is one.
fn serve(stream: impl Read + Write, script: &Script, seen: &Mutex<Vec<Asked>>) {
    let mut stream = BufReader::new(stream);
    let Some(asked) = read(&mut stream) else {
        return;
    };
    seen.lock().unwrap().push(asked.clone());
    let (status, kind, body) = match script(&asked) {
        Answer::Json(status, body) => (status, "application/json", body.to_string()),
        Answer::Text(status, text) => (status, "text/html", text.to_owned()),
        Answer::Reset => return,
    };
    let answer = format!(
        "HTTP/1.1 {status} Answer\r\nContent-Type: {kind}\r\nX-elastic-product: Elasticsearch\r\n\
         Connection: close\r\nContent-Length: {}\r\n\r\n{body}",
        body.len()
    );
    // A client that was dropped reads no answer.
    let _ = stream.get_mut().write_all(answer.as_bytes());
    let _ = stream.get_mut().flush();
}

fn read(stream: &mut impl BufRead) -> Option<Asked> {
    let mut line = String::new();
    stream.read_line(&mut line).ok()?;
    let mut words = line.split_whitespace();
    let (method, target) = (words.next()?.to_owned(), words.next()?.to_owned());
    let mut headers = Vec::new();
    loop {
        let mut line = String::new();
        stream.read_line(&mut line).ok()?;
        let Some((name, value)) = line.trim_end().split_once(": ") else {
            break;
        };
        headers.push((name.to_lowercase(), value.to_owned()));
    }
    let length = headers.iter().find(|(name, _)| name == "content-length");
    let length = length.map_or(0, |(_, value)| value.parse().unwrap());
    let mut body = vec![0; length];
    stream.read_exact(&mut body).ok()?;
    Some(Asked {
        method,
        target,
        headers,
        body: String::from_utf8(body).unwrap(),
    })
}

/// How an Elasticsearch of a release answers that has what a backup needs and a snapshot that is done at once.
pub(crate) fn elasticsearch(number: &str, asked: &Asked) -> Answer {
    let parts: Vec<&str> = asked.path().split('/').skip(1).collect();
    let ok = |body| Answer::Json(200, body);
    match (asked.method.as_str(), parts.as_slice()) {
        ("GET", [""]) => ok(json!({
            "name": "node",
            "version": {"number": number, "build_flavor": "default", "lucene_version": "9"},
            "tagline": "You Know, for Search",
        })),
        ("GET", [_, "_settings"]) => ok(json!({
            "bitbucket-project": {"settings": {"index.uuid": "a"}},
            "bitbucket-search": {"settings": {"index.uuid": "b"}},
        })),
        ("GET", ["_snapshot", name]) => ok(json!({
            *name: {"type": "fs", "uuid": "r", "settings": {"location": "/mnt/snapshots"}},
        })),
        ("GET", ["_snapshot", _, name]) => {
            ok(json!({"snapshots": [snapshot(name, number)], "total": 1, "remaining": 0}))
        }
        ("GET", ["_cluster", "health", _]) => ok(json!({"status": "green", "timed_out": false})),
        ("GET", ["_nodes", _]) => ok(
            json!({"nodes": {"n": {"name": "node", "settings": {}, "plugins": [], "modules": []}}}),
        ),
        ("PUT" | "POST" | "DELETE", _) => ok(json!({"accepted": true, "acknowledged": true})),
        _ => Answer::Json(404, json!({"error": "no handler found", "status": 404})),
    }
}

/// A snapshot with everything in it.
pub(crate) fn snapshot(name: &str, number: &str) -> Value {
    json!({
        "snapshot": name, "uuid": "u", "repository": "bitbucket-snapshots", "version": number, "state": "SUCCESS",
        "indices": ["bitbucket-search", "bitbucket-project"], "feature_states": [], "failures": [],
        "metadata": {"taken-by": "diy-backup"},
        "shards": {"total": 2, "failed": 0, "successful": 2},
    })
}

/// A refusal, as Elasticsearch and OpenSearch put it.
pub(crate) fn refusal(status: u16, kind: &str, reason: &str) -> Answer {
    let cause = json!({"type": kind, "reason": reason});
    Answer::Json(
        status,
        json!({"error": {"root_cause": [cause], "type": kind, "reason": reason}, "status": status}),
    )
}

/// A port where nobody listens.
pub(crate) fn nobody() -> String {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let url = format!("http://{}", listener.local_addr().unwrap());
    drop(listener);
    assert!(TcpStream::connect(url.trim_start_matches("http://")).is_err());
    url
}
