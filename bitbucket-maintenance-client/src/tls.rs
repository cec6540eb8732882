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
    let mut config = match platform_verifier(&extra, provider) {
        Ok(verifier) => builder
            .dangerous()
            .with_custom_certificate_verifier(Arc::new(verifier))
            .with_no_client_auth(),
        // A machine without any trusted certificate, such as a small container: the CA file alone must do.
        Err(error) => {
            if scheme == Scheme::Tls && extra.is_empty() {
                return Err(invalid(
                    "this machine has no trusted certificates and no CA file is given",
                    &error,
                ));
            }
            builder
                .with_root_certificates(store(extra)?)
                .with_no_client_auth()
        }
    };
    config.alpn_protocols = vec![b"http/1.1".to_vec()];
    Ok(config)
}

#[cfg(any(unix, windows))]
fn platform_verifier(
    extra: &[CertificateDer<'static>],
    provider: Arc<CryptoProvider>,
) -> Result<Verifier, rustls::Error> {
    if extra.is_empty() {
        Verifier::new(provider)
    } else {
        Verifier::new_with_extra_roots(extra.iter().cloned(), provider)
    }
}

fn store(certificates: Vec<CertificateDer<'static>>) -> Result<RootCertStore, Error> {
    let mut store = RootCertStore::empty();
    for certificate in certificates {
        store
            .add(certificate)
            .map_err(|error| invalid("the CA file has an unusable certificate", &error))?;
    }
    Ok(store)
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
    // Said here, with the file's name, and not by whatever refuses the first connection.
    store(certificates.clone())?;
    Ok(certificates)
}

fn invalid(detail: impl Into<String>, error: &dyn std::error::Error) -> Error {
    Error::setup(ErrorKind::InvalidCa, detail).caused_by(Cause::of(error))
}
