//! Whom the client trusts: what the platform trusts, and on top the certificates of the CA file.

use std::path::Path;
use std::sync::Arc;

use rustls::crypto::CryptoProvider;
use rustls::pki_types::CertificateDer;
use rustls::pki_types::pem::PemObject as _;
use rustls::{ClientConfig, RootCertStore};
use rustls_platform_verifier::Verifier;

use crate::error::{Cause, Error, ErrorKind};

/// Whether the base URL asks for TLS at all.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Scheme {
    Plain,
    Tls,
}

/// The TLS configuration, with a cryptography provider of its own: a process-wide one would be a race between crates.
pub(crate) fn config(scheme: Scheme, ca_file: Option<&Path>) -> Result<ClientConfig, Error> {
    let extra = ca_file.map(read_ca_file).transpose()?.unwrap_or_default();
    let provider = Arc::new(rustls::crypto::ring::default_provider());
    let builder = ClientConfig::builder_with_provider(Arc::clone(&provider))
        .with_safe_default_protocol_versions()
        .map_err(|error| invalid("the TLS versions are unusable", &error))?;
    let mut config = match scheme {
        // Not worth reading the platform's certificates for.
        Scheme::Plain => builder
            .with_root_certificates(RootCertStore::empty())
            .with_no_client_auth(),
        Scheme::Tls => {
            let verifier = verifier(extra, provider)
                .map_err(|error| invalid("no certificate authority is trusted", &error))?;
            builder
                .dangerous()
                .with_custom_certificate_verifier(Arc::new(verifier))
                .with_no_client_auth()
        }
    };
    config.alpn_protocols = vec![b"http/1.1".to_vec()];
    Ok(config)
}

/// Fails on a machine without any trusted certificate, such as a small container, unless there are extra ones.
fn verifier(
    extra: Vec<CertificateDer<'static>>,
    provider: Arc<CryptoProvider>,
) -> Result<Verifier, rustls::Error> {
    if extra.is_empty() {
        Verifier::new(provider)
    } else {
        Verifier::new_with_extra_roots(extra, provider)
    }
}

fn read_ca_file(path: &Path) -> Result<Vec<CertificateDer<'static>>, Error> {
    let shown = path.display();
    let pem = std::fs::read(path)
        .map_err(|error| invalid(format!("the CA file {shown} cannot be read"), &error))?;
    let certificates: Vec<_> = CertificateDer::pem_slice_iter(&pem)
        .collect::<Result<_, _>>()
        .map_err(|error| invalid(format!("the CA file {shown} is not valid PEM"), &error))?;
    if certificates.is_empty() {
        return Err(Error::setup(
            ErrorKind::InvalidCa,
            format!("the CA file {shown} has no certificate in it"),
        ));
    }
    let mut store = RootCertStore::empty();
    for certificate in &certificates {
        store.add(certificate.clone()).map_err(|error| {
            invalid(
                format!("the CA file {shown} has an unusable certificate"),
                &error,
            )
        })?;
    }
    Ok(certificates)
}

fn invalid(detail: impl Into<String>, error: &dyn std::error::Error) -> Error {
    Error::setup(ErrorKind::InvalidCa, detail).caused_by(Cause::of(error))
}
