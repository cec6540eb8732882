//! The plainest HTTP client there is: what is sent is what the test wrote, and nothing is retried or followed.

use std::io::{Read, Write};
use std::net::TcpStream;
use std::time::Duration;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use diy_backup_testkit::Simulator;
use serde_json::Value;

pub(crate) struct Reply {
    pub(crate) status: u16,
    pub(crate) head: String,
    pub(crate) body: String,
}

impl Reply {
    pub(crate) fn json(&self) -> Value {
        serde_json::from_str(&self.body).expect("JSON")
    }

    pub(crate) fn text(&self, name: &str) -> String {
        self.json()[name].as_str().expect("a string").to_owned()
    }

    pub(crate) fn exception(&self) -> String {
        self.json()["errors"][0]["exceptionName"]
            .as_str()
            .expect("the errors form")
            .to_owned()
    }
}

pub(crate) struct Request<'a> {
    simulator: &'a Simulator,
    head: String,
}

pub(crate) fn request<'a>(simulator: &'a Simulator, method: &str, path: &str) -> Request<'a> {
    let url = simulator.base_url();
    let (_, rest) = url.split_once("://").expect("a scheme");
    let (host, context) = rest
        .split_once('/')
        .map_or((rest, String::new()), |(h, c)| (h, format!("/{c}")));
    Request {
        simulator,
        head: format!("{method} {context}{path} HTTP/1.1\r\nHost: {host}\r\nConnection: close\r\n"),
    }
}

impl Request<'_> {
    pub(crate) fn header(mut self, name: &str, value: &str) -> Self {
        self.head.extend([name, ": ", value, "\r\n"]);
        self
    }

    pub(crate) fn json(self) -> Self {
        self.header("Content-Type", "application/json")
    }

    pub(crate) fn basic(self, name: &str, password: &str) -> Self {
        let credentials = STANDARD.encode(format!("{name}:{password}"));
        self.header("Authorization", &format!("Basic {credentials}"))
    }

    pub(crate) fn administrator(self) -> Self {
        let simulator = self.simulator;
        self.basic(simulator.username(), simulator.password())
    }

    pub(crate) fn token_header(self, token: &str) -> Self {
        self.header("X-Atlassian-Maintenance-Token", token)
    }

    /// Sends the request and reads nothing.
    pub(crate) fn send_only(self) -> TcpStream {
        let url = self.simulator.base_url();
        let host = url.split('/').nth(2).expect("a host");
        let mut stream = TcpStream::connect(host).expect("the simulator listens");
        stream
            .set_read_timeout(Some(Duration::from_mins(1)))
            .expect("a socket");
        let message = format!("{}Content-Length: 0\r\n\r\n", self.head);
        stream.write_all(message.as_bytes()).expect("it reads");
        stream
    }

    /// What came back until the connection ended, and how it ended.
    pub(crate) fn send_raw(self) -> (Vec<u8>, std::io::Result<()>) {
        let mut stream = self.send_only();
        let mut received = Vec::new();
        let ended = stream.read_to_end(&mut received).map(drop);
        (received, ended)
    }

    pub(crate) fn send(self) -> Reply {
        let (received, ended) = self.send_raw();
        ended.expect("an answer");
        let text = String::from_utf8(received).expect("text");
        let (head, body) = text.split_once("\r\n\r\n").expect("a head");
        let status = head[9..12].parse().expect("a status");
        Reply {
            status,
            head: head.to_ascii_lowercase(),
            body: body.to_owned(),
        }
    }
}

pub(crate) fn lock(simulator: &Simulator) -> Reply {
    request(simulator, "POST", "/mvc/maintenance/lock")
        .administrator()
        .json()
        .send()
}

pub(crate) fn start_backup(simulator: &Simulator, token: &str) -> Reply {
    request(simulator, "POST", "/mvc/admin/backups?external=true")
        .administrator()
        .json()
        .token_header(token)
        .send()
}

pub(crate) fn state(simulator: &Simulator, token: &str) -> Reply {
    request(simulator, "GET", "/mvc/maintenance")
        .token_header(token)
        .send()
}

pub(crate) fn progress(simulator: &Simulator, token: &str, percentage: &str) -> Reply {
    let path = format!("/mvc/admin/backups/progress/client?token={token}&percentage={percentage}");
    request(simulator, "POST", &path).json().send()
}

pub(crate) fn cancel(simulator: &Simulator, token: &str) -> Reply {
    let path = format!("/mvc/maintenance?token={token}");
    request(simulator, "POST", &path).json().send()
}

pub(crate) fn unlock(simulator: &Simulator, token: &str) -> Reply {
    let path = format!("/mvc/maintenance/lock?token={token}");
    request(simulator, "DELETE", &path).json().send()
}
