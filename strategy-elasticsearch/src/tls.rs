//! Whom the strategies trust: what the platform trusts, and on top the certificates of `ca-file`.

use std::path::Path;
use std::sync::Arc;

use diy_backup_core::{Error, ErrorKind, Result};
use rustls::pki_types::CertificateDer;
use rustls::pki_types::pem::PemObject as _;
use rustls::{ClientConfig, RootCertStore};
use rustls_platform_verifier::Verifier;

/// What a connection to a URL with `scheme` needs. The cryptography provider is ours alone: a process-wide one would be
/// a race between crates.
pub(crate) fn config(scheme: &str, ca_file: Option<&Path>) -> Result<ClientConfig> {
    let extra = ca_file.map(read_ca_file).transpose()?.unwrap_or_default();
    let provider = Arc::new(rustls::crypto::ring::default_provider());
    let builder = ClientConfig::builder_with_provider(Arc::clone(&provider))
        .with_safe_default_protocol_versions()
        .map_err(|error| unusable("the TLS versions cannot be used", error))?;
    if scheme != "https" {
        // The platform's certificates are not worth reading then.
        return Ok(builder
            .with_root_certificates(RootCertStore::empty())
            .with_no_client_auth());
    }
    let verifier = if extra.is_empty() {
        Verifier::new(provider)
    } else {
        Verifier::new_with_extra_roots(extra, provider)
    };
    let verifier =
        verifier.map_err(|error| unusable("no certificate authority can be trusted", error))?;
    Ok(builder
        .dangerous()
        .with_custom_certificate_verifier(Arc::new(verifier))
        .with_no_client_auth())
}

fn read_ca_file(path: &Path) -> Result<Vec<CertificateDer<'static>>> {
    let shown = path.display();
    let pem = std::fs::read(path)
        .map_err(|error| unusable(format!("the CA file {shown} cannot be read"), error))?;
    let certificates = CertificateDer::pem_slice_iter(&pem)
        .collect::<Result<Vec<_>, _>>()
        .map_err(|error| unusable(format!("the CA file {shown} is not valid PEM"), error))?;
    let mut store = RootCertStore::empty();
    for certificate in &certificates {
        store.add(certificate.clone()).map_err(|error| {
            unusable(
                format!("the CA file {shown} holds a certificate that cannot be used"),
                error,
            )
        })?;
    }
    if certificates.is_empty() {
        let message = format!("the CA file {shown} has no certificate in it");
        return Err(Error::new(ErrorKind::Config, message));
    }
    Ok(certificates)
}

fn unusable(
    message: impl Into<String>,
    source: impl Into<Box<dyn std::error::Error + Send + Sync>>,
) -> Error {
    Error::new(ErrorKind::Config, message).with_source(source)
}
