//! HTTPS with a certificate authority of one's own.

use std::error::Error as _;
use std::io::{Read as _, Write as _};
use std::net::{SocketAddr, TcpListener};
use std::sync::Arc;

use bitbucket_maintenance_client::{ErrorKind, ServerState};
use rcgen::{BasicConstraints, CertificateParams, CertifiedIssuer, IsCa, KeyPair};
use rustls::pki_types::{PrivateKeyDer, PrivatePkcs8KeyDer};
use rustls::{ServerConfig, ServerConnection, StreamOwned};
use tempfile::NamedTempFile;

use crate::support::builder;

/// An HTTPS server for `name`, and the file with the certificate of its authority.
struct SecureServer {
    address: SocketAddr,
    ca_file: NamedTempFile,
}

fn start(name: &str) -> SecureServer {
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

    let provider = Arc::new(rustls::crypto::ring::default_provider());
    let key = PrivateKeyDer::from(PrivatePkcs8KeyDer::from(key.serialize_der()));
    let config = ServerConfig::builder_with_provider(provider)
        .with_safe_default_protocol_versions()
        .unwrap()
        .with_no_client_auth()
        .with_single_cert(vec![certificate.der().clone()], key)
        .unwrap();
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let address = listener.local_addr().unwrap();
    std::thread::spawn(move || serve(&listener, &Arc::new(config)));
    SecureServer { address, ca_file }
}

/// Ends with the process: nobody waits for another connection.
fn serve(listener: &TcpListener, config: &Arc<ServerConfig>) {
    while let Ok((socket, _)) = listener.accept() {
        let connection = ServerConnection::new(Arc::clone(config)).unwrap();
        let mut stream = StreamOwned::new(connection, socket);
        let mut request = [0; 4096];
        // Fails if the client does not trust us.
        if stream.read(&mut request).is_ok() {
            let answer = "HTTP/1.1 200 OK\r\nContent-Length: 19\r\n\r\n{\"state\":\"RUNNING\"}";
            stream.write_all(answer.as_bytes()).unwrap();
            stream.conn.send_close_notify();
            stream.flush().unwrap();
        }
    }
}

#[tokio::test]
async fn a_certificate_of_the_ca_file_is_trusted() {
    let server = start("127.0.0.1");
    let client = builder(&format!("https://{}", server.address))
        .ca_file(server.ca_file.path())
        .build()
        .unwrap();
    assert_eq!(client.server_status().await.unwrap(), ServerState::Running);
}

#[tokio::test]
async fn a_certificate_of_an_unknown_authority_is_refused() {
    let (server, other) = (start("127.0.0.1"), start("127.0.0.1"));
    let client = builder(&format!("https://{}", server.address))
        .ca_file(other.ca_file.path())
        .build()
        .unwrap();
    let error = client.lock().await.unwrap_err();
    assert_eq!(error.kind(), ErrorKind::Tls, "{error:?}");
    assert!(!error.is_transient() && !error.may_have_reached_server());
    assert!(error.source().is_some());
    assert!(error.hint().unwrap().contains("ca-file"));
}

#[tokio::test]
async fn a_certificate_for_another_name_is_refused() {
    let server = start("elsewhere.example");
    let client = builder(&format!("https://{}", server.address))
        .ca_file(server.ca_file.path())
        .build()
        .unwrap();
    let error = client.server_status().await.unwrap_err();
    assert_eq!(error.kind(), ErrorKind::Tls, "{error:?}");
}

#[tokio::test]
async fn a_port_that_speaks_plain_http_is_a_tls_error() {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let address = listener.local_addr().unwrap();
    std::thread::spawn(move || {
        let (mut socket, _) = listener.accept().unwrap();
        let mut hello = [0; 4096];
        assert!(socket.read(&mut hello).unwrap() > 0);
        socket
            .write_all(b"HTTP/1.1 400 Bad Request\r\n\r\n")
            .unwrap();
    });
    let ca = start("127.0.0.1");
    let client = builder(&format!("https://{address}"))
        .ca_file(ca.ca_file.path())
        .build()
        .unwrap();
    let error = client.server_status().await.unwrap_err();
    assert_eq!(error.kind(), ErrorKind::Tls, "{error:?}");
}
