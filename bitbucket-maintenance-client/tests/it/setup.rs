//! What is refused before the first request.

use std::error::Error as _;

use bitbucket_maintenance_client::{Call, Client, Credentials, ErrorKind};

fn refused(url: &str) -> String {
    let builder = Client::builder(url);
    let shown = format!("{builder:?}");
    let error = builder.build().unwrap_err();
    assert_eq!(error.kind(), ErrorKind::InvalidUrl, "{url}");
    assert_eq!(error.call(), Call::Setup);
    assert_eq!(error.attempts(), 0);
    assert!(!error.is_transient());
    assert!(error.hint().is_some());
    format!("{shown} {error} {error:?}")
}

#[test]
fn urls_that_are_none_are_refused() {
    for url in [
        "",
        "bitbucket.example.com",
        "https://",
        "ftp://host/x",
        "file:///etc",
    ] {
        refused(url);
    }
    refused("https://host.example/?a=b");
    refused("https://host.example/#a");
}

#[test]
fn a_password_in_a_url_is_refused_and_not_shown() {
    let text = refused("https://user:hunter2@host.example/bitbucket");
    assert!(!text.contains("hunter2"), "{text}");
    let text = refused("https://user:hunter2@:99999/");
    assert!(!text.contains("hunter2"), "{text}");
    refused("https://user@host.example/");
}

#[test]
fn the_base_url_has_no_slash_at_its_end() {
    for (url, base) in [
        ("http://host.example", "http://host.example"),
        ("https://host.example:8443//", "https://host.example:8443"),
        ("https://host.example/a/b/", "https://host.example/a/b"),
    ] {
        assert_eq!(Client::builder(url).build().unwrap().base_url(), base);
    }
}

#[test]
fn names_that_basic_authentication_cannot_express_are_refused() {
    for name in ["", "a:b"] {
        let credentials = Credentials::basic(name, "password".into());
        let builder = Client::builder("https://host.example").credentials(credentials);
        let error = builder.build().unwrap_err();
        assert_eq!(error.kind(), ErrorKind::InvalidConfiguration);
    }
    let builder = Client::builder("https://host.example").user_agent("a\nb");
    let error = builder.build().unwrap_err();
    assert_eq!(error.kind(), ErrorKind::InvalidConfiguration);
}

#[test]
fn a_ca_file_that_is_missing_or_has_no_certificate_is_refused() {
    let folder = tempfile::tempdir().unwrap();
    let file = folder.path().join("ca.pem");
    let refused = || {
        let builder = Client::builder("https://host.example").ca_file(&file);
        let error = builder.build().unwrap_err();
        assert_eq!(error.kind(), ErrorKind::InvalidCa);
        assert!(error.to_string().contains("ca.pem"), "{error}");
        error
    };
    let error = refused();
    assert!(error.source().unwrap().to_string().contains("No such file"));
    std::fs::write(&file, "not a certificate\n").unwrap();
    assert!(refused().to_string().contains("no certificate"));
    std::fs::write(&file, "-----BEGIN CERTIFICATE-----\n!!\n").unwrap();
    refused();
    let nonsense = "-----BEGIN CERTIFICATE-----\naGVsbG8=\n-----END CERTIFICATE-----\n";
    std::fs::write(&file, nonsense).unwrap();
    refused();
}
